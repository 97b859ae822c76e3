//! Repairs: they say what they would do, keep a copy, give up as little as can be and report it, and leave a sound ring.

#![cfg(unix)]

#[path = "../../../testdata/broken/make.rs"]
mod make;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use aether_ipc::{
    Buffer, Consumer, Error, Flow, Options, Overflow,
    recovery::{self, Strategy},
};
use make::{DATA, LINE, OLDEST, READ, RECORD, Ring, SLOTS, WRITE, offer};

const STRATEGIES: [Strategy; 2] = [Strategy::LastGood, Strategy::SkipToWrite];

/// A ring of three messages with the ids 1 to 3, spoilt.
fn spoilt(options: &Options, spoil: impl FnOnce(&Ring)) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    offer(&mut options.create_new(&path).unwrap().producer().unwrap(), 3);
    spoil(&Ring::of(&path));
    (directory, path)
}

fn plain() -> Options {
    Buffer::options().capacity(1024)
}

/// The type of a message that is sent after a repair: its id may be stamped.
const AFTER: i32 = 99;

/// The ids and types of all that comes.
fn all(mut consumer: Consumer) -> Vec<(i64, i32)> {
    let mut all = Vec::new();
    loop {
        let drained = consumer.drain(usize::MAX, |message| {
            all.push((message.id(), message.message_type()));
            Flow::Continue
        });
        match drained {
            Ok(0) => return all,
            Ok(_) | Err(Error::Lagged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a repair says, and what a consumer gets afterwards.
#[derive(Debug, PartialEq)]
struct Outcome {
    changes: Vec<String>,
    bytes: u64,
    messages: u64,
    ids: Vec<i64>,
}

fn repair(path: &Path, strategy: Strategy, consumer: impl FnOnce(&Buffer) -> aether_ipc::Result<Consumer>) -> Outcome {
    let broken = fs::read(path).unwrap();
    let backup = path.with_file_name("backup");
    let plan = recovery::plan(path, strategy).unwrap();
    let changes = plan.changes().iter().map(ToString::to_string).collect();
    let (bytes, messages) = (plan.bytes_given_up(), plan.messages_given_up());
    assert_eq!(fs::read(path).unwrap(), broken, "a plan changes nothing");
    plan.apply(&backup).unwrap();
    assert_eq!(fs::read(&backup).unwrap(), broken, "the copy is what it was");
    assert_eq!(recovery::verify(path).unwrap().problems, []);
    assert!(recovery::plan(path, strategy).unwrap().changes().is_empty(), "nothing is left to repair");
    let buffer = Buffer::open(path).unwrap();
    let mut consumer = consumer(&buffer).unwrap();
    buffer.producer().unwrap().put(0, AFTER, b"after the repair").unwrap();
    consumer.set_untrusted(true);
    let mut all = all(consumer);
    let last = all.iter().position(|&(_, message_type)| message_type == AFTER).expect("it is usable again");
    all.remove(last);
    Outcome { changes, bytes, messages, ids: all.into_iter().map(|(id, _)| id).collect() }
}

#[track_caller]
fn expect(
    options: &Options,
    spoil: impl Fn(&Ring) + Copy,
    strategy: Strategy,
    changes: &[&str],
    given_up: (u64, u64),
    ids: &[i64],
) {
    let (_directory, path) = spoilt(options, spoil);
    let outcome = repair(&path, strategy, |buffer| buffer.consumer());
    let expected = Outcome {
        changes: changes.iter().map(ToString::to_string).collect(),
        bytes: given_up.0,
        messages: given_up.1,
        ids: ids.to_vec(),
    };
    assert_eq!(outcome, expected);
}

#[test]
fn every_broken_ring_is_sound_after_a_repair() {
    let directory = tempfile::tempdir().unwrap();
    for name in make::make(directory.path()) {
        let original = directory.path().join(&name);
        let broken = fs::read(&original).unwrap();
        for strategy in STRATEGIES {
            let path = original.with_extension("copy");
            fs::copy(&original, &path).unwrap();
            match recovery::plan(&path, strategy) {
                // Nothing says where the ring is, or a part of it is not there.
                Err(Error::NotARing { .. } | Error::Version { .. } | Error::Truncated { .. }) => {
                    assert_eq!(fs::read(&path).unwrap(), broken, "{name}");
                    continue;
                }
                plan => drop(plan.unwrap_or_else(|error| panic!("{name}: {error}"))),
            }
            // A consumer that is there already, or one that comes back to what is left.
            repair(&path, strategy, |buffer| match buffer.consumer_named("audit") {
                Err(Error::Name { .. }) => buffer.consumer(),
                consumer => consumer,
            });
            fs::remove_file(path.with_file_name("backup")).unwrap();
        }
    }
}

#[test]
fn a_sound_ring_is_left_as_it_is() {
    for options in [plain(), plain().classic(true), plain().checksums(true), plain().overflow(Overflow::DropOldest)] {
        for strategy in STRATEGIES {
            expect(&options, |_| {}, strategy, &[], (0, 0), &[1, 2, 3]);
        }
    }
}

#[test]
fn a_bad_record_costs_what_is_behind_it_or_all_that_waits() {
    for (options, data) in
        [(plain(), DATA), (plain().classic(true), 0x180), (plain().overflow(Overflow::DropOldest), DATA)]
    {
        let spoil = |ring: &Ring| ring.half(data + RECORD + 8, 0);
        expect(&options, spoil, Strategy::LastGood, &["lane 0: write cursor from 72 to 24"], (48, 0), &[1]);
        let changes = ["lane 0: read cursor of consumer 0 from 0 to 72"];
        expect(&options, spoil, Strategy::SkipToWrite, &changes, (72, 1), &[]);
    }
}

#[test]
fn a_flipped_bit_costs_the_record_and_what_is_behind_it() {
    let spoil = |ring: &Ring| ring.flip(DATA + 2 * 32 + 16);
    let options = plain().checksums(true);
    expect(&options, spoil, Strategy::LastGood, &["lane 0: write cursor from 96 to 64"], (32, 0), &[1, 2]);
    let changes = ["lane 0: read cursor of consumer 0 from 0 to 96"];
    expect(&options, spoil, Strategy::SkipToWrite, &changes, (96, 2), &[]);
}

#[test]
fn a_read_cursor_inside_a_record_goes_back_to_its_start() {
    let spoil = |ring: &Ring| ring.word(READ, RECORD + 8);
    let changes = ["lane 0: read cursor of consumer 0 from 32 to 24"];
    expect(&plain(), spoil, Strategy::LastGood, &changes, (0, 0), &[2, 3]);
    let changes = ["lane 0: read cursor of consumer 0 from 32 to 72"];
    expect(&plain(), spoil, Strategy::SkipToWrite, &changes, (48, 2), &[]);
}

#[test]
fn a_read_cursor_that_can_not_be_goes_back_to_the_oldest_record() {
    let spoil = |ring: &Ring| ring.word(READ, 1 << 40);
    let changes = ["lane 0: read cursor of consumer 0 from 1099511627776 to 0"];
    expect(&plain(), spoil, Strategy::LastGood, &changes, (0, 0), &[1, 2, 3]);
    let changes = ["lane 0: read cursor of consumer 0 from 1099511627776 to 72"];
    expect(&plain(), spoil, Strategy::SkipToWrite, &changes, (72, 3), &[]);
}

#[test]
fn a_consumer_that_goes_back_does_not_get_to_a_bad_record_that_others_had_passed() {
    // Of three messages, the first two were released; then the second was spoilt, and the cursor.
    let spoil = |ring: &Ring| {
        ring.word(READ, 1 << 40);
        ring.half(DATA + RECORD + 8, 0);
    };
    let changes = ["lane 0: write cursor from 72 to 24", "lane 0: read cursor of consumer 0 from 1099511627776 to 0"];
    expect(&plain(), spoil, Strategy::LastGood, &changes, (48, 0), &[1]);
    // Where another consumer tells where good ones begin, it starts there.
    let (_directory, path) = bus();
    let ring = Ring::of(&path);
    ring.half(DATA + 8, 0);
    ring.word(SLOTS + 4 * LINE, 1 << 40);
    let outcome = repair(&path, Strategy::LastGood, |buffer| buffer.consumer_named("billing"));
    assert_eq!(outcome.changes, ["lane 0: read cursor of consumer 1 from 1099511627776 to 24"]);
    assert_eq!((outcome.bytes, outcome.messages), (24, 0));
    assert_eq!(outcome.ids, [2, 3]);
}

#[test]
fn of_two_cursors_that_do_not_fit_in_a_classic_file_either_may_be_right() {
    let spoil = |ring: &Ring| ring.word(READ, 1 << 40);
    let options = plain().classic(true);
    // What waited can't be told: at most the capacity.
    let changes = ["lane 0: write cursor from 72 to 1099511627776"];
    expect(&options, spoil, Strategy::LastGood, &changes, (1024, 0), &[]);
    let changes = ["lane 0: read cursor of consumer 0 from 1099511627776 to 72"];
    expect(&options, spoil, Strategy::SkipToWrite, &changes, (1024, 0), &[]);
}

#[test]
fn a_write_cursor_that_can_not_be_goes_to_the_last_record_whose_checksum_holds() {
    let spoil = |ring: &Ring| ring.word(WRITE, 1 << 50);
    let changes = ["lane 0: write cursor from 1125899906842624 to 96"];
    expect(&plain().checksums(true), spoil, Strategy::LastGood, &changes, (1024 - 96, 0), &[1, 2, 3]);
    // Without checksums, what stands behind the consumer's place may be of an earlier lap.
    let changes = ["lane 0: write cursor from 1125899906842624 to 0"];
    expect(&plain(), spoil, Strategy::LastGood, &changes, (1024, 0), &[]);
    for options in [plain(), plain().checksums(true)] {
        let changes = [
            "lane 0: oldest position from 0 to 1125899906842624",
            "lane 0: read cursor of consumer 0 from 0 to 1125899906842624",
        ];
        expect(&options, spoil, Strategy::SkipToWrite, &changes, (1024, 0), &[]);
    }
}

#[test]
fn a_record_of_an_earlier_lap_is_not_taken_for_one_that_was_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let buffer = plain().checksums(true).create_new(&path).unwrap();
    let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    // Two laps of records of 32 bytes, of which the last two wait.
    for _ in 0..64 {
        offer(&mut producer, 1);
        consumer.drain(1, |_| Flow::Continue).unwrap();
    }
    offer(&mut producer, 2);
    drop((producer, consumer));
    Ring::of(&path).word(WRITE, 5 << 20);
    let outcome = repair(&path, Strategy::LastGood, |buffer| buffer.consumer());
    assert_eq!(outcome.changes, ["lane 0: write cursor from 5242880 to 2112"]);
    assert_eq!(outcome.ids, [1, 2]);
}

#[test]
fn a_bad_oldest_position_costs_nothing_where_the_producer_waits_and_all_where_it_does_not() {
    let spoil = |ring: &Ring| ring.word(OLDEST, 1 << 40);
    for strategy in STRATEGIES {
        let changes = ["lane 0: oldest position from 1099511627776 to 0"];
        expect(&plain(), spoil, strategy, &changes, (0, 0), &[1, 2, 3]);
        // Only the oldest position tells which records are whole.
        let changes =
            ["lane 0: oldest position from 1099511627776 to 72", "lane 0: read cursor of consumer 0 from 0 to 72"];
        expect(&plain().overflow(Overflow::DropOldest), spoil, strategy, &changes, (72, 3), &[]);
    }
}

#[test]
fn lanes_that_are_sound_are_left_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let buffer = plain().producers(2).create_new(&path).unwrap();
    let mut producers = [buffer.producer().unwrap(), buffer.producer().unwrap()];
    for producer in &mut producers {
        offer(producer, 3);
    }
    drop(producers);
    // Lanes are 64 KiB apart.
    Ring::of(&path).half(2 * DATA + RECORD + 8, 1);
    let outcome = repair(&path, Strategy::LastGood, |buffer| buffer.consumer());
    assert_eq!(outcome.changes, ["lane 1: write cursor from 72 to 24"]);
    assert_eq!((outcome.bytes, outcome.messages), (48, 0));
    assert_eq!(outcome.ids, [1, 2, 3, 1]);
}

/// A ring where `audit` has read one of three messages and `billing` none, both away.
fn bus() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus");
    let buffer = plain().consumers(4).create_new(&path).unwrap();
    let (mut audit, billing) = (buffer.consumer_named("audit").unwrap(), buffer.consumer_named("billing").unwrap());
    offer(&mut buffer.producer().unwrap(), 3);
    assert_eq!(audit.drain(1, |_| Flow::Continue).unwrap(), 1);
    drop((audit, billing));
    (directory, path)
}

#[test]
fn a_bad_record_holds_for_those_consumers_that_have_not_passed_it() {
    for (strategy, given_up, audit, billing) in
        [(Strategy::LastGood, (72, 0), 0, 0), (Strategy::SkipToWrite, (72, 0), 72, 72)]
    {
        let (_directory, path) = bus();
        Ring::of(&path).half(DATA + 8, 0);
        let plan = recovery::plan(&path, strategy).unwrap();
        assert_eq!((plan.bytes_given_up(), plan.messages_given_up()), given_up);
        plan.apply(path.with_file_name("backup")).unwrap();
        let info = Buffer::open(&path).unwrap().observer().info().unwrap();
        let cursors: Vec<u64> = info.consumers.iter().map(|consumer| consumer.read_cursors[0]).collect();
        assert_eq!(cursors, [audit, billing]);
        assert_eq!(recovery::verify(&path).unwrap().problems, []);
    }
}

#[test]
fn a_named_consumer_keeps_its_place_when_only_its_cursor_is_wrong() {
    for cursor in [RECORD + 8, 1 << 40, 3] {
        let (_directory, path) = bus();
        Ring::of(&path).word(READ, cursor);
        let outcome = repair(&path, Strategy::LastGood, |buffer| buffer.consumer_named("audit"));
        assert_eq!((outcome.bytes, outcome.messages), (0, 0));
        // Inside the second record it starts with that; else with the oldest.
        assert_eq!(outcome.ids, if cursor == RECORD + 8 { vec![2, 3] } else { vec![1, 2, 3] });
        let billing = all(Buffer::open(&path).unwrap().consumer_named("billing").unwrap());
        assert_eq!(billing, [(1, 7), (2, 7), (3, 7), (0, AFTER)]);
    }
}

#[test]
fn a_slot_that_nobody_can_come_back_to_is_freed_and_its_messages_are_counted() {
    for (at, value) in [(0, 7), (4, 65)] {
        for strategy in STRATEGIES {
            let (_directory, path) = bus();
            // The second slot: billing, for which all three wait.
            Ring::of(&path).half(SLOTS + LINE + at, value);
            let outcome = repair(&path, strategy, |buffer| buffer.consumer_named("audit"));
            let state = if at == 0 { 7 } else { 2 };
            let expected = [
                format!("consumer 1: state from {state} to 0"),
                "lane 0: read cursor of consumer 1 from 0 to none".to_owned(),
            ];
            assert_eq!(outcome.changes, expected);
            assert_eq!((outcome.bytes, outcome.messages), (24, 1), "the first was kept for it alone");
            assert_eq!(outcome.ids, [2, 3]);
        }
    }
}

#[test]
fn a_repair_waits_for_nobody_and_lets_nobody_in() {
    let (_directory, path) = spoilt(&plain(), |_| {});
    let buffer = Buffer::open(&path).unwrap();
    let me = std::process::id();
    let producer = buffer.producer().unwrap();
    let refused = recovery::plan(&path, Strategy::LastGood).unwrap_err();
    assert!(
        matches!(&refused, Error::RoleTaken { role, holders, .. } if role == "producer (lane 0)" && holders[..] == [me])
    );
    drop(producer);
    let consumer = buffer.consumer().unwrap();
    let refused = recovery::plan(&path, Strategy::LastGood).unwrap_err();
    assert!(matches!(&refused, Error::RoleTaken { role, holders, .. } if role == "consumer" && holders[..] == [me]));
    drop(consumer);
    let plan = recovery::plan(&path, Strategy::LastGood).unwrap();
    assert!(matches!(buffer.producer(), Err(Error::RoleTaken { .. })));
    assert!(matches!(buffer.consumer(), Err(Error::RoleTaken { .. })));
    assert!(matches!(recovery::plan(&path, Strategy::LastGood), Err(Error::RoleTaken { .. })));
    drop(plan);
    assert!(buffer.producer().is_ok() && buffer.consumer().is_ok());
}

#[test]
fn without_a_copy_nothing_is_changed() {
    let (directory, path) = spoilt(&plain(), |ring| ring.half(DATA + 8, 0));
    let broken = fs::read(&path).unwrap();
    let occupied = directory.path().join("occupied");
    fs::write(&occupied, b"mine").unwrap();
    let nowhere = directory.path().join("no/such/directory");
    for backup in [&occupied, &nowhere, &path, &directory.path().to_owned()] {
        let error = recovery::plan(&path, Strategy::LastGood).unwrap().apply(backup).unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. } | Error::Io { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), broken);
    }
    assert_eq!(fs::read(&occupied).unwrap(), b"mine");
}

