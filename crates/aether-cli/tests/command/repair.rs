//! `verify` and `recover` on rings that were spoilt.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
};

use aether_ipc::Buffer;

use crate::common::{Place, ids, run};

const DATA: u64 = 64 << 10;
const RECORD: u64 = 24;

/// Four messages, of which the second has a length that no record has.
fn spoilt() -> Place {
    let place = Place::with_capacity(1024);
    place.send("12345678\n".repeat(4));
    let file = OpenOptions::new().write(true).open(&place.ring).unwrap();
    file.write_all_at(&3_u32.to_le_bytes(), DATA + RECORD + 8).unwrap();
    place
}

#[test]
fn verify_finds_a_spoilt_message_and_raises_no_alarm_without_one() {
    let place = Place::with_capacity(1024);
    place.send("12345678\n".repeat(4));
    assert_eq!(run(&mut place.aether("verify", &[])).with(0).text(), "sound: 4 whole messages wait, 96 bytes\n");

    let place = spoilt();
    let words = run(&mut place.aether("verify", &[])).with(3);
    assert!(words.text().contains("not sound: 1 whole messages wait, 24 bytes"), "{}", words.text());
    let report = run(&mut place.aether("verify", &["--json"])).with(3).json().remove(0);
    assert_eq!((report["sound"].as_bool(), report["messages"].as_u64()), (Some(false), Some(1)));
    let problem = &report["problems"][0];
    assert_eq!((problem["lane"].as_u64(), problem["position"].as_u64()), (Some(0), Some(RECORD)));
    assert!(problem["reason"].as_str().unwrap().contains("record length 3"), "{problem}");
}

#[test]
fn a_spoilt_message_is_neither_delivered_nor_passed_over() {
    let place = spoilt();
    for expected in ["12345678\n", ""] {
        let received = run(&mut place.aether("recv", &["--until-idle", "0s"])).with(3).says(&["record length 3"]);
        assert_eq!(received.text(), expected);
    }
    run(&mut place.aether("info", &[])).with(3).says(&["record length 3"]);
}

#[test]
fn recover_keeps_a_copy_and_what_is_whole_and_says_what_it_gave_up() {
    let place = spoilt();
    let before = fs::read(&place.ring).unwrap();
    let dry = run(&mut place.aether("recover", &["--dry-run"])).with(0);
    assert!(dry.text().contains("would give up 72 bytes"), "{}", dry.text());
    assert!(fs::read(&place.ring).unwrap() == before, "a dry run changed the file");

    let recovered = run(&mut place.aether("recover", &[])).with(0);
    assert!(recovered.text().contains("write cursor from 96 to 24"), "{}", recovered.text());
    assert!(recovered.text().contains("gave up 72 bytes, in them 0 whole messages"), "{}", recovered.text());
    assert!(fs::read(place.path("ring.backup")).unwrap() == before, "the copy is not what the file was");

    run(&mut place.aether("verify", &[])).with(0);
    assert_eq!(run(&mut place.aether("recover", &[])).with(0).text(), "sound: nothing to repair\n");
    assert_eq!(ids(&place.take()), [1]);
    place.send("goes on\n");
    assert_eq!(run(&mut place.aether("recv", &[])).with(0).text(), "goes on\n");
}

#[test]
fn recover_can_give_up_all_that_waits() {
    let place = spoilt();
    let copy = place.path("copy");
    let recovered = run(&mut place.aether("recover", &["--skip-to-write", "--backup", copy.to_str().unwrap()])).with(0);
    assert!(recovered.text().contains("gave up 96 bytes, in them 1 whole messages"), "{}", recovered.text());
    assert!(copy.exists() && place.waiting() == 0);
    run(&mut place.aether("verify", &[])).with(0);
}

#[test]
fn recover_overwrites_no_file_and_no_ring_that_is_in_use() {
    let place = spoilt();
    let before = fs::read(&place.ring).unwrap();
    fs::write(place.path("ring.backup"), "precious").unwrap();
    run(&mut place.aether("recover", &[])).with(1).says(&["ring.backup", "already exists"]);
    assert_eq!(fs::read(place.path("ring.backup")).unwrap(), b"precious");

    let copy = place.path("copy");
    let consumer = Buffer::open(&place.ring).unwrap().consumer().unwrap();
    let pid = std::process::id().to_string();
    run(&mut place.aether("recover", &["--backup", copy.to_str().unwrap()])).with(1).says(&["consumer", &pid]);
    drop(consumer);
    assert!(fs::read(&place.ring).unwrap() == before, "a repair that failed changed the file");
}
