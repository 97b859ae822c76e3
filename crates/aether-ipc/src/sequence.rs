//! A sequence that all producers of a ring share: who takes which number, and when a consumer may believe that no
//! smaller one is still to come. Compiled by the model checker too, like `cursor.rs`.
//!
//! Each lane has a word that says "busy" from before it takes a number until that number is committed.

use super::sync::{AtomicU64, OBSERVE, Ordering::Relaxed, RELEASE, STAMP};

/// Says that this lane is about to take numbers.
pub(crate) fn announce(busy: &AtomicU64) {
    busy.store(1_u64.to_le(), Relaxed);
}

/// Takes `count` numbers, and returns the first.
///
/// Acquire and release: whoever sees a record with a later number sees that this lane was busy, or what it committed.
pub(crate) fn stamp(next: &AtomicU64, count: u64) -> u64 {
    next.fetch_add(count, STAMP)
}

/// What was stamped is committed, or does not exist. Release: whoever sees this sees what was committed before.
pub(crate) fn settle(busy: &AtomicU64) {
    busy.store(0, RELEASE);
}

/// Whether this lane may hold a number that is not committed yet. Acquire: if not, its records are visible.
pub(crate) fn is_busy(busy: &AtomicU64) -> bool {
    busy.load(OBSERVE) != 0
}

/// The lane of the smallest id, if none smaller can come any more. `smallest_head` looks at the lanes; the id that it
/// finds is the next one if `is_next` knows so, or if no lane `may_send_smaller`.
pub(crate) fn next_in_order<C, E>(
    consumer: &mut C,
    smallest_head: impl Fn(&mut C) -> Result<Option<(i64, usize)>, E>,
    is_next: impl Fn(&C, i64) -> bool,
    may_send_smaller: impl Fn(&mut C) -> Result<bool, E>,
) -> Result<Option<usize>, E> {
    let Some((id, index)) = smallest_head(consumer)? else { return Ok(None) };
    if is_next(consumer, id) {
        return Ok(Some(index));
    }
    if may_send_smaller(consumer)? {
        return Ok(None);
    }
    // What was committed before those producers were done or dead is visible now.
    Ok(smallest_head(consumer)?.map(|(_, index)| index))
}
