//! The functions for other languages, which get records as addresses: `peek` and `release_peeked`, `reserve` and
//! `commit_reserved`.

use aether_ipc::{Buffer, Consumer, Corruption, Error, Flow, Merge, Options, Overflow, Peeked, Producer};

fn ring(options: Options) -> (tempfile::TempDir, Buffer) {
    let dir = tempfile::tempdir().unwrap();
    let buffer = options.create_new(dir.path().join("ring")).unwrap();
    (dir, buffer)
}

/// One of each kind of place where a record can stand: mapped twice, over the end of a classic ring, checked, copied.
fn kinds() -> Vec<Options> {
    let options = |capacity| Buffer::options().capacity(capacity);
    vec![
        options(4096),
        options(1024).classic(true),
        options(4096).classic(true),
        options(1024),
        options(4096).checksums(true),
        options(1024).checksums(true),
        options(4096).sequence(true),
        options(4096).overflow(Overflow::DropOldest),
        options(1024).overflow(Overflow::DropOldest).checksums(true),
    ]
}

fn round_up(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// The records of a run, walked over as another language does: by addresses alone.
fn walk(run: &Peeked) -> Vec<(i64, i32, Vec<u8>)> {
    assert_eq!(run.base as usize % 8, 0);
    // SAFETY: `length` bytes stand there until the next call on the consumer, and this producer writes elsewhere.
    let mut bytes = unsafe { std::slice::from_raw_parts(run.base, run.length) };
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let id = i64::from_le_bytes(bytes[..8].try_into().unwrap());
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
        let message_type = i32::from_le_bytes(bytes[12..16].try_into().unwrap());
        found.push((id, message_type, bytes[16..length - run.trailer].to_vec()));
        bytes = &bytes[round_up(length)..];
    }
    assert_eq!(found.len(), run.count);
    found
}

/// Writes records at an address; returns the bytes that they take.
fn write(base: *mut u8, room: usize, trailer: usize, records: &[(i64, i32, &[u8])]) -> usize {
    assert_eq!(base as usize % 8, 0);
    // SAFETY: `room` bytes that were reserved for this caller.
    let bytes = unsafe { std::slice::from_raw_parts_mut(base, room) };
    let mut at = 0;
    for (id, message_type, payload) in records {
        let length = 16 + payload.len() + trailer;
        bytes[at..at + 8].copy_from_slice(&id.to_le_bytes());
        bytes[at + 8..at + 12].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&message_type.to_le_bytes());
        bytes[at + 16..at + 16 + payload.len()].copy_from_slice(payload);
        at += round_up(length);
    }
    at
}

fn ids(consumer: &mut Consumer, limit: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    consumer.peek(limit, |message| ids.push(message.id())).unwrap();
    ids
}

#[test]
fn what_is_written_by_address_is_read_by_address_in_every_kind_of_ring_over_many_laps() {
    for options in kinds() {
        let (_dir, buffer) = ring(options.clone());
        let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
        let trailer = producer.trailer();
        let mut next = 0_i64;
        let mut seen = 0_i64;
        while next < 400 {
            // Lengths that are no divisors of the capacity, so that records come to stand over its end everywhere.
            let payloads: Vec<Vec<u8>> = (next..next + 5).map(|id| vec![id as u8; (id as usize * 7) % 41]).collect();
            let records: Vec<(i64, i32, &[u8])> =
                payloads.iter().zip(next..).map(|(payload, id)| (id, -(id as i32), payload.as_slice())).collect();
            let size = records.iter().map(|(_, _, payload)| round_up(16 + payload.len() + trailer)).sum();
            let (base, room) = producer.reserve(size, size).unwrap();
            assert_eq!(room, size);
            let written = write(base, room, trailer, &records);
            assert_eq!(producer.commit_reserved(written).unwrap(), 5, "{options:?}");
            next += 5;

            let mut shown = Vec::new();
            while let Some(run) = consumer.peek(100, |message| shown.push(message.payload().to_vec())).unwrap() {
                let found = walk(&run);
                assert_eq!(shown, found.iter().map(|(_, _, payload)| payload.clone()).collect::<Vec<_>>());
                for (id, message_type, payload) in found {
                    assert_eq!(id, seen, "{options:?}");
                    assert_eq!((message_type, payload), (-(id as i32), vec![id as u8; (id as usize * 7) % 41]));
                    seen += 1;
                }
                assert_eq!(consumer.peeked(), run.count);
                consumer.release_peeked(run.count).unwrap();
                shown.clear();
            }
            assert_eq!(seen, next, "{options:?}");
        }
        assert_eq!((producer.offered(), consumer.received()), (400, 400));
    }
}

