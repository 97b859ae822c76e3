//! How fast a ring is recorded that another process fills.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use aether_ipc::{Buffer, Observer};
use anyhow::{Context, Result, bail};

use crate::process::{Process, until};

#[derive(clap::Args)]
pub(crate) struct Speed {
    /// Where ring and journal are
    #[arg(long, default_value = "/dev/shm")]
    folder: PathBuf,
    /// Bytes of a message
    #[arg(long, value_delimiter = ',', default_values_t = [64, 256, 1024, 16384])]
    payload: Vec<usize>,
    /// How to compress, as `aether record --compress` takes it
    #[arg(long, value_delimiter = ',', default_values_t = ["none".to_owned(), "zstd".to_owned()])]
    compress: Vec<String>,
    /// Bytes of the ring
    #[arg(long, default_value_t = 16 << 20)]
    capacity: u64,
    /// Bytes of payload to record each time
    #[arg(long, default_value_t = 1 << 30)]
    bytes: u64,
    /// How often; the median counts. The first time is not counted: pages of memory that were never used are slow
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// More options for `aether record`
    #[arg(last = true)]
    options: Vec<String>,
}

/// Fills a ring, and prints how long that took in nanoseconds.
#[derive(clap::Args)]
pub(crate) struct Fill {
    path: PathBuf,
    payload: usize,
    count: u64,
}

/// Text as quotes may be, of which zstd makes about a quarter.
fn text(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = Vec::with_capacity(bytes + 100);
    while text.len() < bytes {
        let (bid, size, time) = (random.u32(90_000..110_000), random.u32(1..500), random.u32(..));
        text.extend_from_slice(
            format!("{{\"symbol\":\"AET{}\",\"bid\":{bid},\"size\":{size},\"time\":{time}}}\n", random.u32(0..50))
                .as_bytes(),
        );
    }
    text
}

pub(crate) fn fill(args: &Fill) -> Result<()> {
    let source = text((1 << 20) + args.payload);
    let mut producer = Buffer::open(&args.path)?.producer()?;
    let start = Instant::now();
    let mut at = 0;
    for id in 0..args.count {
        producer.put(id as i64, 1, &source[at..at + args.payload])?;
        at = (at + args.payload) & ((1 << 20) - 1);
    }
    writeln!(std::io::stdout(), "{}", start.elapsed().as_nanos())?;
    Ok(())
}

pub(crate) fn run(aether: &Path, args: &Speed) -> Result<()> {
    println!(
        "| bytes of a message | compression | messages/s | payload, GB/s | bytes in the journal for one of payload |"
    );
    println!("|---|---|---|---|---|");
    for compress in &args.compress {
        for &payload in &args.payload {
            let mut runs = Vec::new();
            for round in 0..=args.rounds {
                let run = record(aether, args, payload, compress)?;
                if round > 0 {
                    runs.push(run);
                }
            }
            runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            let Some(run) = runs.get(runs.len() / 2) else { bail!("--rounds 0 measures nothing") };
            println!(
                "| {payload} | {compress} | {:.2} million | {:.2} | {:.2} |",
                run.messages as f64 / run.seconds / 1e6,
                (run.messages * payload as u64) as f64 / run.seconds / 1e9,
                run.journal as f64 / (run.messages * payload as u64) as f64,
            );
        }
    }
    Ok(())
}

struct Run {
    seconds: f64,
    messages: u64,
    journal: u64,
}

/// From the first message in the ring until the journal has the last one.
fn record(aether: &Path, args: &Speed, payload: usize, compress: &str) -> Result<Run> {
    let folder = tempfile::Builder::new().prefix("aether-recording-").tempdir_in(&args.folder)?;
    let (ring, journal) = (folder.path().join("ring"), folder.path().join("journal"));
    let messages = args.bytes / payload as u64;
    Buffer::options().capacity(args.capacity).create_new(&ring)?;
    let observer = Observer::open(&ring)?;
    let mut command = Command::new(aether);
    command.arg("record").arg(&ring).arg("-o").arg(&journal).args(["--compress", compress]).args(&args.options);
    let mut recorder = Process::start(command.stderr(Stdio::null()))?;
    until("the recorder", || {
        recorder.check()?;
        Ok(observer.info()?.consumers.iter().any(|consumer| consumer.holder.is_some()) && journal.exists())
    })?;
    let mut fill = Command::new(std::env::current_exe()?);
    fill.arg("fill").arg(&ring).args([payload.to_string(), messages.to_string()]);
    let mut filling = fill.stdout(Stdio::piped()).spawn().context("could not start the producer")?;
    let mut start = None;
    until("the ring to be filled and recorded", || {
        recorder.check()?;
        let info = observer.info()?;
        if start.is_none() && info.write_cursor() > 0 {
            start = Some(Instant::now());
        }
        Ok(filling.try_wait()?.is_some() && info.available_bytes() == 0)
    })?;
    let seconds = start.context("nothing came")?.elapsed().as_secs_f64();
    recorder.interrupt()?;
    recorder.end(0)?;
    let found = aether_journal::Reader::open(&journal)?.end();
    if found != messages {
        bail!("{found} of {messages} messages were recorded");
    }
    Ok(Run { seconds, messages, journal: fs::metadata(&journal)?.len() })
}
