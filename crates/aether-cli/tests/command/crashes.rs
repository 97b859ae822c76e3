//! `kill -9` of either side, in the middle of its work.

use std::fs;

use rustix::process::Signal;

use crate::common::{Place, Run, eventually, ids, input, json_lines, numbers, run, size};

const COUNT: u64 = 300_000;

#[test]
fn after_a_killed_sender_another_one_goes_on_and_each_message_that_arrives_is_whole() {
    let place = Place::with_capacity(16 << 10);
    let (file, path) = place.file("out");
    let mut receiver = Run::start(place.aether("recv", &["--follow", "--json"]).stdout(file));
    let killed = Run::start(place.aether("send", &[]).stdin(input(numbers(COUNT))));
    eventually("some messages to arrive", || size(&path) > 100_000);
    killed.kill().killed();
    run(place.aether("send", &["--first-id", "1000001"]).stdin(input(numbers(1000)))).with(0);
    eventually("all that was sent to be taken", || place.waiting() == 0);
    receiver.signal(Signal::INT);
    receiver.end().with(130);
    let messages = json_lines(&fs::read(&path).unwrap());
    for message in &messages {
        let number = message["id"].as_i64().unwrap() % 1_000_000;
        assert_eq!(message["payload"], number.to_string(), "{message}");
    }
    let ids = ids(&messages);
    let first = ids.len() - 1000;
    assert!(0 < first && first < COUNT as usize, "{first} messages came from the sender that was killed");
    let expected = (1..=first as i64).chain(1_000_001..=1_001_000);
    assert!(ids.iter().copied().eq(expected), "lost or repeated");
}

#[test]
fn what_a_killed_receiver_had_not_released_comes_again() {
    let place = Place::with_capacity(16 << 10);
    let sender = Run::start(place.aether("send", &[]).stdin(input(numbers(COUNT))));
    let (file, path) = place.file("first");
    let killed = Run::start(place.aether("recv", &["--json"]).stdout(file));
    eventually("some messages to arrive", || size(&path) > 100_000);
    killed.kill().killed();
    let second = run(&mut place.aether("recv", &["--json"])).with(0);
    sender.end().with(0);
    let (first, second) = (ids(&json_lines(&fs::read(&path).unwrap())), ids(&second.json()));
    assert!(first.iter().copied().eq(1..=first.len() as i64), "lost or repeated before the kill");
    assert!(second[0] <= first.len() as i64 + 1, "a gap between {} and {}", first.len(), second[0]);
    assert!(second.iter().copied().eq(second[0]..=COUNT as i64), "lost or repeated after the kill");
}
