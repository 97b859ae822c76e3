//! A key with wildcards, and a directory of rings.

use std::fs;

use aether_ipc::Buffer;

use super::endpoint;
use crate::common::{Place, Run, aether, eventually, run};

#[test]
fn what_comes_under_a_wildcard_goes_into_rings_named_after_their_keys() {
    let (quotes, orders, place) = (Place::with_capacity(4096), Place::new(), Place::new());
    Buffer::options().capacity(4096).producers(2).checksums(true).create(&orders.ring).unwrap();
    quotes.send("1\n2\n");
    orders.send("3\n");
    let directory = place.path("rings");
    fs::create_dir(&directory).unwrap();
    let listen = endpoint();
    let keys = ["--key", "trading/quotes", "--key", "trading/eu/orders", "--listen", &listen];
    let _outgoing = Run::start(aether(["bridge", "out", quotes.name(), orders.name()]).args(keys));
    let arguments = ["--key", "trading/**", "--create", "64KiB", "--connect", &listen];
    let mut incoming = aether(["bridge", "in", directory.to_str().unwrap()]);
    let killed = Run::start(incoming.args(arguments));
    let waiting =
        |name: &str| aether_ipc::Observer::open(directory.join(name)).map_or(0, |ring| ring.count_messages().unwrap());
    eventually("all messages", || waiting("trading/quotes") == 2 && waiting("trading/eu/orders") == 1);
    let info = Buffer::open(directory.join("trading/eu/orders")).unwrap().observer().info().unwrap();
    assert_eq!((info.capacity, info.lanes.len(), info.checksums), (64 << 10, 2, true));
    killed.kill().killed();
    quotes.send("3\n");
    let _incoming = Run::start(&mut incoming);
    eventually("one more", || waiting("trading/quotes") == 3);
}

#[test]
fn a_ring_that_can_not_be_made_is_told_of_and_the_others_go_on() {
    let (good, bad, place) = (Place::with_capacity(4096), Place::with_capacity(4096), Place::new());
    good.send("1\n");
    bad.send("1\n");
    let directory = place.path("rings");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("bad"), "no ring").unwrap();
    let listen = endpoint();
    let arguments = ["--key", "*", "--create", "4KiB", "--connect", &listen];
    let incoming = Run::start(aether(["bridge", "in", directory.to_str().unwrap()]).args(arguments));
    let refused = Run::start(&mut aether(["bridge", "out", bad.name(), "--key", "bad", "--listen", &listen]));
    refused.end().with(1).says(&["bad", "refused by the other side", "not a ring"]);
    let _outgoing = Run::start(&mut aether(["bridge", "out", good.name(), "--key", "good", "--listen", &listen]));
    let waiting =
        || aether_ipc::Observer::open(directory.join("good")).map_or(0, |ring| ring.count_messages().unwrap());
    eventually("the message", || waiting() == 1);
    assert_eq!(fs::read(directory.join("bad")).unwrap(), b"no ring");
    incoming.kill().says(&["bad", "not a ring"]);
}

#[test]
fn a_wildcard_needs_a_directory_and_goes_in_only() {
    let place = Place::with_capacity(1024);
    let listen = endpoint();
    run(&mut aether(["bridge", "in", place.name(), "--key", "a/*", "--listen", &listen]))
        .with(1)
        .says(&["no directory"]);
    run(&mut aether(["bridge", "out", place.name(), "--key", "a/*", "--listen", &listen])).with(2).says(&["wildcards"]);
}
