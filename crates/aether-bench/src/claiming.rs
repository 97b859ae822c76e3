//! What it costs the producer to hand over a message that it writes in place, by size: nothing is copied, so that a large
//! one costs what a small one does. Writing the payload itself, which the user does, is not counted.

use aether_ipc::{Buffer, Flow};
use anyhow::{Result, ensure};

use crate::job::{Job, Outcome};
use crate::suite::bytes;
use crate::{Entry, work};

pub(crate) const ENTRY: Entry = Entry::alone("claiming", run);

const SIZES: [usize; 3] = [64 << 10, 1 << 20, 16 << 20];
/// Messages of a lap: as many for every size, and few enough that their headers, which are a power of two apart, do not
/// drive each other out of the caches.
const MESSAGES: u64 = 6;
/// Messages that fit, with their headers, into a capacity that is a power of two.
const SLOTS: u64 = 8;

/// The name of the figure for one size.
pub fn fact(size: usize) -> String {
    format!("claim and commit of {} in place, ns", bytes(size))
}

/// The sizes that there are figures for.
pub fn sizes() -> [usize; 3] {
    SIZES
}

fn run(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    work::pin(job.cpus[0])?;
    ready()?;
    let clock = quanta::Clock::new();
    let mut facts = Vec::new();
    for size in SIZES {
        let capacity = size as u64 * SLOTS;
        let path = job.place.join(format!("ring-{size}"));
        let buffer = Buffer::options().capacity(capacity).prefault(true).create(&path)?;
        let (mut producer, mut consumer) = (buffer.producer()?, buffer.consumer()?);
        let (mut messages, mut taken) = (0, 0);
        let (started, mut spent) = (clock.raw(), 0);
        while clock.delta_as_nanos(started, clock.raw()) < job.duration_ns {
            let before = clock.raw();
            for _ in 0..MESSAGES {
                let mut claim = producer.claim(size)?;
                claim.payload_mut()[0] = 1;
                claim.commit(1, 1);
            }
            spent += clock.delta_as_nanos(before, clock.raw());
            messages += MESSAGES;
            taken += consumer.drain(usize::MAX, |_| Flow::Continue)? as u64;
        }
        ensure!(taken == messages, "{messages} messages were sent, and {taken} received");
        facts.push((fact(size), spent as f64 / messages as f64));
        drop((producer, consumer, buffer));
        std::fs::remove_file(&path)?;
    }
    Ok(Outcome { facts, ..Outcome::default() })
}
