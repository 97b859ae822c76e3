//! A message from one side to the other.

use std::error::Error;

use aether_ipc::{Buffer, Flow, Polled};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("greetings");

    // One process creates the ring, or opens it if it is there, and writes.
    let mut producer = Buffer::create(&path, 1 << 20)?.producer()?;
    producer.offer(1, 7, b"hello")?;

    // Another one opens it and reads.
    let mut consumer = Buffer::open(&path)?.consumer()?;
    let polled = consumer.poll(|message| {
        println!("{} {} {}", message.id(), message.message_type(), String::from_utf8_lossy(message.payload()));
        assert_eq!((message.id(), message.message_type(), message.payload()), (1, 7, &b"hello"[..]));
        Flow::Continue
    })?;
    assert_eq!(polled, Polled::Released);
    Ok(())
}
