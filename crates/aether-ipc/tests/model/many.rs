//! Many producers and many consumers: every consumer has a queue of its own for every lane.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};

use aether_ipc::{Buffer, Consumer, Error, Flow, Merge, Message, Producer};
use proptest::prelude::*;

use crate::{Record, Seen, check, content, padded};

#[derive(Debug, Clone)]
struct Shape {
    capacity: u64,
    producers: usize,
    consumers: usize,
    checksums: bool,
    sequence: bool,
    steps: Vec<Step>,
}

/// Numbers that choose among what is there are taken modulo its count.
#[derive(Debug, Clone)]
enum Step {
    ProducerComes,
    ProducerLeaves(usize),
    Offer {
        producer: usize,
        length: usize,
    },
    /// A part of the free space, in 256ths, so that rings become full.
    OfferPart {
        producer: usize,
        part: u8,
    },
    PushBatch {
        producer: usize,
        lengths: Vec<usize>,
        commit: bool,
    },
    Comes,
    ComesNamed(usize),
    Leaves(usize),
    Forget(usize),
    SetMerge(usize, bool),
    SetUntrusted(usize, bool),
    Drain {
        consumer: usize,
        limit: usize,
    },
    Poll(usize),
    ReadBatch {
        consumer: usize,
        limit: usize,
        take: usize,
    },
    Look,
    ReopenAll,
}

const NAMES: [&str; 3] = ["audit", "billing", "größer"];

fn step() -> impl Strategy<Value = Step> {
    let which = || any::<usize>();
    prop_oneof![
        4 => Just(Step::ProducerComes),
        1 => which().prop_map(Step::ProducerLeaves),
        12 => (which(), 0_usize..200).prop_map(|(producer, length)| Step::Offer { producer, length }),
        4 => (which(), any::<u8>()).prop_map(|(producer, part)| Step::OfferPart { producer, part }),
        3 => (which(), prop::collection::vec(0_usize..100, 0..6), any::<bool>())
            .prop_map(|(producer, lengths, commit)| Step::PushBatch { producer, lengths, commit }),
        3 => Just(Step::Comes),
        3 => (0..NAMES.len()).prop_map(Step::ComesNamed),
        2 => which().prop_map(Step::Leaves),
        1 => (0..NAMES.len()).prop_map(Step::Forget),
        2 => (which(), any::<bool>()).prop_map(|(which, by_id)| Step::SetMerge(which, by_id)),
        1 => (which(), any::<bool>()).prop_map(|(which, untrusted)| Step::SetUntrusted(which, untrusted)),
        8 => (which(), 0_usize..40).prop_map(|(consumer, limit)| Step::Drain { consumer, limit }),
        3 => which().prop_map(Step::Poll),
        4 => (which(), 0_usize..20, 0_usize..20)
            .prop_map(|(consumer, limit, take)| Step::ReadBatch { consumer, limit, take }),
        1 => Just(Step::Look),
        1 => Just(Step::ReopenAll),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let steps = prop::collection::vec(step(), 1..120);
    (10_u32..=13, 1_usize..=4, 1_usize..=4, any::<bool>(), any::<bool>(), steps)
        .prop_filter("one by one is tested elsewhere", |(_, producers, consumers, ..)| producers * consumers > 1)
        .prop_map(|(bits, producers, consumers, checksums, sequence, steps)| Shape {
            capacity: 1 << bits,
            producers,
            consumers,
            checksums,
            sequence,
            steps,
        })
}

/// What one consumer has yet to read, lane by lane.
type Waiting = Vec<VecDeque<Record>>;

fn nothing(waiting: &Waiting) -> bool {
    waiting.iter().all(VecDeque::is_empty)
}

struct Reader {
    consumer: Consumer,
    /// Its place, if that is kept while it is away. `None`: it has the messages since it came.
    name: Option<&'static str>,
    merge: Merge,
    waiting: Waiting,
    received: u64,
}

struct Bench<'s> {
    seen: &'s Seen,
    shape: Shape,
    path: PathBuf,
    buffer: Buffer,
    writes: Vec<u64>,
    /// By lane.
    producers: Vec<Option<Producer>>,
    readers: Vec<Reader>,
    /// The places of those that are away.
    away: BTreeMap<&'static str, Waiting>,
    /// The next number of the shared sequence.
    next: i64,
    seed: u64,
}

/// The name that stands for the only consumer's place.
const ONLY: &str = "the only one";

