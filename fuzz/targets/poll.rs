//! Any content and any cursors in a ring whose header is right: every way of reading it, then repairing it.

use aether_ipc::{
    Buffer, Consumer, Error, Flow, Merge, Message,
    recovery::{self, Strategy},
};

use super::{Input, Memory, scratch, shape, touch};

/// More than any of these rings can hold, in all its lanes.
const MOST: usize = 2 * 4096 / 16;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let options = shape(input.byte());
    let how = input.byte();
    let memory = Memory::ring(&options);
    let path = memory.path();
    let info = Buffer::open(&path).unwrap().observer().info().unwrap();
    // The cursors and other words, of which many lie close together; then the data of both lanes.
    for _ in 0..input.byte() % 32 {
        let at = match input.byte() % 8 {
            0 => 0x000,
            1 => 0x080,
            2 => 0x380,
            3 => 0x400,
            4 => 0x480,
            _ => 8 * u64::from(input.byte()),
        };
        if !(0x100..0x180).contains(&at) {
            memory.word(at, input.spite());
        }
    }
    for lane in 0..2 {
        for _ in 0..input.byte() % 32 {
            // Records, more or less: their length decides how far the reading gets.
            let at = info.data_offset + (lane << 16) + 8 * u64::from(input.byte());
            memory.word(at, input.number());
            memory.word(at + 8, input.spite() & 0xFFFF_FFFF);
        }
    }
    read(&path, how);
    repair(&path, if how & 1 == 0 { Strategy::LastGood } else { Strategy::SkipToWrite });
}

fn read(path: &std::path::Path, how: u8) {
    let buffer = Buffer::open(path).unwrap();
    let _ = recovery::verify(path).unwrap();
    let flow = |message: Message<'_>| match touch(&message) % 16 {
        0 => Flow::Keep,
        1 => Flow::Break,
        2 => Flow::Commit,
        _ => Flow::Continue,
    };
    let _ = buffer.observer().peek(MOST, |message| (touch(&message), Flow::Continue).1);
    let mut tail = buffer.observer().tail_from_oldest();
    let _ = (tail.poll(MOST, flow), tail.poll(MOST, flow));
    let _ = buffer.producer().map(|mut producer| producer.offer(1, 1, b"between the others"));
    let Ok(mut consumer) = buffer.consumer() else { return };
    consumer.set_untrusted(how & 2 != 0);
    consumer.set_merge(if how & 4 == 0 { Merge::Fair } else { Merge::ById });
    match how >> 3 & 3 {
        0 => {
            for _ in 0..MOST {
                let before = consumer.position();
                let polled = consumer.poll(flow);
                if matches!(polled, Err(Error::Corrupt { .. })) {
                    assert_eq!(consumer.position(), before, "no cursor moves past what is corrupt");
                }
            }
        }
        1 => assert!(consumer.drain(usize::MAX, |message| (touch(&message), Flow::Continue).1).unwrap_or(0) <= MOST),
        2 => {
            let batch = consumer.batch(usize::MAX).map(|batch| {
                let twice = batch.iter().chain(&batch).fold(0, |count, message| (touch(&message), count + 1).1);
                assert!(twice <= 2 * MOST);
            });
            let _ = batch;
        }
        _ => drop(consumer.wait_within(std::time::Duration::ZERO)),
    }
    let _ = (consumer.available_bytes(), consumer.received());
}

fn repair(path: &std::path::Path, strategy: Strategy) {
    let backup = scratch();
    recovery::plan(path, strategy).unwrap().apply(&backup).unwrap();
    std::fs::remove_file(&backup).unwrap();
    assert_eq!(recovery::verify(path).unwrap().problems, [], "sound after {strategy:?}");
    assert!(recovery::plan(path, strategy).unwrap().changes().is_empty());
    // What is kept is read without a fault, and so is what comes.
    let buffer = Buffer::open(path).unwrap();
    let mut consumer = buffer.consumer().unwrap();
    drain(&mut consumer, |_| {});
    buffer.producer().unwrap().put(0, 99, b"after the repair").unwrap();
    let mut last = None;
    drain(&mut consumer, |message| last = Some((message.message_type(), message.payload().to_vec())));
    assert_eq!(last, Some((99, b"after the repair".to_vec())));
}

fn drain(consumer: &mut Consumer, mut see: impl FnMut(Message<'_>)) {
    loop {
        match consumer.drain(usize::MAX, |message| (see(message), Flow::Continue).1) {
            Ok(0) => return,
            Ok(_) | Err(Error::Lagged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
