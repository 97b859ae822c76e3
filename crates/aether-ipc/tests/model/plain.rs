//! One producer, one consumer, both formats.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use aether_ipc::{Buffer, Consumer, Error, Flow, Polled, Producer, Result};
use proptest::prelude::*;

use crate::{Record, Seen, check, content, padded};

#[derive(Debug, Clone)]
struct Shape {
    capacity: u64,
    classic: bool,
    checksums: bool,
    steps: Vec<Step>,
}

/// How large a payload is, seen from how the ring stands.
#[derive(Debug, Clone)]
enum Size {
    Bytes(usize),
    /// A part of the largest, in 256ths.
    Part(u8),
    Largest,
    TooLarge,
    /// Takes all the space that is free.
    Fill,
    /// One byte more than that.
    OverFill,
    /// The next record starts 8 bytes before the end of the data section: its header is split.
    ToTheEnd,
}

#[derive(Debug, Clone)]
enum Step {
    Offer(Size),
    OfferValue,
    OfferAll { width: usize, count: usize },
    OfferArray { width: usize, count: usize },
    Put(Size),
    Claim { size: Size, commit: bool },
    PushBatch { sizes: Vec<Size>, commit: bool },
    Poll(Flow),
    Drain { limit: usize, flows: Vec<Flow> },
    ReadBatch { limit: usize, take: usize, twice: bool, keep: bool },
    Wait,
    Look { limit: usize },
    SetUntrusted(bool),
    ReopenProducer,
    ReopenConsumer,
    ReopenAll(u8),
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![
        8 => (0_usize..80).prop_map(Size::Bytes),
        4 => any::<u8>().prop_map(Size::Part),
        1 => Just(Size::Bytes(0)),
        1 => Just(Size::Largest),
        1 => Just(Size::TooLarge),
        2 => Just(Size::Fill),
        1 => Just(Size::OverFill),
        2 => Just(Size::ToTheEnd),
    ]
}

fn flow() -> impl Strategy<Value = Flow> {
    prop_oneof![
        6 => Just(Flow::Continue),
        1 => Just(Flow::Keep),
        2 => Just(Flow::Commit),
        1 => Just(Flow::Break),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let width = || prop_oneof![Just(0_usize), Just(1), Just(8), Just(24)];
    prop_oneof![
        8 => size().prop_map(Step::Offer),
        1 => Just(Step::OfferValue),
        2 => (width(), 0_usize..100).prop_map(|(width, count)| Step::OfferAll { width, count }),
        2 => (width(), 0_usize..100).prop_map(|(width, count)| Step::OfferArray { width, count }),
        2 => size().prop_map(Step::Put),
        4 => (size(), any::<bool>()).prop_map(|(size, commit)| Step::Claim { size, commit }),
        3 => (prop::collection::vec(size(), 0..8), any::<bool>())
            .prop_map(|(sizes, commit)| Step::PushBatch { sizes, commit }),
        6 => flow().prop_map(Step::Poll),
        6 => (0_usize..200, prop::collection::vec(flow(), 0..12)).prop_map(|(limit, flows)| Step::Drain { limit, flows }),
        6 => (0_usize..50, 0_usize..50, any::<bool>(), any::<bool>())
            .prop_map(|(limit, take, twice, keep)| Step::ReadBatch { limit, take, twice, keep }),
        1 => Just(Step::Wait),
        2 => (0_usize..50).prop_map(|limit| Step::Look { limit }),
        1 => any::<bool>().prop_map(Step::SetUntrusted),
        1 => Just(Step::ReopenProducer),
        1 => Just(Step::ReopenConsumer),
        1 => any::<u8>().prop_map(Step::ReopenAll),
    ]
}

fn shape(classic: bool) -> impl Strategy<Value = Shape> {
    let steps = prop::collection::vec(step(), 1..80);
    (10_u32..=16, any::<bool>(), steps).prop_map(move |(bits, checksums, steps)| Shape {
        capacity: 1 << bits,
        classic,
        checksums: checksums && !classic,
        steps,
    })
}

/// What the ring has to be like.
struct Model {
    capacity: u64,
    trailer: usize,
    write: u64,
    waiting: VecDeque<Record>,
    offered: u64,
    received: u64,
    seed: u64,
}

/// What has to come of offering a payload.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Fits,
    Full,
    TooLarge,
}

