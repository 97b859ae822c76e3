//! Fan-out that never waits: a feed that overwrites the oldest, and readers that are told what they missed.

use std::{error::Error, thread};

use aether_ipc::{Buffer, Consumer, Error as Ring, Flow, Overflow, Result};

const QUOTES: i64 = 200_000;
/// Header and payload of a quote.
const RECORD: u64 = 16 + 8;

/// Reads `at_once` quotes at a time until the last. Returns how many came and how many were missed.
fn follow(mut consumer: Consumer, at_once: usize) -> Result<(u64, u64)> {
    let (mut next, mut missed) = (0, 0);
    while next < QUOTES {
        consumer.wait()?;
        let read = consumer.drain(at_once, |quote| {
            assert_eq!(quote.id(), next, "what was missed is known to the quote");
            assert_eq!(quote.payload(), (quote.id() * 10).to_le_bytes());
            next += 1;
            Flow::Continue
        });
        match read {
            Ok(_) => {}
            Err(Ring::Lagged { bytes }) => {
                missed += bytes / RECORD;
                next += (bytes / RECORD) as i64;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((consumer.received(), missed))
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let options = Buffer::options().capacity(1 << 14).consumers(3).overflow(Overflow::DropOldest);
    let feed = options.create(folder.path().join("feed"))?;
    let mut producer = feed.producer()?;

    thread::scope(|scope| {
        let mut readers = Vec::new();
        for at_once in [1000, 100, 1] {
            let consumer = feed.consumer()?;
            readers.push((at_once, scope.spawn(move || follow(consumer, at_once))));
        }
        for id in 0..QUOTES {
            // Never full: nobody holds the feed up.
            producer.offer(id, 0, &(id * 10).to_le_bytes())?;
        }
        for (at_once, reader) in readers {
            let (received, missed) = reader.join().expect("no reader panics")?;
            println!("{at_once} at once: {received} received, {missed} missed");
            assert_eq!(received + missed, QUOTES as u64);
        }
        Ok(())
    })
}
