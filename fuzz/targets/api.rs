//! Any sequence of calls against what a plain queue would do.

use std::collections::VecDeque;

use aether_ipc::{Buffer, Consumer, Error, Flow, Message, Polled, Producer};

use super::{Input, Memory};

type Record = (i64, i32, Vec<u8>);

struct Model {
    waiting: VecDeque<Record>,
    capacity: u64,
    trailer: usize,
    received: u64,
    offered: u64,
}

impl Model {
    fn size(&self, payload: usize) -> u64 {
        (16 + payload + self.trailer).next_multiple_of(8) as u64
    }

    fn used(&self) -> u64 {
        self.waiting.iter().map(|(.., payload)| self.size(payload.len())).sum()
    }

    fn fits(&self, payload: usize) -> bool {
        self.used() + self.size(payload) <= self.capacity
    }

    fn push(&mut self, record: Record) {
        self.waiting.push_back(record);
        self.offered += 1;
    }

    /// What the first `count` are, given back.
    fn release(&mut self, count: usize) {
        self.waiting.drain(..count);
        self.received += count as u64;
    }
}

fn record(message: Message<'_>) -> Record {
    (message.id(), message.message_type(), message.payload().to_vec())
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let options = Buffer::options().capacity(if kind & 4 == 0 { 1024 } else { 4096 });
    let options = if kind & 1 == 0 { options.checksums(kind & 2 != 0) } else { options.classic(true) };
    let memory = Memory::ring(&options);
    // Far along, so that cursors pass 2^32 and 2^64 too.
    let info = Buffer::open(memory.path()).unwrap().observer().info().unwrap();
    let start = match kind >> 4 & 3 {
        0 => 0,
        1 => (1 << 32) - 1024,
        2 => 0_u64.wrapping_sub(2048),
        _ => 1 << 63,
    };
    for at in [0x000, 0x080, 0x380] {
        if at < 0x100 || kind & 1 == 0 {
            memory.word(at, start);
        }
    }
    let buffer = Buffer::open(memory.path()).unwrap();
    let mut producer = buffer.producer().unwrap();
    let mut consumer = buffer.consumer().unwrap();
    let trailer = if info.checksums { 4 } else { 0 };
    let mut model = Model { waiting: VecDeque::new(), capacity: info.capacity, trailer, received: 0, offered: 0 };
    let mut id = 0;
    while !input.is_empty() {
        match input.byte() % 12 {
            0..=2 => offer(&mut producer, &mut model, &mut input, &mut id),
            3 => batch(&mut producer, &mut model, &mut input, &mut id),
            4 => offer_array(&mut producer, &mut model, &mut input, &mut id),
            5 | 6 => poll(&mut consumer, &mut model, &mut input),
            7 => drain(&mut consumer, &mut model, &mut input),
            8 => read_batch(&mut consumer, &mut model, &mut input),
            9 => consumer.set_untrusted(input.byte() & 1 == 0),
            10 => {
                // As by a death: nothing else is done.
                drop(producer);
                producer = buffer.producer().unwrap();
                model.offered = 0;
            }
            _ => {
                drop(consumer);
                consumer = buffer.consumer().unwrap();
                model.received = 0;
            }
        }
        check(&buffer, &producer, &consumer, &model);
    }
}

fn offer(producer: &mut Producer, model: &mut Model, input: &mut Input<'_>, id: &mut i64) {
    *id += 1;
    let length = usize::from(input.byte()) * usize::from(1 + input.byte() % 32);
    let payload = vec![*id as u8; length];
    let result = match input.byte() % 3 {
        0 => producer.offer(*id, 7, &payload),
        1 => producer.claim(length).map(|mut claim| {
            claim.payload_mut().copy_from_slice(&payload);
            claim.commit(*id, 7);
        }),
        _ => {
            // Aborted: as if it had never been.
            return drop(producer.claim(length).map(|mut claim| claim.payload_mut().fill(0xEE)));
        }
    };
    match result {
        Ok(()) => {
            assert!(model.fits(length), "taken without space");
            model.push((*id, 7, payload));
        }
        Err(Error::Full) => assert!(!model.fits(length) && length <= producer.max_payload(), "full with space"),
        Err(Error::TooLarge { payload, max }) => assert!(payload == length && length > max),
        Err(error) => panic!("{error}"),
    }
}

