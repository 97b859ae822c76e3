//! What producing and consuming answers when it can't be done now, or at all.

use std::{fs, time::Duration};

use aether_ipc::{Buffer, Error, Flow, Overflow};
use libtest_mimic::Trial;

use crate::{
    folder::{Folder, garble, says, shown},
    support::within,
    trials,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_role_given_back_is_free_at_once_although_programs_are_started_meanwhile,
        a_full_ring_refuses_and_nothing_is_written,
        a_payload_larger_than_the_ring_names_the_largest_possible,
        a_full_ring_without_a_consumer_is_told_apart_where_asked_for,
        an_empty_ring_without_a_producer_is_closed_where_asked_for,
        a_wait_that_is_over_says_how_long_it_was_and_for_what,
        a_consumer_that_was_outrun_is_told_once_how_many_bytes_it_missed,
        a_role_that_is_held_names_who_holds_it,
        places_kept_for_consumers_that_are_away_are_not_said_to_be_held,
        names_that_can_not_be_are_refused_with_the_reason,
        a_payload_that_is_no_value_of_the_type_names_both_sizes,
        only_what_may_pass_by_itself_is_transient,
    ]
}

fn a_full_ring_refuses_and_nothing_is_written() {
    let folder = Folder::new();
    for classic in [false, true] {
        let path = folder.join(if classic { "classic" } else { "extended" });
        let buffer = Buffer::options().capacity(1024).classic(classic).create(&path).unwrap();
        let mut producer = buffer.producer().unwrap();
        producer.offer(1, 0, &[7; 1000]).unwrap();
        let before = fs::read(&path).unwrap();
        for error in [
            producer.offer(2, 0, b"").unwrap_err(),
            producer.offer(2, 0, &[1; 100]).unwrap_err(),
            producer.offer_value(2, 0, &5_u64).unwrap_err(),
            producer.claim(1).unwrap_err(),
            producer.batch().push(2, 0, b"x").unwrap_err(),
        ] {
            assert!(matches!(error, Error::Full), "{error:?}");
            says(&error, &["full", "consumer"]);
        }
        assert_eq!(producer.offer_all(2, 0, &[1_u64, 2]).unwrap(), 0);
        assert_eq!(producer.offer_array(2, 0, 4, &[1; 8]).unwrap(), 0);
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

fn a_payload_larger_than_the_ring_names_the_largest_possible() {
    let folder = Folder::new();
    for (checksums, largest) in [(false, 1024 - 16), (true, 1024 - 20)] {
        let path = folder.join(if checksums { "with" } else { "without" });
        let buffer = Buffer::options().capacity(1024).checksums(checksums).create(&path).unwrap();
        let mut producer = buffer.producer().unwrap();
        assert_eq!(producer.max_payload(), largest);
        for error in [
            producer.offer(1, 0, &vec![0; largest + 1]).unwrap_err(),
            producer.put(1, 0, &vec![0; 1 << 16]).unwrap_err(),
            producer.put_within(Duration::from_secs(60), 1, 0, &vec![0; largest + 1]).unwrap_err(),
            producer.offer_all(1, 0, &[[0_u8; 1100]]).unwrap_err(),
            producer.offer_array(1, 0, 1100, &[0; 2200]).unwrap_err(),
            producer.claim(usize::MAX).unwrap_err(),
            producer.batch().push(1, 0, &vec![0; largest + 1]).unwrap_err(),
            producer.wait_for_space(largest + 1, None).unwrap_err(),
        ] {
            let Error::TooLarge { payload, max } = error else { panic!("{error:?}") };
            assert_eq!(max, largest);
            says(&error, &[&payload.to_string(), &largest.to_string(), "larger capacity"]);
        }
        assert_eq!(producer.position(), 0);
        producer.offer(1, 0, &vec![0; largest]).unwrap();
    }
}

fn a_full_ring_without_a_consumer_is_told_apart_where_asked_for() {
    let folder = Folder::new();
    for consumers in [1, 2] {
        let path = folder.join(&consumers.to_string());
        let buffer = Buffer::options().capacity(1024).consumers(consumers).create(&path).unwrap();
        // Among several, only one with a name is waited for while it is away.
        let come = || if consumers == 1 { buffer.consumer() } else { buffer.consumer_named("audit") };
        drop(come().unwrap());
        let mut producer = buffer.producer().unwrap();
        producer.offer(1, 0, &[0; 1000]).unwrap();
        assert!(matches!(producer.offer(2, 0, b""), Err(Error::Full)), "nobody asked");
        producer.require_consumer(true);
        let (mut producer, error) = within("put without a consumer", move || {
            let error = producer.put(2, 0, b"").unwrap_err();
            (producer, error)
        });
        assert!(matches!(error, Error::NoConsumer), "{error:?}");
        says(&error, &["full", "no consumer"]);
        let here = come().unwrap();
        let error = producer.put_within(Duration::from_millis(1), 2, 0, b"").unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "the consumer is there: {error:?}");
        drop(here);
    }
}

fn an_empty_ring_without_a_producer_is_closed_where_asked_for() {
    let folder = Folder::new();
    let buffer = Buffer::create(folder.join("ring"), 1024).unwrap();
    let mut producer = buffer.producer().unwrap();
    producer.offer(1, 0, b"last words").unwrap();
    let mut consumer = buffer.consumer().unwrap();
    consumer.require_producer(true);
    drop(producer);
    consumer.wait().expect("what was committed is read first");
    consumer.poll(|_| Flow::Continue).unwrap();
    let error = within("wait without a producer", move || consumer.wait().unwrap_err());
    assert!(matches!(error, Error::Closed), "{error:?}");
    says(&error, &["closed", "empty", "no producer"]);
}

fn a_wait_that_is_over_says_how_long_it_was_and_for_what() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let patience = Duration::from_millis(3);
    let buffer = Buffer::create(&path, 1024).unwrap();
    let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    let message = consumer.wait_within(patience).unwrap_err();
    producer.offer(1, 0, &[0; 1000]).unwrap();
    let space = producer.put_within(patience, 2, 0, b"").unwrap_err();
    let made = Buffer::connect(folder.join("none"), patience).unwrap_err();
    let unfinished = folder.join("unfinished");
    fs::write(&unfinished, [0; 0x180]).unwrap();
    let finished = Buffer::connect(&unfinished, patience).unwrap_err();
    garble(&unfinished, 0x100, &1024_u32.to_le_bytes());
    let whole = Buffer::connect(&unfinished, patience).unwrap_err();
    for (error, what) in [
        (message, "a message"),
        (space, "space in the ring"),
        (made, "the ring to be made"),
        (finished, "the ring's header to be finished"),
        (whole, "the ring's file to have its full size"),
    ] {
        let Error::TimedOut { waited, awaited } = error else { panic!("{error:?}") };
        assert!(waited >= patience, "{waited:?}");
        assert_eq!(awaited, what);
        says(&error, &["timed out after", &format!("{waited:?}"), what]);
    }
}