impl Model {
    fn read(&self) -> u64 {
        self.waiting.front().map_or(self.write, |record| record.position)
    }

    fn free(&self) -> u64 {
        self.capacity - (self.write - self.read())
    }

    fn largest(&self) -> usize {
        self.capacity as usize - 16 - self.trailer
    }

    fn fit(&self, at: u64, payload: usize) -> Fit {
        if payload > self.largest() {
            Fit::TooLarge
        } else if padded(payload, self.trailer) > self.capacity - (at - self.read()) {
            Fit::Full
        } else {
            Fit::Fits
        }
    }

    fn length(&self, size: &Size) -> usize {
        let around = 16 + self.trailer;
        match *size {
            Size::Bytes(bytes) => bytes,
            Size::Part(part) => self.largest() * usize::from(part) / 256,
            Size::Largest => self.largest(),
            Size::TooLarge => self.largest() + 1,
            Size::Fill => (self.free() as usize).saturating_sub(around),
            Size::OverFill => (self.free() as usize + 1).saturating_sub(around),
            Size::ToTheEnd => {
                let left = (2 * self.capacity - 8 - self.write % self.capacity) % self.capacity;
                (left as usize).saturating_sub(around)
            }
        }
    }

    /// A message of `length` bytes, to stand at `at`.
    fn make(&mut self, at: u64, length: usize) -> Record {
        self.seed += 1;
        let seed = self.seed;
        Record {
            id: seed.wrapping_mul(0x1234_5678_9ABC_DEF1).cast_signed(),
            message_type: (seed as u32).wrapping_mul(0x9E37_79B1).cast_signed(),
            payload: content(seed, length),
            position: at,
            end: at + padded(length, self.trailer),
        }
    }

    fn commit(&mut self, record: Record, seen: &Seen) {
        assert_eq!(record.position, self.write);
        let offset = record.position % self.capacity;
        seen.note_if(offset + (record.end - record.position) > self.capacity, "a record over the end");
        seen.note_if(offset == self.capacity - 8, "a header over the end");
        seen.note_if(record.payload.is_empty(), "an empty payload");
        seen.note_if(record.payload.len() == self.largest(), "the largest payload");
        self.write = record.end;
        self.offered += 1;
        self.waiting.push_back(record);
        seen.note_if(self.free() == 0, "not a byte free");
    }

    fn release(&mut self, count: usize) {
        self.waiting.drain(..count);
        self.received += count as u64;
    }
}

#[track_caller]
fn assert_fit<T: std::fmt::Debug>(result: Result<T>, fit: &Fit, seen: &Seen) {
    match (result, fit) {
        (Ok(_), Fit::Fits) => {}
        (Err(Error::Full), Fit::Full) => seen.note("full"),
        (Err(Error::TooLarge { .. }), Fit::TooLarge) => seen.note("too large"),
        (result, fit) => panic!("{result:?} where the model says {fit:?}"),
    }
}

struct Bench<'s> {
    seen: &'s Seen,
    path: PathBuf,
    buffer: Buffer,
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    untrusted: bool,
    model: Model,
}

