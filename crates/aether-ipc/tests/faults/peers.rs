//! Peers that write what they like: into the words that say who is there, and all over the file.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::*},
};

use aether_ipc::{Buffer, Consumer, Error, Flow, Merge, Message, Options, Overflow, Producer, Wait};
use libtest_mimic::Trial;
use tempfile::tempdir;

use crate::{
    support::{Part, Peer, say},
    trials,
};

pub(crate) const PARTS: &[(&str, Part)] = &[("work_against_a_scribbler", work_against_a_scribbler)];

pub(crate) fn trials() -> Vec<Trial> {
    trials![process_ids_in_the_file_decide_nothing, a_scribbling_peer_stops_or_garbles_but_neither_kills_nor_hangs,]
}

/// Process ids are used again, and anybody may write one: the lock alone says who is there.
fn process_ids_in_the_file_decide_nothing() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ring");
    let buffer = Buffer::create(&path, 4096).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    // One that lives, one that can't be, this one, none.
    for pid in [1, u32::MAX, std::process::id(), 0] {
        for waking in [0_u32, 1, 2, u32::MAX] {
            for line in [0x000, 0x080] {
                file.write_all_at(&pid.to_le_bytes(), line + 8).unwrap();
                file.write_all_at(&waking.to_le_bytes(), line + 12).unwrap();
            }
            let info = buffer.observer().info().unwrap();
            assert_eq!((info.lanes[0].producer, info.consumers[0].holder), (None, None));
            let mut producer = buffer.producer().unwrap();
            let mut consumer = buffer.consumer().unwrap();
            assert!(consumer.has_producer().unwrap() && producer.has_consumer().unwrap());
            // Under the hands of those who hold the roles, too.
            file.write_all_at(&pid.to_le_bytes(), 8).unwrap();
            file.write_all_at(&waking.to_le_bytes(), 12).unwrap();
            assert!(matches!(buffer.producer(), Err(Error::RoleTaken { holders, .. }) if holders == [pid]));
            producer.offer(1, 0, b"goes through").unwrap();
            consumer.wait().unwrap();
            assert_eq!(consumer.drain(1, |_| Flow::Continue).unwrap(), 1);
        }
    }
}

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        // xorshift64*, Marsaglia and Vigna.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Values that lie where checks might end: near what is right, near zero, near the greatest.
fn spite(noise: &mut Noise) -> u64 {
    let near = match noise.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << noise.below(64),
        3 => 1024 * noise.below(8),
        4 => return noise.next(),
        _ => return noise.below(64),
    };
    near.wrapping_add(8 * noise.below(5)).wrapping_sub(16)
}

/// Writes to the ring's file until told to stop: most of it to the words that others go by.
fn scribble(path: &Path, data: u64, stop: &AtomicBool, written: &AtomicU64, seed: u64) {
    let mut noise = Noise(seed);
    let file = File::options().read(true).write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    while !stop.load(Relaxed) {
        let at = match noise.below(4) {
            0 => 8 * noise.below(size / 8),
            1 => 8 * noise.below(data / 8),
            // Cursors, and the header of the first record.
            2 => [0x000, 0x080, 0x380, 0x480][noise.below(4) as usize],
            _ => data + 8 * noise.below((size - data) / 8),
        };
        // Not the header: it is read once, when the ring is opened.
        if at >= size || (0x100..0x180).contains(&at) {
            continue;
        }
        let _ = file.write_at(&spite(&mut noise).to_le_bytes(), at);
        // Now and then what a cursor may be, so that the others get further.
        if noise.below(8) == 0 {
            let mut write = [0; 8];
            file.read_exact_at(&mut write, 0x000).unwrap();
            let _ = file.write_at(&(u64::from_le_bytes(write) & !7).to_le_bytes(), 0x080);
        }
        written.fetch_add(1, Relaxed);
    }
}

const CALLS: u32 = 20_000;

fn touch(message: Message<'_>) -> Flow {
    // Every byte: one that is not there would end the process.
    let sum: u64 = message.payload().iter().map(|&byte| u64::from(byte)).sum();
    std::hint::black_box((sum, message.id(), message.message_type()));
    if message.id() % 7 == 0 { Flow::Keep } else { Flow::Continue }
}

