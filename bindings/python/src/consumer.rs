//! `Consumer`: receive, poll, drain, arrays.

use std::task::Poll;

use aether_ipc::{Error, Flow as Native};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    sync::PyOnceLock,
    types::{PySlice, PyTuple},
};

use crate::{
    arguments::{Records, Timeout, check_dtype},
    failure::{Failure, Result},
    handle::{Handle, Patience},
    loan::Loan,
    message::{Copies, Message, Record, copy},
};

/// What a handler wants done with its message. Returning None is CONTINUE.
#[pyclass(frozen, eq, hash, module = "aether_ipc", rename_all = "SCREAMING_SNAKE_CASE", from_py_object)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flow {
    /// It is done; go on.
    Continue,
    /// It stays in the ring, for a retry; stop.
    Keep,
    /// It is done; release it and all before it now, and go on.
    Commit,
    /// It is done; stop here.
    Break,
}

/// Reads messages from a ring and releases them: in a loop, `async` or not, one by one, or many at once. For one thread
/// at a time. Iterating waits for the next message, and ends only by ClosedError's cause: see `require_producer`.
#[pyclass(frozen, module = "aether_ipc", weakref)]
pub(crate) struct Consumer {
    pub(crate) handle: Handle<Role>,
}

pub(crate) struct Role {
    consumer: aether_ipc::Consumer,
    /// One message was peeked and is to be released when the loan ends.
    lent: bool,
    /// An error that came after messages that had to be reported first.
    deferred: Option<Error>,
    records: Vec<Record>,
}

/// Most messages peeked at together.
const BATCH: usize = 256;

impl Role {
    /// Ends the loan of the last message and releases it.
    #[inline]
    fn give_back(&mut self, py: Python<'_>, loan: &Loan) -> Result<()> {
        loan.end(py)?;
        if std::mem::take(&mut self.lent) {
            self.consumer.release_peeked(1)?;
        }
        Ok(())
    }

    /// Before the next message is asked for.
    #[inline]
    fn turn_to_next(&mut self, py: Python<'_>, loan: &Loan) -> Result<()> {
        self.give_back(py, loan)?;
        self.deferred.take().map_or(Ok(()), |error| Err(error.into()))
    }

