//! Many processes write their logs into one ring; one process collects them, and sleeps while there is nothing.

use std::{collections::BTreeMap, error::Error, process::Command, time::Duration};

use aether_ipc::{Buffer, Error as Ring, Flow};

const WORKERS: u32 = 3;
const LINES: i64 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(path) => Ok(work(&path)?),
        None => collect(),
    }
}

fn work(path: &str) -> aether_ipc::Result<()> {
    let mut log = Buffer::connect(path, Duration::from_secs(10))?.producer()?;
    let worker = std::process::id();
    for line in 0..LINES {
        // Waits while the collector is behind.
        log.put(line, worker.cast_signed(), format!("worker {worker} says {line}").as_bytes())?;
    }
    Ok(())
}

fn collect() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    let mut log = Buffer::options().capacity(1 << 14).producers(WORKERS).create(&path)?.consumer()?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(Command::new(std::env::current_exe()?).arg(&path).spawn()?);
    }

    let mut lines: BTreeMap<i32, i64> = BTreeMap::new();
    loop {
        // Asked before the wait: what a worker wrote before it ended is found by it.
        let mut running = 0;
        for worker in &mut workers {
            running += usize::from(worker.try_wait()?.is_none());
        }
        match log.wait_within(Duration::from_millis(100)) {
            Ok(()) => {}
            Err(Ring::TimedOut { .. }) if running > 0 => continue,
            Err(Ring::TimedOut { .. }) => break,
            Err(error) => return Err(error.into()),
        }
        log.drain(1000, |message| {
            let next = lines.entry(message.message_type()).or_default();
            assert_eq!(message.id(), *next, "no line of a worker is lost");
            assert!(message.payload().ends_with(format!("says {next}").as_bytes()));
            *next += 1;
            Flow::Continue
        })?;
    }
    for mut worker in workers {
        assert!(worker.wait()?.success());
    }
    println!("{} lines of {} workers", lines.values().sum::<i64>(), lines.len());
    assert_eq!(lines.into_values().collect::<Vec<_>>(), [LINES; WORKERS as usize]);
    Ok(())
}
