//! What is refused, and with which words.

use std::fs::{self, File};

use aether_ipc::Buffer;
use rustix::process::Signal;

use super::{Rings, endpoint};
use crate::common::{Run, aether, eventually, run};

/// Runs both sides until so many messages wait at the other end and none here.
fn carry(rings: &Rings, waiting: u64) {
    let listen = endpoint();
    let runs = [rings.start_out(&["--listen", &listen]), rings.start_in(&["--connect", &listen])];
    eventually("the messages", || rings.sink.waiting() == waiting && rings.source.waiting() == 0);
    for mut run in runs {
        run.signal(Signal::INT);
        run.end().with(130);
    }
}

/// Both sides end by themselves, and say why.
#[track_caller]
fn refused(rings: &Rings, words: &[&str]) {
    let listen = endpoint();
    let incoming = rings.start_in(&["--listen", &listen]);
    let outgoing = rings.start_out(&["--connect", &listen]);
    outgoing.end().with(1).says(&["refused by the other side"]).says(words);
    incoming.end().with(1).says(words).says(&[rings.sink.name()]);
}

/// Who sends ends, and says why; the other side says so too, and waits for whom it is meant for.
#[track_caller]
fn turned_away(rings: &Rings, words: &[&str]) {
    let listen = endpoint();
    let mut incoming = rings.start_in(&["--listen", &listen]);
    rings.start_out(&["--connect", &listen]).end().with(1).says(&["refused by the other side"]).says(words);
    incoming.signal(Signal::INT);
    incoming.end().with(130).says(&["turned away", rings.sink.name()]).says(words);
}

fn make_anew(rings: &Rings) {
    fs::remove_file(&rings.source.ring).unwrap();
    Buffer::create(&rings.source.ring, 64 << 10).unwrap();
}