fn produce(mut producer: Producer) {
    let mut noise = Noise(3);
    producer.set_wait(Wait::Yield);
    for id in 0..CALLS {
        let payload = vec![id as u8; noise.below(300) as usize];
        // Whatever comes of it: an error is a good answer.
        let _ = match id % 5 {
            0 => producer.offer_all(i64::from(id), 0, &[u64::from(id); 9]).map(|_| ()),
            1 => producer.claim(payload.len()).map(|mut claim| {
                claim.payload_mut().fill(7);
                claim.commit(i64::from(id), 1);
            }),
            2 => {
                let mut batch = producer.batch();
                while batch.push(1, 1, &payload).is_ok() && batch.len() < 9 {}
                batch.commit();
                Ok(())
            }
            _ => producer.offer(i64::from(id), 1, &payload),
        };
        let _ = (producer.lag(), producer.free_bytes());
    }
}

fn consume(buffer: &Buffer, untrusted: bool, merge: Merge) {
    let mut taken: Option<Consumer> = None;
    for call in 0..CALLS {
        // It may be that its place can't be taken for now, or has to be taken anew.
        let Some(consumer) = &mut taken else {
            taken = buffer.consumer().ok();
            continue;
        };
        consumer.set_untrusted(untrusted);
        consumer.set_merge(merge);
        let failed = match call % 4 {
            0 => consumer.poll(touch).is_err(),
            1 => consumer.drain(50, touch).is_err(),
            2 => consumer.batch(50).map(|batch| batch.iter().chain(&batch).map(touch).count()).is_err(),
            _ => consumer.wait_within(std::time::Duration::ZERO).is_err(),
        };
        let _ = consumer.available_bytes();
        if failed && call % 64 == 0 {
            taken = None;
        }
    }
}

fn look_on(buffer: &Buffer) {
    let observer = buffer.observer();
    let mut tail = observer.tail_from_oldest();
    for call in 0..CALLS / 20 {
        let _ = observer.peek(100, touch);
        let _ = tail.poll(100, touch);
        if call % 10 == 0 {
            let _ = observer.info();
            let _ = aether_ipc::recovery::verify(buffer.path());
            tail = observer.tail_from_oldest();
        }
    }
}

fn shapes() -> Vec<Options> {
    let plain = || Buffer::options().capacity(1024);
    vec![
        plain(),
        plain().capacity(4096),
        plain().classic(true),
        plain().checksums(true),
        plain().overflow(Overflow::DropOldest),
        plain().producers(2).sequence(true).checksums(true),
        plain().consumers(4),
        plain().producers(2).consumers(4).overflow(Overflow::DropOldest).checksums(true),
    ]
}

/// Producer, consumers of both kinds and an observer, while another thread means harm. It ends if nobody hangs, and well
/// if nobody crashes.
fn work_against_a_scribbler(arguments: &[String]) {
    let [path, shape, merge] = arguments else { panic!("three arguments") };
    let options = &shapes()[shape.parse::<usize>().unwrap()];
    let merge = if merge == "id" { Merge::ById } else { Merge::Fair };
    let buffer = options.create(path).unwrap();
    let data = buffer.observer().info().unwrap().data_offset;
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (buffer, stop, written) = (&buffer, &stop, &written);
        // Before there is noise, so that there is one for certain.
        let producer = buffer.producer().unwrap();
        let scribbler = scope.spawn(move || scribble(Path::new(path), data, stop, written, 88_172_645_463_325_252));
        let workers = [
            scope.spawn(move || produce(producer)),
            scope.spawn(move || consume(buffer, false, merge)),
            scope.spawn(move || consume(buffer, true, merge)),
            scope.spawn(move || look_on(buffer)),
        ];
        let ends = workers.map(|worker| worker.join().is_ok());
        stop.store(true, Relaxed);
        scribbler.join().unwrap();
        assert_eq!(ends, [true; 4], "nobody panics");
    });
    assert!(written.load(Relaxed) > 1000, "it was scribbled over");
    say("alive");
}

fn a_scribbling_peer_stops_or_garbles_but_neither_kills_nor_hangs() {
    let folder = tempdir().unwrap();
    for shape in 0..shapes().len() {
        for merge in ["fair", "id"] {
            let path = folder.path().join(format!("{shape}-{merge}"));
            let lines = Peer::start("work_against_a_scribbler", &[path.to_str().unwrap(), &shape.to_string(), merge]);
            assert_eq!(lines.succeed(), ["alive"], "shape {shape}, merged by {merge}");
        }
    }
}
