//! The thread that sleeps for tasks: on the bells of all of them at once. It is started by the first task that waits,
//! and sleeps for ever when none does. A system call takes no more than 128 bells: for more there are more threads.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*},
    },
    task::Waker,
    time::{Duration, Instant},
};

use crate::{
    bell::{self, Sleep},
    error::{Error, Result},
    mapping::{Epoch, Word, forks, sleep, wake_all},
    slots::Waiting,
    wait::TICK,
};

/// Tasks of one thread; one more word is its own bell.
const MOST: usize = 127;

/// A task that waits. It is in the list until this is dropped, or until it was woken.
#[derive(Debug)]
pub struct Registration {
    waiter: &'static Waiter,
    key: u64,
    forks: u32,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    waiting: Waiting,
    /// Of the bell, when the task was announced there.
    value: u32,
    /// When it is woken in any case; set if the other side can't ring.
    until: Option<Instant>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Waiter {
    entries: Mutex<Vec<Entry>>,
    /// Rung when there is a new entry.
    bell: AtomicU32,
}

/// The threads of this process. A forked child has none of its parent's, and their locks may have been held.
struct Threads {
    forks: u32,
    waiters: Mutex<Vec<&'static Waiter>>,
}

/// Nothing that is done under these locks leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn threads() -> &'static Threads {
    static THREADS: AtomicPtr<Threads> = AtomicPtr::new(std::ptr::null_mut());
    let current = THREADS.load(Acquire);
    // SAFETY: null, or leaked further down: never freed.
    if let Some(threads) = unsafe { current.as_ref() }
        && threads.forks == forks()
    {
        return threads;
    }
    let new = Box::into_raw(Box::new(Threads { forks: forks(), waiters: Mutex::default() }));
    match THREADS.compare_exchange(current, new, AcqRel, Acquire) {
        // SAFETY: made above, and never freed.
        Ok(_) => unsafe { &*new },
        Err(other) => {
            // SAFETY: made above, and nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
            // SAFETY: not null, since only this function stores here; never freed.
            unsafe { &*other }
        }
    }
}

/// Has a task woken when the bell is no longer at `value`. It must have been announced there, and have looked since.
pub(super) fn register(waiting: Waiting, value: u32, waker: &Waker) -> Result<Registration> {
    static KEYS: AtomicU64 = AtomicU64::new(0);
    let key = KEYS.fetch_add(1, Relaxed);
    let until = brief(&waiting).map(|longest| Instant::now() + longest);
    let entry = Entry { key, waiting, value, until, waker: waker.clone() };
    let mut waiters = lock(&threads().waiters);
    let waiter = match waiters.iter().find(|waiter| lock(&waiter.entries).len() < MOST) {
        Some(waiter) => *waiter,
        None => {
            let waiter: &'static Waiter = Box::leak(Box::default());
            std::thread::Builder::new().name("aether-waiter".to_owned()).spawn(|| waiter.run()).map_err(|source| {
                let path = entry.waiting.mapping.path().to_owned();
                Error::Io { path, operation: "start a thread to wait for", source }
            })?;
            waiters.push(waiter);
            waiter
        }
    };
    waiter.add(entry);
    Ok(Registration { waiter, key, forks: forks() })
}

/// How long a sleep may last, if the other side can't be trusted to ring.
fn brief(waiting: &Waiting) -> Option<Duration> {
    let longest = (waiting.longest_sleep)(&waiting.mapping);
    (longest < TICK).then_some(longest)
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.forks != forks() {
            // The parent's: its lock may have been held when it forked, and nobody here gives it back.
            return;
        }
        let mut entries = lock(&self.waiter.entries);
        let found = entries.iter().position(|entry| entry.key == self.key);
        let entry = found.map(|index| entries.swap_remove(index));
        // A waker can do anything when it is dropped.
        drop(entries);
        drop(entry);
    }
}

impl Waiter {
    fn add(&self, entry: Entry) {
        let mut entries = lock(&self.entries);
        entries.push(entry);
        // Under the lock, as the thread's announcement: it has seen the entry, or this sees the announcement.
        let rung = bell::ring(&self.bell);
        drop(entries);
        if rung {
            wake_all(&self.bell);
        }
    }

    fn run(&self) {
        let mut epoch = Epoch::now();
        let mut next_tick = Instant::now() + TICK;
        loop {
            self.sleep(next_tick);
            let now = Instant::now();
            let tick = now >= next_tick;
            if tick {
                next_tick = now + TICK;
            }
            // A file was cut short, or the process forked: the tasks have to look.
            let disturbed = !epoch.is_current();
            if disturbed {
                epoch = Epoch::now();
            }
            for entry in self.take_due(now, tick, disturbed) {
                entry.waker.wake();
            }
        }
    }

    /// Until a bell was rung, or it is time to look.
    fn sleep(&self, next_tick: Instant) {
        let mut own = [Sleep::on(&self.bell)];
        // The words stay mapped while this sleeps on them, at most until the next tick.
        let mut bells: Vec<(Word<AtomicU32>, u32)> = Vec::new();
        let mut until = None;
        {
            let entries = lock(&self.entries);
            bell::announce(&mut own);
            for entry in &*entries {
                bells.push((entry.waiting.bell.clone(), entry.value));
                let limit = entry.until.unwrap_or(next_tick).min(next_tick);
                until = Some(until.map_or(limit, |until: Instant| until.min(limit)));
            }
        }
        let timeout = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let sleeps: Vec<Sleep<'_>> =
            own.into_iter().chain(bells.iter().map(|(bell, value)| Sleep { bell, value: *value })).collect();
        sleep(&sleeps, timeout);
    }

    /// Takes out those that are to be woken.
    fn take_due(&self, now: Instant, tick: bool, disturbed: bool) -> Vec<Entry> {
        let is_due = |entry: &mut Entry| {
            if tick && entry.until.is_none() {
                // A producer or consumer may have come meanwhile that does not ring.
                entry.until = brief(&entry.waiting).map(|_| now);
            }
            let rung = entry.waiting.bell.load(Relaxed) != entry.value;
            rung || disturbed || tick && entry.waiting.ticks || entry.until.is_some_and(|until| now >= until)
        };
        lock(&self.entries).extract_if(.., is_due).collect()
    }
}