    #[inline]
    fn next<'py>(&mut self, slf: &Bound<'py, Consumer>) -> Result<Option<Bound<'py, Message>>> {
        self.turn_to_next(slf.py(), &slf.get().handle.loan)?;
        let mut made = None;
        self.consumer.peek(1, |message| made = Some(Bound::new(slf.py(), Message::lent(Record::of(message), slf))))?;
        let made = made.transpose()?;
        self.lent = made.is_some();
        Ok(made)
    }

    fn wait(&mut self, slf: &Bound<'_, Consumer>, patience: &mut Patience) -> Result<()> {
        let consumer = &mut self.consumer;
        slf.get().handle.wait(slf.py(), patience, |turn| consumer.wait_within(turn))
    }

    /// Gives the messages in `self.records`, which were peeked at, to `handler`, and releases those that it is done with.
    /// Returns how many, and whether to go on.
    fn handle_peeked(&mut self, slf: &Bound<'_, Consumer>, handler: &Bound<'_, PyAny>) -> Result<(usize, bool)> {
        let (py, handle) = (slf.py(), &slf.get().handle);
        let mut done = 0;
        let mut released = 0;
        let mut go_on = Ok(true);
        for &record in &self.records {
            let message = Bound::new(py, Message::lent(record, slf))?;
            let flow = handler.call1((&message,)).map_err(Box::<Failure>::from).and_then(|flow| {
                drop(message);
                let flow = flow_of(&flow)?;
                handle.loan.end(py)?;
                Ok(flow)
            });
            match flow {
                Ok(Flow::Keep) => go_on = Ok(false),
                Err(failure) => go_on = Err(failure),
                Ok(flow) => {
                    done += 1;
                    if flow == Flow::Commit {
                        self.consumer.release_peeked(done - released)?;
                        released = done;
                    }
                    if flow != Flow::Break && !handle.is_closed() {
                        continue;
                    }
                    go_on = Ok(false);
                }
            }
            break;
        }
        if done > released {
            self.consumer.release_peeked(done - released)?;
        }
        go_on.map(|go_on| (done, go_on))
    }

    fn drain(&mut self, slf: &Bound<'_, Consumer>, handler: &Bound<'_, PyAny>, limit: usize) -> Result<usize> {
        self.turn_to_next(slf.py(), &slf.get().handle.loan)?;
        let mut total = 0;
        while total < limit {
            self.records.clear();
            let records = &mut self.records;
            match self.consumer.peek(BATCH.min(limit - total), |message| records.push(Record::of(message))) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if total == 0 => return Err(error.into()),
                Err(error) => {
                    self.deferred = Some(error);
                    break;
                }
            }
            let (done, go_on) = self.handle_peeked(slf, handler)?;
            total += done;
            if !go_on {
                break;
            }
        }
        Ok(total)
    }

    /// Moves messages of `size` bytes each to `room`, where `limit` of them fit, waiting for the first.
    fn receive_records(
        &mut self,
        slf: &Bound<'_, Consumer>,
        patience: &mut Patience,
        size: usize,
        mut room: impl FnMut(&mut aether_ipc::Consumer) -> Result<(*mut u8, usize)>,
    ) -> Result<usize> {
        self.turn_to_next(slf.py(), &slf.get().handle.loan)?;
        loop {
            let (mut place, limit) = room(&mut self.consumer)?;
            let mut misfit = None;
            let count = self.consumer.drain(limit, |message| {
                let payload = message.payload();
                if payload.len() != size {
                    misfit = Some(payload.len());
                    return Native::Keep;
                }
                // SAFETY: at most `limit` records are drained, and so many fit into the room, which is held and written by
                // nobody else while the interpreter's lock is held.
                unsafe { std::ptr::copy(payload.as_ptr(), place, size) };
                place = place.wrapping_add(size);
                Native::Continue
            })?;
            match misfit {
                Some(payload) if count == 0 => return Err(Error::Layout { payload, expected: size }.into()),
                None if count == 0 && limit > 0 => self.wait(slf, patience)?,
                _ => return Ok(count),
            }
        }
    }
}

fn flow_of(returned: &Bound<'_, PyAny>) -> Result<Flow> {
    if returned.is_none() {
        return Ok(Flow::Continue);
    }
    match returned.cast::<Flow>() {
        Ok(flow) => Ok(*flow.get()),
        Err(_) => Err(PyTypeError::new_err(format!("a handler returns a Flow or None, not {returned}")).into()),
    }
}

impl Consumer {
    pub(crate) fn new(consumer: aether_ipc::Consumer) -> Consumer {
        let role = Role { consumer, lent: false, deferred: None, records: Vec::new() };
        Consumer { handle: Handle::new("consumer", role) }
    }

    /// Releases the message of that loan.
    pub(crate) fn give_back(&self, py: Python<'_>, loan: u64) -> Result<()> {
        if !self.handle.loan.is_current(loan) {
            return Ok(());
        }
        self.handle.with(py, |role| role.give_back(py, &self.handle.loan))
    }

    /// Ends that loan without releasing its message.
    pub(crate) fn keep(&self, py: Python<'_>, loan: u64) -> Result<()> {
        if !self.handle.loan.is_current(loan) {
            return Ok(());
        }
        self.handle.with(py, |role| {
            role.lent = false;
            self.handle.loan.end(py)
        })
    }

    fn receive_message<'py>(slf: &Bound<'py, Self>, timeout: Timeout) -> Result<Bound<'py, Message>> {
        slf.get().handle.with(slf.py(), |role| {
            if let Some(message) = role.next(slf)? {
                return Ok(message);
            }
            let mut patience = Patience::new(timeout);
            loop {
                role.wait(slf, &mut patience)?;
                if let Some(message) = role.next(slf)? {
                    return Ok(message);
                }
            }
        })
    }
}