#[test]
fn peeked_messages_are_released_in_parts_and_the_rest_comes_again() {
    let (_dir, buffer) = ring(Buffer::options().capacity(4096));
    let mut producer = buffer.producer().unwrap();
    let mut consumer = buffer.consumer().unwrap();
    producer.offer_all(0, 0, &[0_u64; 10]).unwrap();
    assert_eq!(ids(&mut consumer, 6), [0, 1, 2, 3, 4, 5]);
    consumer.release_peeked(2).unwrap();
    assert_eq!((consumer.peeked(), consumer.position(), consumer.received()), (4, 48, 2));
    consumer.release_peeked(1).unwrap();
    assert_eq!(ids(&mut consumer, 3), [3, 4, 5]);
    // No more than was shown, whatever is asked for.
    consumer.release_peeked(100).unwrap();
    assert_eq!((consumer.peeked(), consumer.position(), consumer.received()), (0, 144, 6));
    assert_eq!(ids(&mut consumer, 0), [0_i64; 0]);
    drop(consumer);
    assert_eq!(ids(&mut buffer.consumer().unwrap(), 100), [6, 7, 8, 9]);
}

#[test]
fn what_was_released_in_another_way_is_not_released_again() {
    let (_dir, buffer) = ring(Buffer::options().capacity(4096));
    let mut producer = buffer.producer().unwrap();
    let mut consumer = buffer.consumer().unwrap();
    producer.offer_all(0, 0, &[0_u64; 10]).unwrap();
    ids(&mut consumer, 3);
    consumer.poll(|_| Flow::Continue).unwrap();
    assert_eq!(consumer.peeked(), 0);
    consumer.release_peeked(3).unwrap();
    assert_eq!((consumer.position(), consumer.received()), (24, 1));
}

