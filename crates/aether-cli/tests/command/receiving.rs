//! `recv`: what it prints, when it ends, and what stays in the ring when it can't print.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    thread,
};

use aether_ipc::{Buffer, Error};
use rustix::process::Signal;
use serde_json::json;

use crate::common::{Place, Run, eventually, ids, input, json_lines, numbers, run, size};

#[test]
fn each_frame_prints_every_message_in_its_way() {
    let messages: [(i64, i32, &[u8]); 4] =
        [(7, 1, b"plain"), (-8, -2, b""), (9, 3, "ü\"\n".as_bytes()), (10, 0, b"\xff\0")];
    let in_json = [
        json!({ "id": 7, "type": 1, "lane": 0, "encoding": "utf-8", "payload": "plain" }),
        json!({ "id": -8, "type": -2, "lane": 0, "encoding": "utf-8", "payload": "" }),
        json!({ "id": 9, "type": 3, "lane": 0, "encoding": "utf-8", "payload": "ü\"\n" }),
        json!({ "id": 10, "type": 0, "lane": 0, "encoding": "hex", "payload": "ff00" }),
    ];
    let place = Place::with_capacity(1024);
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    let mut receive = |arguments: &[&str]| {
        for (id, message_type, payload) in messages {
            producer.offer(id, message_type, payload).unwrap();
        }
        run(place.aether("recv", &["--count", "4"]).args(arguments)).with(0)
    };
    assert_eq!(receive(&[]).output, b"plain\n\n\xc3\xbc\"\n\n\xff\0\n");
    assert_eq!(receive(&["--frame", "lines"]).output, b"plain\n\n\xc3\xbc\"\n\n\xff\0\n");
    assert_eq!(receive(&["--frame", "raw"]).output, b"plain\xc3\xbc\"\n\xff\0");
    assert_eq!(
        receive(&["--frame", "length"]).output,
        b"\x05\0\0\0plain\0\0\0\0\x04\0\0\0\xc3\xbc\"\n\x02\0\0\0\xff\0"
    );
    assert_eq!(receive(&["--frame", "hex"]).text(), "706c61696e\n\nc3bc220a\nff00\n");
    assert_eq!(receive(&["--frame", "json"]).json(), in_json);
    assert_eq!(receive(&["--json"]).json(), in_json);
}

