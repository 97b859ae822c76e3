//! Bytes in the ring that break the format, whoever wrote them.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use aether_ipc::{Buffer, Corruption, Error, Flow, Options, Overflow};
use libtest_mimic::Trial;

use crate::{
    folder::{DATA, Folder, garble, says},
    support::within,
    trials,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        bytes_that_are_no_record_are_reported_by_every_way_of_reading_and_nothing_moves,
        cursors_that_can_not_be_are_reported_by_both_sides,
        a_bad_record_behind_good_ones_is_reported_after_them,
        a_flipped_bit_in_a_checksummed_record_is_reported,
        a_garbled_oldest_position_does_not_keep_an_observer_looking_for_ever,
    ]
}

/// The first message's length says something impossible.
fn with_bad_length(length: u32, options: &Options) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let path = folder.join("ring");
    let buffer = options.create(&path).unwrap();
    let mut producer = buffer.producer().unwrap();
    producer.offer(1, 0, b"victim").unwrap();
    producer.offer(2, 0, b"bystander").unwrap();
    let data = buffer.observer().info().unwrap().data_offset;
    garble(&path, data + 8, &length.to_le_bytes());
    (folder, path)
}

fn bytes_that_are_no_record_are_reported_by_every_way_of_reading_and_nothing_moves() {
    let plain = Buffer::options().capacity(1024);
    let classic = plain.clone().classic(true);
    let lanes = plain.clone().producers(3);
    let lossy = plain.clone().overflow(Overflow::DropOldest);
    for options in [plain, classic, lanes, lossy] {
        for (length, reason) in [
            (0, Corruption::TooShort { length: 0, least: 16 }),
            (15, Corruption::TooShort { length: 15, least: 16 }),
            (100, Corruption::TooLong { length: 100, committed: 56 }),
            (u32::MAX, Corruption::TooLong { length: u32::MAX, committed: 56 }),
        ] {
            let (_folder, path) = with_bad_length(length, &options);
            let before = fs::read(&path).unwrap();
            let buffer = Buffer::open(&path).unwrap();
            for untrusted in [false, true] {
                let mut consumer = buffer.consumer().unwrap();
                consumer.set_untrusted(untrusted);
                for error in [
                    consumer.poll(|message| panic!("{message:?} was delivered")).unwrap_err(),
                    consumer.drain(10, |message| panic!("{message:?} was delivered")).unwrap_err(),
                    consumer.batch(10).map(|batch| batch.iter().count()).unwrap_err(),
                    buffer.observer().peek(10, |message| panic!("{message:?} was shown")).unwrap_err(),
                    buffer.observer().count_messages().unwrap_err(),
                ] {
                    assert!(
                        matches!(error, Error::Corrupt { lane: 0, position: 0, reason: r } if r == reason),
                        "{error:?}"
                    );
                    says(&error, &["position 0", "lane 0", &reason.to_string(), "aether verify", "aether recover"]);
                }
                assert_eq!((consumer.position(), consumer.received()), (0, 0));
            }
            let report = aether_ipc::recovery::verify(&path).unwrap();
            assert_eq!(report.problems.iter().map(|problem| problem.reason).collect::<Vec<_>>(), [reason]);
            assert_eq!(fs::read(&path).unwrap(), before);
        }
    }
}

fn cursors_that_can_not_be_are_reported_by_both_sides() {
    for classic in [false, true] {
        let folder = Folder::new();
        let path = folder.join("ring");
        let buffer = Buffer::options().capacity(1024).classic(classic).create(&path).unwrap();
        let (write, read) = (24_u64, 0_u64);
        buffer.producer().unwrap().offer(1, 0, b"8 bytes.").unwrap();
        for (bad_write, bad_read) in [(2048, read), (1, read), (write, 4), (write, 48), (write, u64::MAX)] {
            garble(&path, 0x000, &u64::to_le_bytes(bad_write));
            garble(&path, 0x080, &u64::to_le_bytes(bad_read));
            let before = fs::read(&path).unwrap();
            let error = buffer.consumer().unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
            let taken = buffer.producer().and_then(|mut producer| producer.offer(2, 0, b""));
            assert!(matches!(taken, Err(Error::Corrupt { .. })), "{taken:?}");
            assert!(buffer.observer().peek(1, |_| Flow::Continue).is_err());
            assert!(!aether_ipc::recovery::verify(&path).unwrap().problems.is_empty());
            assert_eq!(fs::read(&path).unwrap(), before);
            garble(&path, 0x000, &u64::to_le_bytes(write));
            garble(&path, 0x080, &u64::to_le_bytes(read));
        }
        assert_eq!(buffer.consumer().unwrap().drain(9, |_| Flow::Continue).unwrap(), 1);
    }
    // Under the hands of those who hold the roles.
    let folder = Folder::new();
    let path = folder.join("ring");
    let buffer = Buffer::create(&path, 1024).unwrap();
    let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    producer.offer(1, 0, &[0; 1000]).unwrap();
    garble(&path, 0x080, &u64::to_le_bytes(1 << 40));
    let reason = Corruption::Apart { write: 1016, read: 1 << 40, capacity: 1024 };
    let error =
        within("put against a read cursor beyond the write cursor", move || producer.put(2, 0, b"").unwrap_err());
    assert!(matches!(error, Error::Corrupt { reason: r, .. } if r == reason), "{error:?}");
    garble(&path, 0x000, &u64::to_le_bytes(1 << 50));
    let error = consumer.poll(|_| Flow::Continue).unwrap_err();
    assert!(matches!(error, Error::Corrupt { lane: 0, position: 0, .. }), "{error:?}");
    says(&error, &[&(1_u64 << 50).to_string(), "capacity of 1024 bytes"]);

    // Among many: that of a named consumer which is away, and for which producers wait.
    let path = folder.join("bus");
    let bus = Buffer::options().capacity(1024).consumers(3).create(&path).unwrap();
    drop(bus.consumer_named("audit").unwrap());
    garble(&path, 0x080, &u64::to_le_bytes(1 << 40));
    let error = within("put against a garbled cursor of a consumer that is away", move || {
        bus.producer().unwrap().put(1, 0, b"").unwrap_err()
    });
    let reason = Corruption::Apart { write: 0, read: 1 << 40, capacity: 1024 };
    assert!(matches!(error, Error::Corrupt { lane: 0, reason: r, .. } if r == reason), "{error:?}");
}