#[test]
fn lanes_take_turns_and_ids_are_merged_when_peeking() {
    let (_dir, buffer) = ring(Buffer::options().capacity(4096).producers(2));
    let mut consumer = buffer.consumer().unwrap();
    let mut producers = [buffer.producer().unwrap(), buffer.producer().unwrap()];
    for id in 0..10 {
        producers[id % 2].offer(id as i64, 0, b"").unwrap();
    }
    assert_eq!(ids(&mut consumer, 2), [0, 2]);
    consumer.release_peeked(2).unwrap();
    assert_eq!(ids(&mut consumer, 2), [1, 3]);
    consumer.release_peeked(1).unwrap();
    consumer.set_merge(Merge::ById);
    drop(producers);
    let mut rest = Vec::new();
    loop {
        let next = ids(&mut consumer, 100);
        if next.is_empty() {
            break;
        }
        consumer.release_peeked(next.len()).unwrap();
        rest.extend(next);
    }
    assert_eq!(rest, [3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_bad_record_ends_a_peek_before_it_and_is_an_error_when_it_comes_first() {
    let (dir, buffer) = ring(Buffer::options().capacity(4096).checksums(true));
    buffer.producer().unwrap().offer_all(0, 0, &[7_u64; 3]).unwrap();
    let path = dir.path().join("ring");
    let mut bytes = std::fs::read(&path).unwrap();
    let data = buffer.observer().info().unwrap().data_offset as usize;
    bytes[data + 2 * 32 + 16] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut consumer = buffer.consumer().unwrap();
    assert_eq!(ids(&mut consumer, 100), [0, 1]);
    consumer.release_peeked(2).unwrap();
    let error = consumer.peek(100, |message| panic!("{message:?}")).unwrap_err();
    assert!(matches!(error, Error::Corrupt { position: 64, reason: Corruption::Checksum { .. }, .. }), "{error}");
    assert_eq!((consumer.peeked(), consumer.position()), (0, 64));
}

fn commit(producer: &mut Producer, words: &[u64]) -> Result<usize, Error> {
    let (base, room) = producer.reserve(8 * words.len(), 0).unwrap();
    assert!(room >= 8 * words.len());
    for (index, word) in words.iter().enumerate() {
        // SAFETY: `room` bytes that were reserved for this caller.
        unsafe { base.cast::<u64>().add(index).write(word.to_le()) };
    }
    producer.commit_reserved(8 * words.len())
}

#[test]
fn bytes_that_are_no_whole_records_are_refused_and_nothing_is_published() {
    for options in [Buffer::options().capacity(4096), Buffer::options().capacity(4096).overflow(Overflow::DropOldest)] {
        let (_dir, buffer) = ring(options);
        let mut producer = buffer.producer().unwrap();
        let good = [1, 16];
        for (bad, offset, reason) in [
            (vec![1, 15], 0, Corruption::TooShort { length: 15, least: 16 }),
            (vec![1, 0], 0, Corruption::TooShort { length: 0, least: 16 }),
            (vec![1, 17], 0, Corruption::TooLong { length: 17, committed: 16 }),
            (vec![1, u64::from(u32::MAX)], 0, Corruption::TooLong { length: u32::MAX, committed: 16 }),
            ([good.as_slice(), &[2]].concat(), 16, Corruption::TooLong { length: 16, committed: 8 }),
            ([good.as_slice(), &[2, 8]].concat(), 16, Corruption::TooShort { length: 8, least: 16 }),
        ] {
            let error = commit(&mut producer, &bad).unwrap_err();
            assert!(
                matches!(error, Error::Record { offset: at, reason: why } if at == offset && why == reason),
                "{bad:?}: {error}"
            );
            assert_eq!((producer.position(), producer.offered(), producer.reserved()), (0, 0, 0));
        }
        assert_eq!(commit(&mut producer, &good).unwrap(), 1);
        assert_eq!((producer.position(), producer.offered()), (16, 1));
    }
}

#[test]
fn a_reservation_ends_with_whatever_is_written_next() {
    let (_dir, buffer) = ring(Buffer::options().capacity(1024));
    let mut producer = buffer.producer().unwrap();
    assert_eq!(producer.commit_reserved(16).unwrap(), 0);
    let (base, room) = producer.reserve(64, 64).unwrap();
    assert_eq!((room, producer.reserved()), (64, 64));
    write(base, room, 0, &[(1, 0, b"lost")]);
    producer.offer(2, 0, b"kept").unwrap();
    assert_eq!((producer.reserved(), producer.commit_reserved(24).unwrap()), (0, 0));
    // No more than was reserved is published: the record is cut, and refused.
    let (base, room) = producer.reserve(24, 24).unwrap();
    write(base, room, 0, &[(3, 0, b"cut")]);
    // SAFETY: within the 24 bytes reserved.
    unsafe { base.add(8).cast::<u32>().write(32_u32.to_le()) };
    assert!(matches!(producer.commit_reserved(32), Err(Error::Record { offset: 0, .. })));
    assert_eq!(ids(&mut buffer.consumer().unwrap(), 10), [2]);
}

#[test]
fn a_reservation_takes_what_is_free_between_the_two_bounds() {
    let (_dir, buffer) = ring(Buffer::options().capacity(1024));
    let mut producer = buffer.producer().unwrap();
    let mut consumer = buffer.consumer().unwrap();
    assert_eq!(producer.reserve(1, 1 << 40).unwrap().1, 1024);
    assert_eq!(producer.reserve(17, 20).unwrap().1, 24);
    assert!(matches!(producer.reserve(1025, 0), Err(Error::TooLarge { payload: 1009, max: 1008 })));
    producer.offer(0, 0, &[0; 784]).unwrap();
    assert_eq!(producer.reserve(16, 1024).unwrap().1, 224);
    assert!(matches!(producer.reserve(225, 1024), Err(Error::Full)));
    assert_eq!(producer.reserved(), 0);
    consumer.poll(|_| Flow::Continue).unwrap();
    assert_eq!(producer.reserve(225, 1024).unwrap().1, 1024);
}

#[test]
fn records_are_peeked_at_across_the_end_of_all_positions() {
    // A file may say that so much went through already.
    // Those that drop messages keep a third position, which can't be set.
    let kinds = kinds().into_iter().take(7);
    for (options, untrusted) in kinds.flat_map(|kind| [(kind.clone(), false), (kind, true)]) {
        let (_dir, buffer) = ring(options);
        for before_the_end in [32, 64, 72] {
            let at = 0_u64.wrapping_sub(before_the_end);
            buffer.set_write_cursor(at).unwrap();
            buffer.set_read_cursor(at).unwrap();
            let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
            consumer.set_untrusted(untrusted);
            for payload in [&[7; 48][..], &[8; 100], &[9; 8]] {
                producer.offer(1, 2, payload).unwrap();
                let run = consumer.peek(1, |message| assert_eq!(message.payload(), payload)).unwrap().unwrap();
                assert_eq!(walk(&run)[0].2, payload);
                consumer.release_peeked(1).unwrap();
            }
            assert_eq!(consumer.received(), 3);
        }
    }
}

#[test]
fn what_was_peeked_at_is_not_released_once_more_after_the_caller_moved_the_cursor() {
    let (_dir, buffer) = ring(Buffer::options().capacity(4096));
    let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    for id in 0..128 {
        producer.offer(id, 0, &[1; 16]).unwrap();
    }
    assert_eq!(consumer.drain(1000, |_| Flow::Continue).unwrap(), 128);
    producer.offer(128, 0, &[2; 16]).unwrap();
    consumer.peek(1, |_| ()).unwrap();
    consumer.settle(4096, 0).unwrap();
    assert_eq!(consumer.peeked(), 0);
    consumer.release_peeked(1).unwrap();
    assert_eq!(ids(&mut consumer, 10), [128]);
    assert_eq!(consumer.position(), 4096, "nothing was released");
}

#[test]
fn the_cursor_is_not_moved_back_nor_beyond_what_is_committed_for_a_caller() {
    let (_dir, buffer) = ring(Buffer::options().capacity(4096));
    let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    for id in 0..3 {
        producer.offer(id, 0, &[1; 16]).unwrap();
    }
    consumer.settle(32, u64::MAX).unwrap();
    assert_eq!((consumer.position(), consumer.received()), (32, 2), "32 bytes have room for two messages");
    for wrong in [0, 24, 36, 104, u64::MAX - 7] {
        assert!(matches!(consumer.settle(wrong, 1), Err(Error::Corrupt { .. })), "{wrong}");
        assert_eq!((consumer.position(), consumer.received()), (32, 2), "{wrong}");
    }
    assert_eq!(ids(&mut consumer, 10), [1, 2]);
    // More than a capacity may have gone through before the library is told.
    let (direct, read_cursor) = consumer.direct().unwrap();
    for _ in 0..3 {
        let mut position = producer.position();
        while producer.offer(7, 0, &[1; 16]).is_ok() {
            position += 32;
        }
        // SAFETY: the consumer's own cursor, which outlives this; nobody else moves it.
        unsafe { std::sync::atomic::AtomicU64::from_ptr(read_cursor) }
            .store(position.to_le(), std::sync::atomic::Ordering::Release);
    }
    assert!(producer.position() > direct.position + 2 * direct.capacity);
    consumer.settle(producer.position(), 384).unwrap();
    assert_eq!((consumer.position(), consumer.received()), (producer.position(), 2 + 384));
    let offered = producer.offered();
    producer.window(16).unwrap();
    producer.settle(32, u64::MAX);
    assert_eq!(producer.offered(), offered + 2, "32 bytes have room for two messages");
}
