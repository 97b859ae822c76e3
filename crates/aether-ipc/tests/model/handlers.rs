//! What holds when a handler panics, or uses the ring itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aether_ipc::{Buffer, Consumer, Flow, Producer};

fn ring() -> (tempfile::TempDir, Producer, Consumer) {
    let folder = tempfile::tempdir().unwrap();
    let buffer = Buffer::create(folder.path().join("ring"), 4096).unwrap();
    let (producer, consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    (folder, producer, consumer)
}

fn drain(consumer: &mut Consumer) -> Vec<i64> {
    let mut ids = Vec::new();
    consumer
        .drain(usize::MAX, |message| {
            ids.push(message.id());
            Flow::Continue
        })
        .unwrap();
    ids
}

#[track_caller]
fn panics(action: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(action)).is_err());
}

#[test]
fn the_message_whose_handler_panics_comes_again_and_none_behind_it_is_lost() {
    let (_folder, mut producer, mut consumer) = ring();
    producer.offer_all(0, 0, &[0_u64; 4]).unwrap();
    panics(|| drop(consumer.poll(|_| panic!("on purpose"))));
    panics(|| {
        let _ = consumer.drain(10, |message| if message.id() == 2 { panic!("on purpose") } else { Flow::Continue });
    });
    assert_eq!(consumer.position(), 0, "nothing was released");
    panics(|| {
        let batch = consumer.batch(10).unwrap();
        batch.iter().for_each(|message| assert!(message.id() < 2, "on purpose"));
    });
    assert_eq!(consumer.position(), 0, "nothing was released");
    panics(|| {
        let _ = consumer.drain(10, |message| match message.id() {
            0 => Flow::Commit,
            1 => Flow::Continue,
            _ => panic!("on purpose"),
        });
    });
    assert_eq!(consumer.position(), 24, "what was committed stays so");
    assert_eq!(drain(&mut consumer), [1, 2, 3]);
}

#[test]
fn after_a_panic_in_drain_another_consumer_gets_all_messages_since_the_last_release() {
    for another in [false, true] {
        let (folder, mut producer, mut consumer) = ring();
        producer.offer(0, 0, b"").unwrap();
        panics(|| {
            let _ = consumer.drain(10, |message| {
                assert_eq!(message.id(), 0, "on purpose");
                // Committed after drain looked what there is: it looks again, and finds a second run of messages.
                producer.offer(1, 0, b"").unwrap();
                Flow::Continue
            });
        });
        assert_eq!(consumer.position(), 0, "nothing was released");
        if another {
            let buffer = Buffer::open(folder.path().join("ring")).unwrap();
            drop(consumer);
            assert_eq!(drain(&mut buffer.consumer().unwrap()), [0, 1]);
        } else {
            assert_eq!(drain(&mut consumer).last(), Some(&1));
        }
    }
}

#[test]
fn a_handler_may_offer_to_the_ring_it_reads_from() {
    let (_folder, mut producer, mut consumer) = ring();
    producer.offer(0, 0, b"").unwrap();
    let mut ids = Vec::new();
    let count = consumer
        .drain(100, |message| {
            ids.push(message.id());
            producer.offer(message.id() + 1, 0, b"").unwrap();
            Flow::Continue
        })
        .unwrap();
    assert_eq!((count, ids), (100, (0..100).collect()));
}
