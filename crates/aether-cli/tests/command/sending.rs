//! `send`: ids and types, a full ring, and an end in the middle.

use std::{io::Write, process::Stdio};

use aether_ipc::{Buffer, Observer};
use rustix::process::Signal;
use serde_json::json;

use crate::common::{Place, Run, eventually, ids, input, numbers, run};

/// Of each message of the tests below with an 8-byte payload.
const RECORD: u64 = 24;

#[test]
fn no_wait_drops_what_finds_the_ring_full_and_counts_it() {
    let place = Place::with_capacity(1024);
    let fit = 1024 / RECORD;
    let lines = "12345678\n".repeat(1000);
    let sent = run(place.aether("send", &["--no-wait", "--json"]).stdin(input(&lines))).with(4);
    assert_eq!(sent.json(), [json!({ "sent": fit, "dropped": 1000 - fit, "next_id": 1001 })]);
    let dropped = run(place.aether("send", &["--no-wait"]).stdin(input(&lines))).with(4);
    assert_eq!((dropped.says(&["dropped 1000 of 1000 messages"]).text(), place.waiting()), ("", fit));
    assert!(ids(&place.take()).into_iter().eq(1..=fit as i64));
    let sent = run(place.aether("send", &["--no-wait", "--json"]).stdin(input("a\nb\n"))).with(0);
    assert_eq!(sent.json(), [json!({ "sent": 2, "dropped": 0, "next_id": 3 })]);
}

#[test]
fn ids_count_up_from_the_first_and_every_message_has_the_type() {
    let place = Place::with_capacity(1024);
    run(place.aether("send", &["--first-id", "-1", "--type", "-7"]).stdin(input("a\nb\nc\n"))).with(0);
    run(place.aether("send", &["--first-id=9000000000"]).stdin(input("d\n"))).with(0);
    let taken = place.take();
    assert_eq!(ids(&taken), [-1, 0, 1, 9_000_000_000]);
    let types: Vec<_> = taken.iter().map(|message| message["type"].as_i64().unwrap()).collect();
    assert_eq!(types, [-7, -7, -7, 0]);
}

#[test]
fn a_line_is_published_as_soon_as_it_is_whole() {
    let place = Place::with_capacity(1024);
    let mut sender = Run::start(place.aether("send", &[]).stdin(Stdio::piped()));
    let mut input = sender.input();
    input.write_all(b"one\ntw").unwrap();
    eventually("the first line to be there", || place.waiting() == 1);
    input.write_all(b"o\n").unwrap();
    eventually("the second line to be there", || place.waiting() == 2);
    assert!(!sender.has_ended());
    drop(input);
    sender.end().with(0);
    assert_eq!(run(&mut place.aether("recv", &[])).with(0).text(), "one\ntwo\n");
}

#[test]
fn an_interrupted_sender_says_how_many_messages_it_sent_and_so_many_are_in_the_ring() {
    let place = Place::with_capacity(1024);
    let lines = "12345678\n".repeat(1000);
    let mut sender = Run::start(place.aether("send", &[]).stdin(input(lines)));
    let fit = 1024 / RECORD;
    eventually("the ring to be full", || place.waiting() == fit);
    sender.signal(Signal::INT);
    sender.end().with(130).says(&[&format!("{fit} messages were sent"), &format!("the next id is {}", fit + 1)]);
    assert_eq!(place.waiting(), fit);
}

#[test]
fn an_interrupted_sender_whose_input_is_quiet_ends_at_once() {
    let place = Place::with_capacity(1024);
    let mut sender = Run::start(place.aether("send", &[]).stdin(Stdio::piped()));
    let mut input = sender.input();
    input.write_all(b"one\nhalf").unwrap();
    eventually("the first line to be there", || place.waiting() == 1);
    sender.signal(Signal::TERM);
    sender.end().with(130).says(&["1 messages were sent, and at least 4 bytes read were not"]);
    drop(input);
}

#[test]
fn a_second_sender_or_receiver_is_told_which_process_holds_the_role() {
    let place = Place::with_capacity(1024);
    let mut sender = Run::start(place.aether("send", &[]).stdin(Stdio::piped()));
    let mut receiver = Run::start(&mut place.aether("recv", &["--follow"]));
    eventually("both to have their roles", || {
        let info = Observer::open(&place.ring).unwrap().info().unwrap();
        info.lanes[0].producer.is_some() && info.consumers.iter().any(|consumer| consumer.holder.is_some())
    });
    let (sender, receiver) = (sender.pid().to_string(), receiver.pid().to_string());
    run(place.aether("send", &[]).stdin(input("x\n"))).with(1).says(&["producer", &sender]);
    run(&mut place.aether("recv", &[])).with(1).says(&["consumer", &receiver]);
}

#[test]
fn create_takes_a_ring_of_the_same_capacity_as_it_is_and_refuses_another_with_both_named() {
    let place = Place::new();
    for expected in [3, 6] {
        run(place.aether("send", &["--create", "1KiB"]).stdin(input(numbers(3)))).with(0);
        assert_eq!(place.waiting(), expected);
    }
    run(place.aether("send", &["--create", "2KiB"]).stdin(input("x\n"))).with(1).says(&["capacity", "1024", "2048"]);
    assert_eq!((place.waiting(), Buffer::open(&place.ring).unwrap().capacity()), (6, 1024));
}