#[test]
fn count_takes_so_many_and_leaves_the_rest() {
    let place = Place::with_capacity(64 << 10);
    place.send(numbers(10));
    assert_eq!(run(&mut place.aether("recv", &["--count", "3"])).with(0).text(), "1\n2\n3\n");
    assert_eq!(run(&mut place.aether("recv", &["--count", "0"])).with(0).text(), "");
    assert_eq!(place.waiting(), 7);
    assert_eq!(ids(&place.take()), [4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn until_idle_ends_though_the_producer_is_still_there() {
    let place = Place::with_capacity(1024);
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    producer.offer(1, 0, b"one").unwrap();
    assert_eq!(run(&mut place.aether("recv", &["--until-idle", "50ms"])).with(0).text(), "one\n");
    producer.offer(2, 0, b"two").unwrap();
    assert_eq!(run(&mut place.aether("recv", &["--until-idle", "0s"])).with(0).text(), "two\n");
}

#[test]
fn recv_goes_on_while_somebody_produces_and_ends_when_nobody_does() {
    let place = Place::with_capacity(1024);
    let (file, path) = place.file("out");
    let mut receiver = Run::start(place.aether("recv", &[]).stdout(file));
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    for (id, length) in [(1, 4), (2, 8)] {
        producer.offer(id, 0, b"one").unwrap();
        eventually("the message to be printed", || size(&path) == length);
        assert!(!receiver.has_ended());
    }
    drop(producer);
    receiver.end().with(0);
}

#[test]
fn wait_waits_for_a_ring_that_is_not_made_yet() {
    let place = Place::new();
    let receiver = Run::start(&mut place.aether("recv", &["--wait", "30s"]));
    run(place.aether("send", &["--create", "1KiB"]).stdin(input("late\n"))).with(0);
    assert_eq!(receiver.end().with(0).text(), "late\n");
}

#[test]
fn an_interrupted_follower_has_released_what_it_printed_and_nothing_else() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::with_capacity(16 << 10);
        let (file, path) = place.file("out");
        let mut receiver = Run::start(place.aether("recv", &["--follow", "--json"]).stdout(file));
        let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
        eventually("the receiver to be there", || producer.has_consumer().unwrap());
        // Until nobody takes them any more: the receiver is interrupted at work.
        let producing = thread::spawn(move || {
            producer.require_consumer(true);
            (1_i64..).find_map(|id| match producer.put(id, 0, b"message") {
                Ok(()) => None,
                Err(Error::NoConsumer) => Some(id - 1),
                Err(error) => panic!("{error}"),
            })
        });
        eventually("some messages to be printed", || size(&path) > 100_000);
        receiver.signal(signal);
        let ended = receiver.end().with(130);
        let last = producing.join().unwrap().expect("the receiver ends before the producer");
        let printed = fs::read(&path).unwrap();
        assert!(printed.ends_with(b"\n"), "a line was cut");
        let printed = ids(&json_lines(&printed));
        let ended = ended.says(&["interrupted", &format!("{} messages were received", printed.len())]);
        assert_eq!(ended.errors.lines().count(), 1);
        let all: Vec<i64> = printed.into_iter().chain(ids(&place.take())).collect();
        assert!(all.iter().copied().eq(1..=last), "lost or repeated of {last}: {} came", all.len());
    }
}

#[test]
fn a_reader_that_goes_away_leaves_what_it_did_not_read_in_the_ring() {
    let place = Place::with_capacity(1 << 20);
    place.send(numbers(30_000));
    let mut receiver = Run::with_unread_output(&mut place.aether("recv", &[]));
    let mut head = Command::new("head");
    head.args(["-n", "1"]).stdin(receiver.output()).stdout(Stdio::piped());
    let reader = Run::start(&mut head);
    // It holds the pipe too.
    drop(head);
    // More than a pipe takes, so that the first write fails.
    assert_eq!(
        reader.end().with(0).text(),
        "1
"
    );
    receiver.end().with(0);
    assert_eq!(place.waiting(), 30_000);
    assert!(ids(&place.take()).into_iter().eq(1..=30_000));
}

#[test]
fn a_full_disk_is_a_failure_that_leaves_every_message_in_the_ring() {
    let place = Place::with_capacity(64 << 10);
    place.send(numbers(100));
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for frame in ["lines", "length", "raw", "json", "hex"] {
        run(place.aether("recv", &["--frame", frame]).stdout(full())).with(1).says(&["standard output: ", "space"]);
        assert_eq!(place.waiting(), 100, "{frame}");
    }
    for subcommand in ["peek", "info", "verify"] {
        run(place.aether(subcommand, &[]).stdout(full())).with(1).says(&["standard output: ", "space"]);
    }
    run(place.aether("tail", &["--from-oldest", "--count", "5"]).stdout(full())).with(1).says(&["standard output: "]);
    assert!(ids(&place.take()).into_iter().eq(1..=100));
}

#[test]
fn one_that_reads_too_slowly_is_told_how_much_it_lost_in_a_ring_that_drops_the_oldest() {
    let place = Place::new();
    run(&mut place.aether("create", &["--capacity", "1KiB", "--overflow", "drop-oldest"])).with(0);
    place.send(numbers(1000));
    let received = run(&mut place.aether("recv", &["--json", "--until-idle", "0s"])).with(0).says(&["lagged: "]);
    let ids = ids(&received.json());
    assert!(!ids.is_empty() && ids.iter().copied().eq(ids[0]..=1000), "not the newest: {ids:?}");
}