impl Bench<'_> {
    fn step(&mut self, step: &Step) {
        let (model, seen) = (&mut self.model, self.seen);
        let producer = self.producer.as_mut().unwrap();
        let consumer = self.consumer.as_mut().unwrap();
        match step {
            Step::Offer(size) => {
                let length = model.length(size);
                let fit = model.fit(model.write, length);
                let record = model.make(model.write, length);
                assert_fit(producer.offer(record.id, record.message_type, &record.payload), &fit, seen);
                if fit == Fit::Fits {
                    model.commit(record, seen);
                }
            }
            Step::OfferValue => {
                let fit = model.fit(model.write, 16);
                let mut record = model.make(model.write, 16);
                let value = [record.id, !record.id];
                record.payload = value.iter().flat_map(|part| part.to_ne_bytes()).collect();
                assert_fit(producer.offer_value(record.id, record.message_type, &value), &fit, seen);
                if fit == Fit::Fits {
                    model.commit(record, seen);
                }
            }
            &Step::OfferAll { width, count } => {
                let first = model.seed.cast_signed() * 1000;
                let bytes = content(model.seed, width * count);
                let taken = match width {
                    0 => producer.offer_all(first, 5, &vec![[0_u8; 0]; count]),
                    1 => producer.offer_all(first, 5, &bytes),
                    8 => producer.offer_all(first, 5, bytes.as_chunks::<8>().0),
                    _ => producer.offer_all(first, 5, bytes.as_chunks::<24>().0),
                };
                self.assert_taken(first, width, count, &bytes, taken.unwrap());
            }
            &Step::OfferArray { width, count } => {
                let first = i64::MAX - 5;
                let bytes = content(model.seed, width * count);
                match producer.offer_array(first, 5, width, &bytes) {
                    Ok(taken) => self.assert_taken(first, width, count, &bytes, taken),
                    Err(error) => assert!(width == 0 && matches!(error, Error::Layout { .. }), "{error:?}"),
                }
            }
            Step::Put(size) => {
                let length = model.length(size);
                let fit = model.fit(model.write, length);
                let record = model.make(model.write, length);
                let (id, message_type) = (record.id, record.message_type);
                match fit {
                    Fit::Full => {
                        let result = producer.put_within(Duration::ZERO, id, message_type, &record.payload);
                        assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");
                    }
                    _ => assert_fit(producer.put(id, message_type, &record.payload), &fit, seen),
                }
                if fit == Fit::Fits {
                    model.commit(record, seen);
                }
            }
            Step::Claim { size, commit } => {
                let length = model.length(size);
                let fit = model.fit(model.write, length);
                let record = model.make(model.write, length);
                match producer.claim(length) {
                    Ok(mut claim) if fit == Fit::Fits => {
                        assert_eq!(claim.payload_mut().as_ptr() as usize % 8, 0, "a claim is aligned to 8");
                        claim.payload_mut().copy_from_slice(&record.payload);
                        if *commit {
                            claim.commit(record.id, record.message_type);
                            model.commit(record, seen);
                        } else {
                            seen.note("an aborted claim");
                        }
                    }
                    result => assert_fit(result, &fit, seen),
                }
            }
            Step::PushBatch { sizes, commit } => {
                let mut batch = producer.batch();
                let mut records: Vec<Record> = Vec::new();
                for size in sizes {
                    let at = records.last().map_or(model.write, |record| record.end);
                    let length = model.length(size);
                    let fit = model.fit(at, length);
                    let record = model.make(at, length);
                    assert_fit(batch.push(record.id, record.message_type, &record.payload), &fit, seen);
                    if fit == Fit::Fits {
                        records.push(record);
                    }
                    assert_eq!((batch.len(), batch.is_empty()), (records.len(), records.is_empty()));
                }
                if *commit {
                    assert_eq!(batch.commit(), records.len());
                    for record in records {
                        model.commit(record, seen);
                    }
                } else {
                    seen.note_if(!records.is_empty(), "an aborted batch");
                }
            }
            Step::Poll(flow) => {
                let front = model.waiting.front();
                let polled = consumer.poll(|message| {
                    front.expect("a message where there is none").assert_is(&message);
                    *flow
                });
                let expected = match (front, flow) {
                    (None, _) => Polled::Empty,
                    (Some(_), Flow::Keep) => Polled::Kept,
                    _ => Polled::Released,
                };
                assert_eq!(polled.unwrap(), expected);
                seen.note_if(expected == Polled::Empty, "empty");
                seen.note_if(expected == Polled::Kept, "kept");
                self.note_wrapped(0..1, "a record over the end, polled");
                if expected == Polled::Released {
                    self.model.release(1);
                }
            }
            Step::Drain { limit, flows } => {
                let observer = self.buffer.observer();
                let mut released = model.read();
                let (mut shown, mut done) = (0, 0);
                let mut ended = false;
                let count = consumer.drain(*limit, |message| {
                    assert!(!ended, "drain went on after it was told to stop");
                    let record = &model.waiting[shown];
                    record.assert_is(&message);
                    if shown <= flows.len() {
                        assert_eq!(observer.info().unwrap().read_cursor(), released, "the cursor moved by itself");
                    }
                    let flow = flows.get(shown).copied().unwrap_or(Flow::Continue);
                    shown += 1;
                    ended = matches!(flow, Flow::Keep | Flow::Break);
                    done += usize::from(flow != Flow::Keep);
                    if flow == Flow::Commit {
                        released = record.end;
                    }
                    flow
                });
                assert_eq!(count.unwrap(), done);
                if !ended {
                    assert_eq!(done, model.waiting.len().min(*limit), "drain stopped by itself");
                }
                self.note_wrapped(0..shown, "a record over the end, drained");
                self.model.release(done);
            }
            &Step::ReadBatch { limit, take, twice, keep } => {
                let batch = consumer.batch(limit).unwrap();
                let available = model.waiting.len().min(limit);
                assert_eq!(batch.is_empty(), available == 0);
                let mut held = Vec::new();
                for (message, record) in batch.iter().zip(&model.waiting).take(take) {
                    record.assert_is(&message);
                    held.push(message);
                }
                // It may hold less than what is there, as it takes what is known to be there; but never nothing.
                assert!(held.len() <= available && (!held.is_empty() || available == 0 || take == 0));
                if twice {
                    let again = batch.iter().zip(&model.waiting).take(take).map(|(message, record)| {
                        record.assert_is(&message);
                    });
                    assert_eq!(again.count(), held.len());
                }
                // All of them stay as they were for as long as the batch lives.
                for (message, record) in held.iter().zip(&model.waiting) {
                    record.assert_is(message);
                }
                let count = held.len();
                if keep {
                    batch.keep();
                } else {
                    drop(batch);
                }
                self.note_wrapped(0..count, "a record over the end, in a batch");
                if !keep {
                    self.model.release(count);
                }
            }
            Step::Wait => {
                let waited = consumer.wait_within(Duration::ZERO);
                match model.waiting.is_empty() {
                    true => assert!(matches!(waited, Err(Error::TimedOut { .. })), "{waited:?}"),
                    false => waited.unwrap(),
                }
            }
            &Step::Look { limit } => {
                let observer = self.buffer.observer();
                let mut waiting = model.waiting.iter();
                let shown = observer.peek(limit, |message| {
                    waiting.next().expect("a message where there is none").assert_is(&message);
                    Flow::Continue
                });
                assert_eq!(shown.unwrap(), model.waiting.len().min(limit));
                assert_eq!(observer.count_messages().unwrap(), model.waiting.len() as u64);
                let report = aether_ipc::recovery::verify(&self.path).unwrap();
                assert_eq!(report.problems, []);
                assert_eq!((report.messages, report.bytes), (model.waiting.len() as u64, model.write - model.read()));
            }
            &Step::SetUntrusted(untrusted) => {
                consumer.set_untrusted(untrusted);
                self.untrusted = untrusted;
            }
            Step::ReopenProducer => {
                self.producer = None;
                self.producer = Some(self.buffer.producer().unwrap());
                model.offered = 0;
            }
            Step::ReopenConsumer => self.reopen_consumer(),
            &Step::ReopenAll(how) => {
                self.producer = None;
                self.consumer = None;
                let options = Buffer::options().capacity(model.capacity);
                self.buffer = match how % 4 {
                    0 => Buffer::open(&self.path),
                    1 => Buffer::connect(&self.path, Duration::ZERO),
                    2 if model.trailer == 0 => Buffer::create(&self.path, model.capacity),
                    _ => options.prefault(true).open(&self.path),
                }
                .unwrap();
                self.producer = Some(self.buffer.producer().unwrap());
                model.offered = 0;
                self.reopen_consumer();
            }
        }
        self.assert_state();
    }

    fn reopen_consumer(&mut self) {
        self.consumer = None;
        let mut consumer = self.buffer.consumer().unwrap();
        consumer.set_untrusted(self.untrusted);
        self.consumer = Some(consumer);
        self.model.received = 0;
    }

    /// Equal-sized messages, of which `taken` were taken.
    fn assert_taken(&mut self, first: i64, width: usize, count: usize, bytes: &[u8], taken: usize) {
        for index in 0..count {
            let fit = self.model.fit(self.model.write, width);
            assert_eq!(fit == Fit::Fits, index < taken, "{taken} of {count} were taken");
            if fit != Fit::Fits {
                self.seen.note("a part of an array");
                break;
            }
            let mut record = self.model.make(self.model.write, width);
            record.id = first.wrapping_add(index as i64);
            record.message_type = 5;
            record.payload = bytes[width * index..width * (index + 1)].to_vec();
            self.model.commit(record, self.seen);
        }
    }

    fn note_wrapped(&self, shown: std::ops::Range<usize>, state: &'static str) {
        let capacity = self.model.capacity;
        let records = self.model.waiting.iter().take(shown.end);
        let wrapped = records.filter(|record| record.position / capacity != (record.end - 1) / capacity).count();
        self.seen.note_if(wrapped > 0, state);
        self.seen.note_if(wrapped > 0 && self.untrusted, "a record over the end, copied first");
    }

    fn assert_state(&self) {
        let (model, read) = (&self.model, self.model.read());
        let producer = self.producer.as_ref().unwrap();
        let consumer = self.consumer.as_ref().unwrap();
        assert_eq!(producer.position(), model.write);
        assert_eq!(producer.lag(), model.write - read);
        assert_eq!(producer.free_bytes(), model.free());
        assert_eq!(producer.offered(), model.offered);
        assert_eq!(producer.max_payload(), model.largest());
        assert_eq!((producer.capacity(), producer.lane()), (model.capacity, 0));
        assert_eq!(consumer.available_bytes(), model.write - read);
        assert_eq!(consumer.position(), read);
        assert_eq!(consumer.received(), model.received);
    }
}

