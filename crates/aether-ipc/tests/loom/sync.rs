//! `src/sync.rs` for the model checker: loom's atomics, and orderings that can be weakened one at a time.

use std::cell::Cell;

/// An ordering that the protocol relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    Publish,
    Observe,
    Release,
    Stamp,
    FullFence,
    OverwriteFence,
    CopiedFence,
    LightFence,
    HeavyFence,
}

impl Site {
    pub(crate) const ALL: &[Site] = &[
        Site::Publish,
        Site::Observe,
        Site::Release,
        Site::Stamp,
        Site::FullFence,
        Site::OverwriteFence,
        Site::CopiedFence,
        Site::LightFence,
        Site::HeavyFence,
    ];

    fn is_weakened(self) -> bool {
        WEAKENED.get() == Some(self)
    }
}

thread_local! {
    /// Loom runs all threads of a model on the one that called it.
    pub(crate) static WEAKENED: Cell<Option<Site>> = const { Cell::new(None) };
}

/// What `cursor.rs` and its like call an ordering.
#[derive(Clone, Copy)]
pub(crate) enum Ordering {
    Relaxed,
    At(Site),
}

pub(crate) const PUBLISH: Ordering = Ordering::At(Site::Publish);
pub(crate) const OBSERVE: Ordering = Ordering::At(Site::Observe);
pub(crate) const RELEASE: Ordering = Ordering::At(Site::Release);
pub(crate) const STAMP: Ordering = Ordering::At(Site::Stamp);

impl From<Ordering> for loom::sync::atomic::Ordering {
    fn from(ordering: Ordering) -> Self {
        match ordering {
            Ordering::At(site) if !site.is_weakened() => match site {
                Site::Publish | Site::Release => Self::Release,
                Site::Observe => Self::Acquire,
                Site::Stamp => Self::AcqRel,
                _ => unreachable!("a fence"),
            },
            _ => Self::Relaxed,
        }
    }
}

fn fence(site: Site, ordering: loom::sync::atomic::Ordering) {
    if !site.is_weakened() {
        loom::sync::atomic::fence(ordering);
    }
}

pub(crate) fn full_fence() {
    fence(Site::FullFence, loom::sync::atomic::Ordering::SeqCst);
}

pub(crate) fn overwrite_fence() {
    fence(Site::OverwriteFence, loom::sync::atomic::Ordering::Release);
}

pub(crate) fn copied_fence() {
    fence(Site::CopiedFence, loom::sync::atomic::Ordering::Acquire);
}

/// An asymmetric pair (a compiler fence here, `membarrier` there) is what two full fences are, with the cost of one
/// moved to the other side: so that is what the model has on both.
pub(crate) fn light_fence() {
    fence(Site::LightFence, loom::sync::atomic::Ordering::SeqCst);
}

/// See [`light_fence`].
pub(crate) fn heavy_fence() {
    fence(Site::HeavyFence, loom::sync::atomic::Ordering::SeqCst);
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        pub(crate) struct $name(loom::sync::atomic::$name);

        // Not every atomic is used in every way.
        #[allow(dead_code)]
        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $value {
                self.0.load(ordering.into())
            }

            pub(crate) fn store(&self, value: $value, ordering: Ordering) {
                self.0.store(value, ordering.into());
            }

            pub(crate) fn fetch_or(&self, value: $value, ordering: Ordering) -> $value {
                self.0.fetch_or(value, ordering.into())
            }

            pub(crate) fn fetch_add(&self, value: $value, ordering: Ordering) -> $value {
                self.0.fetch_add(value, ordering.into())
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange_weak(current, new, success.into(), failure.into())
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

/// What stands for the system's locks of a role: whoever takes one sees what its last holder did.
pub(crate) struct RoleLock(loom::sync::atomic::AtomicU32);

impl RoleLock {
    pub(crate) fn new() -> RoleLock {
        RoleLock(loom::sync::atomic::AtomicU32::new(0))
    }

    pub(crate) fn try_take(&self) -> bool {
        use loom::sync::atomic::Ordering::{Acquire, Relaxed};
        self.0.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
    }

    pub(crate) fn let_go(&self) {
        self.0.store(0, loom::sync::atomic::Ordering::Release);
    }
}
