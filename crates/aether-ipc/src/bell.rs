//! Sleeping until the other side did something, without costing the awake side anything.
//!
//! A bell is one word in the file. Its lowest bit says that somebody sleeps, or is about to; the rest counts how often
//! it was rung. Compiled by the model checker too, like `cursor.rs`.

use super::sync::{AtomicU32, Ordering::Relaxed, heavy_fence, light_fence};

/// The bit of a sleeper.
pub const ASLEEP: u32 = 1;
const ONE_RING: u32 = 2;

/// What somebody sleeps on: a bell, and the value that it had when the sleeper was announced.
#[derive(Clone, Copy)]
pub(crate) struct Sleep<'b> {
    pub(crate) bell: &'b AtomicU32,
    pub(crate) value: u32,
}

impl Sleep<'_> {
    pub(crate) fn on(bell: &AtomicU32) -> Sleep<'_> {
        Sleep { bell, value: 0 }
    }
}

/// Announces a sleeper at each of the bells, and notes the values to sleep on. Before it sleeps, the caller must look
/// once more for what it waits for.
///
/// Either that look sees what the other side did, or the other side, having done it, sees the announcement: the two
/// fences forbid that both miss. The publisher's is only a compiler fence, since `heavy_fence` makes its processor
/// pass a real one.
pub(crate) fn announce(sleeps: &mut [Sleep<'_>]) {
    for sleep in sleeps {
        sleep.value = sleep.bell.fetch_or(ASLEEP.to_le(), Relaxed) | ASLEEP.to_le();
    }
    heavy_fence();
}

/// Whether somebody sleeps; asked after each publication or release.
#[inline]
pub(crate) fn wanted(bell: &AtomicU32) -> bool {
    light_fence();
    bell.load(Relaxed) & ASLEEP.to_le() != 0
}

/// Changes the word, so that whoever is about to sleep on its old value does not. Whether sleepers must be woken.
pub(crate) fn ring(bell: &AtomicU32) -> bool {
    let mut value = bell.load(Relaxed);
    loop {
        if value & ASLEEP.to_le() == 0 {
            return false;
        }
        let rung = (u32::from_le(value) & !ASLEEP).wrapping_add(ONE_RING).to_le();
        match bell.compare_exchange_weak(value, rung, Relaxed, Relaxed) {
            Ok(_) => return true,
            Err(now) => value = now,
        }
    }
}