#[test]
fn a_source_that_was_made_anew_is_refused_until_the_copy_is_bound_to_it() {
    let rings = Rings::plain();
    rings.source.send("1\n2\n");
    carry(&rings, 2);
    make_anew(&rings);
    rings.source.send("3\n4\n5\n");
    turned_away(&rings, &["lane 0 is a copy of another ring", "--rebind"]);
    assert_eq!((rings.source.waiting(), rings.sink.waiting()), (3, 2));
    let listen = endpoint();
    let rebound = rings.start_in(&["--listen", &listen, "--rebind"]);
    let outgoing = rings.start_out(&["--connect", &listen]);
    eventually("the new ones", || rings.sink.waiting() == 5 && rings.source.waiting() == 0);
    drop((rebound, outgoing));
    // From now on it is bound to the new one.
    rings.source.send("6\n");
    carry(&rings, 6);
    let payloads: Vec<_> = rings.sink.take().iter().map(|message| message["payload"].clone()).collect();
    assert_eq!(payloads, ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn a_ring_that_is_replaced_under_the_bridge_ends_it() {
    let rings = Rings::plain();
    let outgoing = rings.start_out(&["--listen", &endpoint()]);
    eventually("the consumer's role", || rings.source.info()["consumer_pid"].is_u64());
    make_anew(&rings);
    outgoing.end().with(1).says(&[rings.source.name(), "removed or replaced"]);
    let rings = Rings::plain();
    let listen = endpoint();
    let incoming = rings.start_in(&["--listen", &listen]);
    rings.source.send("1\n");
    let _outgoing = rings.start_out(&["--connect", &listen]);
    eventually("a message", || rings.sink.waiting() == 1);
    fs::remove_file(&rings.sink.ring).unwrap();
    incoming.end().with(1).says(&[rings.sink.name(), "removed or replaced"]);
}

#[test]
fn a_copy_that_another_producer_wrote_into_is_none_any_more() {
    let rings = Rings::plain();
    rings.source.send("1\n");
    carry(&rings, 1);
    rings.sink.send("local\n");
    rings.source.send("2\n");
    refused(&rings, &["was a copy, until another producer had it", "--rebind"]);
}

#[test]
fn a_file_brought_back_from_a_copy_is_noticed_on_either_side() {
    let rings = Rings::plain();
    rings.source.send("1\n");
    carry(&rings, 1);
    let (source, sink) = (fs::read(&rings.source.ring).unwrap(), fs::read(&rings.sink.ring).unwrap());
    rings.source.send("2\n3\n");
    carry(&rings, 3);
    // Into the same file: removing and making it would be another one.
    let bring_back = |path, bytes: &[u8]| {
        use std::io::Write;
        File::options().write(true).open(path).unwrap().write_all(bytes).unwrap();
    };
    let newest = fs::read(&rings.sink.ring).unwrap();
    bring_back(&rings.sink.ring, &sink);
    refused(&rings, &["messages are lost", "--rebind"]);
    // Whoever knows of it goes on without them.
    rings.source.send("4\n");
    {
        let listen = endpoint();
        let _incoming = rings.start_in(&["--listen", &listen, "--rebind"]);
        let _outgoing = rings.start_out(&["--connect", &listen]);
        eventually("the next one", || rings.sink.waiting() == 2 && rings.source.waiting() == 0);
    }
    bring_back(&rings.sink.ring, &newest);
    bring_back(&rings.source.ring, &source);
    let listen = endpoint();
    let _incoming = rings.start_in(&["--listen", &listen]);
    rings.start_out(&["--connect", &listen]).end().with(1).says(&["brought back from a copy", rings.source.name()]);
}

#[test]
fn rings_that_can_not_hold_the_same_records_are_refused() {
    let plain = Buffer::options().capacity(4096);
    for (source, sink, words) in [
        (plain.clone().checksums(true), plain.clone(), ["no checksums", "same shape"]),
        (plain.clone().producers(3), plain.clone().producers(2), ["2 lanes", "3 lanes"]),
    ] {
        let rings = Rings::new(&source, &sink);
        rings.source.send("1\n");
        turned_away(&rings, &words);
    }
    for (sink, words) in [
        (plain.clone().classic(true), ["classic", "extended"]),
        (plain.clone().sequence(true), ["shared sequence", "ids that stay"]),
    ] {
        let rings = Rings::new(&plain, &sink);
        run(&mut rings.incoming(&["--listen", &endpoint()])).with(1).says(&words);
    }
    let rings = Rings::new(&plain.clone().capacity(8192), &plain);
    let mut producer = Buffer::open(&rings.source.ring).unwrap().producer().unwrap();
    producer.offer(1, 0, &[1; 5000]).unwrap();
    drop(producer);
    let listen = endpoint();
    let incoming = rings.start_in(&["--listen", &listen]);
    let outgoing = rings.start_out(&["--connect", &listen]);
    outgoing.end().with(1).says(&["refused", "5000 bytes is larger than this ring"]);
    incoming.end().with(1).says(&["5000 bytes is larger than this ring"]);
}

#[test]
fn both_sides_agree_on_whether_anything_may_be_lost() {
    let rings = Rings::plain();
    rings.source.send("1\n");
    let listen = endpoint();
    let incoming = rings.start_in(&["--listen", &listen, "--best-effort"]);
    let outgoing = rings.start_out(&["--connect", &listen]);
    outgoing.end().with(1).says(&["refused", "start both alike"]);
    incoming.kill().says(&["turned away", "with --best-effort", "without --best-effort"]);
    assert_eq!((rings.source.waiting(), rings.sink.waiting()), (1, 0));
    // The other way round, who sends does not listen; who listens says so.
    let listen = endpoint();
    let (file, errors) = rings.sink.file("errors");
    let _incoming = Run::start(rings.incoming(&["--listen", &listen]).stderr(file));
    let _outgoing = rings.start_out(&["--connect", &listen, "--best-effort"]);
    let mut producer = Buffer::open(&rings.source.ring).unwrap().producer().unwrap();
    eventually("it to be told", || {
        let _ = producer.offer(1, 0, b"x");
        fs::read_to_string(&errors).unwrap().contains("start both alike")
    });
    assert_eq!(rings.sink.waiting(), 0);
}

/// Sends a message and waits for it to arrive, `count` times.
fn go_on(rings: &Rings, count: u64) {
    for _ in 0..count {
        let waiting = rings.sink.waiting();
        rings.source.send("x\n");
        eventually("the message", || rings.sink.waiting() == waiting + 1);
    }
}

#[test]
fn a_second_ring_that_sends_under_the_same_key_is_refused() {
    let (rings, other) = (Rings::plain(), Rings::plain());
    let listen = endpoint();
    let incoming = rings.start_in(&["--listen", &listen]);
    let _outgoing = rings.start_out(&["--connect", &listen]);
    go_on(&rings, 1);
    other.source.send("not wanted\n");
    let second = other.start_out(&["--connect", &listen]);
    second.end().with(1).says(&["refused", "is a copy of another ring"]);
    go_on(&rings, 1);
    incoming.kill().says(&["turned away", "is a copy of another ring"]);
    assert!(rings.sink.take().iter().all(|message| message["payload"] == "x"));
}

#[test]
fn a_second_ring_that_listens_under_the_same_key_is_left_out() {
    let (rings, other) = (Rings::plain(), Rings::plain());
    let listen = endpoint();
    let _outgoing = rings.start_out(&["--listen", &listen]);
    let _incoming = rings.start_in(&["--connect", &listen]);
    go_on(&rings, 1);
    let (file, path) = rings.source.file("errors");
    let _second = Run::start(other.incoming(&["--connect", &listen]).stderr(file));
    eventually("it to be told", || {
        go_on(&rings, 1);
        fs::read_to_string(&path).unwrap().contains("another ring takes part")
    });
    go_on(&rings, 1);
    assert_eq!(other.sink.waiting(), 0);
}

#[test]
fn a_new_copy_in_the_place_of_a_lost_one_gets_the_rest_and_both_sides_say_so() {
    let rings = Rings::plain();
    let listen = endpoint();
    let outgoing = rings.start_out(&["--listen", &listen]);
    let incoming = rings.start_in(&["--connect", &listen]);
    go_on(&rings, 2);
    eventually("them to be released", || rings.source.waiting() == 0);
    incoming.kill().killed();
    let old = rings.sink.path("old");
    fs::rename(&rings.sink.ring, &old).unwrap();
    rings.source.send("3\n4\n");
    let (file, errors) = rings.source.file("errors");
    let renewed = Run::start(rings.incoming(&["--connect", &listen, "--create", "64KiB"]).stderr(file));
    // The old one may come back for some seconds; then it is given up.
    eventually("the rest", || rings.source.waiting() == 0);
    assert_eq!(rings.sink.waiting(), 2);
    assert!(fs::read_to_string(&errors).unwrap().contains("becomes a copy from position"));
    renewed.kill().killed();
    // The old one lacks now what the new one has.
    fs::rename(&old, &rings.sink.ring).unwrap();
    rings.source.send("5\n");
    let returned = rings.start_in(&["--connect", &listen]);
    returned.end().with(1).says(&["messages are lost", "--rebind"]);
    outgoing.end().with(1).says(&["another ring answers from now on", "refused by the other side"]);
}

#[test]
fn a_disk_without_space_for_the_copy_is_told_and_the_messages_stay() {
    let rings = Rings::plain();
    rings.source.send("1\n");
    let small = rings.sink.path("small");
    fs::create_dir(&small).unwrap();
    let listen = endpoint();
    let command = rings.incoming(&["--listen", &listen, "--create", "64MiB"]);
    let mut inside = std::process::Command::new("unshare");
    inside.args(["--map-root-user", "--mount", "sh", "-c"]);
    inside.arg("mount -t tmpfs -o size=256k tmpfs \"$0\" && exec \"$@\"").arg(&small);
    inside.arg(command.get_program()).args(command.get_args().map(|argument| {
        if argument == rings.sink.ring.as_os_str() { small.join("copy").into_os_string() } else { argument.to_owned() }
    }));
    inside.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    if !std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("not shown here: this process may not mount");
        return;
    }
    let incoming = Run::start(&mut inside);
    let outgoing = rings.start_out(&["--connect", &listen]);
    outgoing.end().with(1).says(&["refused by the other side", "No space left"]);
    incoming.end().with(1).says(&["No space left", "copy"]);
    assert_eq!(rings.source.waiting(), 1);
}

#[test]
fn wrong_usage_and_refused_configurations_are_told() {
    let rings = Rings::plain();
    let (place, listen) = (&rings.source, endpoint());
    let out = |arguments: &[&str]| run(aether(["bridge", "out", place.name()]).args(arguments));
    out(&[]).with(2).says(&["--key"]);
    out(&["--key", "a", "--key", "b"]).with(2).says(&["1 paths and 2 keys"]);
    run(&mut rings.incoming(&["--create", "1000", "--listen", &listen])).with(2).says(&["power of two", "1000"]);
    out(&["--key", "a//b", "--listen", &listen]).with(2).says(&["a//b"]);
    out(&["--key", "a", "--window", "1KiB"]).with(2).says(&["4096"]);
    out(&["--key", "a", "--listen", "nonsense"]).with(1).says(&["listen/endpoints", "nonsense"]);
    let config = place.path("zenoh.json5");
    let with_config = |text: &str| {
        fs::write(&config, text).unwrap();
        out(&["--key", "a", "--config", config.to_str().unwrap()]).with(1).says(&["zenoh.json5"])
    };
    with_config("{ listen: ").says(&["configuration of Zenoh"]);
    with_config("{ no_such_setting: 1 }").says(&["no_such_setting"]);
    out(&["--key", "a", "--config", place.path("none.json5").to_str().unwrap()]).with(1).says(&["none.json5"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp/{}", taken.local_addr().unwrap());
    out(&["--key", "a", "--listen", &endpoint]).with(1).says(&[&endpoint]);
    run(&mut aether(["bridge", "out", "/no/such/ring", "--key", "a", "--listen", &listen]))
        .with(1)
        .says(&["no such file"]);
    let _held = Buffer::open(&place.ring).unwrap().consumer().unwrap();
    let taken = Run::start(&mut rings.out(&["--listen", &listen]));
    taken.end().with(1).says(&[place.name(), "consumer"]);
}
