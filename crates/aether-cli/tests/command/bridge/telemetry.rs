//! Best effort.

use aether_ipc::{Buffer, Error, Flow};
use rustix::process::Signal;

use super::{Rings, endpoint};
use crate::common::{WATCHDOG, eventually};

#[test]
fn a_producer_is_never_held_back_by_who_does_not_listen() {
    let rings = Rings::plain();
    let mut outgoing = rings.start_out(&["--listen", &endpoint(), "--best-effort"]);
    let mut producer = Buffer::open(&rings.source.ring).unwrap().producer().unwrap();
    for id in 0..10_000 {
        // More than thirty times what the ring holds.
        producer.put_within(WATCHDOG, id, 0, &[7; 200]).unwrap();
    }
    eventually("all to be taken", || rings.source.waiting() == 0);
    outgoing.signal(Signal::INT);
    outgoing.end().with(130);
}

#[test]
fn what_is_dropped_is_counted_and_the_rest_comes_in_order() {
    let rings = Rings::plain();
    let listen = endpoint();
    let mut incoming = rings.start_in(&["--listen", &listen, "--best-effort", "--json"]);
    let mut outgoing = rings.start_out(&["--connect", &listen, "--best-effort", "--json"]);
    let mut producer = Buffer::open(&rings.source.ring).unwrap().producer().unwrap();
    let mut consumer = Buffer::open(&rings.sink.ring).unwrap().consumer().unwrap();
    let mut sent = 0;
    let mut put = |count: i64| {
        for _ in 0..count {
            sent += 1;
            producer.put_within(WATCHDOG, sent, 0, &[7; 200]).unwrap();
        }
        sent
    };
    // What goes out before they are linked is nobody's.
    eventually("them to be linked", || {
        put(1);
        rings.sink.waiting() > 0
    });
    let mut last = 0;
    let mut received = 0;
    let mut drain = || {
        let taken = consumer.drain(10_000, |message| {
            assert!(message.id() > last && message.payload() == [7; 200]);
            last = message.id();
            Flow::Continue
        });
        received += taken.unwrap() as u64;
        (last, received)
    };
    // More than the ring holds, and nobody takes it.
    let total = put(10_000);
    eventually("the ring to be full", || rings.source.waiting() == 0 && rings.sink.waiting() > 250);
    let last_one = || {
        let total = put(1);
        drain().0 == total
    };
    let mut last_one = last_one;
    eventually("a message that was sent when there was space", &mut last_one);
    outgoing.signal(Signal::INT);
    let out = outgoing.end().with(130).json().pop().unwrap();
    incoming.signal(Signal::INT);
    let ended = incoming.end().with(130).says(&["messages were dropped by now"]);
    let came = ended.json().pop().unwrap();
    assert_eq!((&came["event"], &out["event"]), (&"end".into(), &"end".into()));
    assert!(ended.json().iter().any(|object| object["event"] == "dropped" && object["key"] == rings.key));
    let number = |object: &serde_json::Value, name: &str| object[name].as_u64().unwrap();
    let (_, received) = drain();
    assert_eq!(number(&came, "messages"), received);
    assert!(number(&came, "dropped") > 0);
    // Nothing is missing without being counted, but for what went out before anybody listened.
    let accounted = number(&came, "messages") + number(&came, "dropped");
    let before = number(&out, "messages") + number(&out, "dropped") - accounted;
    assert!(before < total as u64 - 10_000 + 1, "{before} messages are not accounted for");
}

#[test]
fn a_ring_that_drops_the_oldest_goes_out_with_best_effort_only() {
    let lossy = Buffer::options().capacity(4096).overflow(aether_ipc::Overflow::DropOldest);
    let rings = Rings::new(&lossy, &Buffer::options().capacity(4096));
    rings.source.send("1\n");
    rings.start_out(&["--listen", &endpoint()]).end().with(2).says(&["drops the oldest", "--best-effort"]);
    let listen = endpoint();
    let _incoming = rings.start_in(&["--listen", &listen, "--best-effort"]);
    let _outgoing = rings.start_out(&["--connect", &listen, "--best-effort"]);
    let mut producer = Buffer::open(&rings.source.ring).unwrap().producer().unwrap();
    eventually("a message", || {
        assert!(!matches!(producer.offer(1, 0, b"x"), Err(Error::Full)));
        rings.sink.waiting() > 0
    });
}
