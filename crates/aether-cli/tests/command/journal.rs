//! `record`, `replay` and `journal`: what passed through a ring, kept and sent again.

use std::{
    fs::{self, File},
    path::Path,
    thread,
};

use aether_ipc::{Buffer, Error, Flow, Observer, Overflow};
use aether_journal::Reader;
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::RowAccessor,
};
use rustix::process::Signal;
use serde_json::json;

use crate::common::{Place, Run, aether, eventually, ids, input, numbers, run, size};

impl Place {
    /// The name of a file in this place's folder.
    fn named(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Whether the journal can be read.
    fn has_begun(&self) -> bool {
        fs::metadata(self.path("journal")).is_ok_and(|metadata| metadata.len() >= 64)
    }

    /// Records what is there.
    fn record(&self, arguments: &[&str]) -> i64 {
        let mut command = self.aether("record", &["-o", &self.named("journal"), "--until-idle", "0s", "--json"]);
        run(command.args(arguments)).with(0).json()[0]["recorded"].as_i64().unwrap()
    }

    fn verify(&self) -> serde_json::Value {
        run(&mut aether(["journal", "verify", &self.named("journal"), "--json"])).with(0).json().remove(0)
    }
}

/// Id and payload of each message.
fn messages(journal: &Path) -> Vec<(i64, Vec<u8>)> {
    let mut reader = Reader::open(journal).unwrap();
    let mut messages = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        messages.push((record.id, record.payload.to_vec()));
    }
    messages
}

/// The messages that `numbers` makes, in order.
#[track_caller]
fn assert_numbers(journal: &Path, count: i64) {
    let messages = messages(journal);
    let expected = (1..=count).map(|id| (id, id.to_string().into_bytes()));
    assert!(messages.iter().cloned().eq(expected), "lost or repeated: {} of {count} came", messages.len());
}

#[test]
fn what_was_recorded_is_replayed_as_it_was() {
    for compress in ["none", "zstd", "zstd:9"] {
        let place = Place::with(&Buffer::options().capacity(64 << 10).producers(2));
        let buffer = Buffer::open(&place.ring).unwrap();
        let (mut first, mut second) = (buffer.producer().unwrap(), buffer.producer().unwrap());
        for id in 0..100 {
            first.offer(id, 7, &[id as u8; 33]).unwrap();
            second.offer(-id, -7, b"").unwrap();
        }
        assert_eq!(place.record(&["--compress", compress]), 200);
        assert_eq!(place.waiting(), 0);
        let (journal, again) = (place.named("journal"), place.named("again"));
        let replay = ["replay", &journal, &again, "--create", "64KiB", "--speed", "max", "--json"];
        assert_eq!(run(&mut aether(replay)).with(0).json(), [json!({ "sent": 200 })]);
        let mut lanes = [0, 0];
        let drain = |message: aether_ipc::Message<'_>| {
            let lane = usize::from(message.message_type() < 0);
            let n = lanes[lane];
            lanes[lane] += 1;
            assert_eq!(message.id(), if lane == 0 { n } else { -n });
            assert_eq!(message.payload(), if lane == 0 { vec![n as u8; 33] } else { vec![] });
            Flow::Continue
        };
        assert_eq!(Buffer::open(&again).unwrap().consumer().unwrap().drain(1000, drain).unwrap(), 200);
        assert_eq!(lanes, [100, 100]);
    }
}