#[pymethods]
impl Consumer {
    /// The next message, waiting for it at most `timeout` seconds (None: for ever). Releases the last one.
    ///
    /// Raises TimedOutError, ClosedError (see `require_producer`), LaggedError, CorruptError.
    #[pyo3(signature = (timeout = None))]
    fn receive<'py>(slf: &Bound<'py, Self>, timeout: Option<Timeout>) -> Result<Bound<'py, Message>> {
        Consumer::receive_message(slf, timeout.unwrap_or(Timeout(None)))
    }

    /// The next message, or None if there is none now. Releases the last one.
    fn try_receive<'py>(slf: &Bound<'py, Self>) -> Result<Option<Bound<'py, Message>>> {
        slf.get().handle.with(slf.py(), |role| role.next(slf))
    }

    /// The next message, waited for without holding up the event loop. If it is cancelled, nothing is lost.
    fn receive_async<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static RECEIVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        RECEIVE.import(slf.py(), "aether_ipc._asyncio", "receive")?.call1((slf,))
    }

    /// A descriptor that becomes readable when a message is there or the wait for one would end otherwise. None if that
    /// is so now. Releases the last message.
    fn _wake_when_readable(&self, py: Python<'_>) -> Result<Option<i64>> {
        self.handle.wake_later(py, |role, cx, registration| {
            role.give_back(py, &self.handle.loan)?;
            if role.deferred.is_some() {
                return Ok(Poll::Ready(()));
            }
            // An error is left to whoever asks for the message.
            Ok(role.consumer.poll_readable(cx, registration).map(|looked| role.deferred = looked.err()))
        })
    }

    fn _stop_waiting(&self) {
        self.handle.stop_waiting();
    }

    /// Waits until a message is there. Releases the last one.
    #[pyo3(signature = (timeout = None))]
    fn wait(slf: &Bound<'_, Self>, timeout: Option<Timeout>) -> Result<()> {
        slf.get().handle.with(slf.py(), |role| {
            role.turn_to_next(slf.py(), &slf.get().handle.loan)?;
            role.wait(slf, &mut Patience::new(timeout.unwrap_or(Timeout(None))))
        })
    }

    /// Gives one message, if there is one, to `handler`, and releases it. Whether that was done.
    ///
    /// The message is valid until the handler returns. If it returns Flow.KEEP or raises, the message stays.
    fn poll(slf: &Bound<'_, Self>, handler: &Bound<'_, PyAny>) -> Result<bool> {
        slf.get().handle.with(slf.py(), |role| Ok(role.drain(slf, handler, 1)? == 1))
    }

    /// Gives up to `limit` messages to `handler`, then releases them. How many; it never waits.
    ///
    /// The handler returns a Flow, or None to go on. If it raises, those before are released and its message stays.
    fn drain(slf: &Bound<'_, Self>, handler: &Bound<'_, PyAny>, limit: usize) -> Result<usize> {
        slf.get().handle.with(slf.py(), |role| role.drain(slf, handler, limit))
    }

    /// Receives up to `limit` messages as a list of tuples: id, type and payload. Waits for the first at most `timeout`
    /// seconds (None: for ever). They are released at once; what is to stay until it was handled is for `drain`.
    #[pyo3(signature = (limit, *, timeout = None))]
    fn receive_many<'py>(
        slf: &Bound<'py, Self>,
        limit: usize,
        timeout: Option<Timeout>,
    ) -> Result<Vec<Bound<'py, PyTuple>>> {
        let py = slf.py();
        let mut patience = Patience::new(timeout.unwrap_or(Timeout(None)));
        slf.get().handle.with(py, |role| {
            role.turn_to_next(py, &slf.get().handle.loan)?;
            let mut copies = Copies::new();
            loop {
                let count = role.consumer.drain(limit, |message| {
                    copies.take(|| {
                        let payload = copy(py, message.payload())?;
                        (message.id(), message.message_type(), payload).into_pyobject(py)
                    })
                })?;
                if count > 0 || limit == 0 || copies.failed() {
                    return copies.all();
                }
                role.wait(slf, &mut patience)?;
            }
        })
    }

    /// Receives up to `limit` messages whose payloads are one `dtype` each, as one NumPy array, waiting for the first.
    ///
    /// A message of another size ends the array before it; if it comes first, that is a LayoutError.
    #[pyo3(signature = (dtype, limit, *, timeout = None))]
    fn receive_array<'py>(
        slf: &Bound<'py, Self>,
        dtype: &Bound<'py, PyAny>,
        limit: usize,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        let numpy = slf.py().import("numpy")?;
        let dtype = numpy.call_method1("dtype", (dtype,))?;
        check_dtype(&dtype)?;
        let size: usize = dtype.getattr("itemsize")?.extract()?;
        if size == 0 {
            return Err(Failure::Argument(format!("items of {dtype} have 0 bytes, a record has at least 1")).into());
        }
        let mut patience = Patience::new(timeout.unwrap_or(Timeout(None)));
        let mut array = None;
        let count = slf.get().handle.with(slf.py(), |role| {
            role.receive_records(slf, &mut patience, size, |consumer| {
                // No more than can be there, since the array keeps its memory; one even if nothing is, to look for errors.
                let least = (aether_ipc::HEADER_SIZE + size).next_multiple_of(aether_ipc::ALIGNMENT) as u64;
                let there = (consumer.available_bytes() / least).max(1);
                let limit = limit.min(usize::try_from(there).unwrap_or(usize::MAX));
                let new = numpy.call_method1("empty", (limit, &dtype))?;
                let room = Records::new(&new, None)?.room()?;
                array = Some(new);
                Ok(room)
            })
        })?;
        // `receive_records` has asked for room at least once.
        let Some(array) = array else { return Ok(numpy.call_method1("empty", (0, dtype))?) };
        Ok(array.get_item(PySlice::new(slf.py(), 0, count as isize, 1))?)
    }

    /// Receives messages of one size into a writable array or buffer, waiting for the first. How many.
    ///
    /// A message takes an item along the first axis, or `record_size` bytes. Otherwise as `receive_array`.
    #[pyo3(signature = (array, *, record_size = None, timeout = None))]
    fn receive_into(
        slf: &Bound<'_, Self>,
        array: &Bound<'_, PyAny>,
        record_size: Option<usize>,
        timeout: Option<Timeout>,
    ) -> Result<usize> {
        let records = Records::new(array, record_size)?;
        let room = records.room()?;
        let mut patience = Patience::new(timeout.unwrap_or(Timeout(None)));
        slf.get().handle.with(slf.py(), |role| role.receive_records(slf, &mut patience, records.size, |_| Ok(room)))
    }

    /// Whether any process produces now.
    fn has_producer(&self, py: Python<'_>) -> Result<bool> {
        self.handle.with(py, |role| Ok(role.consumer.has_producer()?))
    }

    /// Bytes committed in all lanes that were not released; an instant's truth.
    #[getter]
    fn available_bytes(&self, py: Python<'_>) -> Result<u64> {
        self.handle.with(py, |role| Ok(role.consumer.available_bytes()))
    }

    /// What was released of lane 0, in bytes since the ring was made.
    #[getter]
    fn position(&self, py: Python<'_>) -> Result<u64> {
        self.handle.with(py, |role| Ok(role.consumer.position()))
    }

    /// Messages released since this consumer was taken.
    #[getter]
    fn received(&self, py: Python<'_>) -> Result<u64> {
        self.handle.with(py, |role| Ok(role.consumer.received()))
    }

    /// Releases the last message and frees the role; a wait in another thread ends with HandleClosedError.
    ///
    /// Raises BorrowError while arrays or slices of the message are alive: then it stays open.
    fn close(&self, py: Python<'_>) -> Result<()> {
        self.handle.close(py, |role| role.give_back(py, &self.handle.loan))
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.handle.is_closed()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Closes it. After an exception, the last message is kept, and comes again to the next consumer.
    #[pyo3(signature = (exception_type, exception, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exception_type: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> Result<()> {
        let _ = (exception, traceback);
        if exception_type.is_none() {
            return self.close(py);
        }
        let closed = self.handle.close(py, |role| {
            role.lent = false;
            self.handle.loan.end(py)
        });
        match closed {
            // The exception's traceback may hold views; what it says matters more. The role goes with the last of them.
            Err(failure) if matches!(*failure, Failure::Borrow(_)) => Ok(()),
            closed => closed,
        }
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> Result<Option<Bound<'py, Message>>> {
        match Consumer::receive_message(slf, Timeout(None)) {
            Ok(message) => Ok(Some(message)),
            Err(failure) if matches!(*failure, Failure::Ring(Error::Closed)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("aether_ipc._asyncio")?.call_method1("messages", (slf,))
    }
}
