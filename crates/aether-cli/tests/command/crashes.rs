//! `kill -9` of either side, in the middle of its work.

use std::{
    fs,
    io::{BufWriter, Write, pipe},
    process::Stdio,
    thread,
};

use rustix::process::Signal;

use crate::common::{Place, Run, eventually, ids, input, json_lines, numbers, run, size};

/// The lines from `1` on, until nobody reads them any more: what reads them is always in the middle of its work.
fn counting() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    let mut writer = BufWriter::new(writer);
    thread::spawn(move || (1_u64..).try_for_each(|number| writeln!(writer, "{number}")));
    reader.into()
}

const SECOND: i64 = 1_000_000_000_000;

#[test]
fn after_a_killed_sender_another_one_goes_on_and_each_message_that_arrives_is_whole() {
    let place = Place::with_capacity(16 << 10);
    let (file, path) = place.file("out");
    let mut receiver = Run::start(place.aether("recv", &["--follow", "--json"]).stdout(file));
    let killed = Run::start(place.aether("send", &[]).stdin(counting()));
    eventually("some messages to arrive", || size(&path) > 100_000);
    killed.kill().killed();
    let first_id = (SECOND + 1).to_string();
    run(place.aether("send", &["--first-id", &first_id]).stdin(input(numbers(1000)))).with(0);
    eventually("all that was sent to be taken", || place.waiting() == 0);
    receiver.signal(Signal::INT);
    receiver.end().with(130);
    let messages = json_lines(&fs::read(&path).unwrap());
    for message in &messages {
        let number = message["id"].as_i64().unwrap() % SECOND;
        assert_eq!(message["payload"], number.to_string(), "{message}");
    }
    let ids = ids(&messages);
    let first = ids.len() as i64 - 1000;
    assert!(first > 0, "nothing came from the sender that was killed");
    let expected = (1..=first).chain(SECOND + 1..=SECOND + 1000);
    assert!(ids.iter().copied().eq(expected), "lost or repeated");
}

#[test]
fn what_a_killed_receiver_had_not_released_comes_again() {
    let place = Place::with_capacity(16 << 10);
    let sender = Run::start(place.aether("send", &[]).stdin(counting()));
    let (file, path) = place.file("first");
    let killed = Run::start(place.aether("recv", &["--json"]).stdout(file));
    eventually("some messages to arrive", || size(&path) > 100_000);
    killed.kill().killed();
    let second = run(&mut place.aether("recv", &["--json", "--count", "10000"])).with(0);
    sender.kill().killed();
    let (first, second) = (ids(&json_lines(&fs::read(&path).unwrap())), ids(&second.json()));
    assert!(first.iter().copied().eq(1..=first.len() as i64), "lost or repeated before the kill");
    assert!(second[0] <= first.len() as i64 + 1, "a gap between {} and {}", first.len(), second[0]);
    assert!(second.iter().copied().eq(second[0]..second[0] + 10_000), "lost or repeated after the kill");
}
