//! Rings that drop the oldest: what is delivered is a part of what was offered, in order, and each gap is told exactly.

use std::path::PathBuf;

use aether_ipc::{Buffer, Consumer, Error, Flow, Message, Observer, Overflow, Polled, Producer, Tail};
use proptest::prelude::*;

use crate::{Record, Seen, check, content, padded};

#[derive(Debug, Clone)]
struct Shape {
    capacity: u64,
    consumers: usize,
    checksums: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Offer(usize),
    /// A part of the largest payload, in 256ths.
    OfferPart(u8),
    OfferAll(usize),
    Claim {
        length: usize,
        commit: bool,
    },
    PushBatch {
        lengths: Vec<usize>,
        commit: bool,
    },
    Poll {
        reader: usize,
        flow: Flow,
    },
    Drain {
        reader: usize,
        limit: usize,
    },
    ReadBatch {
        reader: usize,
        limit: usize,
        take: usize,
    },
    Follow {
        limit: usize,
    },
    Peek {
        limit: usize,
    },
    Leave(usize),
    Return(usize),
    ReopenProducer,
}

fn step() -> impl Strategy<Value = Step> {
    let reader = || 0_usize..3;
    let flow = prop_oneof![4 => Just(Flow::Continue), 1 => Just(Flow::Keep)];
    prop_oneof![
        10 => (0_usize..200).prop_map(Step::Offer),
        3 => any::<u8>().prop_map(Step::OfferPart),
        2 => (0_usize..60).prop_map(Step::OfferAll),
        2 => (0_usize..300, any::<bool>()).prop_map(|(length, commit)| Step::Claim { length, commit }),
        3 => (prop::collection::vec(0_usize..150, 0..12), any::<bool>())
            .prop_map(|(lengths, commit)| Step::PushBatch { lengths, commit }),
        4 => (reader(), flow).prop_map(|(reader, flow)| Step::Poll { reader, flow }),
        5 => (reader(), 0_usize..40).prop_map(|(reader, limit)| Step::Drain { reader, limit }),
        3 => (reader(), 1_usize..20, 0_usize..20)
            .prop_map(|(reader, limit, take)| Step::ReadBatch { reader, limit, take }),
        3 => (0_usize..40).prop_map(|limit| Step::Follow { limit }),
        2 => (0_usize..40).prop_map(|limit| Step::Peek { limit }),
        1 => reader().prop_map(Step::Leave),
        2 => reader().prop_map(Step::Return),
        1 => Just(Step::ReopenProducer),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    (10_u32..=13, 1_usize..=3, any::<bool>(), prop::collection::vec(step(), 1..150))
        .prop_map(|(bits, consumers, checksums, steps)| Shape { capacity: 1 << bits, consumers, checksums, steps })
}

/// A consumer whose place is kept, there or away.
struct Reader {
    consumer: Option<Consumer>,
    /// The position of the message that comes next.
    next: u64,
    /// What the file keeps for it while it is away.
    released: u64,
}

struct Bench<'s> {
    seen: &'s Seen,
    shape: Shape,
    buffer: Buffer,
    producer: Option<Producer>,
    readers: Vec<Reader>,
    tail: (Tail, u64),
    /// Everything ever committed.
    log: Vec<Record>,
    /// Bytes of the largest record so far.
    largest: u64,
    /// Up to here the ring may have given up messages, to make space.
    floor: u64,
}