impl Bench<'_> {
    fn trailer(&self) -> usize {
        if self.shape.checksums { 4 } else { 0 }
    }

    fn free(&self, lane: usize) -> u64 {
        let waiting = self.readers.iter().map(|reader| &reader.waiting).chain(self.away.values());
        let oldest = waiting.filter_map(|lanes| lanes[lane].front()).map(|record| record.position).min();
        self.shape.capacity - oldest.map_or(0, |oldest| self.writes[lane] - oldest)
    }

    /// The lane of the producer that `number` chooses.
    fn lane(&self, number: usize) -> Option<usize> {
        let lanes: Vec<usize> = (0..self.producers.len()).filter(|&lane| self.producers[lane].is_some()).collect();
        lanes.get(number % lanes.len().max(1)).copied()
    }

    fn reader(&self, number: usize) -> Option<usize> {
        (!self.readers.is_empty()).then(|| number % self.readers.len())
    }

    fn make(&mut self, at: u64, length: usize) -> Record {
        self.seed += 1;
        Record {
            id: (self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).cast_signed(),
            message_type: self.seed as i32,
            payload: content(self.seed, length),
            position: at,
            end: at + padded(length, self.trailer()),
        }
    }

    fn commit(&mut self, lane: usize, mut record: Record) {
        if self.shape.sequence {
            record.id = self.next;
            self.next += 1;
        }
        self.seen.note_if(record.position / self.shape.capacity != (record.end - 1) / self.shape.capacity, "wrapped");
        self.writes[lane] = record.end;
        for waiting in self.readers.iter_mut().map(|reader| &mut reader.waiting).chain(self.away.values_mut()) {
            waiting[lane].push_back(record.clone());
        }
    }

    fn offer(&mut self, lane: usize, length: usize) {
        let record = self.make(self.writes[lane], length);
        let fits = record.end - record.position <= self.free(lane);
        let producer = self.producers[lane].as_mut().unwrap();
        match producer.offer(record.id, record.message_type, &record.payload) {
            Ok(()) => {
                assert!(fits, "a consumer's message was written over");
                self.commit(lane, record);
            }
            Err(Error::Full) => {
                assert!(!fits, "full, with {} bytes free for {length}", self.free(lane));
                self.seen.note("full");
                self.seen
                    .note_if(self.readers.iter().all(|reader| reader.waiting[lane].is_empty()), "held by one away");
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn empty(&self) -> Waiting {
        vec![VecDeque::new(); self.shape.producers]
    }

    fn come(&mut self, name: Option<&'static str>) {
        let broadcast = self.shape.consumers > 1;
        let taken = match name {
            Some(name) if self.readers.iter().any(|reader| reader.name == Some(name)) => true,
            Some(name) if self.away.contains_key(name) => false,
            _ => self.readers.len() + self.away.len() == self.shape.consumers,
        };
        let come = match name {
            Some(name) if broadcast => self.buffer.consumer_named(name),
            _ => self.buffer.consumer(),
        };
        match come {
            Ok(consumer) => {
                assert!(!taken, "a place for one more than there are");
                let kept = name.and_then(|name| self.away.remove(name));
                self.seen.note_if(broadcast && kept.as_ref().is_some_and(|lanes| !nothing(lanes)), "returned");
                let waiting = kept.unwrap_or_else(|| self.empty());
                self.readers.push(Reader { consumer, name, merge: Merge::Fair, waiting, received: 0 });
            }
            Err(Error::RoleTaken { .. }) => {
                assert!(taken, "no place though there are some");
                self.seen.note("no place");
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn leave(&mut self, index: usize) {
        let reader = self.readers.remove(index);
        if let Some(name) = reader.name {
            self.away.insert(name, reader.waiting);
        } else {
            self.seen.note_if(!nothing(&reader.waiting), "left with messages waiting");
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::ProducerComes => {
                let free = self.producers.iter().position(Option::is_none);
                match (self.buffer.producer(), free) {
                    (Ok(producer), Some(lane)) => {
                        assert_eq!(producer.lane() as usize, lane);
                        self.producers[lane] = Some(producer);
                    }
                    (Err(Error::RoleTaken { holders, .. }), None) => {
                        assert_eq!(holders, vec![std::process::id(); self.shape.producers]);
                    }
                    (result, free) => panic!("{result:?} where lane {free:?} is free"),
                }
            }
            Step::ProducerLeaves(number) => {
                if let Some(lane) = self.lane(number) {
                    self.producers[lane] = None;
                }
            }
            Step::Offer { producer, length } => {
                if let Some(lane) = self.lane(producer) {
                    self.offer(lane, length);
                }
            }
            Step::OfferPart { producer, part } => {
                if let Some(lane) = self.lane(producer) {
                    let around = 16 + self.trailer();
                    self.offer(lane, (self.free(lane) as usize * usize::from(part) / 256).saturating_sub(around));
                }
            }
            Step::PushBatch { producer, ref lengths, commit } => {
                let Some(lane) = self.lane(producer) else { return };
                let free = self.free(lane);
                let mut records: Vec<Record> = Vec::new();
                for &length in lengths {
                    let at = records.last().map_or(self.writes[lane], |record| record.end);
                    let record = self.make(at, length);
                    if record.end - self.writes[lane] <= free {
                        records.push(record);
                    }
                }
                let mut batch = self.producers[lane].as_mut().unwrap().batch();
                for record in &records {
                    batch.push(record.id, record.message_type, &record.payload).unwrap();
                }
                if commit {
                    assert_eq!(batch.commit(), records.len());
                    records.into_iter().for_each(|record| self.commit(lane, record));
                }
            }
            Step::Comes => {
                let only = self.shape.consumers == 1;
                self.come(only.then_some(ONLY));
            }
            Step::ComesNamed(name) => {
                if self.shape.consumers > 1 {
                    self.come(Some(NAMES[name]));
                }
            }
            Step::Leaves(number) => {
                if let Some(index) = self.reader(number) {
                    self.leave(index);
                }
            }
            Step::Forget(name) => {
                let name = NAMES[name];
                let there = self.readers.iter().any(|reader| reader.name == Some(name));
                match self.buffer.forget(name) {
                    Ok(()) => {
                        assert!(self.away.remove(name).is_some());
                        self.seen.note("forgotten");
                    }
                    Err(Error::RoleTaken { .. }) => assert!(there),
                    Err(Error::Name { .. }) => assert!(!there && !self.away.contains_key(name)),
                    Err(error) => panic!("{error:?}"),
                }
            }
            Step::SetMerge(number, by_id) => {
                if let Some(index) = self.reader(number) {
                    let reader = &mut self.readers[index];
                    reader.merge = if by_id { Merge::ById } else { Merge::Fair };
                    reader.consumer.set_merge(reader.merge);
                }
            }
            Step::SetUntrusted(number, untrusted) => {
                if let Some(index) = self.reader(number) {
                    self.readers[index].consumer.set_untrusted(untrusted);
                }
            }
            Step::Drain { consumer, limit } => self.read(consumer, |reader, expect| {
                let count = reader.drain(limit, |message| {
                    expect(&message);
                    Flow::Continue
                });
                (count.unwrap(), limit)
            }),
            Step::Poll(consumer) => self.read(consumer, |reader, expect| {
                let polled = reader.poll(|message| {
                    expect(&message);
                    Flow::Continue
                });
                (usize::from(polled.unwrap() == aether_ipc::Polled::Released), 1)
            }),
            Step::ReadBatch { consumer, limit, take } => self.read(consumer, |reader, expect| {
                let batch = reader.batch(limit).unwrap();
                let count = batch.iter().take(take).map(|message| expect(&message)).count();
                // A batch is of one lane, and of what is known to be there: it need not have them all.
                (count, count)
            }),
            Step::Look => self.look(),
            Step::ReopenAll => {
                self.producers.iter_mut().for_each(|producer| *producer = None);
                while !self.readers.is_empty() {
                    self.leave(0);
                }
                self.buffer = Buffer::open(&self.path).unwrap();
            }
        }
        self.assert_state();
    }

    /// Has a consumer read; `action` returns how many messages it got, and how many it would have taken.
    fn read(
        &mut self,
        number: usize,
        action: impl FnOnce(&mut Consumer, &mut dyn FnMut(&Message<'_>)) -> (usize, usize),
    ) {
        let Some(index) = self.reader(number) else { return };
        let may_send: Vec<bool> = self.producers.iter().map(Option::is_some).collect();
        let (lanes, sequence, seen) = (self.shape.producers, self.shape.sequence, self.seen);
        let reader = &mut self.readers[index];
        let (waiting, merge) = (&mut reader.waiting, reader.merge);
        let mut expect = |message: &Message<'_>| {
            if let (Merge::ById, true) = (merge, lanes > 1) {
                let next = next_by_id(waiting, &may_send, sequence).expect("a smaller id may still come");
                assert_eq!(message.lane() as usize, next);
                seen.note("by id");
            }
            let record = waiting[message.lane() as usize].pop_front().expect("a message where there is none");
            record.assert_is(message);
        };
        let (got, wanted) = action(&mut reader.consumer, &mut expect);
        reader.received += got as u64;
        if got < wanted {
            match (merge, lanes > 1) {
                (Merge::ById, true) => {
                    assert_eq!(next_by_id(waiting, &may_send, sequence), None, "a message was held back");
                    seen.note_if(!nothing(waiting), "held back by an empty lane");
                }
                _ => assert!(nothing(waiting), "a message was left"),
            }
        }
    }

    fn look(&self) {
        let info = self.buffer.observer().info().unwrap();
        let me = Some(std::process::id());
        let lanes: Vec<_> = info.lanes.iter().map(|lane| (lane.write_cursor, lane.producer)).collect();
        let producers = self.producers.iter().map(|producer| producer.as_ref().and(me));
        assert_eq!(lanes, self.writes.iter().copied().zip(producers).collect::<Vec<_>>());
        let lag = |waiting: &Waiting| waiting.iter().flatten().map(|record| record.end - record.position).sum::<u64>();
        let named = |name: &str| (self.shape.consumers > 1).then(|| name.to_owned());
        let mut expected: Vec<_> = self
            .readers
            .iter()
            .map(|reader| (reader.name.and_then(named), me, lag(&reader.waiting)))
            .chain(self.away.iter().map(|(name, waiting)| (named(name), None, lag(waiting))))
            .collect();
        let mut found: Vec<_> =
            info.consumers.into_iter().map(|consumer| (consumer.name, consumer.holder, consumer.lag)).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        let report = aether_ipc::recovery::verify(&self.path).unwrap();
        assert_eq!(report.problems, []);
        let waiting: u64 = (0..self.shape.producers).map(|lane| self.shape.capacity - self.free(lane)).sum();
        assert_eq!(report.bytes, waiting);
    }

    fn assert_state(&self) {
        for (lane, producer) in self.producers.iter().enumerate() {
            let Some(producer) = producer else { continue };
            assert_eq!(producer.position(), self.writes[lane]);
            assert_eq!(producer.free_bytes(), self.free(lane));
            assert_eq!(producer.lag(), self.shape.capacity - self.free(lane));
            assert_eq!(producer.has_consumer().unwrap(), !self.readers.is_empty());
        }
        for reader in &self.readers {
            let lanes = reader.waiting.iter().flatten();
            assert_eq!(
                reader.consumer.available_bytes(),
                lanes.map(|record| record.end - record.position).sum::<u64>()
            );
            let position = reader.waiting[0].front().map_or(self.writes[0], |record| record.position);
            assert_eq!(reader.consumer.position(), position);
            assert_eq!(reader.consumer.received(), reader.received);
            assert_eq!(reader.consumer.has_producer().unwrap(), self.producers.iter().any(Option::is_some));
        }
    }
}

/// The lane whose message comes next in the order of ids, unless a lane that is empty may still send a smaller one.
fn next_by_id(waiting: &Waiting, may_send: &[bool], sequence: bool) -> Option<usize> {
    // With a shared sequence, a producer that is not just offering has no smaller number.
    let held_back = |lane: usize| !sequence && may_send[lane] && waiting[lane].is_empty();
    if (0..waiting.len()).any(held_back) {
        return None;
    }
    let heads = waiting.iter().enumerate().filter_map(|(lane, records)| Some((records.front()?.id, lane)));
    heads.min().map(|(_, lane)| lane)
}

fn run(shape: &Shape, seen: &Seen) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring");
    let buffer = Buffer::options()
        .capacity(shape.capacity)
        .producers(shape.producers as u32)
        .consumers(shape.consumers as u32)
        .checksums(shape.checksums)
        .sequence(shape.sequence)
        .create_new(&path)
        .unwrap();
    let mut bench = Bench {
        seen,
        shape: shape.clone(),
        path,
        buffer,
        writes: vec![0; shape.producers],
        producers: (0..shape.producers).map(|_| None).collect(),
        readers: Vec::new(),
        away: BTreeMap::new(),
        next: 0,
        seed: 0,
    };
    if shape.consumers == 1 {
        // The only place is there from the first, and kept.
        bench.away.insert(ONLY, bench.empty());
    }
    for step in &shape.steps {
        bench.step(step);
    }
    bench.look();
    // Whoever has a place gets all that waits for it.
    bench.producers.iter_mut().for_each(|producer| *producer = None);
    while let Some((name, _)) = bench.away.first_key_value() {
        bench.come(Some(*name));
    }
    for consumer in 0..bench.readers.len() {
        bench.step(&Step::Drain { consumer, limit: usize::MAX });
        assert!(nothing(&bench.readers[consumer].waiting));
    }
}

#[test]
fn with_many_lanes_and_places_each_consumer_gets_every_message_from_when_it_came() {
    let seen = Seen::default();
    check(300, &shape(), |shape| run(&shape, &seen));
    seen.assert_all(&[
        "full",
        "wrapped",
        "held by one away",
        "returned",
        "no place",
        "forgotten",
        "left with messages waiting",
        "by id",
        "held back by an empty lane",
    ]);
}
