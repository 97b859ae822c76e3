//! What producers and consumers have in common: one thread at a time, closing, waiting.

use std::{
    cell::UnsafeCell,
    io::{self, PipeReader, PipeWriter, Read, Write},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::*},
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
    /// None after it was closed.
    role: UnsafeCell<Option<T>>,
    /// Somebody uses the role. Never waited for: whoever waits for messages uses it, maybe for ever.
    busy: AtomicBool,
    closed: AtomicBool,
    /// The task that sleeps until there is something to do.
    sleeper: Mutex<Option<Sleeper>>,
    /// What wakes it, made by the first that sleeps.
    alarm: OnceLock<Arc<Alarm>>,
    pub(crate) loan: Loan,
}

// SAFETY: the role may be sent, and is used by one thread at a time: see `Handle::enter`. All else is Sync.
unsafe impl<T: Send> Sync for Handle<T> {}

/// The role of a handle, for as long as its call goes on.
struct Entered<'h, T> {
    handle: &'h Handle<T>,
}

impl<T> Entered<'_, T> {
    #[inline]
    fn role(&mut self) -> &mut Option<T> {
        // SAFETY: there is only this one at a time, as `Handle::enter` sees to, and it is borrowed.
        unsafe { &mut *self.handle.role.get() }
    }
}

impl<T> Drop for Entered<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.handle.busy.store(false, Relaxed);
    }
}

struct Sleeper {
    _registration: Registration,
    waker: Waker,
}

/// Wakes whoever waits for a descriptor to become readable. The library's thread never enters the interpreter: one that
/// is ending would not let it out again.
struct Alarm {
    reader: PipeReader,
    writer: PipeWriter,
    /// A byte is in the pipe, or will be in a moment.
    rung: AtomicBool,
}

impl Alarm {
    fn new() -> io::Result<Alarm> {
        let (reader, writer) = io::pipe()?;
        Ok(Alarm { reader, writer, rung: AtomicBool::new(false) })
    }

    /// What becomes readable.
    fn descriptor(&self) -> i64 {
        #[cfg(unix)]
        return std::os::fd::AsRawFd::as_raw_fd(&self.reader).into();
        #[cfg(windows)]
        return std::os::windows::io::AsRawHandle::as_raw_handle(&self.reader) as i64;
    }

    fn silence(&self) {
        if self.rung.swap(false, AcqRel) {
            // Nobody could do anything about an error; the next wait would end too early, and look again.
            let _ = (&self.reader).read_exact(&mut [0]);
        }
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if !self.rung.swap(true, AcqRel) {
            let _ = (&self.writer).write_all(&[0]);
        }
    }
}

impl<T: Send> Handle<T> {
    pub(crate) fn new(what: &'static str, role: T) -> Handle<T> {
        Handle {
            what,
            role: UnsafeCell::new(Some(role)),
            busy: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            sleeper: Mutex::new(None),
            alarm: OnceLock::new(),
            loan: Loan::new(),
        }
    }

    /// The role, for this call alone. The interpreter's lock, which `_py` shows to be held, is all the lock that this
    /// takes: `busy` only changes under it, and it orders what one thread does before what the next one does. Whoever
    /// lets go of it meanwhile leaves `busy` set.
    #[inline]
    fn enter(&self, _py: Python<'_>) -> Result<Entered<'_, T>> {
        if self.busy.load(Relaxed) {
            return Err(Failure::Busy(self.what).into());
        }
        self.busy.store(true, Relaxed);
        Ok(Entered { handle: self })
    }

    /// Uses the role. If it was closed meanwhile, it is freed afterwards.
    #[inline]
    pub(crate) fn with<R>(&self, py: Python<'_>, work: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let mut entered = self.enter(py)?;
        let result = match entered.role() {
            Some(role) if !self.is_closed() => work(role),
            _ => return Err(Failure::Closed(self.what).into()),
        };
        // Where views are left, the role goes with the last of them.
        if self.is_closed() && !self.loan.is_seen() {
            self.loan.abandon();
            self.free(entered.role());
        }
        result
    }

    /// Frees the role after `finish`, unless that finds views in use. Where another thread or a handler is using it, it is
    /// freed as soon as that is over, or has looked: a wait ends.
    pub(crate) fn close(&self, py: Python<'_>, finish: impl FnOnce(&mut T) -> Result<()>) -> Result<()> {
        let Ok(mut entered) = self.enter(py) else {
            self.closed.store(true, Relaxed);
            return Ok(());
        };
        let Some(open) = entered.role() else { return Ok(()) };
        let finished = finish(open);
        if self.loan.is_seen() {
            return finished;
        }
        self.closed.store(true, Relaxed);
        self.free(entered.role());
        match finished {
            // Nothing of the parent's was to be finished here.
            Err(failure) if matches!(*failure, Failure::Ring(Error::Forked)) => Ok(()),
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

    /// Has a descriptor become readable when it is time to look again; until [`stop_waiting`](Self::stop_waiting). None if
    /// it is time now.
    pub(crate) fn wake_later(
        &self,
        py: Python<'_>,
        look: impl FnOnce(&mut T, &mut Context<'_>, &mut Option<Registration>) -> Result<Poll<()>>,
    ) -> Result<Option<i64>> {
        self.with(py, |role| {
            let sleeper = || self.sleeper.lock().unwrap_or_else(PoisonError::into_inner);
            if sleeper().is_some() {
                return Err(Failure::Busy(self.what).into());
            }
            let alarm = match self.alarm.get() {
                Some(alarm) => alarm,
                None => {
                    let new = Arc::new(Alarm::new().map_err(PyErr::from)?);
                    self.alarm.get_or_init(|| new)
                }
            };
            let waker = Waker::from(alarm.clone());
            let mut registration = None;
            // Without the lock: it may come back into Python.
            let looked = look(role, &mut Context::from_waker(&waker), &mut registration)?;
            *sleeper() = registration.map(|registration| Sleeper { _registration: registration, waker });
            Ok(looked.is_pending().then(|| alarm.descriptor()))
        })
    }

    pub(crate) fn stop_waiting(&self) {
        drop(self.take_sleeper());
        // The pipe is shared with the parent process, if the handle is.
        if let Some(alarm) = self.alarm.get()
            && !self.loan.is_inherited()
        {
            alarm.silence();
        }
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
                return Err(Failure::Closed(self.what).into());
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
