//! What is made, and looked at without being disturbed: `create`, `info`, `peek`, `tail`, `consumers`.

use std::{io::Read, os::unix::fs::PermissionsExt, process::Stdio};

use aether_ipc::{Buffer, Flow};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{Place, Run, eventually, ids, input, json_lines, numbers, run};

/// What `info --json` must say under these names.
#[track_caller]
fn assert_info(place: &Place, expected: Value) {
    let info = place.info();
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&info[name], value, "{name} in {info}");
    }
}

#[test]
fn info_shows_cursors_and_what_waits_and_who_holds_the_roles_as_long_as_they_live() {
    let place = Place::with_capacity(4096);
    let mut expected = json!({
        "format": "extended", "capacity": 4096, "data_offset": 65536, "write_cursor": 0, "read_cursor": 0,
        "available_bytes": 0, "available_messages": 0, "producer_pid": null, "consumer_pid": null,
    });
    assert_info(&place, expected.clone());

    let mut sender = Run::start(place.aether("send", &[]).stdin(Stdio::piped()));
    let mut sender_input = sender.input();
    std::io::Write::write_all(&mut sender_input, b"12345678\n12345678\n123456789\n").unwrap();
    eventually("the messages to be there", || place.waiting() == 3);
    let mut consumer = Buffer::open(&place.ring).unwrap().consumer().unwrap();
    consumer.drain(1, |_| Flow::Continue).unwrap();
    expected["write_cursor"] = 80.into();
    expected["read_cursor"] = 24.into();
    expected["available_bytes"] = 56.into();
    expected["available_messages"] = 2.into();
    expected["producer_pid"] = sender.pid().into();
    expected["consumer_pid"] = std::process::id().into();
    assert_info(&place, expected.clone());

    sender.kill().killed();
    drop(consumer);
    expected["producer_pid"] = Value::Null;
    expected["consumer_pid"] = Value::Null;
    assert_info(&place, expected);

    let info = run(&mut place.aether("info", &[])).with(0);
    for words in ["extended, version 1", "2 messages, 56 bytes", "nobody", "(4096 bytes)"] {
        assert!(info.text().contains(words), "{words:?} is not in {}", info.text());
    }
}