impl Bench<'_> {
    fn trailer(&self) -> usize {
        if self.shape.checksums { 4 } else { 0 }
    }

    fn write(&self) -> u64 {
        self.log.last().map_or(0, |record| record.end)
    }

    fn make(&self, records: &[Record], length: usize) -> Record {
        let seed = (self.log.len() + records.len()) as u64;
        let at = records.last().map_or(self.write(), |record| record.end);
        Record {
            id: seed.cast_signed(),
            message_type: 3,
            payload: content(seed, length),
            position: at,
            end: at + padded(length, self.trailer()),
        }
    }

    /// Space was asked for, committed or not: no more is given up for it than a sixteenth of the ring, or the record,
    /// and what that cuts into.
    fn attempt(&mut self, records: &[Record]) {
        for record in records {
            self.largest = self.largest.max(record.end - record.position);
            let spare = self.largest.max(self.shape.capacity / 16) + self.largest;
            self.floor = self.floor.max((record.end + spare).saturating_sub(self.shape.capacity));
        }
    }

    /// The record at a position, if one begins there.
    fn at(log: &[Record], position: u64) -> Option<&Record> {
        log.binary_search_by_key(&position, |record| record.position).ok().map(|index| &log[index])
    }

    fn expect(log: &[Record], next: &mut u64, message: &Message<'_>) {
        let record = Self::at(log, *next).expect("the place of a message");
        record.assert_is(message);
        *next = record.end;
    }

    /// Whoever lags goes on where a record begins, and no more is given up than the ring needs.
    fn assert_lagged(&self, error: &Error, next: u64) -> u64 {
        let Error::Lagged { bytes } = *error else { panic!("{error:?}") };
        let on = next + bytes;
        assert!(bytes > 0 && (on == self.write() || Self::at(&self.log, on).is_some()), "{bytes} from {next}");
        assert!(on <= self.floor, "given up to {on}, where {} is enough", self.floor);
        self.seen.note("lagged");
        on
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Offer(length) => {
                let record = self.make(&[], length);
                self.attempt(std::slice::from_ref(&record));
                self.producer.as_mut().unwrap().offer(record.id, 3, &record.payload).unwrap();
                self.log.push(record);
            }
            Step::OfferPart(part) => {
                let producer = self.producer.as_ref().unwrap();
                let length = producer.max_payload() * (usize::from(part) + 1) / 256;
                self.step(&Step::Offer(length));
            }
            Step::OfferAll(count) => {
                let bytes = content(self.log.len() as u64, 24 * count);
                let mut records = Vec::new();
                for payload in bytes.chunks_exact(24) {
                    let mut record = self.make(&records, 24);
                    record.payload = payload.to_vec();
                    records.push(record);
                }
                let first = self.log.len() as i64;
                let taken = self.producer.as_mut().unwrap().offer_array(first, 3, 24, &bytes).unwrap();
                // What is not committed is not dropped: more than fits at once has to come in parts.
                let fit = self.shape.capacity / padded(24, self.trailer());
                assert!(taken as u64 <= fit && (taken == count || taken as u64 + 1 >= fit), "{taken} of {count}");
                records.truncate(taken + 1);
                self.attempt(&records);
                records.truncate(taken);
                self.log.append(&mut records);
            }
            Step::Claim { length, commit } => {
                let record = self.make(&[], length);
                self.attempt(std::slice::from_ref(&record));
                let mut claim = self.producer.as_mut().unwrap().claim(length).unwrap();
                claim.payload_mut().copy_from_slice(&record.payload);
                if commit {
                    claim.commit(record.id, 3);
                    self.log.push(record);
                }
            }
            Step::PushBatch { ref lengths, commit } => {
                let mut records = Vec::new();
                for &length in lengths {
                    let record = self.make(&records, length);
                    if record.end - self.write() <= self.shape.capacity {
                        records.push(record);
                    }
                }
                self.attempt(&records);
                let mut batch = self.producer.as_mut().unwrap().batch();
                for record in &records {
                    batch.push(record.id, 3, &record.payload).unwrap();
                }
                if commit {
                    batch.commit();
                    self.log.append(&mut records);
                }
            }
            Step::Poll { reader, flow } => self.read(reader, |consumer, expect| {
                let polled = consumer.poll(|message| {
                    if flow == Flow::Continue {
                        expect(&message);
                    }
                    flow
                })?;
                Ok(polled == Polled::Empty)
            }),
            Step::Drain { reader, limit } => self.read(reader, |consumer, expect| {
                let count = consumer.drain(limit, |message| {
                    expect(&message);
                    Flow::Continue
                })?;
                Ok(count < limit)
            }),
            Step::ReadBatch { reader, limit, take } => self.read(reader, |consumer, expect| {
                let batch = consumer.batch(limit)?;
                batch.iter().take(take).for_each(|message| expect(&message));
                Ok(batch.is_empty())
            }),
            Step::Follow { limit } => {
                let (log, (tail, next)) = (&self.log, &mut self.tail);
                let polled = tail.poll(limit, |message| {
                    Self::expect(log, next, &message);
                    Flow::Continue
                });
                let next = *next;
                match polled {
                    Ok(count) => assert!(count == limit || next == self.write(), "the tail stopped by itself"),
                    Err(error) => self.tail.1 = self.assert_lagged(&error, next),
                }
            }
            Step::Peek { limit } => {
                let mut next = None;
                let peeked = self.buffer.observer().peek(limit, |message| {
                    let mut at = next.unwrap_or(message.position());
                    Self::expect(&self.log, &mut at, &message);
                    next = Some(at);
                    Flow::Continue
                });
                assert!(peeked.unwrap() == limit || next.unwrap_or(self.write()) == self.write());
                assert_eq!(aether_ipc::recovery::verify(self.buffer.path()).unwrap().problems, []);
            }
            Step::Leave(reader) => {
                let reader = &mut self.readers[reader % self.shape.consumers];
                reader.consumer = None;
                // What it read and did not release, being told of a gap, for instance, it is told again.
                reader.next = reader.released;
            }
            Step::Return(reader) => self.come(reader % self.shape.consumers),
            Step::ReopenProducer => {
                self.producer = None;
                self.producer = Some(self.buffer.producer().unwrap());
            }
        }
        let producer = self.producer.as_ref().unwrap();
        assert_eq!(producer.position(), self.write());
        assert_eq!(producer.free_bytes(), self.shape.capacity, "a producer that drops is never out of space");
        self.seen.note_if(self.write() > 2 * self.shape.capacity, "twice around");
    }

    fn come(&mut self, index: usize) {
        let reader = &mut self.readers[index];
        if reader.consumer.is_none() {
            let come = match self.shape.consumers {
                1 => self.buffer.consumer(),
                _ => self.buffer.consumer_named(&index.to_string()),
            };
            reader.consumer = Some(come.unwrap());
        }
    }

    /// Has a consumer read; `action` returns whether it found the end.
    fn read(
        &mut self,
        index: usize,
        action: impl FnOnce(&mut Consumer, &mut dyn FnMut(&Message<'_>)) -> Result<bool, Error>,
    ) {
        let index = index % self.shape.consumers;
        let (log, reader) = (&self.log, &mut self.readers[index]);
        let Some(consumer) = &mut reader.consumer else { return };
        let next = &mut reader.next;
        let result = action(consumer, &mut |message| Self::expect(log, next, message));
        let released = consumer.position();
        let next = *next;
        match result {
            Ok(ended) => assert!(!ended || next == self.write(), "the consumer stopped by itself"),
            Err(error) => self.readers[index].next = self.assert_lagged(&error, next),
        }
        let reader = &mut self.readers[index];
        reader.released = released;
        let consumer = reader.consumer.as_ref().unwrap();
        assert_eq!(
            consumer.available_bytes(),
            (self.log.last().map_or(0, |r| r.end) - reader.next).min(self.shape.capacity)
        );
    }
}

fn run(shape: &Shape, seen: &Seen) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("ring");
    let buffer = Buffer::options()
        .capacity(shape.capacity)
        .consumers(shape.consumers as u32)
        .checksums(shape.checksums)
        .overflow(Overflow::DropOldest)
        .create_new(&path)
        .unwrap();
    let producer = Some(buffer.producer().unwrap());
    let reader = || Reader { consumer: None, next: 0, released: 0 };
    let mut bench = Bench {
        seen,
        shape: shape.clone(),
        producer,
        readers: (0..shape.consumers).map(|_| reader()).collect(),
        tail: (Observer::open(&path).unwrap().tail(), 0),
        buffer,
        log: Vec::new(),
        largest: 0,
        floor: 0,
    };
    for index in 0..shape.consumers {
        bench.come(index);
    }
    for step in &shape.steps {
        bench.step(step);
    }
    // All come to the end, whatever they missed.
    for reader in 0..shape.consumers {
        bench.come(reader);
        for _ in 0..2 {
            bench.step(&Step::Drain { reader, limit: usize::MAX });
        }
        assert_eq!(bench.readers[reader].next, bench.write());
    }
}

