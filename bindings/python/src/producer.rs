//! `Producer`: offer, put, claim and commit, arrays.

use aether_ipc::{ALIGNMENT, Error, HEADER_SIZE};
use pyo3::{
    ffi,
    prelude::*,
    sync::PyOnceLock,
    types::{PyMemoryView, PySequence},
};

use crate::{
    arguments::{Records, Timeout, with_bytes},
    failure::{Failure, Result},
    handle::{Handle, Patience},
    loan::{Loan, Place},
};

/// Writes messages into a ring. For one thread at a time.
///
/// A payload is bytes or any other object with the buffer protocol, if it is contiguous. A message for which a call
/// returned is delivered, whatever dies afterwards; one for which it raised does not exist.
#[pyclass(frozen, module = "aether_ipc", weakref)]
pub(crate) struct Producer {
    handle: Handle<Role>,
}

struct Role {
    producer: aether_ipc::Producer,
    /// Where the record stands that is claimed.
    claimed: Option<Place>,
}

impl Role {
    /// The producer, to write with: not while Python code may write what would be written over.
    #[inline]
    fn writer(&mut self, loan: &Loan) -> Result<&mut aether_ipc::Producer> {
        match self.claimed {
            None => Ok(&mut self.producer),
            // The library has words for that.
            Some(_) if loan.is_inherited() => Ok(&mut self.producer),
            Some(_) => Err(Failure::Borrow("a claim is open: commit or abort it first").into()),
        }
    }
}

impl Producer {
    pub(crate) fn new(producer: aether_ipc::Producer) -> Producer {
        Producer { handle: Handle::new("producer", Role { producer, claimed: None }) }
    }

    /// Ends the claim of that loan. Nothing to do if that was done.
    fn abort(&self, py: Python<'_>, loan: u64) -> Result<()> {
        if !self.handle.loan.is_current(loan) {
            return Ok(());
        }
        self.handle.with(py, |role| {
            self.handle.loan.end(py)?;
            role.claimed = None;
            Ok(())
        })
    }
}

