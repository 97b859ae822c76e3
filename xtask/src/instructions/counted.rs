//! What `cargo xtask instructions` counts: one way of handling messages, a thousand times. Valgrind counts what happens in
//! the functions called `counted_…`, and nothing else.

use std::hint::black_box;
use std::process::ExitCode;

use aether_ipc::{Buffer, Consumer, Error, Flow, Producer};

/// Their number; the chore divides by it.
const MESSAGES: usize = 1_000;

fn main() -> ExitCode {
    let operation = std::env::args().nth(1).unwrap_or_default();
    match run(&operation) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("counted: no operation is called {operation:?}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("counted: {operation}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(operation: &str) -> Result<bool, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let buffer = Buffer::create(folder.path().join("ring"), 1 << 20)?;
    let (mut producer, mut consumer) = (buffer.producer()?, buffer.consumer()?);
    // Its length is known at run time alone, as that of most payloads.
    let payload = black_box(vec![7; 8]);
    let mut send = |messages| (0..messages).try_for_each(|_| producer.offer(1, 1, &payload));
    // So that both ends know the limits.
    send(1)?;
    consumer.drain(usize::MAX, |_| Flow::Continue)?;
    match operation {
        "poll" | "drain" => send(MESSAGES)?,
        _ => {}
    }
    match operation {
        "offer" => counted_offer(&mut producer, &payload)?,
        "claim" => counted_claim(&mut producer, &payload)?,
        "batch" => counted_batch(&mut producer, &payload)?,
        "array" => counted_array(&mut producer, payload.len(), &payload.repeat(MESSAGES))?,
        "poll" => counted_poll(&mut consumer)?,
        "drain" => counted_drain(&mut consumer)?,
        _ => return Ok(false),
    }
    Ok(true)
}

#[inline(never)]
fn counted_offer(producer: &mut Producer, payload: &[u8]) -> Result<(), Error> {
    (0..MESSAGES).try_for_each(|_| producer.offer(1, 1, payload))
}

#[inline(never)]
fn counted_claim(producer: &mut Producer, payload: &[u8]) -> Result<(), Error> {
    for _ in 0..MESSAGES {
        let mut claim = producer.claim(payload.len())?;
        claim.payload_mut()[0] = 1;
        claim.commit(1, 1);
    }
    Ok(())
}

#[inline(never)]
fn counted_batch(producer: &mut Producer, payload: &[u8]) -> Result<(), Error> {
    let mut batch = producer.batch();
    for _ in 0..MESSAGES {
        batch.push(1, 1, payload)?;
    }
    batch.commit();
    Ok(())
}

#[inline(never)]
fn counted_array(producer: &mut Producer, size: usize, payloads: &[u8]) -> Result<(), Error> {
    let taken = producer.offer_array(1, 1, size, payloads)?;
    assert_eq!(taken, MESSAGES, "the ring has room for all");
    Ok(())
}

#[inline(never)]
fn counted_poll(consumer: &mut Consumer) -> Result<(), Error> {
    for _ in 0..MESSAGES {
        consumer.poll(|message| {
            black_box(message.payload());
            Flow::Continue
        })?;
    }
    Ok(())
}

#[inline(never)]
fn counted_drain(consumer: &mut Consumer) -> Result<(), Error> {
    consumer.drain(usize::MAX, |message| {
        black_box(message.payload());
        Flow::Continue
    })?;
    Ok(())
}
