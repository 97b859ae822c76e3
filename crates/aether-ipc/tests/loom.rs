//! The cursor protocol under the model checker: every order in which the steps of two or three processes, and the
//! stores and loads in them, can happen.
//!
//! `cursor.rs`, `bell.rs` and `sequence.rs` are the files that ship, compiled here once more against loom's atomics.
//! Every ordering that they rely on has a name, a [`Site`]. Each model is run as it is, and must hold; and again with one
//! site after the other weakened to `Relaxed` or left out, and must fail: so the checker can see what the ordering is
//! for. Each model also notes the states that it is about, and fails if it never came there: loom is known to pass broken
//! code when nothing interesting happens in it.

// The files have more than the models use.
#[allow(dead_code, unreachable_pub)]
#[path = "../src/bell.rs"]
mod bell;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/cursor.rs"]
mod cursor;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/error.rs"]
mod error;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/sequence.rs"]
mod sequence;

#[path = "loom/checker.rs"]
mod checker;
#[path = "loom/sync.rs"]
mod sync;

use checker::{Model, Reached};
use cursor::{AWAY, ReadEnd, WriteEnd};
use loom::{
    cell::UnsafeCell,
    thread::{self, yield_now},
};
// Not loom's: that one orders more than the protocol may rely on, and can't be dropped by a thread that panics.
use std::sync::Arc;
use sync::{AtomicU32, AtomicU64, Ordering::Relaxed, RoleLock, Site};

/// Each model, what it must come across, and the orderings that it shows to be needed.
const MODELS: &[Model] = &[
    Model {
        name: "one producer, one consumer",
        run: one_to_one,
        preemptions: None,
        reaches: &["full", "empty", "wrapped"],
        needs: &[Site::Publish, Site::Observe, Site::Release],
    },
    Model {
        name: "batches",
        run: batches,
        preemptions: None,
        reaches: &["full", "empty", "several at once"],
        needs: &[Site::Publish, Site::Observe, Site::Release],
    },
    Model {
        name: "roles change hands",
        run: hand_over,
        preemptions: None,
        reaches: &["producer died before its commit", "consumer died before its release", "read twice"],
        needs: &[Site::Publish, Site::Observe, Site::Release],
    },
    Model {
        name: "a consumer joins while the producer looks for space",
        run: join,
        preemptions: None,
        reaches: &["joined before", "joined between", "joined after", "held back", "not held back"],
        needs: &[Site::Publish, Site::FullFence, Site::Release],
    },
    Model {
        name: "a consumer joins while a batch is written",
        run: join_during_batch,
        preemptions: None,
        reaches: &["joined before", "joined after", "batch cut short", "batch went through"],
        needs: &[Site::FullFence],
    },
    Model {
        name: "a consumer leaves",
        run: leave,
        preemptions: None,
        reaches: &["held back", "let go"],
        needs: &[Site::Release, Site::Observe],
    },
    Model {
        name: "a dead consumer is swept while another takes its place",
        run: sweep,
        preemptions: Some(3),
        reaches: &["swept", "taken over"],
        needs: &[Site::FullFence],
    },
    Model {
        name: "the oldest are dropped under a copying reader",
        run: drop_oldest,
        preemptions: Some(3),
        reaches: &["lagged", "torn", "copied", "producer died"],
        needs: &[Site::Publish, Site::Observe, Site::Release, Site::OverwriteFence, Site::CopiedFence],
    },
    Model {
        name: "an observer copies what the producer writes over",
        run: observe,
        preemptions: Some(2),
        reaches: &["torn", "copied"],
        needs: &[Site::OverwriteFence, Site::CopiedFence],
    },
    Model {
        name: "an observer of a classic file",
        run: observe_classic,
        preemptions: Some(2),
        reaches: &["torn", "copied"],
        needs: &[Site::OverwriteFence, Site::CopiedFence],
    },
    Model {
        name: "a consumer parks",
        run: park_for_data,
        preemptions: None,
        reaches: &["asleep", "woken", "rang", "nobody to wake"],
        needs: &[Site::LightFence, Site::HeavyFence],
    },
    Model {
        name: "a producer parks",
        run: park_for_space,
        preemptions: None,
        reaches: &["asleep", "woken", "rang", "nobody to wake"],
        needs: &[Site::LightFence, Site::HeavyFence],
    },
    Model {
        name: "two consumers park at one bell",
        run: two_park,
        preemptions: Some(2),
        reaches: &["asleep", "woken", "rang"],
        needs: &[Site::LightFence, Site::HeavyFence],
    },
    Model {
        name: "a shared sequence",
        run: shared_sequence,
        preemptions: Some(3),
        reaches: &["waited for a smaller one", "second look found a smaller one", "in sequence"],
        needs: &[Site::Stamp, Site::Release, Site::Observe],
    },
];