#[test]
fn create_makes_the_ring_that_was_asked_for() {
    let place = Place::new();
    run(&mut place.aether("create", &["--capacity", "1KiB", "--classic"])).with(0);
    assert_info(&place, json!({ "format": "classic", "capacity": 1024, "data_offset": 384, "overflow": "wait" }));
    assert_eq!(place.ring.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let place = Place::new();
    let flags = "--capacity 64KiB --producers 3 --consumers 4 --overflow drop-oldest --checksums --sequence --mode 640";
    run(&mut place.aether("create", &flags.split(' ').collect::<Vec<_>>())).with(0);
    let expected = json!({
        "format": "extended", "capacity": 65536, "consumer_slots": 4, "overflow": "drop-oldest", "checksums": true,
        "sequence": true,
    });
    assert_info(&place, expected);
    assert_eq!(place.info()["lanes"].as_array().unwrap().len(), 3);
    assert_eq!(place.ring.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn create_leaves_a_file_that_is_there_as_it_is() {
    let place = Place::with_capacity(1024);
    place.send("one\n");
    for capacity in ["1KiB", "2KiB"] {
        run(&mut place.aether("create", &["--capacity", capacity])).with(1).says(&[place.name(), "already exists"]);
    }
    assert_eq!((place.waiting(), place.info()["capacity"].as_u64()), (1, Some(1024)));
}

#[test]
fn peek_shows_what_waits_and_takes_nothing() {
    let place = Place::with_capacity(1024);
    place.send(numbers(5));
    // Also while somebody holds the role of the consumer.
    let consumer = Buffer::open(&place.ring).unwrap().consumer().unwrap();
    for _ in 0..2 {
        assert_eq!(ids(&run(&mut place.aether("peek", &[])).with(0).json()), [1, 2, 3, 4, 5]);
        assert_eq!(run(&mut place.aether("peek", &["--frame", "lines", "--count", "2"])).with(0).text(), "1\n2\n");
    }
    assert_eq!(place.waiting(), 5);
    drop(consumer);
    assert_eq!(ids(&place.take()), [1, 2, 3, 4, 5]);
    assert_eq!(run(&mut place.aether("peek", &[])).with(0).text(), "");
}

#[test]
fn tail_holds_nobody_back_even_when_nobody_reads_what_it_prints() {
    let place = Place::with_capacity(64 << 10);
    place.send("first\n");
    let mut tail = Run::with_unread_output(&mut place.aether("tail", &["--from-oldest"]));
    let mut output = tail.output();
    let mut printed = vec![0; 10];
    output.read_exact(&mut printed).unwrap();
    // Far more than ring and pipe can hold.
    let receiver = Run::start(&mut place.aether("recv", &["--follow", "--count", "50001"]));
    run(place.aether("send", &["--first-id", "2"]).stdin(input(numbers(50_000)))).with(0);
    assert_eq!(receiver.end().with(0).output.len(), "first\n".len() + numbers(50_000).len());

    // It goes on with what there is when it can print again, and says that it was outrun.
    tail.signal(Signal::INT);
    output.read_to_end(&mut printed).unwrap();
    let ids = ids(&json_lines(&printed));
    assert_eq!(ids[0], 1);
    assert!(ids.is_sorted_by(|one, next| one < next) && ids.len() < 50_001, "{} messages", ids.len());
    tail.end().with(130);
}

#[test]
fn tail_shows_what_is_sent_from_now_on_and_says_what_it_missed() {
    let place = Place::new();
    run(&mut place.aether("create", &["--capacity", "1KiB", "--overflow", "drop-oldest"])).with(0);
    place.send(numbers(100));
    let oldest = run(&mut place.aether("tail", &["--from-oldest", "--count", "3"])).with(0).json();
    assert!(ids(&oldest)[0] > 1, "what was overwritten can't be shown");
    let mut live = Run::start(&mut place.aether("tail", &["--count", "1", "--frame", "lines"]));
    // It may still be starting: what was sent before is not shown.
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    eventually("a live message to be shown", || {
        producer.offer(0, 0, b"live").unwrap();
        live.has_ended()
    });
    assert_eq!(live.end().with(0).text(), "live\n");
}

#[test]
fn a_durable_consumer_that_is_away_holds_the_ring_until_its_place_is_given_up() {
    let place = Place::new();
    run(&mut place.aether("create", &["--capacity", "1KiB", "--consumers", "2"])).with(0);
    run(&mut place.aether("recv", &["--name", "audit", "--until-idle", "0s"])).with(4);
    run(place.aether("send", &["--no-wait"]).stdin(input("12345678\n".repeat(100)))).with(4);

    let listed = run(&mut place.aether("consumers", &["--json"])).with(0).json();
    assert_eq!(listed.len(), 1);
    let fields = ["name", "durable", "consumer_pid", "lag"].map(|name| listed[0][name].clone());
    assert_eq!(fields, [json!("audit"), json!(true), Value::Null, json!(1024 / 24 * 24)]);
    let words = run(&mut place.aether("consumers", &[])).with(0);
    assert!(words.text().contains("\"audit\": 1008 bytes behind, durable, nobody"), "{}", words.text());

    let mut holder = Run::start(&mut place.aether("recv", &["--name", "audit", "--follow"]));
    eventually("it to be back", || place.info()["consumers"][0]["consumer_pid"] == holder.pid());
    let pid = holder.pid().to_string();
    run(&mut place.aether("consumers", &["--forget", "audit"])).with(1).says(&[&pid]);
    eventually("it to have taken everything", || place.waiting() == 0);
    holder.kill().killed();
    run(place.aether("send", &["--no-wait"]).stdin(input("12345678\n".repeat(100)))).with(4);
    run(&mut place.aether("consumers", &["--forget", "nobody"])).with(1).says(&["nobody"]);
    run(&mut place.aether("consumers", &["--forget", "audit"])).with(0);
    assert_eq!(run(&mut place.aether("consumers", &[])).with(0).text(), "");
    run(place.aether("send", &["--no-wait"]).stdin(input("12345678\n".repeat(100)))).with(0);
}