fn batch(producer: &mut Producer, model: &mut Model, input: &mut Input<'_>, id: &mut i64) {
    let count = input.byte() % 16;
    let mut batch = producer.batch();
    let mut records: Vec<Record> = Vec::new();
    let mut size = 0;
    for _ in 0..count {
        *id += 1;
        let payload = vec![*id as u8; usize::from(input.byte())];
        let needed = model.size(payload.len());
        match batch.push(*id, 3, &payload) {
            Ok(()) => {
                size += needed;
                assert!(model.used() + size <= model.capacity, "taken without space");
                records.push((*id, 3, payload));
            }
            Err(Error::Full) => assert!(model.used() + size + needed > model.capacity, "full with space"),
            Err(error) => panic!("{error}"),
        }
    }
    if input.byte() & 1 == 0 {
        assert_eq!(batch.commit(), records.len());
        records.into_iter().for_each(|record| model.push(record));
    }
}

fn offer_array(producer: &mut Producer, model: &mut Model, input: &mut Input<'_>, id: &mut i64) {
    let (size, count) = (usize::from(input.byte()), usize::from(input.byte() % 32));
    let bytes: Vec<u8> = (0..size * count).map(|index| index as u8).collect();
    match producer.offer_array(*id, 5, size, &bytes) {
        Ok(taken) => {
            let first = *id;
            for (index, payload) in bytes.chunks(size).take(taken).enumerate() {
                assert!(model.fits(size));
                model.push((first + index as i64, 5, payload.to_vec()));
            }
            assert!(taken == count || !model.fits(size), "stopped with space");
            *id += taken as i64;
        }
        Err(Error::Layout { .. }) => assert_eq!(size, 0),
        Err(error) => panic!("{error}"),
    }
}

fn poll(consumer: &mut Consumer, model: &mut Model, input: &mut Input<'_>) {
    let keep = input.byte() & 3 == 0;
    let mut seen = None;
    let polled = consumer
        .poll(|message| {
            seen = Some(record(message));
            if keep { Flow::Keep } else { Flow::Continue }
        })
        .unwrap();
    assert_eq!(seen.as_ref(), model.waiting.front());
    let expected = match (seen.is_some(), keep) {
        (false, _) => Polled::Empty,
        (true, true) => Polled::Kept,
        (true, false) => Polled::Released,
    };
    assert_eq!(polled, expected);
    if polled == Polled::Released {
        model.release(1);
    }
}

fn drain(consumer: &mut Consumer, model: &mut Model, input: &mut Input<'_>) {
    let limit = usize::from(input.byte());
    let mut flows = vec![];
    let mut seen = Vec::new();
    let released = consumer
        .drain(limit, |message| {
            seen.push(record(message));
            let flow = match input.byte() % 16 {
                0 => Flow::Keep,
                1 => Flow::Break,
                2 => Flow::Commit,
                _ => Flow::Continue,
            };
            flows.push(flow);
            flow
        })
        .unwrap();
    assert!(model.waiting.iter().zip(&seen).all(|(expected, found)| expected == found));
    let kept = flows.last() == Some(&Flow::Keep);
    assert_eq!(released, seen.len() - usize::from(kept));
    let stopped = matches!(flows.last(), Some(Flow::Keep | Flow::Break));
    assert!(stopped || seen.len() == limit.min(model.waiting.len()), "it ends when told, or when nothing is left");
    model.release(released);
}

fn read_batch(consumer: &mut Consumer, model: &mut Model, input: &mut Input<'_>) {
    let limit = usize::from(input.byte());
    let take = usize::from(input.byte());
    let batch = consumer.batch(limit).unwrap();
    assert_eq!(batch.is_empty(), model.waiting.is_empty() || limit == 0);
    let seen: Vec<Record> = batch.iter().take(take).map(record).collect();
    // Again from the start: the same.
    assert!(batch.iter().take(take / 2).map(record).eq(seen.iter().take(take / 2).cloned()));
    assert!(model.waiting.iter().zip(&seen).all(|(expected, found)| expected == found));
    if input.byte() & 3 == 0 {
        batch.keep();
        return;
    }
    drop(batch);
    model.release(seen.len());
}

fn check(buffer: &Buffer, producer: &Producer, consumer: &Consumer, model: &Model) {
    assert_eq!(consumer.available_bytes(), model.used());
    assert_eq!((producer.lag(), producer.free_bytes()), (model.used(), model.capacity - model.used()));
    assert_eq!((consumer.received(), producer.offered()), (model.received, model.offered));
    assert_eq!(producer.position().wrapping_sub(consumer.position()), model.used());
    assert_eq!(buffer.observer().count_messages().unwrap(), model.waiting.len() as u64);
}
