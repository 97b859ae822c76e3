//! What it costs to read from producers that are not trusted: each message is copied out of the ring before it is looked
//! at. Prints nanoseconds for each message, in place and copied, in turn in one run.

use std::{error::Error, time::Instant};

use aether_ipc::{Buffer, Flow};

const CAPACITY: u64 = 1 << 18;
const ROUNDS: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    for size in [8, 64, 1024, 16384] {
        let buffer = Buffer::create(folder.path().join(size.to_string()), CAPACITY)?;
        let (mut producer, mut consumer) = (buffer.producer()?, buffer.consumer()?);
        let payload = vec![7; size];
        let mut best = [f64::INFINITY; 2];
        for round in 0..ROUNDS {
            let untrusted = round % 2 == 1;
            let mut sent = 0;
            while producer.offer(1, 0, &payload).is_ok() {
                sent += 1;
            }
            consumer.set_untrusted(untrusted);
            let mut sum = 0;
            let start = Instant::now();
            let received = consumer.drain(usize::MAX, |message| {
                sum += message.payload().iter().map(|&byte| u64::from(byte)).sum::<u64>();
                Flow::Continue
            })?;
            let nanoseconds = start.elapsed().as_nanos() as f64 / received as f64;
            assert_eq!((received, sum), (sent, 7 * (size * sent) as u64));
            best[usize::from(untrusted)] = best[usize::from(untrusted)].min(nanoseconds);
        }
        let [trusted, untrusted] = best;
        println!("{size:5} bytes: in place {trusted:.1} ns, copied {untrusted:.1} ns a message");
    }
    Ok(())
}