#[test]
fn what_is_dropped_is_told_to_the_byte_and_the_rest_comes_in_order() {
    let seen = Seen::default();
    check(250, &shape(), |shape| run(&shape, &seen));
    seen.assert_all(&["lagged", "twice around"]);
}

/// How many times a payload repeats its id.
fn times(id: i64) -> usize {
    (id * 37 % 190) as usize
}

#[track_caller]
fn assert_whole(message: &Message<'_>) {
    let (words, rest) = message.payload().as_chunks::<8>();
    let id = message.id().to_le_bytes();
    let whole = words.len() == times(message.id()) && rest.is_empty() && words.iter().all(|word| *word == id);
    assert!(whole, "torn: {message:?}");
}

#[test]
fn nothing_torn_is_delivered_while_the_producer_overwrites_at_full_speed() {
    const COUNT: i64 = 100_000;
    let folder = tempfile::tempdir().unwrap();
    for checksums in [false, true] {
        let options = Buffer::options().capacity(4096).overflow(Overflow::DropOldest).checksums(checksums);
        let buffer = options.create_new(folder.path().join(checksums.to_string())).unwrap();
        let mut producer = buffer.producer().unwrap();
        let mut consumer = buffer.consumer().unwrap();
        let mut tail = buffer.observer().tail();
        let (end, consumed) = std::thread::scope(|scope| {
            let producing = scope.spawn(move || {
                let mut words = [0; 190];
                for id in 0..COUNT {
                    words.fill(id);
                    producer.offer_value(id, 0, &words[..times(id)]).unwrap();
                }
                producer.position()
            });
            scope.spawn(move || {
                let mut last = -1;
                while last < COUNT - 1 {
                    match tail.poll(10, |message| {
                        assert_whole(&message);
                        assert!(message.id() > last);
                        last = message.id();
                        Flow::Continue
                    }) {
                        Ok(_) | Err(Error::Lagged { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            let consuming = scope.spawn(move || {
                // Outrun from the first.
                while consumer.available_bytes() < 4096 {
                    std::thread::yield_now();
                }
                let (mut next, mut last, mut gaps) = (0, -1, 0);
                while last < COUNT - 1 {
                    match consumer.drain(7, |message| {
                        assert_whole(&message);
                        assert_eq!(message.position(), next, "the gap was not told exactly");
                        next += padded(message.payload().len(), if checksums { 4 } else { 0 });
                        last = message.id();
                        Flow::Continue
                    }) {
                        Ok(_) => {}
                        Err(Error::Lagged { bytes }) => {
                            next += bytes;
                            gaps += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(gaps > 0);
                next
            });
            (producing.join().unwrap(), consuming.join().unwrap())
        });
        assert_eq!(consumed, end, "what was delivered and what was missed make up what was offered");
    }
}