#[test]
fn the_largest_ring_is_repaired_with_few_open_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bus");
    let lanes = aether_ipc::MAX_PRODUCERS;
    let buffer = plain().producers(lanes).consumers(aether_ipc::MAX_CONSUMERS).create_new(&path).unwrap();
    drop(buffer);
    let before = fs::read_dir("/proc/self/fd").map_or(0, |list| list.count());
    let plan = recovery::plan(&path, Strategy::LastGood).unwrap();
    let after = fs::read_dir("/proc/self/fd").map_or(0, |list| list.count());
    // Other tests open some of their own meanwhile.
    assert!(after < before + lanes as usize, "{after} descriptors are open, {before} were before");
    assert!(plan.changes().is_empty());
}

/// What is in use is sound at each instant, whatever moves while it is looked at.
fn stays_sound(options: Options, consumers: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ring");
    let buffer = options.create_new(&path).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut producer = buffer.producer().unwrap();
        let done = &done;
        scope.spawn(move || {
            for id in 0.. {
                match producer.offer(id, 0, &[7; 100][..id as usize % 100]) {
                    Ok(()) => {}
                    Err(Error::Full) if done.load(Ordering::Relaxed) => break,
                    Err(Error::Full) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..consumers {
            let buffer = &buffer;
            scope.spawn(move || {
                let mut consumer = buffer.consumer().unwrap();
                for round in 0.. {
                    // Leaves and joins again, where more than one may.
                    if consumers > 1 && round % 100 == 0 {
                        drop(consumer);
                        consumer = buffer.consumer().unwrap();
                    }
                    match consumer.drain(7, |_| Flow::Continue) {
                        Ok(_) | Err(Error::Lagged { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let started = Instant::now();
        let mut seen = 0;
        let mut rounds = 0;
        let mut problems = Vec::new();
        while problems.is_empty() && (rounds < 300 || seen == 0) && started.elapsed() < Duration::from_secs(60) {
            let report = recovery::verify(&path).unwrap();
            seen += report.messages;
            problems = report.problems;
            rounds += 1;
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(problems, []);
        assert!(seen > 0, "it had something to verify");
    });
}

#[test]
fn a_ring_in_use_is_never_taken_for_a_broken_one() {
    stays_sound(plain(), 1);
    stays_sound(plain().checksums(true), 1);
}

#[test]
fn a_classic_ring_in_use_is_never_taken_for_a_broken_one() {
    stays_sound(plain().classic(true), 1);
}

#[test]
fn a_dropping_ring_in_use_is_never_taken_for_a_broken_one() {
    stays_sound(plain().overflow(Overflow::DropOldest), 1);
}

#[test]
fn a_ring_of_many_in_use_is_never_taken_for_a_broken_one() {
    stays_sound(plain().consumers(8), 2);
    stays_sound(plain().consumers(8).overflow(Overflow::DropOldest), 2);
}