fn a_bad_record_behind_good_ones_is_reported_after_them() {
    let folder = Folder::new();
    for (name, classic) in [("classic", true), ("extended", false)] {
        let path = folder.join(name);
        let buffer = Buffer::options().capacity(1024).classic(classic).create(&path).unwrap();
        let mut producer = buffer.producer().unwrap();
        for id in 0..3 {
            producer.offer(id, 0, b"8 bytes.").unwrap();
        }
        let data = buffer.observer().info().unwrap().data_offset;
        garble(&path, data + 48 + 8, &[0; 4]);
        let mut consumer = buffer.consumer().unwrap();
        {
            let batch = consumer.batch(10).unwrap();
            assert_eq!(batch.iter().map(|message| message.id()).collect::<Vec<_>>(), [0, 1]);
            batch.keep();
        }
        assert_eq!(consumer.drain(10, |_| Flow::Continue).unwrap(), 2);
        for _ in 0..2 {
            let bad = |error: Error| matches!(error, Error::Corrupt { position: 48, .. });
            assert!(bad(consumer.drain(10, |_| Flow::Continue).unwrap_err()));
            assert!(bad(consumer.batch(10).map(|batch| batch.is_empty()).unwrap_err()));
            assert!(bad(consumer.poll(|_| Flow::Continue).unwrap_err()));
        }
        assert_eq!((consumer.position(), consumer.received()), (48, 2));
    }
}

fn a_flipped_bit_in_a_checksummed_record_is_reported() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let buffer = Buffer::options().capacity(1024).checksums(true).create(&path).unwrap();
    let mut producer = buffer.producer().unwrap();
    producer.offer(0x0102_0304_0506_0708, 9, b"thirteen byte").unwrap();
    let mut consumer = buffer.consumer().unwrap();
    let mut record = [0; 33];
    File::open(&path).unwrap().read_exact_at(&mut record, DATA).unwrap();
    for bit in 0..record.len() * 8 {
        let mut flipped = record;
        flipped[bit / 8] ^= 1 << (bit % 8);
        garble(&path, DATA, &flipped);
        for untrusted in [false, true] {
            consumer.set_untrusted(untrusted);
            for error in [
                consumer.poll(|message| panic!("{message:?} was delivered")).unwrap_err(),
                consumer.batch(1).map(|batch| batch.iter().count()).unwrap_err(),
            ] {
                assert!(matches!(error, Error::Corrupt { position: 0, .. }), "bit {bit}: {error:?}");
            }
        }
    }
    garble(&path, DATA, &record);
    assert_eq!(consumer.drain(9, |_| Flow::Continue).unwrap(), 1);
}

fn a_garbled_oldest_position_does_not_keep_an_observer_looking_for_ever() {
    const OLDEST: u64 = 0x380;
    let folder = Folder::new();
    for overflow in [Overflow::Wait, Overflow::DropOldest] {
        let path = folder.join(&format!("{overflow:?}"));
        let buffer = Buffer::options().capacity(1024).overflow(overflow).create(&path).unwrap();
        buffer.producer().unwrap().offer(1, 0, b"hello").unwrap();
        garble(&path, OLDEST, &u64::to_le_bytes(1 << 40));
        let tailed = buffer.observer().tail_from_oldest().poll(10, |_| Flow::Continue);
        assert!(matches!(tailed, Err(Error::Corrupt { .. })), "{tailed:?}");
        let peeked = within("peek", move || buffer.observer().peek(10, |_| Flow::Continue));
        match overflow {
            // Only the cursors say what waits in a ring that loses nothing.
            Overflow::Wait => assert_eq!(peeked.unwrap(), 1),
            _ => assert!(matches!(peeked, Err(Error::Corrupt { .. })), "{peeked:?}"),
        }
    }
}
