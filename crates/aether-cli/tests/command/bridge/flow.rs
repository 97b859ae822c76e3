//! Windows, back-pressure, and what travels unchanged.

use std::{fs, time::Duration};

use aether_ipc::{Buffer, Error, Observer};
use rustix::process::Signal;

use super::{Rings, consume, endpoint, kind, link::Link, payload, produce};
use crate::common::{Run, Terminal, eventually, holds};

/// Bytes that wait for the slowest consumer.
fn waiting(observer: &Observer) -> u64 {
    observer.info().unwrap().available_bytes()
}

#[test]
fn a_full_ring_at_the_other_end_holds_the_producer_back_until_there_is_space() {
    let rings = Rings::plain();
    let (source, sink) = (Buffer::open(&rings.source.ring).unwrap(), Buffer::open(&rings.sink.ring).unwrap());
    let listen = endpoint();
    let _outgoing = rings.start_out(&["--listen", &listen]);
    let _incoming = rings.start_in(&["--connect", &listen]);
    let producer = produce(&source);
    let (near, far) = (source.observer(), sink.observer());
    let full = |observer: &Observer| waiting(observer) > (64 << 10) - 400;
    eventually("both rings to be full", || full(&near) && full(&far));
    // Whatever was taken from the producer is in one of the two.
    let most = far.count_messages().unwrap() + near.count_messages().unwrap() + 1;
    let held = producer.count();
    assert!(held <= most, "{held} messages were taken, {most} fit");
    let consumer = consume(&sink, 1);
    eventually("messages to flow again", || consumer.count() > 2 * held);
    let sent = producer.end();
    eventually("the last message", || consumer.count() == sent);
    assert_eq!(consumer.end(), sent);
}

#[test]
fn a_long_round_trip_is_filled_with_messages_up_to_the_window() {
    let options = Buffer::options().capacity(4 << 20);
    let rings = Rings::new(&options, &options);
    let (source, sink) = (Buffer::open(&rings.source.ring).unwrap(), Buffer::open(&rings.sink.ring).unwrap());
    let listen = endpoint();
    let link = Link::to(&listen, Duration::from_millis(25));
    let _outgoing = rings.start_out(&["--listen", &listen, "--window", "1MiB"]);
    let _incoming = rings.start_in(&["--connect", link.endpoint()]);
    let producer = produce(&source);
    let consumer = consume(&sink, 1);
    let (near, far) = (source.observer(), sink.observer());
    let mut most = 0;
    eventually("much to be under way at once", || {
        // Committed there, and not released here: the acknowledgement is on its way.
        let committed = far.info().unwrap().write_cursor();
        let released = near.info().unwrap().read_cursor();
        most = most.max(committed.saturating_sub(released));
        most > 256 << 10
    });
    assert!(most < (1 << 20) + (64 << 10), "{most} bytes under way are more than the window");
    let sent = producer.end();
    eventually("the last message", || consumer.count() == sent);
    assert_eq!(consumer.end(), sent);
}

#[test]
fn a_link_that_is_held_for_a_while_goes_on_where_it_was() {
    let rings = Rings::plain();
    let (source, sink) = (Buffer::open(&rings.source.ring).unwrap(), Buffer::open(&rings.sink.ring).unwrap());
    let listen = endpoint();
    let link = Link::to(&listen, Duration::ZERO);
    let mut outgoing = rings.start_out(&["--listen", &listen]);
    let _incoming = rings.start_in(&["--connect", link.endpoint()]);
    let producer = produce(&source);
    let consumer = consume(&sink, 1);
    eventually("messages", || consumer.count() > 1000);
    link.hold(true);
    let near = source.observer();
    eventually("the source to be full", || waiting(&near) > (64 << 10) - 400);
    link.hold(false);
    let held = consumer.count();
    eventually("messages again", || consumer.count() > held + 1000);
    let sent = producer.end();
    eventually("the last message", || consumer.count() == sent && rings.source.waiting() == 0);
    outgoing.signal(Signal::INT);
    outgoing.end().with(130).says(&["messages were carried"]);
    assert_eq!(consumer.end(), sent);
}

