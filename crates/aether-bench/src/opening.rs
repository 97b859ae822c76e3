//! What it costs to open a ring: time, and memory beyond the ring itself.

use std::fs;
use std::time::Instant;

use aether_ipc::{Buffer, Consumer, Producer};
use anyhow::{Context, Result};

use crate::job::{Job, Outcome};
use crate::{Entry, work};

pub(crate) const ENTRY: Entry = Entry::alone("opening", run);

const RINGS: usize = 1_000;
const SMALL: u64 = 4 << 10;
const TOUCHED: u64 = 16 << 20;

fn run(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    work::pin(job.cpus[0])?;
    ready()?;
    let mut facts = Vec::new();
    let path = |number: usize| job.place.join(format!("ring-{number}"));

    let started = Instant::now();
    for number in 0..RINGS {
        Buffer::create(path(number), SMALL)?;
    }
    facts.push((format!("create and close, mean of {RINGS}, us"), micros(started) / RINGS as f64));

    let started = Instant::now();
    for _ in 0..RINGS {
        Buffer::open(path(0))?;
    }
    facts.push((format!("open and close one ring again, mean of {RINGS}, us"), micros(started) / RINGS as f64));

    let started = Instant::now();
    let mut open: Vec<(Producer, Consumer)> = Vec::with_capacity(RINGS);
    for number in 0..RINGS {
        let buffer = Buffer::open(path(number))?;
        open.push((buffer.producer()?, buffer.consumer()?));
    }
    facts.push((format!("open {RINGS} rings with a producer and a consumer each, ms"), micros(started) / 1e3));
    drop(open);

    let before = resident()?;
    let buffer = Buffer::options().capacity(TOUCHED).prefault(true).create(job.place.join("large"))?;
    let roles = (buffer.producer()?, buffer.consumer()?);
    let beyond = resident()? - before - TOUCHED as f64;
    drop(roles);
    facts.push(("resident memory beyond a ring of 16 MiB, KiB".to_owned(), beyond / 1024.0));
    Ok(Outcome { facts, ..Outcome::default() })
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// Bytes of this process that are in memory, shared ones too; a page that is mapped at two addresses counts once.
fn resident() -> Result<f64> {
    let path = "/proc/self/smaps_rollup";
    let text = fs::read_to_string(path).with_context(|| format!("can't read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).with_context(|| format!("{path} has no Pss"))?;
    let kibibytes: f64 = line.trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024.0)
}