/// The promise of the journal: whenever the recorder dies, each message is there in the end, once and in order.
#[test]
fn a_recorder_that_is_killed_many_times_loses_and_repeats_nothing() {
    for (sync, consumers) in [("never", 1), ("block", 2)] {
        let place = Place::with(&Buffer::options().capacity(16 << 10).consumers(consumers));
        let journal = place.path("journal");
        let arguments: &[&str] = if consumers == 1 { &[] } else { &["--name", "journal"] };
        let recorder = || {
            let mut command = place.aether("record", &["-o", &place.named("journal"), "--sync", sync]);
            // Small blocks and files, so that kills hit every step.
            command.args(["--block", "2KiB", "--roll-size", "64KiB", "--compress", "none"]).args(arguments);
            Run::start(&mut command)
        };
        let total = || {
            let files = fs::read_dir(journal.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|file| file.to_str().unwrap().contains("/journal")).map(|file| size(&file)).sum::<u64>()
        };
        // The named place is there from now on.
        place.record(arguments);
        let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let producing = thread::spawn(move || {
            let mut id = 0;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                id += 1;
                producer.put(id, 0, id.to_string().as_bytes()).unwrap();
            }
            id
        });
        let mut torn = 0;
        for round in 0..40 {
            let before = total();
            let recorder = recorder();
            // At another point of its work each time.
            eventually("the journal to grow", || total() > before + round * 997 % 5000);
            let ended = recorder.kill().killed();
            torn += usize::from(ended.errors.contains("torn"));
        }
        let last = recorder();
        drop(stop);
        let count = producing.join().unwrap();
        eventually("all to be recorded", || place.waiting() == 0);
        let mut last = last;
        last.signal(Signal::TERM);
        last.end().with(0).says(&["recorded", &format!("the journal has {count}")]);
        assert_numbers(&journal, count);
        let report = place.verify();
        assert_eq!(report["messages"], count, "{torn} blocks were torn");
        assert_eq!((&report["gaps"], &report["problems"]), (&json!(0), &json!([])));
        assert!(report["segments"].as_u64().unwrap() > 2, "{report}");
    }
}

#[test]
fn nothing_leaves_the_ring_before_it_is_written() {
    let place = Place::with_capacity(64 << 10);
    place.send(numbers(100));
    let mut command = place.aether("record", &["-o", &place.named("journal"), "--linger", "1h"]);
    let mut recorder = Run::start(&mut command);
    let info = || place.info()["consumer_pid"].as_u64();
    eventually("the recorder to be there", || info() == Some(recorder.pid().into()));
    // The block is far from full, so these stay.
    place.send(numbers(100));
    assert_eq!((place.waiting(), messages(&place.path("journal")).len()), (200, 0));
    recorder.signal(Signal::INT);
    recorder.end().with(0);
    // What it had read by then is written and released, and nothing else is.
    let recorded = messages(&place.path("journal")).len() as u64;
    assert_eq!(place.waiting() + recorded, 200);
    assert_eq!(place.record(&[]) as u64, 200 - recorded);
    let all: Vec<_> = messages(&place.path("journal")).into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(
        all,
        [numbers(100), numbers(100)].concat().lines().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>()
    );
}

#[test]
fn a_full_disk_ends_the_recorder_and_leaves_every_message_in_the_ring() {
    let place = Place::with_capacity(64 << 10);
    place.send(numbers(1000));
    let mut command = std::process::Command::new("bash");
    let script = "ulimit -f 1; trap '' XFSZ; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_aether"), "record", place.name()]);
    command.args(["-o", &place.named("journal"), "--until-idle", "0s", "--compress", "none"]);
    run(command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()))
        .with(1)
        .says(&["journal: can't write a block"]);
    assert_eq!(place.waiting(), 1000);
    assert_eq!(place.record(&[]), 1000);
    assert_numbers(&place.path("journal"), 1000);
}

#[test]
fn a_recorder_in_a_ring_for_many_needs_a_name_or_looks_on() {
    let place = Place::with(&Buffer::options().capacity(4096).consumers(3));
    let journal = place.named("journal");
    run(&mut place.aether("record", &["-o", &journal])).with(2).says(&["--name", "--tail"]);
    assert!(!place.path("journal").exists());
    assert_eq!(place.record(&["--name", "journal"]), 0);
    place.send(numbers(10));
    assert_eq!(place.record(&["--name", "journal"]), 10);
    assert_numbers(&place.path("journal"), 10);
}

#[test]
fn one_that_looks_on_takes_nothing_and_goes_on_where_it_was() {
    let place = Place::with_capacity(64 << 10);
    let journal = place.named("journal");
    let mut recorder = Run::start(&mut place.aether("record", &["-o", &journal, "--tail"]));
    eventually("the journal to be begun", || place.has_begun());
    place.send(numbers(10));
    // It began at some time before or while they were sent.
    eventually("something to be recorded", || !messages(&place.path("journal")).is_empty());
    recorder.signal(Signal::INT);
    recorder.end().with(0);
    assert_eq!(place.waiting(), 10);
    run(place.aether("send", &["--first-id", "11"]).stdin(input("11\n12\n"))).with(0);
    assert_eq!(place.record(&["--tail"]), 2);
    assert_eq!(place.waiting(), 12);
    let ids: Vec<i64> = messages(&place.path("journal")).into_iter().map(|(id, _)| id).collect();
    assert!(ids.iter().copied().eq(ids[0]..=12), "{ids:?}");
    assert_eq!(place.verify()["gaps"], 0);
}

