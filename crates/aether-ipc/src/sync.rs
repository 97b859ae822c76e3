//! The atomics and orderings of the cursor protocol, in one place: the model checker compiles `cursor.rs`, `bell.rs`
//! and `sequence.rs` against another copy of this module, with its own atomics, and with single orderings weakened.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use std::sync::atomic::{compiler_fence, fence};

/// Store of a write cursor: what was written before it is whole for whoever observes it.
pub(crate) const PUBLISH: Ordering = Ordering::Release;
/// Load of the other side's cursor.
pub(crate) const OBSERVE: Ordering = Ordering::Acquire;
/// Store of a read cursor, and of other words that give something up: what came before it is done with.
pub(crate) const RELEASE: Ordering = Ordering::Release;
/// Addition to a shared sequence: see `sequence.rs`.
pub(crate) const STAMP: Ordering = Ordering::AcqRel;

/// A full fence, on slow paths only.
pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}

/// Before records are overwritten: whoever sees the new bytes will see that they had been given up.
pub(crate) fn overwrite_fence() {
    fence(Ordering::Release);
}

/// After records were copied: pairs with [`overwrite_fence`].
pub(crate) fn copied_fence() {
    fence(Ordering::Acquire);
}

/// The publisher's half of the asymmetric fence: holds the compiler only. The sleeper's half, `membarrier`, makes the
/// processors of all registered processes pass a full fence (Linux; elsewhere nobody sleeps on a bell).
#[inline]
pub(crate) fn light_fence() {
    compiler_fence(Ordering::SeqCst);
}

pub(crate) use crate::mapping::heavy_fence;