fn a_consumer_that_was_outrun_is_told_once_how_many_bytes_it_missed() {
    let folder = Folder::new();
    let options = Buffer::options().capacity(1024).overflow(Overflow::DropOldest);
    let buffer = options.create(folder.join("ring")).unwrap();
    let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    for id in 0..100 {
        producer.offer(id, 0, &[0; 16]).unwrap();
    }
    let error = consumer.poll(|_| Flow::Continue).unwrap_err();
    let Error::Lagged { bytes } = error else { panic!("{error:?}") };
    says(&error, &["lagged", &bytes.to_string()]);
    assert!(bytes >= 100 * 32 - 1024 && bytes % 32 == 0, "{bytes}");
    let mut first = None;
    consumer
        .poll(|message| {
            first = Some((message.id(), message.position()));
            Flow::Continue
        })
        .unwrap();
    assert_eq!(first, Some(((bytes / 32) as i64, bytes)));
}

fn a_role_that_is_held_names_who_holds_it() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let me = std::process::id();
    let buffer = Buffer::create(&path, 1024).unwrap();
    let _held = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    let other = Buffer::open(&path).unwrap();
    for (error, name) in [
        (buffer.producer().unwrap_err(), "producer"),
        (other.producer().unwrap_err(), "producer"),
        (other.consumer().unwrap_err(), "consumer"),
        (aether_ipc::recovery::plan(&path, aether_ipc::recovery::Strategy::LastGood).unwrap_err(), "producer"),
    ] {
        let Error::RoleTaken { role, holders, .. } = &error else { panic!("{error:?}") };
        assert!(role.starts_with(name), "{role}");
        assert_eq!(holders, &[me]);
        says(&error, &[shown(&path), name, &format!("process {me}"), "free as soon as"]);
    }

    let bus = Buffer::options().capacity(1024).producers(2).consumers(2).create(folder.join("bus")).unwrap();
    let _lanes = (bus.producer().unwrap(), bus.producer().unwrap());
    let error = bus.producer().unwrap_err();
    assert!(matches!(&error, Error::RoleTaken { holders, .. } if *holders == [me, me]), "{error:?}");
    says(&error, &[&format!("processes {me}, {me}")]);
    let _places = (bus.consumer().unwrap(), bus.consumer_named("audit").unwrap());
    let error = bus.consumer_named("audit").unwrap_err();
    assert!(matches!(&error, Error::RoleTaken { holders, .. } if *holders == [me]), "{error:?}");
    says(&error, &["consumer \"audit\"", &format!("process {me}")]);
    assert!(matches!(bus.forget("audit"), Err(Error::RoleTaken { .. })));
    assert!(matches!(bus.consumer(), Err(Error::RoleTaken { holders, .. }) if holders == [me, me]));
}