#[test]
fn a_bridge_whose_link_is_stuck_ends_when_it_is_told_to() {
    let options = Buffer::options().capacity(32 << 20);
    let rings = Rings::new(&options, &options);
    let source = Buffer::open(&rings.source.ring).unwrap();
    let listen = endpoint();
    let link = Link::to(&listen, Duration::ZERO);
    let mut outgoing = rings.start_out(&["--listen", &listen, "--window", "32MiB"]);
    let mut incoming = rings.start_in(&["--connect", link.endpoint()]);
    rings.source.send("1\n");
    eventually("a message", || rings.sink.waiting() == 1);
    link.hold(true);
    let mut producer = source.producer().unwrap();
    // More than the system takes on the way.
    while !matches!(producer.offer(2, 0, &[2; 60_000]), Err(Error::Full)) {}
    outgoing.signal(Signal::INT);
    outgoing.end().with(130);
    incoming.signal(Signal::INT);
    incoming.end().with(130);
}

#[test]
fn a_ring_for_many_is_left_by_name_and_a_classic_one_too() {
    let many = Buffer::options().capacity(64 << 10).consumers(3);
    let classic = Buffer::options().capacity(64 << 10).classic(true);
    for (options, name) in [(many, Some("archive")), (classic, None)] {
        let rings = Rings::new(&options, &Buffer::options().capacity(4 << 20));
        let source = Buffer::open(&rings.source.ring).unwrap();
        let listen = endpoint();
        let mut arguments = vec!["--listen", &listen];
        if let Some(name) = name {
            // Its place is there from when it first came.
            drop(source.consumer_named(name).unwrap());
            arguments.extend(["--name", name]);
        }
        let mut producer = source.producer().unwrap();
        for id in 1..=100 {
            producer.offer(id, kind(id), &payload(id)).unwrap();
        }
        let _outgoing = rings.start_out(&arguments);
        let _incoming = rings.start_in(&["--connect", &listen]);
        let consumer = consume(&Buffer::open(&rings.sink.ring).unwrap(), 1);
        eventually("all messages", || consumer.count() == 100);
        consumer.end();
        eventually("them to be released", || rings.source.waiting() == 0);
    }
}

#[test]
fn what_is_larger_than_a_frame_and_what_is_empty_arrives_whole() {
    let options = Buffer::options().capacity(8 << 20);
    let rings = Rings::new(&options, &options);
    let mut producer = Buffer::open(&rings.source.ring).unwrap().producer().unwrap();
    let large: Vec<u8> = (0..5_000_000_u32).map(|at| (at / 251) as u8).collect();
    producer.offer(1, 1, &large).unwrap();
    producer.offer(i64::MIN, i32::MAX, b"").unwrap();
    let listen = endpoint();
    let _outgoing = rings.start_out(&["--listen", &listen, "--window", "4KiB"]);
    let _incoming = rings.start_in(&["--connect", &listen]);
    let mut consumer = Buffer::open(&rings.sink.ring).unwrap().consumer().unwrap();
    let mut messages = Vec::new();
    eventually("both", || {
        let copy = |message: aether_ipc::Message<'_>| {
            messages.push((message.id(), message.message_type(), message.payload().to_vec()));
            aether_ipc::Flow::Continue
        };
        consumer.drain(10, copy).unwrap();
        messages.len() == 2
    });
    assert!(messages == [(1, 1, large), (i64::MIN, i32::MAX, Vec::new())]);
}

