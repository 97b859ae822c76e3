//! Either side, and the link, die again and again; every message comes once. `cargo xtask torture --bridge` asks for many
//! more deaths than the suite has time for.

use std::{env, time::Duration};

use aether_ipc::Buffer;
use rustix::process::Signal;

use super::{Rings, Worker, consume, endpoint, link::Link, produce};
use crate::common::{Run, eventually};

/// `cargo xtask torture --bridge` asks for more.
fn kills() -> u64 {
    env::var("AETHER_BRIDGE_KILLS").map_or(16, |text| text.parse().expect("a number in AETHER_BRIDGE_KILLS"))
}

/// The same numbers each time; the moments that they lead to are not.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Torture {
    rings: Rings,
    listen: String,
    link: Link,
    outgoing: Option<Run>,
    incoming: Option<Run>,
    producers: Vec<Worker>,
    consumer: Worker,
    /// How often each of the kinds came.
    deaths: [u64; KINDS.len()],
}

const KINDS: [&str; 6] = [
    "bridge out killed",
    "bridge in killed",
    "link cut",
    "both killed",
    "bridge in killed and link cut, with frames held on the way",
    "link cut while bridge out was stopped",
];

impl Torture {
    fn new(rings: Rings, lanes: usize) -> Torture {
        let listen = endpoint();
        let link = Link::to(&listen, Duration::ZERO);
        let source = Buffer::open(&rings.source.ring).unwrap();
        let sink = Buffer::open(&rings.sink.ring).unwrap();
        let producers = (0..lanes).map(|_| produce(&source)).collect();
        let consumer = consume(&sink, lanes);
        let mut torture = Torture {
            rings,
            listen,
            link,
            outgoing: None,
            incoming: None,
            producers,
            consumer,
            deaths: Default::default(),
        };
        torture.revive();
        torture
    }

    fn revive(&mut self) {
        let Torture { rings, listen, link, .. } = self;
        self.outgoing.get_or_insert_with(|| rings.start_out(&["--listen", listen]));
        self.incoming.get_or_insert_with(|| rings.start_in(&["--connect", link.endpoint()]));
    }

    /// So many more messages have come through.
    fn await_messages(&self, count: u64) {
        let before = self.consumer.count();
        eventually("messages to come through", || self.consumer.count() >= before + count);
    }

    fn run(&mut self, kills: u64) {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
        self.await_messages(1);
        for kill in 0..kills {
            // Each of the kinds comes at once after the one before, at some time later, and when all is in flow.
            self.await_messages([0, dice.below(100), dice.below(20_000)][dice.below(3) as usize]);
            self.deaths[(kill % 6) as usize] += 1;
            match kill % 6 {
                0 => drop(self.outgoing.take().map(|run| run.kill().killed())),
                1 => drop(self.incoming.take().map(|run| run.kill().killed())),
                2 => self.link.cut(),
                3 => {
                    drop(self.outgoing.take().map(|run| run.kill().killed()));
                    drop(self.incoming.take().map(|run| run.kill().killed()));
                }
                4 => {
                    // What is under way is held, and comes late or never.
                    self.link.hold(true);
                    drop(self.incoming.take().map(|run| run.kill().killed()));
                    self.revive();
                    self.link.cut();
                    self.link.hold(false);
                }
                _ => {
                    let outgoing = self.outgoing.as_mut().unwrap();
                    outgoing.signal(Signal::STOP);
                    self.link.cut();
                    outgoing.signal(Signal::CONT);
                }
            }
            self.revive();
            if kill % 6 > 2 || dice.below(2) == 0 {
                self.await_messages(1);
            }
        }
        self.await_messages(1);
    }

    /// Everything that was sent has come, and nothing else.
    fn finish(mut self) {
        let sent: u64 = self.producers.drain(..).map(Worker::end).sum();
        eventually("the last message", || self.consumer.count() >= sent && self.rings.source.waiting() == 0);
        let outgoing = self.outgoing.take().unwrap();
        let incoming = self.incoming.take().unwrap();
        for mut run in [outgoing, incoming] {
            run.signal(Signal::INT);
            run.end().with(130).says(&["messages were carried"]);
        }
        assert_eq!(self.rings.sink.waiting(), 0);
        assert_eq!(self.consumer.end(), sent);
        println!();
        for (kind, count) in KINDS.iter().zip(self.deaths) {
            println!("{kind:60} {count:>12}");
        }
        println!("{:60} {sent:>12}", "messages sent, and each received once, whole and in order");
    }
}

#[test]
fn nothing_is_lost_repeated_or_reordered_whatever_is_killed() {
    let mut torture = Torture::new(Rings::plain(), 1);
    torture.run(kills());
    torture.finish();
}

#[test]
fn lanes_and_checksums_and_rings_of_different_sizes_survive_the_same() {
    let options = |capacity| Buffer::options().capacity(capacity).producers(2).checksums(true);
    let mut torture = Torture::new(Rings::new(&options(1 << 20), &options(4 << 10)), 2);
    torture.run(kills());
    torture.finish();
}