fn run(shape: &Shape, seen: &Seen) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring");
    let options = Buffer::options().capacity(shape.capacity).classic(shape.classic).checksums(shape.checksums);
    let buffer = options.create_new(&path).unwrap();
    let model = Model {
        capacity: shape.capacity,
        trailer: if shape.checksums { 4 } else { 0 },
        write: 0,
        waiting: VecDeque::new(),
        offered: 0,
        received: 0,
        seed: 0,
    };
    let (producer, consumer) = (Some(buffer.producer().unwrap()), Some(buffer.consumer().unwrap()));
    let mut bench = Bench { seen, path, buffer, producer, consumer, untrusted: false, model };
    for step in &shape.steps {
        bench.step(step);
    }
    // Nothing is lost on the way out.
    bench.step(&Step::Drain { limit: usize::MAX, flows: Vec::new() });
    assert_eq!(bench.model.waiting.len(), 0);
    let info = bench.buffer.observer().info().unwrap();
    assert_eq!((info.write_cursor(), info.read_cursor()), (bench.model.write, bench.model.write));
}

const STATES: &[&str] = &[
    "empty",
    "full",
    "not a byte free",
    "too large",
    "kept",
    "an empty payload",
    "the largest payload",
    "a part of an array",
    "an aborted claim",
    "an aborted batch",
    "a record over the end",
    "a header over the end",
    "a record over the end, polled",
    "a record over the end, drained",
    "a record over the end, in a batch",
    "a record over the end, copied first",
];

#[test]
fn an_extended_ring_is_a_queue_of_messages() {
    let seen = Seen::default();
    check(256, &shape(false), |shape| run(&shape, &seen));
    seen.assert_all(STATES);
}

#[test]
fn a_classic_ring_is_a_queue_of_messages() {
    let seen = Seen::default();
    check(256, &shape(true), |shape| run(&shape, &seen));
    seen.assert_all(STATES);
}
