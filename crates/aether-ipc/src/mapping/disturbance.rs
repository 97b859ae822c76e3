//! Two things that happen to a mapping from outside, and must not go unnoticed on the way of a message: the process
//! was forked, or the file was cut short under the map. Both advance one counter that every operation compares with a
//! copy of its own; only when it moved does anybody look what happened.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::*};

use super::{Error, Result, system};

static EPOCH: AtomicU32 = AtomicU32::new(0);
static FORKS: AtomicU32 = AtomicU32::new(0);

/// How often this process image was forked into a child: differs between a parent and its children.
pub(crate) fn forks() -> u32 {
    FORKS.load(Relaxed)
}

/// Called in a forked child, while it has one thread.
#[cfg(unix)]
pub(crate) fn bump_forks() {
    FORKS.fetch_add(1, Relaxed);
    EPOCH.fetch_add(1, Relaxed);
}

/// An operation's copy of the counter.
#[derive(Debug)]
pub(crate) struct Epoch(u32);

impl Epoch {
    pub(crate) fn now() -> Epoch {
        Epoch(EPOCH.load(Relaxed))
    }

    /// Where the counter stands.
    pub(crate) fn counter() -> *const u32 {
        EPOCH.as_ptr()
    }

    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.0 == EPOCH.load(Relaxed)
    }
}

/// A list that a signal handler or a forked child can walk: it only grows, slots are reused, nothing is ever locked.
pub(crate) struct Slots<T: 'static> {
    head: AtomicPtr<Node<T>>,
}

struct Node<T: 'static> {
    taken: AtomicBool,
    value: T,
    next: *mut Node<T>,
}

impl<T: Default + Sync + 'static> Slots<T> {
    pub(crate) const fn new() -> Slots<T> {
        Slots { head: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// A slot for this caller alone, until it is given back.
    pub(crate) fn take(&'static self) -> Taken<T> {
        for node in self.iter() {
            if !node.taken.load(Relaxed) && node.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok() {
                return Taken(node);
            }
        }
        let node =
            Box::leak(Box::new(Node { taken: AtomicBool::new(true), value: T::default(), next: std::ptr::null_mut() }));
        let mut head = self.head.load(Relaxed);
        loop {
            node.next = head;
            match self.head.compare_exchange_weak(head, node, Release, Relaxed) {
                Ok(_) => return Taken(node),
                Err(now) => head = now,
            }
        }
    }

    /// The values of all slots, taken or not.
    #[cfg(unix)]
    pub(crate) fn values(&'static self) -> impl Iterator<Item = &'static T> {
        self.iter().map(|node| &node.value)
    }

    fn iter(&'static self) -> impl Iterator<Item = &'static Node<T>> {
        let mut next = self.head.load(Acquire).cast_const();
        std::iter::from_fn(move || {
            // SAFETY: nodes are leaked, so a pointer to one stays valid; its fields other than atomics were written
            // before the release store that made it reachable, and never again.
            let node = unsafe { next.as_ref() }?;
            next = node.next;
            Some(node)
        })
    }
}

// SAFETY: the list hands out shared references to leaked nodes, whose values are `Sync`.
unsafe impl<T: Sync + 'static> Sync for Slots<T> {}

pub(crate) struct Taken<T: 'static>(&'static Node<T>);

// SAFETY: a shared reference to a node whose value is `Sync` and whose `next` is never written again.
unsafe impl<T: Sync + 'static> Send for Taken<T> {}
// SAFETY: as above.
unsafe impl<T: Sync + 'static> Sync for Taken<T> {}

impl<T> Taken<T> {
    pub(crate) fn value(&self) -> &'static T {
        &self.0.value
    }

    /// The caller has put the value back to what a free slot holds.
    pub(crate) fn give_back(&self) {
        self.0.taken.store(false, Release);
    }
}

impl<T> std::fmt::Debug for Taken<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Taken")
    }
}

/// A mapped range that the bus error handler knows.
#[derive(Debug, Default)]
pub(super) struct Range {
    base: AtomicUsize,
    /// 0 while the slot is free.
    size: AtomicUsize,
    struck: AtomicBool,
}

static RANGES: Slots<Range> = Slots::new();

/// Keeps a range known to the handler while it is mapped.
#[derive(Debug)]
pub(super) struct Watch(Taken<Range>);

impl Watch {
    pub(super) fn new(base: usize, size: usize) -> Watch {
        let taken = RANGES.take();
        let range = taken.value();
        range.struck.store(false, Relaxed);
        range.base.store(base, Relaxed);
        range.size.store(size, Release);
        Watch(taken)
    }

    pub(super) fn struck(&self) -> bool {
        self.0.value().struck.load(Relaxed)
    }

    pub(super) fn end(&self) {
        self.0.value().size.store(0, Release);
        self.0.give_back();
    }
}

/// What the handler does with a bus error at `address`: if a ring is mapped there, ordinary memory takes the place of
/// the file that is gone, and the next operation on that ring reports it. Whether it was one of ours.
///
/// Only loads, stores and one system call: safe in a signal handler.
#[cfg(unix)]
pub(super) fn absorb(address: usize) -> bool {
    for range in RANGES.values() {
        let size = range.size.load(Acquire);
        let base = range.base.load(Relaxed);
        if address.wrapping_sub(base) < size {
            if !system::replace_by_memory(base, size) {
                return false;
            }
            range.struck.store(true, Relaxed);
            EPOCH.fetch_add(1, Relaxed);
            return true;
        }
    }
    false
}

/// Turns a bus error in a mapped ring into [`Error::Truncated`].
///
/// When a file is cut short while it is mapped, touching the part that is gone raises `SIGBUS`, which ends the process.
/// Space is allocated when a ring is made, so that a full disk can't cause this; somebody who truncates the file can.
/// After this call, a handler for the whole process puts memory in the place of the missing file; the operation at
/// hand goes on with that, and the next one on the ring returns the error. Bus errors elsewhere go to the handler that
/// was there before. A library should leave this to the program: the handler belongs to the process. Calling it again
/// is harmless.
///
/// # Errors
///
/// [`Error::Io`] if the system refuses the handler. On Windows there is nothing to do: a mapped file can't be cut.
///
/// ```
/// aether_ipc::guard_bus_errors()?;
/// # Ok::<(), aether_ipc::Error>(())
/// ```
pub fn guard_bus_errors() -> Result<()> {
    system::install_bus_handler().map_err(|source| Error::Io {
        path: "".into(),
        operation: "install a handler for bus errors",
        source,
    })
}
