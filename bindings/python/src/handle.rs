//! What producers and consumers have in common: one thread at a time, closing, waiting.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use aether_ipc::{Error, Registration};
use pyo3::prelude::*;

use crate::{
    arguments::Timeout,
    failure::{Failure, Result},
    loan::Loan,
};

/// The longest that a wait goes on before it looks for signals, such as that of Ctrl-C, and whether it was closed.
const LOOK: Duration = Duration::from_millis(20);

/// A role in a ring, as Python holds it.
pub(crate) struct Handle<T> {
    what: &'static str,
    /// None after it was closed. Never waited for: whoever waits holds it, maybe for ever.
    role: Mutex<Option<T>>,
    closed: AtomicBool,
    /// The task that sleeps until there is something to do.
    sleeper: Mutex<Option<Sleeper>>,
    pub(crate) loan: Loan,
}

struct Sleeper {
    _registration: Registration,
    waker: Waker,
}

/// A Python function that wakes somebody. Called in the library's thread.
struct Call(Py<PyAny>);

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        // When the interpreter is ending, nobody is left to be woken.
        Python::try_attach(|py| {
            if let Err(error) = self.0.call0(py) {
                error.write_unraisable(py, None);
            }
        });
    }
}

impl<T: Send> Handle<T> {
    pub(crate) fn new(what: &'static str, role: T) -> Handle<T> {
        Handle {
            what,
            role: Mutex::new(Some(role)),
            closed: AtomicBool::new(false),
            sleeper: Mutex::new(None),
            loan: Loan::new(),
        }
    }

    fn try_lock(&self) -> Result<MutexGuard<'_, Option<T>>> {
        match self.role.try_lock() {
            Ok(role) => Ok(role),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Failure::Busy(self.what)),
        }
    }

    /// Uses the role. If it was closed meanwhile, it is freed afterwards.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let mut role = self.try_lock()?;
        let result = match role.as_mut() {
            Some(role) if !self.is_closed() => work(role),
            _ => return Err(Failure::Closed(self.what)),
        };
        // Where views are left, the role goes with the last of them.
        if self.is_closed() && !self.loan.is_seen() {
            self.loan.abandon();
            self.free(&mut role);
        }
        result
    }

    /// Frees the role after `finish`, unless that finds views in use. Where another thread or a handler is using it, it is
    /// freed as soon as that is over, or has looked: a wait ends.
    pub(crate) fn close(&self, finish: impl FnOnce(&mut T) -> Result<()>) -> Result<()> {
        let Ok(mut role) = self.try_lock() else {
            self.closed.store(true, Relaxed);
            return Ok(());
        };
        let Some(open) = role.as_mut() else { return Ok(()) };
        let finished = finish(open);
        if self.loan.is_seen() {
            return finished;
        }
        self.closed.store(true, Relaxed);
        self.free(&mut role);
        match finished {
            // Nothing of the parent's was to be finished here.
            Err(Failure::Ring(Error::Forked)) => Ok(()),
            finished => finished,
        }
    }

    fn free(&self, role: &mut Option<T>) {
        *role = None;
        if let Some(sleeper) = self.take_sleeper() {
            sleeper.waker.wake();
        }
    }

    fn take_sleeper(&self) -> Option<Sleeper> {
        self.sleeper.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Has `wake` called, in another thread, when it is time to look again; until [`stop_waiting`](Self::stop_waiting).
    /// False if it is time now: then it is not called.
    pub(crate) fn wake_later(
        &self,
        wake: Py<PyAny>,
        look: impl FnOnce(&mut T, &mut Context<'_>, &mut Option<Registration>) -> Result<Poll<()>>,
    ) -> Result<bool> {
        self.with(|role| {
            let mut sleeper = self.sleeper.lock().unwrap_or_else(PoisonError::into_inner);
            if sleeper.is_some() {
                return Err(Failure::Busy(self.what));
            }
            let waker = Waker::from(Arc::new(Call(wake)));
            let mut registration = None;
            let looked = look(role, &mut Context::from_waker(&waker), &mut registration)?;
            *sleeper = registration.map(|registration| Sleeper { _registration: registration, waker });
            Ok(looked.is_pending())
        })
    }

    pub(crate) fn stop_waiting(&self) {
        // Dropped when its lock is free again: that may run Python code.
        drop(self.take_sleeper());
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Waits without the interpreter's lock, in turns of at most [`LOOK`].
    pub(crate) fn wait(
        &self,
        py: Python<'_>,
        patience: &mut Patience,
        mut turn: impl FnMut(Duration) -> aether_ipc::Result<()> + Send,
    ) -> Result<()> {
        loop {
            let left = patience.left();
            let result = py.detach(|| turn(left.unwrap_or(LOOK).min(LOOK)));
            if self.is_closed() {
                return Err(Failure::Closed(self.what));
            }
            match result {
                Err(Error::TimedOut { .. }) if left.is_none_or(|left| left > LOOK) => py.check_signals()?,
                Err(Error::TimedOut { awaited, .. }) => {
                    return Err(Error::TimedOut { waited: patience.waited(), awaited }.into());
                }
                result => return Ok(result?),
            }
        }
    }
}

/// How long a call goes on waiting. The clock is only asked when it comes to that.
pub(crate) struct Patience {
    timeout: Timeout,
    started: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(timeout: Timeout) -> Patience {
        Patience { timeout, started: None }
    }

    fn waited(&mut self) -> Duration {
        self.started.get_or_insert_with(Instant::now).elapsed()
    }

    pub(crate) fn left(&mut self) -> Option<Duration> {
        let waited = self.waited();
        self.timeout.0.map(|timeout| timeout.saturating_sub(waited))
    }

    /// Tries something that ends by itself after the time it is given, until it did not time out.
    pub(crate) fn retry<R: Send>(
        mut self,
        py: Python<'_>,
        turn: impl Fn(Duration) -> aether_ipc::Result<R> + Sync + Send,
    ) -> Result<R> {
        loop {
            let left = self.left();
            match py.detach(|| turn(left.unwrap_or(LOOK).min(LOOK))) {
                Err(Error::TimedOut { .. }) if left.is_none_or(|left| left > LOOK) => py.check_signals()?,
                Err(Error::TimedOut { awaited, .. }) => {
                    return Err(Error::TimedOut { waited: self.waited(), awaited }.into());
                }
                result => return Ok(result?),
            }
        }
    }
}