#[test]
fn two_rings_share_a_process_and_one_that_ends_does_not_stop_the_other() {
    let (first, second) = (Rings::plain(), Rings::plain());
    let listen = endpoint();
    let join = |half: &str, one: &Rings, other: &Rings, end: fn(&Rings) -> &str, how: [&str; 2]| {
        let paths = ["bridge", half, end(one), end(other), "--key", "a/one", "--key", "a/two"];
        Run::start(crate::common::aether(paths).args(how).arg("--json"))
    };
    let mut outgoing = join("out", &first, &second, |rings| rings.source.name(), ["--listen", &listen]);
    let mut incoming = join("in", &first, &second, |rings| rings.sink.name(), ["--connect", &listen]);
    let send = |rings: &Rings| rings.source.send("1\n2\n");
    send(&first);
    send(&second);
    eventually("all four", || first.sink.waiting() == 2 && second.sink.waiting() == 2);
    eventually("them to be released", || first.source.waiting() == 0 && second.source.waiting() == 0);
    fs::remove_file(&first.source.ring).unwrap();
    send(&second);
    eventually("two more", || second.sink.waiting() == 4 && second.source.waiting() == 0);
    incoming.signal(Signal::INT);
    let told = incoming.end().with(130).json();
    let named = |event: &str| told.iter().filter(|object| object["event"] == event).collect::<Vec<_>>();
    let number = |object: &&serde_json::Value| object["messages"].as_u64().unwrap();
    assert_eq!(named("end").iter().map(number).collect::<Vec<_>>(), [2, 4]);
    for key in ["a/one", "a/two"] {
        assert!(named("linked").iter().any(|object| object["key"] == key), "{told:?}");
        assert!(named("progress").iter().any(|object| object["key"] == key && number(object) > 0), "{told:?}");
    }
    outgoing.signal(Signal::INT);
    outgoing.end();
}

#[test]
fn people_on_a_terminal_see_how_much_was_carried() {
    let rings = Rings::plain();
    let listen = endpoint();
    let terminal = Terminal::new();
    let mut outgoing = Run::start(rings.out(&["--listen", &listen]).stderr(terminal.user.try_clone().unwrap()));
    let _incoming = rings.start_in(&["--connect", &listen]);
    rings.source.send("1\n2\n3\n");
    eventually("the number", || holds(&terminal.screen, "3 messages were carried"));
    assert!(holds(&terminal.screen, "trading/quotes: the other side answers"));
    outgoing.signal(Signal::INT);
    outgoing.end().with(130);
}

#[test]
fn no_port_is_open_that_was_not_asked_for() {
    let rings = Rings::plain();
    let listen = endpoint();
    let mut outgoing = rings.start_out(&["--listen", &listen]);
    let mut incoming = rings.start_in(&["--connect", &listen]);
    rings.source.send("1\n");
    eventually("it to come", || rings.sink.waiting() == 1);
    let port: u16 = listen.rsplit(':').next().unwrap().parse().unwrap();
    assert_eq!(open_ports(outgoing.pid()), [format!("0100007F:{port:04X}")]);
    assert_eq!(open_ports(incoming.pid()), [""; 0]);
}

/// What a process listens on, as the system writes it; UDP sockets count too.
fn open_ports(pid: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|entry| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        Some(target.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
    });
    let descriptors: Vec<String> = descriptors.collect();
    let mut ports = Vec::new();
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words[3] == state && descriptors.iter().any(|descriptor| descriptor == words[9]) {
                ports.push(words[1].to_owned());
            }
        }
    }
    ports
}

#[test]
fn a_message_that_waited_for_nobody_comes_when_the_other_side_does() {
    let rings = Rings::plain();
    rings.source.send("1\n2\n3\n");
    let listen = endpoint();
    let link = Link::to(&listen, Duration::ZERO);
    // It connects in vain at first.
    let incoming = rings.start_in(&["--connect", link.endpoint()]);
    let _outgoing = rings.start_out(&["--listen", &listen]);
    eventually("the messages", || rings.sink.waiting() == 3 && rings.source.waiting() == 0);
    incoming.kill().killed();
    let mut producer = Buffer::open(&rings.source.ring).unwrap().producer().unwrap();
    while !matches!(producer.offer(4, 0, &[4; 1000]), Err(Error::Full)) {}
    drop(producer);
    let expected = rings.source.waiting() + 3;
    let consumer = Buffer::open(&rings.sink.ring).unwrap();
    let _incoming = rings.start_in(&["--connect", link.endpoint()]);
    let mut consumer = consumer.consumer().unwrap();
    let mut count = 0;
    eventually("the rest", || {
        count += consumer.drain(1000, |_| aether_ipc::Flow::Continue).unwrap() as u64;
        count >= expected
    });
    assert_eq!(count, expected);
}