#[test]
fn what_a_ring_that_drops_the_oldest_had_dropped_is_a_gap() {
    let place = Place::with(&Buffer::options().capacity(1024).overflow(Overflow::DropOldest));
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    // The journal is begun with something, so that the next recorder starts with the oldest.
    let mut recorder = Run::start(&mut place.aether("record", &["-o", &place.named("journal")]));
    let mut sent = 0;
    eventually("something to be recorded", || {
        sent += 1;
        producer.offer(sent, 0, b"16 bytes of text").unwrap();
        place.has_begun() && !messages(&place.path("journal")).is_empty()
    });
    recorder.signal(Signal::INT);
    recorder.end().with(0);
    let before = messages(&place.path("journal")).len() as i64;
    for id in sent + 1..=sent + 1000 {
        producer.offer(id, 0, b"16 bytes of text").unwrap();
    }
    let refused = place.aether("record", &["-o", &place.named("journal"), "--name", "journal"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let recorded = place.record(&[]);
    // What a producer is about to write over is given up before.
    assert!((16..=32).contains(&recorded), "{recorded}");
    let report = place.verify();
    assert_eq!(report["messages"], before + recorded);
    assert!(
        report["gaps"].as_i64() >= Some(1) && report["missing_bytes"].as_i64() >= Some((1000 - 32) * 32),
        "{report}"
    );
    assert_eq!(messages(&place.path("journal")).last().unwrap().0, sent + 1000);
}

#[test]
fn the_journal_of_another_ring_is_refused_and_no_message_is_lost() {
    let place = Place::with_capacity(4096);
    place.send(numbers(10));
    assert_eq!(place.record(&[]), 10);
    // The same path and content, but another ring.
    fs::rename(&place.ring, place.path("old")).unwrap();
    run(&mut place.aether("create", &["--capacity", "4KiB"])).with(0);
    place.send(numbers(20));
    let record = ["-o", &place.named("journal")];
    run(&mut place.aether("record", &record)).with(1).says(&["another ring", "another file"]);
    assert_eq!(place.waiting(), 20);
    // The same file, but with the content of another one.
    let copy = fs::read(&place.ring).unwrap();
    let other = ["-o", &place.named("other"), "--until-idle", "0s"];
    run(&mut place.aether("record", &other)).with(0);
    File::options().write(true).open(&place.ring).unwrap();
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    producer.offer(21, 0, &[0; 100]).unwrap();
    run(&mut place.aether("record", &other)).with(0);
    drop(producer);
    fs::write(&place.ring, copy).unwrap();
    run(&mut place.aether("record", &other)).with(1).says(&["positions", "another file"]);
    assert_eq!(place.waiting(), 20);
    // Now a message ends where the journal does, and is not the one that it has.
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    producer.offer(21, 0, &[1; 100]).unwrap();
    producer.offer(22, 0, b"").unwrap();
    drop(producer);
    run(&mut place.aether("record", &other)).with(1).says(&["positions", "another file"]);
    assert_eq!(place.waiting(), 22);
}

#[test]
fn a_ring_that_goes_bad_ends_the_recorder_and_the_journal_has_what_came_before() {
    let place = Place::with_capacity(64 << 10);
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    for id in 1..=10 {
        producer.offer(id, 0, id.to_string().as_bytes()).unwrap();
    }
    // The length of the last record, which is of 24 bytes as all are.
    let file = File::options().write(true).open(&place.ring).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[3], 0x1_0000 + 9 * 24 + 8).unwrap();
    run(&mut place.aether("record", &["-o", &place.named("journal")])).with(3).says(&["corrupt"]);
    assert_numbers(&place.path("journal"), 9);
    let info = Observer::open(&place.ring).unwrap().info().unwrap();
    assert_eq!(info.read_cursor(), 0, "they come again, and are known then");
}

#[test]
fn a_second_recorder_is_refused() {
    let place = Place::with_capacity(4096);
    let journal = place.named("journal");
    let mut recorder = Run::start(&mut place.aether("record", &["-o", &journal]));
    eventually("the journal to be begun", || place.has_begun());
    run(&mut place.aether("record", &["-o", &place.named("other")])).with(1).says(&["consumer"]);
    run(&mut place.aether("record", &["-o", &journal, "--tail"])).with(1).says(&["another process has this file open"]);
    recorder.signal(Signal::INT);
    recorder.end().with(0);
}

#[test]
fn replay_starts_at_an_id_or_a_time_and_keeps_the_pace() {
    let place = Place::with_capacity(4096);
    let mut times = Vec::new();
    for id in 1..=3 {
        run(place.aether("send", &["--first-id", &id.to_string()]).stdin(input("x\n"))).with(0);
        assert_eq!(place.record(&[]), 1);
        let reader = Reader::open(place.path("journal")).unwrap();
        times.push(reader.segments()[0].times().unwrap().1);
    }
    let replay = |arguments: &[&str]| {
        let again = Place::with_capacity(4096);
        let mut command = aether(["replay", &place.named("journal"), again.name()]);
        run(command.args(arguments)).with(0);
        if again.waiting() > 0 { ids(&again.take()) } else { vec![] }
    };
    assert_eq!(replay(&["--from", "4"]), Vec::<i64>::new());
    assert_eq!(replay(&["--speed", "max"]), [1, 2, 3]);
    assert_eq!(replay(&["--speed", "max", "--from", "2"]), [2, 3]);
    let info = run(&mut aether(["journal", "info", &place.named("journal"), "--json"])).with(0).json();
    assert_eq!(replay(&["--speed", "max", "--from-time", info[0]["last_time"].as_str().unwrap()]), [3]);
    assert_eq!(replay(&["--speed", "max", "--from-time", "2001-01-01T00:00:00Z"]), [1, 2, 3]);

    let started = std::time::Instant::now();
    assert_eq!(replay(&["--speed", "0.5x"]), [1, 2, 3]);
    let recorded = std::time::Duration::from_nanos(times[2] - times[0]);
    assert!(started.elapsed() >= 2 * recorded, "{:?} for {recorded:?} at half the speed", started.elapsed());
}

#[test]
fn an_interrupted_replay_says_how_far_it_came() {
    let place = Place::with_capacity(64 << 10);
    place.send(numbers(1000));
    place.record(&[]);
    let again = Place::with_capacity(1024);
    let mut replay = Run::start(&mut aether(["replay", &place.named("journal"), again.name(), "--speed", "max"]));
    eventually("the ring to be full", || again.waiting() == 42);
    replay.signal(Signal::INT);
    replay.end().with(130).says(&["42 messages were sent", "the next one has id 43"]);
}

#[test]
fn an_export_has_every_message_in_columns() {
    let place = Place::with_capacity(64 << 10);
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    for id in 0..1000 {
        producer.offer(id - 500, id as i32, &vec![id as u8; id as usize % 9]).unwrap();
    }
    place.record(&[]);
    let (journal, parquet) = (place.named("journal"), place.named("out.parquet"));
    let exported =
        run(&mut aether(["journal", "export", &journal, "-o", &parquet, "--from", "-400", "--json"])).with(0);
    assert_eq!(exported.json(), [json!({ "exported": 900 })]);
    let reader = SerializedFileReader::new(File::open(&parquet).unwrap()).unwrap();
    let names: Vec<_> = reader.metadata().file_metadata().schema_descr().columns().iter().map(|c| c.name()).collect();
    assert_eq!(names, ["time", "id", "type", "lane", "position", "payload"]);
    let mut rows = 0;
    for (row, id) in reader.get_row_iter(None).unwrap().zip(100_i64..) {
        let row = row.unwrap();
        assert_eq!((row.get_long(1).unwrap(), row.get_int(2).unwrap()), (id - 500, id as i32));
        assert_eq!(row.get_bytes(5).unwrap().data(), vec![id as u8; id as usize % 9]);
        rows += 1;
    }
    assert_eq!(rows, 900);
}

#[test]
fn damage_is_3_and_can_be_left_out() {
    let place = Place::with_capacity(64 << 10);
    for first in [1, 101, 201] {
        run(place.aether("send", &["--first-id", &first.to_string()]).stdin(input("x\n".repeat(100)))).with(0);
        place.record(&["--compress", "none"]);
    }
    let journal = place.named("journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[200] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let verified = run(&mut aether(["journal", "verify", &journal])).with(3);
    verified.says(&["corrupt at byte 64", "checksum"]);
    let again = Place::with_capacity(64 << 10);
    let replay = ["replay", &journal, again.name(), "--speed", "max"];
    run(&mut aether(replay)).with(3).says(&["corrupt at byte 64"]);
    assert_eq!(again.waiting(), 0);
    run(aether(replay).arg("--skip-damaged")).with(0).says(&["left out", "byte 64"]);
    assert!(ids(&again.take()).into_iter().eq(101..=300));
    run(&mut aether(["journal", "verify", place.name()])).with(3).says(&["not a journal"]);
    run(&mut aether(["journal", "verify", &place.named("nothing")])).with(1).says(&["no such journal"]);
}

#[test]
fn a_message_that_the_new_ring_can_not_take_is_an_error_that_loses_none_before() {
    let place = Place::with_capacity(4096);
    let mut producer = Buffer::open(&place.ring).unwrap().producer().unwrap();
    producer.offer(1, 0, b"small").unwrap();
    producer.offer(2, 0, &[0; 2000]).unwrap();
    place.record(&[]);
    let small = Place::with_capacity(1024);
    run(&mut aether(["replay", &place.named("journal"), small.name(), "--speed", "max"])).with(1).says(&["2000"]);
    assert_eq!(ids(&small.take()), [1]);
    assert!(matches!(producer.offer(3, 0, &[0; 5000]), Err(Error::TooLarge { .. })));
}

impl Place {
    /// Reads the journal, as the command does.
    fn read(&self, arguments: &[&str]) -> Run {
        Run::start(aether(["journal", "read", &self.named("journal")]).args(arguments))
    }

    /// A journal of messages with the ids 1 to `count`, in several files.
    fn recorded(count: u64) -> Place {
        let place = Place::with_capacity(64 << 10);
        for first in (1..=count).step_by(100) {
            let last = (first + 99).min(count);
            let lines: String = (first..=last).map(|number| format!("{number}\n")).collect();
            run(place.aether("send", &["--first-id", &first.to_string()]).stdin(input(lines))).with(0);
            place.record(&["--block", "1KiB", "--roll-size", "2KiB", "--compress", "none"]);
        }
        place
    }
}

/// The last part of what it prints, as lines of numbers.
fn read_numbers(ended: &crate::common::Ended) -> Vec<u64> {
    ended.text().lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn reading_starts_and_ends_where_it_is_told_to() {
    let place = Place::recorded(300);
    let numbers = |arguments: &[&str], code| {
        read_numbers(&place.read(&[arguments, &["--frame", "lines"]].concat()).end().with(code))
    };
    assert_eq!(numbers(&[], 0), (1..=300).collect::<Vec<_>>());
    assert_eq!(numbers(&["--last", "3"], 0), [298, 299, 300]);
    assert_eq!(numbers(&["--last", "1000"], 0).len(), 300);
    assert_eq!(numbers(&["--last", "0"], 0), Vec::<u64>::new());
    assert_eq!(numbers(&["--from", "250", "--count", "2"], 0), [250, 251]);
    assert_eq!(numbers(&["--from-index", "250", "--count", "2"], 0), [251, 252]);
    assert_eq!(numbers(&["--from", "299", "--count", "5"], 4), [299, 300]);
    assert_eq!(numbers(&["--from", "301"], 0), Vec::<u64>::new());
    let json = place.read(&["--from-index", "9", "--count", "1"]).end().with(0).json().remove(0);
    assert_eq!((&json["index"], &json["id"], &json["payload"]), (&json!(9), &json!(10), &json!("10")));
    // Those that were taken together have the same time.
    let times = place.read(&[]).end().with(0).json();
    let time = json["time"].as_str().unwrap();
    let same: Vec<u64> = (1..).zip(&times).filter(|(_, message)| message["time"] == time).map(|(n, _)| n).collect();
    assert_eq!(numbers(&["--from-time", time, "--count", "1"], 0), same[..1]);
    assert_eq!(numbers(&["--to-time", time], 0), (1..=*same.last().unwrap()).collect::<Vec<_>>());
    assert_eq!(numbers(&["--to-time", "2001-01-01T00:00:00Z"], 0), Vec::<u64>::new());
    run(&mut aether(["journal", "read", &place.named("journal"), "--last", "1", "--from", "1"])).with(2);
}

#[test]
fn a_reader_follows_a_journal_while_it_is_recorded_and_rolled() {
    let place = Place::recorded(10);
    let (output, path) = place.file("output");
    let mut command =
        aether(["journal", "read", &place.named("journal"), "--last", "0", "--follow", "--frame", "lines"]);
    let mut follower = Run::start(command.stdout(output));
    let mut recorder =
        place.aether("record", &["-o", &place.named("journal"), "--linger", "1ms", "--roll-size", "2KiB"]);
    let mut recorder = Run::start(&mut recorder);
    // It began at the end as it was then; so the first ones tell that it is there.
    let read = || fs::read_to_string(&path).unwrap();
    eventually("the first line", || {
        place.send("first\n");
        !read().is_empty()
    });
    let text = "x".repeat(100);
    for number in 0..200 {
        run(place.aether("send", &[]).stdin(input(format!("{number} {text}\n")))).with(0);
    }
    eventually("all of it", || read().ends_with(&format!("199 {text}\n")));
    recorder.signal(Signal::INT);
    recorder.end().with(0);
    follower.signal(Signal::INT);
    follower.end().with(130).says(&["messages were read"]);
    let expected: String = (0..200).map(|number| format!("{number} {text}\n")).collect();
    assert_eq!(read().trim_start_matches("first\n"), expected);
    assert!(place.verify()["segments"].as_u64().unwrap() > 3);
}

#[test]
fn a_named_cursor_goes_on_behind_what_was_written_out() {
    let place = Place::recorded(300);
    let read = |arguments: &[&str]| place.read(&[&["--cursor", "audit", "--frame", "lines"], arguments].concat());
    assert_eq!(read_numbers(&read(&["--from", "50", "--count", "2"]).end().with(0)), [50, 51]);
    assert_eq!(read_numbers(&read(&["--count", "2"]).end().with(0)), [52, 53]);
    // A reader that goes away has not read.
    let name = place.named("journal");
    let mut command = aether(["journal", "read", &name, "--cursor", "audit", "--frame", "lines"]);
    let mut deaf = Run::with_unread_output(&mut command);
    drop(deaf.output());
    deaf.end().with(0);
    let follower = read(&["--follow", "--until-idle", "0s"]).end().with(0);
    let numbers = read_numbers(&follower);
    assert!(numbers[0] <= 54 && numbers.iter().copied().eq(numbers[0]..=300), "{numbers:?}");
    assert_eq!(read(&["--follow", "--until-idle", "0s"]).end().with(4).text(), "");
    // Others have cursors of their own.
    assert_eq!(read_numbers(&place.read(&["--cursor", "other", "--frame", "lines"]).end().with(0)).len(), 300);
    run(&mut aether(["journal", "read", &place.named("journal"), "--cursor", "../x"])).with(1).says(&["cursor's name"]);
    let held = place.read(&["--cursor", "held", "--follow", "--frame", "lines"]);
    // It has moved it, so it has it.
    eventually("the cursor to be held", || {
        fs::metadata(place.path("journal.cursor-held")).is_ok_and(|file| file.len() > 0)
    });
    place.read(&["--cursor", "held"]).end().with(1).says(&["another process has this file open"]);
    drop(held);
    assert_eq!(place.read(&["--cursor", "held", "--frame", "lines"]).end().with(0).text(), "");
    fs::remove_file(place.path("journal")).unwrap();
    fs::write(place.path("journal.cursor-audit"), "00000000000000000007\n").unwrap();
    read(&["--count", "1"]).end().with(0).says(&["were removed from the journal before this cursor came to them"]);
}

#[test]
fn a_reader_with_a_cursor_that_is_killed_many_times_misses_nothing() {
    let place = Place::with_capacity(4 << 20);
    let text = "x".repeat(50);
    let count = 20_000;
    let lines: String = (1..=count).map(|number| format!("{number} {text}\n")).collect();
    place.send(&lines);
    place.record(&["--block", "64KiB", "--roll-size", "256KiB", "--compress", "none"]);
    let reader = |name: &str| {
        let (output, path) = place.file(name);
        let mut command = aether(["journal", "read", &place.named("journal"), "--cursor", "audit", "--frame", "lines"]);
        command.stdout(output);
        (Run::start(&mut command), path)
    };
    let mut end = 0;
    let mut check = |path: &Path| {
        let output = fs::read_to_string(path).unwrap();
        // What is left of a line comes again.
        let whole = output.rfind('\n').map_or("", |at| &output[..=at]);
        for (line, expected) in
            whole.lines().zip(whole.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)..)
        {
            let found: u64 = line.split(' ').next().unwrap().parse().unwrap();
            assert!(found == expected && found <= end + 1 && line.ends_with(&text), "{line:?} after {end}");
            end = end.max(found);
        }
        end
    };
    for round in 0..20 {
        let (mut run, path) = reader(&format!("read-{round}"));
        // At another point of its work each time.
        eventually("something to be read", || size(&path) > round * 40_000 || run.has_ended());
        drop(run);
        check(&path);
    }
    let (run, path) = reader("last");
    run.end().with(0);
    assert_eq!(check(&path), count);
}

#[test]
fn old_files_are_removed_while_recording_and_by_hand() {
    let place = Place::with_capacity(64 << 10);
    let record = |arguments: &[&str]| {
        place.send(numbers(500));
        place.record(&[&["--block", "1KiB", "--compress", "none"], arguments].concat());
        place.verify()["segments"].as_u64().unwrap()
    };
    run(&mut place.aether("record", &["-o", &place.named("journal"), "--keep-size", "8KiB"]))
        .with(2)
        .says(&["--roll-size"]);
    assert!(!place.path("journal").exists());
    let all = record(&["--roll-size", "2KiB"]);
    assert!(all > 8, "{all}");
    let few = record(&["--roll-size", "2KiB", "--keep-size", "8KiB"]);
    assert!((2..=4).contains(&few), "{few}");
    let last = read_numbers(&place.read(&["--last", "10", "--frame", "lines"]).end().with(0));
    assert_eq!(last, (491..=500).collect::<Vec<_>>());
    let index = place.read(&["--count", "1"]).end().with(0).json()[0]["index"].as_u64().unwrap();
    assert_eq!(place.verify()["messages"], 1000 - index);

    let journal = place.named("journal");
    run(&mut aether(["journal", "prune", &journal])).with(2).says(&["--keep-size"]);
    run(&mut aether(["journal", "prune", &place.named("none"), "--keep-for", "1h"])).with(1).says(&["no such journal"]);
    let prune = ["journal", "prune", &journal, "--keep-for", "0s", "--json"];
    let dry = run(aether(prune).arg("--dry-run")).with(0).json().remove(0);
    assert_eq!(dry["removed"].as_array().unwrap().len() as u64, few - 1);
    assert_eq!(place.verify()["segments"], few);
    run(&mut aether(prune)).with(0);
    assert_eq!(place.verify()["segments"], 1);
}

#[test]
fn a_replay_follows_what_is_recorded() {
    let place = Place::recorded(10);
    let again = Place::with_capacity(64 << 10);
    let mut command =
        aether(["replay", &place.named("journal"), again.name(), "--speed", "max", "--last", "5", "--follow"]);
    let mut replay = Run::start(&mut command);
    eventually("the last ones", || again.waiting() == 5);
    run(place.aether("send", &["--first-id", "11"]).stdin(input("11\n"))).with(0);
    place.record(&[]);
    eventually("the one that came", || again.waiting() == 6);
    assert_eq!(ids(&again.take()), [6, 7, 8, 9, 10, 11]);
    replay.signal(Signal::INT);
    replay.end().with(130).says(&["6 messages were sent"]);
}
