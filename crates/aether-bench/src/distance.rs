//! How far apart the two processors are at the moment. A virtual processor moves between the cores of its host, so that
//! two of them may share a core now, a cache in a second, and nothing later: between those, everything here changes
//! severalfold. Measurements that were taken at another distance than the others are taken again.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::work::pin;

/// Round trips of a look: about a millisecond.
const TRIPS: u64 = 4_000;
/// Those at its start do not count.
const FIRST: u64 = TRIPS / 8;
/// Further apart than that is another distance.
const ALIKE: f64 = 1.3;

/// A word on cache lines of its own.
#[repr(align(128))]
struct Word(AtomicU64);

/// Nanoseconds that a cache line takes to the other processor and back.
///
/// # Errors
///
/// If a thread can't be started or bound to its processor.
pub fn now(cpus: [usize; 2]) -> Result<f64> {
    let word = Word(AtomicU64::new(0));
    let ready = AtomicU64::new(0);
    // Both sides say whether they are bound before either waits for the other.
    let bound = |cpu| {
        let result = pin(cpu);
        ready.fetch_add(if result.is_ok() { 1 } else { 1 << 32 }, Release);
        while ready.load(Acquire) & 0xff < 2 {
            if ready.load(Acquire) >> 32 > 0 {
                return result.and_then(|()| Err(anyhow!("the other side of a look at the distance failed")));
            }
            thread::yield_now();
        }
        result
    };
    thread::scope(|scope| {
        let answering = scope.spawn(|| {
            bound(cpus[1])?;
            for trip in 0..TRIPS {
                await_word(&word, 2 * trip + 1);
                word.0.store(2 * trip + 2, Release);
            }
            anyhow::Ok(())
        });
        let asking = scope.spawn(|| {
            bound(cpus[0])?;
            let mut started = Instant::now();
            for trip in 0..TRIPS {
                if trip == FIRST {
                    started = Instant::now();
                }
                word.0.store(2 * trip + 1, Release);
                await_word(&word, 2 * trip + 2);
            }
            Ok(started.elapsed().as_secs_f64() * 1e9 / (TRIPS - FIRST) as f64)
        });
        let joined = |_| anyhow!("a look at the distance panicked");
        answering.join().map_err(joined)??;
        asking.join().map_err(joined)?
    })
}

fn await_word(word: &Word, value: u64) {
    let mut looks = 0_u32;
    while word.0.load(Acquire) != value {
        std::hint::spin_loop();
        looks += 1;
        // Somebody else runs on the other processor.
        if looks.is_multiple_of(100_000) {
            thread::yield_now();
        }
    }
}

/// The distance that is usual now.
///
/// # Errors
///
/// As [`now`].
pub fn usual(cpus: [usize; 2]) -> Result<f64> {
    let mut seen = Vec::new();
    for _ in 0..15 {
        seen.push(now(cpus)?);
        thread::sleep(Duration::from_millis(20));
    }
    seen.sort_by(f64::total_cmp);
    Ok(seen[seen.len() / 2])
}

/// Whether two looks saw the same distance.
pub fn alike(one: f64, other: f64) -> bool {
    one < other * ALIKE && other < one * ALIKE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn a_look_takes_as_long_as_light_needs_at_least_and_ends() {
        let machine = Machine::look(None).unwrap();
        let distance = now(machine.cpus).unwrap();
        assert!(distance > 1.0, "{distance}");
        assert!(now([machine.cpus[0], 99_999]).is_err());
    }

    #[test]
    fn distances_are_alike_within_a_third() {
        assert!(alike(65.0, 74.0) && alike(74.0, 65.0));
        assert!(!alike(29.0, 65.0) && !alike(320.0, 65.0));
    }
}