fn places_kept_for_consumers_that_are_away_are_not_said_to_be_held() {
    let folder = Folder::new();
    let path = folder.join("bus");
    let bus = Buffer::options().capacity(1024).consumers(2).create(&path).unwrap();
    drop(bus.consumer_named("audit").unwrap());
    drop(bus.consumer_named("billing").unwrap());
    // What a consumer that was killed leaves behind: its process id, which may be somebody else's by now.
    garble(&path, 0x088, &1_u32.to_le_bytes());
    for error in [bus.consumer().unwrap_err(), bus.consumer_named("third").unwrap_err()] {
        assert!(matches!(&error, Error::RoleTaken { holders, .. } if holders.is_empty()), "{error:?}");
        says(&error, &[shown(&path), "kept for named consumers that are away", "forget"]);
    }
    let _audit = bus.consumer_named("audit").unwrap();
    let error = bus.consumer().unwrap_err();
    let me = std::process::id();
    assert!(matches!(&error, Error::RoleTaken { holders, .. } if *holders == [me]), "{error:?}");
}

fn names_that_can_not_be_are_refused_with_the_reason() {
    let folder = Folder::new();
    let bus = Buffer::options().capacity(1024).consumers(2).create(folder.join("bus")).unwrap();
    let ring = Buffer::create(folder.join("ring"), 1024).unwrap();
    let long = "x".repeat(65);
    for (error, name, why) in [
        (bus.consumer_named("").unwrap_err(), "\"\"", "empty"),
        (bus.consumer_named(&long).unwrap_err(), long.as_str(), "at most 64 bytes"),
        (bus.consumer_named("a\nb").unwrap_err(), "\"a\\nb\"", "control characters"),
        (bus.forget("nobody").unwrap_err(), "nobody", "no consumer of that name"),
        (ring.consumer_named("audit").unwrap_err(), "audit", "has one consumer"),
        (ring.forget("audit").unwrap_err(), "audit", "has one consumer"),
    ] {
        assert!(matches!(error, Error::Name { .. }), "{error:?}");
        says(&error, &[name, why]);
    }
    assert!(bus.consumer_named(&"x".repeat(64)).is_ok());
    assert!(bus.consumer_named("größer als ein Byte").is_ok());
}

fn a_payload_that_is_no_value_of_the_type_names_both_sizes() {
    let folder = Folder::new();
    let buffer = Buffer::create(folder.join("ring"), 1024).unwrap();
    let mut producer = buffer.producer().unwrap();
    producer.offer(1, 0, b"12345").unwrap();
    let mut seen = None;
    buffer
        .consumer()
        .unwrap()
        .poll(|message| {
            seen = message.value::<u64>().err();
            assert!(message.value::<[u8; 5]>().is_ok());
            Flow::Continue
        })
        .unwrap();
    let error = seen.unwrap();
    assert!(matches!(error, Error::Layout { payload: 5, expected: 8 }), "{error:?}");
    says(&error, &["5 bytes", "8 bytes"]);
    let error = producer.offer_array(1, 0, 3, &[0; 7]).unwrap_err();
    assert!(matches!(error, Error::Layout { payload: 7, expected: 3 }), "{error:?}");
    assert!(matches!(producer.offer_array(1, 0, 0, &[0; 7]), Err(Error::Layout { expected: 0, .. })));
}

fn only_what_may_pass_by_itself_is_transient() {
    let folder = Folder::new();
    let waited = Duration::ZERO;
    for error in [
        Error::Full,
        Error::NoConsumer,
        Error::Closed,
        Error::TimedOut { waited, awaited: "" },
        Error::Lagged { bytes: 8 },
    ] {
        assert!(error.is_transient(), "{error:?}");
    }
    for error in [
        Error::Forked,
        Error::TooLarge { payload: 1, max: 0 },
        Buffer::create(folder.join("ring"), 1).unwrap_err(),
        Buffer::open(folder.join("ring")).unwrap_err(),
        Buffer::open(folder.0.path()).unwrap_err(),
    ] {
        assert!(!error.is_transient(), "{error:?}");
    }
}

/// A program that is being started holds copies of all descriptors for an instant.
fn a_role_given_back_is_free_at_once_although_programs_are_started_meanwhile() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    let folder = tempfile::tempdir().unwrap();
    let buffer = Buffer::create(folder.path().join("ring"), 4096).unwrap();
    let stop = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                assert!(std::process::Command::new("true").status().unwrap().success());
            }
        });
        let taken = (0..20_000).try_for_each(|_| buffer.producer().map(drop));
        stop.store(true, Relaxed);
        taken
    });
    taken.expect("nobody holds the role");
}