/// Bytes of a slot: every record of these models is this long.
const SLOT: u64 = 8;

/// A lane whose records are one word each. Loom reports a word that is read and written without an order between.
struct Lane {
    write: AtomicU64,
    reads: Vec<AtomicU64>,
    slots: Vec<UnsafeCell<u64>>,
}

// SAFETY: that no two threads touch a slot at once is what the models check.
unsafe impl Sync for Lane {}

impl Lane {
    /// A lane with so many slots and consumers, the first of which is there and the others away.
    fn new(slots: usize, consumers: usize) -> Arc<Lane> {
        Arc::new(Lane {
            write: AtomicU64::new(0),
            reads: (0..consumers).map(|slot| AtomicU64::new(if slot == 0 { 0 } else { AWAY })).collect(),
            slots: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    fn capacity(&self) -> u64 {
        self.slots.len() as u64 * SLOT
    }

    fn slot(&self, position: u64) -> &UnsafeCell<u64> {
        &self.slots[(position / SLOT) as usize % self.slots.len()]
    }

    fn producer(&self) -> WriteEnd {
        WriteEnd::resume(&self.write, self.capacity()).unwrap()
    }

    fn consumer(&self) -> ReadEnd {
        ReadEnd::resume(&self.reads[0], &self.write, self.capacity()).unwrap()
    }

    /// The record that belongs at `position`: none is ever repeated, nor the content of an untouched slot.
    fn put(&self, position: u64) {
        self.slot(position).with_mut(|slot| {
            // SAFETY: loom has just checked that nobody else is there.
            unsafe { *slot = position + 1 }
        });
    }

    #[track_caller]
    fn check(&self, position: u64) {
        let found = self.slot(position).with(|slot| {
            // SAFETY: loom has just checked that nobody writes there.
            unsafe { *slot }
        });
        assert_eq!(found, position + 1, "lost or torn");
    }

    /// Reads what is committed, without giving it back; at least one record, or none is there.
    fn read_all(&self, end: &mut ReadEnd) -> u64 {
        end.refresh(&self.write).unwrap();
        let mut count = 0;
        while end.available() > 0 {
            self.check(end.position());
            end.advance(SLOT);
            count += 1;
        }
        count
    }
}

fn one_to_one(reached: &Reached) {
    let lane = Lane::new(2, 1);
    let mut producer = lane.producer();
    let mut consumer = lane.consumer();
    let thread = {
        let (lane, reached) = (lane.clone(), reached.clone());
        thread::spawn(move || {
            for _ in 0..4 {
                let position = producer.position();
                if producer.room(position) < SLOT {
                    producer.refresh(&lane.reads[0], None).unwrap();
                }
                if producer.room(position) < SLOT {
                    reached.note("full");
                    yield_now();
                    continue;
                }
                if position >= lane.capacity() {
                    reached.note("wrapped");
                }
                lane.put(position);
                producer.publish(&lane.write, position + SLOT);
            }
            producer
        })
    };
    for _ in 0..3 {
        if consumer.available() == 0 {
            consumer.refresh(&lane.write).unwrap();
        }
        if consumer.available() == 0 {
            reached.note("empty");
            yield_now();
            continue;
        }
        lane.check(consumer.position());
        consumer.advance(SLOT);
        consumer.release(&lane.reads[0]);
    }
    let producer = thread.join().unwrap();
    lane.read_all(&mut consumer);
    assert_eq!(consumer.position(), producer.position(), "every committed record was read");
}

/// Three records are written, then published at once if all found space; the consumer reads all there is, then releases.
fn batches(reached: &Reached) {
    let lane = Lane::new(3, 1);
    let mut producer = lane.producer();
    let mut consumer = lane.consumer();
    let thread = {
        let (lane, reached) = (lane.clone(), reached.clone());
        thread::spawn(move || {
            for _ in 0..3 {
                let mut to = producer.position();
                while to - producer.position() < 2 * SLOT {
                    if producer.room(to) < SLOT {
                        producer.refresh(&lane.reads[0], None).unwrap();
                    }
                    if producer.room(to) < SLOT {
                        reached.note("full");
                        break;
                    }
                    lane.put(to);
                    to += SLOT;
                }
                if to == producer.position() {
                    yield_now();
                } else {
                    producer.publish(&lane.write, to);
                }
            }
            producer
        })
    };
    for _ in 0..2 {
        match lane.read_all(&mut consumer) {
            0 => {
                reached.note("empty");
                yield_now();
            }
            1 => {}
            _ => reached.note("several at once"),
        }
        consumer.release(&lane.reads[0]);
    }
    let producer = thread.join().unwrap();
    lane.read_all(&mut consumer);
    assert_eq!(consumer.position(), producer.position(), "every committed record was read");
}

/// Both die in the middle. The system's lock orders the end of a holder before the start of its successor, which is why
/// the successor may be the same thread here.
fn hand_over(reached: &Reached) {
    let lane = Lane::new(1, 1);
    let mut producer = lane.producer();
    let mut consumer = lane.consumer();
    let thread = {
        let (lane, reached) = (lane.clone(), reached.clone());
        thread::spawn(move || {
            for attempt in 0..3 {
                let position = producer.position();
                if producer.room(position) < SLOT {
                    producer.refresh(&lane.reads[0], None).unwrap();
                }
                if producer.room(position) < SLOT {
                    yield_now();
                    continue;
                }
                lane.put(position);
                if attempt == 1 {
                    reached.note("producer died before its commit");
                    producer = lane.producer();
                    assert_eq!(producer.position(), position, "what was not committed does not exist");
                } else {
                    producer.publish(&lane.write, position + SLOT);
                }
            }
            producer
        })
    };
    let mut furthest = 0;
    for attempt in 0..3 {
        let start = consumer.position();
        if lane.read_all(&mut consumer) == 0 {
            yield_now();
            continue;
        }
        if start < furthest {
            reached.note("read twice");
        }
        furthest = furthest.max(consumer.position());
        if attempt == 0 {
            reached.note("consumer died before its release");
            consumer = lane.consumer();
            assert_eq!(consumer.position(), start, "what was not released comes again, and nothing else");
        } else {
            consumer.release(&lane.reads[0]);
        }
    }
    let producer = thread.join().unwrap();
    let mut consumer = lane.consumer();
    lane.read_all(&mut consumer);
    assert_eq!(consumer.position(), producer.position(), "every committed record was read");
}

/// What one consumer among many does after it joined: every record from then on, in order.
fn read_as_one_of_many(lane: &Lane, slot: usize, attempts: usize) -> (ReadEnd, u64) {
    let mut consumer = ReadEnd::join(&lane.reads[slot], &lane.write, lane.capacity()).unwrap();
    let start = consumer.position();
    for _ in 0..attempts {
        if lane.read_all(&mut consumer) == 0 {
            yield_now();
        }
        consumer.release(&lane.reads[slot]);
    }
    (consumer, start)
}

fn join(reached: &Reached) {
    const RECORDS: u64 = 4;
    let lane = Lane::new(2, 1);
    lane.reads[0].store(AWAY, Relaxed);
    let mut producer = lane.producer();
    let thread = {
        let (lane, reached) = (lane.clone(), reached.clone());
        thread::spawn(move || {
            for _ in 0..RECORDS {
                let position = producer.position();
                if producer.room(position) < SLOT {
                    producer.refresh_slowest(lane.reads.iter(), None);
                    let held = producer.room(position) < lane.capacity();
                    reached.note(if held { "held back" } else { "not held back" });
                }
                if producer.room(position) < SLOT {
                    yield_now();
                    continue;
                }
                lane.put(position);
                producer.publish(&lane.write, position + SLOT);
            }
            producer
        })
    };
    let (mut consumer, start) = read_as_one_of_many(&lane, 0, 2);
    let producer = thread.join().unwrap();
    reached.note(match start {
        0 => "joined before",
        start if start == RECORDS * SLOT => "joined after",
        _ => "joined between",
    });
    lane.read_all(&mut consumer);
    assert_eq!(consumer.position(), producer.position(), "every record since it joined was read");
}

/// The batch is further ahead than the write cursor when the space for its next record is looked for.
fn join_during_batch(reached: &Reached) {
    let lane = Lane::new(2, 1);
    lane.reads[0].store(AWAY, Relaxed);
    let mut producer = lane.producer();
    let thread = {
        let (lane, reached) = (lane.clone(), reached.clone());
        thread::spawn(move || {
            for length in [1, 3] {
                let mut to = producer.position();
                for _ in 0..length {
                    if producer.room(to) < SLOT {
                        producer.refresh_slowest(lane.reads.iter(), None);
                    }
                    if producer.room(to) < SLOT {
                        reached.note("batch cut short");
                        break;
                    }
                    lane.put(to);
                    to += SLOT;
                }
                assert!(to - producer.position() <= lane.capacity(), "a batch is no longer than the ring");
                if to - producer.position() == 2 * SLOT {
                    reached.note("batch went through");
                }
                producer.publish(&lane.write, to);
            }
            producer
        })
    };
    let (mut consumer, start) = read_as_one_of_many(&lane, 0, 1);
    let producer = thread.join().unwrap();
    reached.note(if start == 0 { "joined before" } else { "joined after" });
    lane.read_all(&mut consumer);
    assert_eq!(consumer.position(), producer.position(), "every record since it joined was read");
}

/// Of two consumers, one reads a record and leaves. The other one stays.
fn leave(reached: &Reached) {
    let lane = Lane::new(2, 2);
    lane.reads[1].store(0, Relaxed);
    let mut producer = lane.producer();
    producer.refresh_slowest(lane.reads.iter(), None);
    lane.put(0);
    producer.publish(&lane.write, SLOT);
    let mut stays = lane.consumer();
    let mut leaves = ReadEnd::resume(&lane.reads[1], &lane.write, lane.capacity()).unwrap();
    let thread = {
        let lane = lane.clone();
        thread::spawn(move || {
            lane.check(leaves.position());
            leaves.advance(SLOT);
            ReadEnd::leave(&lane.reads[1]);
        })
    };
    lane.read_all(&mut stays);
    stays.release(&lane.reads[0]);
    for _ in 0..3 {
        let position = producer.position();
        if producer.room(position) < SLOT {
            producer.refresh_slowest(lane.reads.iter(), None);
        }
        if producer.room(position) < SLOT {
            reached.note("held back");
            yield_now();
            continue;
        }
        if position == lane.capacity() {
            reached.note("let go");
        }
        lane.put(position);
        producer.publish(&lane.write, position + SLOT);
        lane.read_all(&mut stays);
        stays.release(&lane.reads[0]);
    }
    thread.join().unwrap();
}

/// The first slot's consumer is dead: its cursor stands, its lock is free. The producer that finds the ring full sweeps
/// it, while somebody who joins takes the same slot.
fn sweep(reached: &Reached) {
    let lane = Lane::new(2, 1);
    let lock = Arc::new(RoleLock::new());
    let mut producer = lane.producer();
    producer.refresh_slowest(lane.reads.iter(), None);
    for position in [0, SLOT] {
        lane.put(position);
        producer.publish(&lane.write, position + SLOT);
    }
    let thread = {
        let (lane, lock, reached) = (lane.clone(), lock.clone(), reached.clone());
        thread::spawn(move || {
            for _ in 0..3 {
                let position = producer.position();
                producer.refresh_slowest(lane.reads.iter(), None);
                if producer.room(position) < SLOT && lock.try_take() {
                    ReadEnd::leave(&lane.reads[0]);
                    lock.let_go();
                    reached.note("swept");
                    producer.refresh_slowest(lane.reads.iter(), None);
                }
                if producer.room(position) < SLOT {
                    yield_now();
                    continue;
                }
                lane.put(position);
                producer.publish(&lane.write, position + SLOT);
            }
            producer
        })
    };
    if !lock.try_take() {
        thread.join().unwrap();
        return;
    }
    if lane.reads[0].load(Relaxed) == 0 {
        reached.note("taken over");
    }
    let (mut consumer, _) = read_as_one_of_many(&lane, 0, 1);
    let producer = thread.join().unwrap();
    lane.read_all(&mut consumer);
    assert_eq!(consumer.position(), producer.position(), "every record since it joined was read");
}

/// A lane whose records are two words that belong together, read by copying. The words are atomics, as a copy races with
/// the producer; what was copied is worth something only if [`ReadEnd::still_whole`] says so.
struct Copied {
    write: AtomicU64,
    read: AtomicU64,
    oldest: AtomicU64,
    words: Vec<[AtomicU64; 2]>,
}

/// Bytes of a record in a [`Copied`] lane.
const PAIR: u64 = 16;

impl Copied {
    fn new(records: usize) -> Arc<Copied> {
        Arc::new(Copied {
            write: AtomicU64::new(0),
            read: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            words: (0..records).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect(),
        })
    }

    fn capacity(&self) -> u64 {
        self.words.len() as u64 * PAIR
    }

    fn words(&self, position: u64) -> &[AtomicU64; 2] {
        &self.words[(position / PAIR) as usize % self.words.len()]
    }

    fn put(&self, position: u64) {
        for word in self.words(position) {
            word.store(position + 1, Relaxed);
        }
    }

    /// Copies a record; whether it was whole.
    fn copy(&self, position: u64, floor: &AtomicU64) -> bool {
        let copy = self.words(position).each_ref().map(|word| word.load(Relaxed));
        if !ReadEnd::still_whole(position, floor) {
            return false;
        }
        assert_eq!(copy, [position + 1; 2], "a torn record passed as whole");
        true
    }
}

fn drop_oldest(reached: &Reached) {
    let lane = Copied::new(2);
    let mut producer = WriteEnd::resume(&lane.write, lane.capacity()).unwrap();
    producer.resume_lossy(&lane.oldest).unwrap();
    let mut consumer = ReadEnd::resume_lossy(&lane.read, lane.capacity()).unwrap();
    let thread = {
        let (lane, reached) = (lane.clone(), reached.clone());
        thread::spawn(move || {
            for attempt in 0..4 {
                let position = producer.position();
                if producer.room(position) < PAIR {
                    let floor = producer.floor();
                    producer.grant(floor + PAIR, Some(&lane.oldest));
                }
                lane.put(position);
                if attempt == 2 {
                    reached.note("producer died");
                    producer = WriteEnd::resume(&lane.write, lane.capacity()).unwrap();
                    producer.resume_lossy(&lane.oldest).unwrap();
                    continue;
                }
                producer.publish(&lane.write, position + PAIR);
            }
        })
    };
    let look = |consumer: &mut ReadEnd| {
        if consumer.available() == 0 {
            match consumer.refresh_lossy(&lane.write, &lane.oldest).expect("no sound ring looks corrupt") {
                0 => {}
                _ => reached.note("lagged"),
            }
        }
        if consumer.available() == 0 {
            return;
        }
        if lane.copy(consumer.position(), &lane.oldest) {
            reached.note("copied");
            consumer.advance(PAIR);
        } else {
            reached.note("torn");
            let lost = consumer.refresh_lossy(&lane.write, &lane.oldest).expect("no sound ring looks corrupt");
            assert!(lost > 0, "what was torn counts as lost");
        }
    };
    for _ in 0..2 {
        look(&mut consumer);
        yield_now();
    }
    thread.join().unwrap();
    for _ in 0..4 {
        look(&mut consumer);
    }
    assert_eq!(consumer.position(), 3 * PAIR, "what is committed and not dropped is read in the end");
}

/// A producer that goes on as its consumer releases, and an observer that copies what waits.
fn watch(reached: &Reached, oldest: bool) {
    let lane = Copied::new(1);
    let mut producer = WriteEnd::resume(&lane.write, lane.capacity()).unwrap();
    producer.refresh(&lane.read, None).unwrap();
    lane.put(0);
    producer.publish(&lane.write, PAIR);
    let mut consumer = ReadEnd::resume(&lane.read, &lane.write, lane.capacity()).unwrap();
    let producing = {
        let lane = lane.clone();
        thread::spawn(move || {
            let position = producer.position();
            producer.refresh(&lane.read, oldest.then_some(&lane.oldest)).unwrap();
            if producer.room(position) >= PAIR {
                lane.put(position);
                producer.publish(&lane.write, position + PAIR);
            }
        })
    };
    let consuming = {
        let lane = lane.clone();
        thread::spawn(move || {
            consumer.advance(PAIR);
            consumer.release(&lane.read);
        })
    };
    let floor = if oldest { &lane.oldest } else { &lane.read };
    reached.note(if lane.copy(0, floor) { "copied" } else { "torn" });
    producing.join().unwrap();
    consuming.join().unwrap();
}

fn observe(reached: &Reached) {
    watch(reached, true);
}

fn observe_classic(reached: &Reached) {
    watch(reached, false);
}

/// How [`wait_until`](aether_ipc) parks, with a look at the end instead of the sleep: the value that would be slept on.
fn park(bell: &AtomicU32, mut ready: impl FnMut() -> bool) -> Option<u32> {
    if ready() {
        return None;
    }
    let mut sleep = [bell::Sleep::on(bell)];
    bell::announce(&mut sleep);
    if ready() { None } else { Some(sleep[0].value) }
}

/// What the awake side does after each publication or release.
fn ring_if_wanted(bell: &AtomicU32, reached: &Reached) {
    if bell::wanted(bell) {
        if bell::ring(bell) {
            reached.note("rang");
        }
    } else {
        reached.note("nobody to wake");
    }
}

/// All are done. A sleeper whose word has changed was woken, or would not even have slept.
fn judge_sleeper(slept_on: Option<u32>, bell: &AtomicU32, there_is_what_it_waits_for: bool, reached: &Reached) {
    let Some(value) = slept_on else { return };
    reached.note("asleep");
    let woken = bell.load(Relaxed) != value;
    if woken {
        reached.note("woken");
    }
    assert!(woken || !there_is_what_it_waits_for, "a lost wake-up");
}

fn park_for_data(reached: &Reached) {
    let lane = Lane::new(2, 1);
    let bell = Arc::new(AtomicU32::new(0));
    let mut producer = lane.producer();
    producer.refresh(&lane.reads[0], None).unwrap();
    let mut consumer = lane.consumer();
    let thread = {
        let (lane, bell, reached) = (lane.clone(), bell.clone(), reached.clone());
        thread::spawn(move || {
            for position in [0, SLOT] {
                lane.put(position);
                producer.publish(&lane.write, position + SLOT);
                ring_if_wanted(&bell, &reached);
            }
        })
    };
    let mut slept_on = None;
    // Woken once, it looks again and may go back to sleep.
    for _ in 0..2 {
        slept_on = park(&bell, || lane.read_all(&mut consumer) > 0);
        if slept_on.is_some_and(|value| bell.load(Relaxed) == value) {
            break;
        }
    }
    thread.join().unwrap();
    let more = lane.read_all(&mut consumer) > 0;
    judge_sleeper(slept_on, &bell, more, reached);
}

fn park_for_space(reached: &Reached) {
    let lane = Lane::new(1, 1);
    let bell = Arc::new(AtomicU32::new(0));
    let mut producer = lane.producer();
    producer.refresh(&lane.reads[0], None).unwrap();
    lane.put(0);
    producer.publish(&lane.write, SLOT);
    let mut consumer = lane.consumer();
    let thread = {
        let (lane, bell, reached) = (lane.clone(), bell.clone(), reached.clone());
        thread::spawn(move || {
            lane.read_all(&mut consumer);
            consumer.release(&lane.reads[0]);
            ring_if_wanted(&bell, &reached);
        })
    };
    let slept_on = park(&bell, || {
        producer.refresh(&lane.reads[0], None).unwrap();
        producer.room(SLOT) >= SLOT
    });
    thread.join().unwrap();
    producer.refresh(&lane.reads[0], None).unwrap();
    judge_sleeper(slept_on, &bell, producer.room(SLOT) >= SLOT, reached);
}

/// One publication has to wake both.
fn two_park(reached: &Reached) {
    let lane = Lane::new(1, 2);
    lane.reads[1].store(0, Relaxed);
    let bell = Arc::new(AtomicU32::new(0));
    let mut producer = lane.producer();
    producer.refresh_slowest(lane.reads.iter(), None);
    let sleepers: Vec<_> = (0..2)
        .map(|slot| {
            let (lane, bell) = (lane.clone(), bell.clone());
            let mut consumer = ReadEnd::resume(&lane.reads[slot], &lane.write, lane.capacity()).unwrap();
            thread::spawn(move || park(&bell, || lane.read_all(&mut consumer) > 0))
        })
        .collect();
    lane.put(0);
    producer.publish(&lane.write, SLOT);
    ring_if_wanted(&bell, reached);
    for sleeper in sleepers {
        judge_sleeper(sleeper.join().unwrap(), &bell, true, reached);
    }
}

/// Two producers with a lane each, ids from one sequence, and a consumer that must see them in that order.
fn shared_sequence(reached: &Reached) {
    struct Words {
        next: AtomicU64,
        busy: [AtomicU64; 2],
        lanes: [Arc<Lane>; 2],
        ids: [[AtomicU64; 2]; 2],
    }
    let words = Arc::new(Words {
        next: AtomicU64::new(0),
        busy: [AtomicU64::new(0), AtomicU64::new(0)],
        lanes: [Lane::new(2, 1), Lane::new(2, 1)],
        ids: [[AtomicU64::new(9), AtomicU64::new(9)], [AtomicU64::new(9), AtomicU64::new(9)]],
    });
    let threads: Vec<_> = [(0, 2), (1, 1)]
        .map(|(index, records)| {
            let words = words.clone();
            let mut producer = words.lanes[index].producer();
            producer.refresh(&words.lanes[index].reads[0], None).unwrap();
            thread::spawn(move || {
                for _ in 0..records {
                    let position = producer.position();
                    sequence::announce(&words.busy[index]);
                    let id = sequence::stamp(&words.next, 1);
                    words.ids[index][(position / SLOT) as usize].store(id, Relaxed);
                    words.lanes[index].put(position);
                    producer.publish(&words.lanes[index].write, position + SLOT);
                    sequence::settle(&words.busy[index]);
                }
            })
        })
        .into_iter()
        .collect();
    struct Consumer {
        words: Arc<Words>,
        ends: Vec<ReadEnd>,
        looks: u32,
        heads: [Option<u64>; 2],
    }
    let mut consumer = Consumer {
        ends: words.lanes.iter().map(|lane| lane.consumer()).collect(),
        words: words.clone(),
        looks: 0,
        heads: [None; 2],
    };
    let smallest_head = |consumer: &mut Consumer| {
        let mut smallest = None;
        for (index, end) in consumer.ends.iter_mut().enumerate() {
            if end.available() == 0 {
                end.refresh(&consumer.words.lanes[index].write).unwrap();
            }
            if end.available() > 0 {
                let id = consumer.words.ids[index][(end.position() / SLOT) as usize].load(Relaxed);
                let head = (id as i64, index);
                smallest = Some(smallest.map_or(head, |other| head.min(other)));
            }
        }
        consumer.heads[consumer.looks as usize % 2] = smallest.map(|(id, _)| id as u64);
        consumer.looks += 1;
        Ok::<_, ()>(smallest)
    };
    let may_send_smaller = |consumer: &mut Consumer| {
        let empty = (0..2).filter(|&index| consumer.ends[index].available() == 0);
        Ok(empty.fold(false, |busy, index| busy | sequence::is_busy(&consumer.words.busy[index])))
    };
    let mut expected = 0;
    let mut take = |consumer: &mut Consumer| {
        consumer.looks = 0;
        let settled = |_: &Consumer, id: i64| id as u64 == expected && expected > 0;
        let next = sequence::next_in_order(consumer, smallest_head, settled, may_send_smaller).unwrap();
        if consumer.looks == 2 && consumer.heads[0] != consumer.heads[1] {
            reached.note("second look found a smaller one");
        }
        let Some(index) = next else {
            if consumer.looks > 0 && consumer.heads[0].is_some() {
                reached.note("waited for a smaller one");
            }
            return;
        };
        if consumer.looks == 1 {
            reached.note("in sequence");
        }
        let end = &mut consumer.ends[index];
        let id = consumer.words.ids[index][(end.position() / SLOT) as usize].load(Relaxed);
        consumer.words.lanes[index].check(end.position());
        assert_eq!(id, expected, "ids come in the order of the sequence");
        end.advance(SLOT);
        expected = id + 1;
    };
    for _ in 0..2 {
        take(&mut consumer);
        yield_now();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    for _ in 0..3 {
        take(&mut consumer);
    }
    assert_eq!(expected, 3, "all came");
}

/// One test a model, so that they run side by side.
macro_rules! models {
    ($($test:ident: $name:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            checker::judge(MODELS.iter().find(|model| model.name == $name).unwrap());
        })+

        #[test]
        fn every_model_is_run() {
            let run = [$($name),+];
            assert_eq!(MODELS.iter().map(|model| model.name).collect::<Vec<_>>(), run);
        }
    };
}

models! {
    nothing_is_lost_or_torn_between_one_producer_and_one_consumer: "one producer, one consumer",
    nothing_is_lost_or_torn_in_batches: "batches",
    a_successor_goes_on_where_its_predecessor_died: "roles change hands",
    joining_misses_nothing_while_the_producer_looks_for_space: "a consumer joins while the producer looks for space",
    joining_misses_nothing_while_a_batch_is_written: "a consumer joins while a batch is written",
    a_consumer_that_leaves_is_done_with_what_it_read: "a consumer leaves",
    sweeping_a_dead_consumer_does_no_harm_to_its_successor: "a dead consumer is swept while another takes its place",
    no_torn_record_passes_when_the_oldest_are_dropped: "the oldest are dropped under a copying reader",
    no_torn_record_passes_for_an_observer: "an observer copies what the producer writes over",
    no_torn_record_passes_for_an_observer_of_a_classic_file: "an observer of a classic file",
    no_wake_up_of_a_consumer_is_lost: "a consumer parks",
    no_wake_up_of_a_producer_is_lost: "a producer parks",
    no_wake_up_is_lost_when_two_sleep: "two consumers park at one bell",
    ids_of_a_shared_sequence_come_in_order: "a shared sequence",
}

#[test]
fn every_ordering_is_shown_to_be_needed() {
    for &site in Site::ALL {
        assert!(MODELS.iter().any(|model| model.needs.contains(&site)), "no model fails without {site:?}");
    }
}
