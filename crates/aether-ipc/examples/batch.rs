//! Many messages, one publication; many messages, one release.

use std::{error::Error, thread};

use aether_ipc::{Buffer, Error as Ring};

const COUNT: u64 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let buffer = Buffer::create(folder.path().join("numbers"), 1 << 16)?;
    let (mut producer, mut consumer) = (buffer.producer()?, buffer.consumer()?);
    // Should the other side end early, waiting for it is an error.
    consumer.require_producer(true);

    let sending = thread::spawn(move || -> aether_ipc::Result<u64> {
        let (mut next, mut publications) = (0, 0);
        while next < COUNT {
            producer.wait_for_space(8, None)?;
            let mut batch = producer.batch();
            // As many as have space now, 500 at most; the consumer sees all of them at once.
            while next < COUNT && batch.len() < 500 {
                match batch.push(next as i64, 0, &next.to_le_bytes()) {
                    Ok(()) => next += 1,
                    Err(Ring::Full) => break,
                    Err(error) => return Err(error),
                }
            }
            batch.commit();
            publications += 1;
        }
        Ok(publications)
    });

    let (mut sum, mut releases) = (0, 0_u64);
    while consumer.received() < COUNT {
        consumer.wait()?;
        for message in &consumer.batch(1000)? {
            sum += message.value::<[u8; 8]>().map(|bytes| u64::from_le_bytes(*bytes))?;
        }
        releases += 1;
    }
    let publications = sending.join().expect("the sender does not panic")?;
    println!("{COUNT} numbers in {publications} publications and {releases} releases");
    assert_eq!(sum, (0..COUNT).sum());
    assert!(publications < COUNT && releases < COUNT);
    Ok(())
}