#[pymethods]
impl Producer {
    /// Puts one message into the ring if there is space. False, and nothing was written, if it is full.
    #[pyo3(signature = (id, payload, *, r#type = 0))]
    fn offer(&self, py: Python<'_>, id: i64, payload: &Bound<'_, PyAny>, r#type: i32) -> Result<bool> {
        self.handle.with(py, |role| {
            let producer = role.writer(&self.handle.loan)?;
            match with_bytes(payload, |bytes| producer.offer(id, r#type, bytes))? {
                Err(Error::Full) => Ok(false),
                offered => Ok(offered.map(|()| true)?),
            }
        })
    }

    /// Puts one message into the ring, waiting for space at most `timeout` seconds (None: for ever).
    ///
    /// Raises TimedOutError, TooLargeError, NoConsumerError (see `require_consumer`).
    #[pyo3(signature = (id, payload, *, r#type = 0, timeout = None))]
    fn put(
        &self,
        py: Python<'_>,
        id: i64,
        payload: &Bound<'_, PyAny>,
        r#type: i32,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        self.handle.with(py, |role| {
            let producer = role.writer(&self.handle.loan)?;
            let mut patience = Patience::new(timeout.unwrap_or(Timeout(None)));
            loop {
                let (offered, length) = with_bytes(payload, |bytes| (producer.offer(id, r#type, bytes), bytes.len()))?;
                match offered {
                    Err(Error::Full) => {}
                    offered => return Ok(offered?),
                }
                self.handle.wait(py, &mut patience, |turn| producer.wait_for_space(length, Some(turn)))?;
            }
        })
    }

    /// As `put`, waiting for space without holding up the event loop. If it is cancelled, nothing was written.
    #[pyo3(signature = (id, payload, *, r#type = 0))]
    fn put_async<'py>(
        slf: &Bound<'py, Self>,
        id: i64,
        payload: &Bound<'py, PyAny>,
        r#type: i32,
    ) -> PyResult<Bound<'py, PyAny>> {
        static PUT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        PUT.import(slf.py(), "aether_ipc._asyncio", "put")?.call1((slf, id, payload, r#type))
    }

    /// A descriptor that becomes readable when a message of `nbytes` has space. None if it has now.
    fn _wake_when_writable(&self, py: Python<'_>, nbytes: usize) -> Result<Option<i64>> {
        let loan = &self.handle.loan;
        self.handle
            .wake_later(py, |role, cx, registration| Ok(role.writer(loan)?.poll_writable(cx, registration, nbytes)?))
    }

    fn _stop_waiting(&self) {
        self.handle.stop_waiting();
    }

    /// Puts as many of `payloads` into the ring as there is space for, with ids counting up, all published at once.
    /// How many; 0 if the ring is full. If one can't be put there at all, none is.
    #[pyo3(signature = (first_id, payloads, *, r#type = 0))]
    fn offer_many(
        &self,
        py: Python<'_>,
        first_id: i64,
        payloads: &Bound<'_, PySequence>,
        r#type: i32,
    ) -> Result<usize> {
        self.handle.with(py, |role| {
            let mut batch = role.writer(&self.handle.loan)?.batch();
            for payload in payloads.try_iter()? {
                let id = first_id.wrapping_add(batch.len() as i64);
                match with_bytes(&payload?, |bytes| batch.push(id, r#type, bytes))? {
                    Err(Error::Full) => break,
                    pushed => pushed?,
                }
            }
            Ok(batch.commit())
        })
    }

    /// Puts all of `payloads` into the ring, with ids counting up, waiting for space at most `timeout` seconds in all
    /// (None: for ever). As many as there is space for are published at once.
    ///
    /// Raises what `put` does; the payloads before are in the ring then, and `offered` has counted them.
    #[pyo3(signature = (first_id, payloads, *, r#type = 0, timeout = None))]
    fn put_many(
        &self,
        py: Python<'_>,
        first_id: i64,
        payloads: &Bound<'_, PySequence>,
        r#type: i32,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        self.handle.with(py, |role| {
            let producer = role.writer(&self.handle.loan)?;
            let mut patience = Patience::new(timeout.unwrap_or(Timeout(None)));
            let mut id = first_id;
            let mut payloads = payloads.try_iter()?;
            let mut next = payloads.next().transpose()?;
            while let Some(first) = &next {
                let length = with_bytes(first, <[u8]>::len)?;
                let mut batch = producer.batch();
                let pushed: Result<()> = loop {
                    let Some(payload) = &next else { break Ok(()) };
                    match with_bytes(payload, |bytes| batch.push(id, r#type, bytes)) {
                        Ok(Ok(())) => id = id.wrapping_add(1),
                        Ok(Err(Error::Full)) => break Ok(()),
                        Ok(Err(error)) => break Err(error.into()),
                        Err(error) => break Err(error.into()),
                    }
                    match payloads.next().transpose() {
                        Ok(following) => next = following,
                        Err(error) => break Err(error.into()),
                    }
                };
                let stuck = batch.is_empty();
                batch.commit();
                pushed?;
                if stuck {
                    self.handle.wait(py, &mut patience, |turn| producer.wait_for_space(length, Some(turn)))?;
                }
            }
            Ok(())
        })
    }

    /// Puts as many records of an array into the ring as there is space for, each a message of its own, with ids
    /// counting up, all published at once. How many; 0 if the ring is full.
    ///
    /// A record is an item along the first axis, or `record_size` bytes.
    #[pyo3(signature = (first_id, array, *, r#type = 0, record_size = None))]
    fn offer_array(
        &self,
        py: Python<'_>,
        first_id: i64,
        array: &Bound<'_, PyAny>,
        r#type: i32,
        record_size: Option<usize>,
    ) -> Result<usize> {
        let records = Records::new(array, record_size)?;
        self.handle.with(py, |role| {
            let producer = role.writer(&self.handle.loan)?;
            Ok(records.with_bytes(|bytes| producer.offer_array(first_id, r#type, records.size, bytes))?)
        })
    }

    /// Puts all records of an array into the ring, as `offer_array` does, waiting for space at most `timeout` seconds in
    /// all (None: for ever).
    ///
    /// Raises what `put` does; the records before are in the ring then, and `offered` has counted them.
    #[pyo3(signature = (first_id, array, *, r#type = 0, record_size = None, timeout = None))]
    fn put_array(
        &self,
        py: Python<'_>,
        first_id: i64,
        array: &Bound<'_, PyAny>,
        r#type: i32,
        record_size: Option<usize>,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        let records = Records::new(array, record_size)?;
        let mut patience = Patience::new(timeout.unwrap_or(Timeout(None)));
        self.handle.with(py, |role| {
            let producer = role.writer(&self.handle.loan)?;
            let mut id = first_id;
            let mut sent = 0;
            loop {
                let (count, left) = records.with_bytes(|bytes| {
                    let left = bytes.get(sent..).unwrap_or_default();
                    (producer.offer_array(id, r#type, records.size, left), left.len())
                });
                let bytes = count? * records.size;
                if bytes == left {
                    return Ok(());
                }
                id = id.wrapping_add((bytes / records.size) as i64);
                sent += bytes;
                self.handle.wait(py, &mut patience, |turn| producer.wait_for_space(records.size, Some(turn)))?;
            }
        })
    }

    /// Reserves a message of `nbytes`, to be written in place. Raises FullError if there is no space; never waits.
    fn claim(slf: &Bound<'_, Self>, nbytes: usize) -> Result<Claim> {
        let handle = &slf.get().handle;
        handle.with(slf.py(), |role| {
            let producer = role.writer(&handle.loan)?;
            let length = nbytes.saturating_add(HEADER_SIZE + producer.trailer());
            let (base, _) = producer.reserve(length, 0)?;
            role.claimed = Some(Place { base, length });
            let place = Place { base: base.wrapping_add(HEADER_SIZE), length: nbytes };
            Ok(Claim { producer: slf.clone().unbind(), loan: handle.loan.number(), place })
        })
    }

    /// Waits until a message of `nbytes` has space.
    #[pyo3(signature = (nbytes, timeout = None))]
    fn wait_for_space(&self, py: Python<'_>, nbytes: usize, timeout: Option<Timeout>) -> Result<()> {
        self.handle.with(py, |role| {
            let producer = role.writer(&self.handle.loan)?;
            let mut patience = Patience::new(timeout.unwrap_or(Timeout(None)));
            self.handle.wait(py, &mut patience, |turn| producer.wait_for_space(nbytes, Some(turn)))
        })
    }

    /// Whether any process consumes now.
    fn has_consumer(&self, py: Python<'_>) -> Result<bool> {
        self.handle.with(py, |role| Ok(role.producer.has_consumer()?))
    }

    /// The lane that it writes, 0 in a ring with one.
    #[getter]
    fn lane(&self, py: Python<'_>) -> Result<u32> {
        self.handle.with(py, |role| Ok(role.producer.lane()))
    }

    /// Size of the data section in bytes.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> Result<u64> {
        self.handle.with(py, |role| Ok(role.producer.capacity()))
    }

    /// The largest payload that the empty ring can take, in bytes.
    #[getter]
    fn max_payload(&self, py: Python<'_>) -> Result<usize> {
        self.handle.with(py, |role| Ok(role.producer.max_payload()))
    }

    /// Bytes that are free, headers and padding to be counted; an instant's truth.
    #[getter]
    fn free_bytes(&self, py: Python<'_>) -> Result<u64> {
        self.handle.with(py, |role| Ok(role.producer.free_bytes()))
    }

    /// Bytes that the slowest consumer has not released; an instant's truth.
    #[getter]
    fn lag(&self, py: Python<'_>) -> Result<u64> {
        self.handle.with(py, |role| Ok(role.producer.lag()))
    }

    /// Where the next message goes: bytes committed in this lane since the ring was made.
    #[getter]
    fn position(&self, py: Python<'_>) -> Result<u64> {
        self.handle.with(py, |role| Ok(role.producer.position()))
    }

    /// Messages committed since this producer was taken.
    #[getter]
    fn offered(&self, py: Python<'_>) -> Result<u64> {
        self.handle.with(py, |role| Ok(role.producer.offered()))
    }

    /// Frees the lane for the next producer, aborting an open claim; a wait in another thread ends.
    ///
    /// Raises BorrowError while arrays or slices of a claim are alive: then it stays open.
    fn close(&self, py: Python<'_>) -> Result<()> {
        self.handle.close(py, |_| self.handle.loan.end(py))
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.handle.is_closed()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exception_type, exception, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exception_type: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> Result<()> {
        let _ = (exception, traceback);
        match self.close(py) {
            // The exception's traceback may hold views; what it says matters more. The lane goes with the last of them.
            Err(failure) if exception_type.is_some() && matches!(*failure, Failure::Borrow(_)) => Ok(()),
            closed => closed,
        }
    }
}

/// A message that is being written in place. It is a writable buffer: memoryview(), numpy.frombuffer(). It holds
/// whatever stood there before, and nobody sees it until it is committed.
#[pyclass(frozen, module = "aether_ipc")]
pub(crate) struct Claim {
    producer: Py<Producer>,
    loan: u64,
    place: Place,
}

#[cold]
fn over() -> Box<Failure> {
    Box::new(Failure::Borrow("the claim was committed or aborted, or is the parent process's"))
}

#[pymethods]
impl Claim {
    /// The payload in the ring, writable: valid until the claim is committed or aborted.
    #[getter]
    fn view<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyMemoryView>> {
        Ok(slf.get().producer.get().handle.loan.view(slf.as_any())?)
    }

    /// Publishes the message. Raises BorrowError while arrays or slices of it are alive.
    #[pyo3(signature = (id, *, r#type = 0))]
    fn commit(&self, py: Python<'_>, id: i64, r#type: i32) -> Result<()> {
        let handle = &self.producer.get().handle;
        handle.with(py, |role| {
            if !handle.loan.is_current(self.loan) {
                return Err(over());
            }
            handle.loan.end(py)?;
            let Some(Place { base, length }) = role.claimed.take() else { return Err(over()) };
            let second = length as u64 | u64::from(r#type.cast_unsigned()) << 32;
            // SAFETY: `reserve` gave `length` bytes from there on, aligned to 8, and nothing was written by this producer
            // since, as `Role::writer` sees to; no view of them is left.
            unsafe {
                base.cast::<u64>().write(id.cast_unsigned().to_le());
                base.cast::<u64>().wrapping_add(1).write(second.to_le());
            }
            role.producer.commit_reserved(length.next_multiple_of(ALIGNMENT))?;
            Ok(())
        })
    }

    /// Gives the message up. Nothing to do if it was committed.
    fn abort(&self, py: Python<'_>) -> Result<()> {
        self.producer.get().abort(py, self.loan)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Aborts the claim, unless it was committed.
    #[pyo3(signature = (exception_type, exception, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exception_type: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> Result<()> {
        let _ = (exception, traceback);
        match self.abort(py) {
            // The exception's traceback may hold arrays; what it says matters more. The claim ends with the last of them.
            Err(failure) if exception_type.is_some() && matches!(*failure, Failure::Borrow(_)) => Ok(()),
            aborted => aborted,
        }
    }

    fn __len__(&self) -> usize {
        self.place.length
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        format!("<Claim length={}>", self.place.length)
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: i32) -> Result<()> {
        let claim = slf.get();
        let loan = &claim.producer.get().handle.loan;
        if !loan.is_current(claim.loan) {
            // SAFETY: Python's room for the answer; this says that there is none.
            unsafe { (*view).obj = std::ptr::null_mut() };
            return Err(over());
        }
        // SAFETY: reserved, and this producer's alone until the claim ends, which it does not while buffers are counted.
        unsafe { Ok(loan.export(slf.clone().into_any(), claim.place, true, view, flags)?) }
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.producer.get().handle.loan.unexport();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // No buffer of it is left, as each would have kept it alive.
        let handle = &self.producer.get().handle;
        if handle.loan.is_current(self.loan) {
            Python::attach(|py| {
                // Closed, or in use by whoever closes it: then nothing is left to be aborted.
                let _ = handle.with(py, |role| {
                    role.claimed = None;
                    handle.loan.abandon();
                    Ok(())
                });
            });
        }
    }
}
