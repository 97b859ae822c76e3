//! `Message`: in the ring, until it is released; or a copy.

use aether_ipc::Flow;
use pyo3::{
    ffi,
    prelude::*,
    types::{PyBytes, PyMemoryView},
};

use crate::{
    consumer::Consumer,
    failure::{Failure, Result},
    loan::{Place, fill},
};

/// A message. It is a buffer: memoryview(), numpy.frombuffer() and pyarrow.py_buffer() see the payload where it stands.
///
/// A consumer's message is released when the next one is asked for, or by `release`, `close`, or the end of a `with`
/// block of its own. Its `view`s are released with it; while other buffers of it are alive, that fails with BorrowError.
#[pyclass(frozen, module = "aether_ipc", freelist = 256)]
pub(crate) struct Message {
    record: Record,
    payload: Payload,
}

/// What a record says of itself, and where its payload stands.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    id: i64,
    message_type: i32,
    lane: u32,
    position: u64,
    place: Place,
}

enum Payload {
    Lent { consumer: Py<Consumer>, loan: u64 },
    Owned(Py<PyBytes>),
}

#[cold]
fn gone() -> Box<Failure> {
    Box::new(Failure::Borrow("the message was released, or is the parent process's: take what is needed of it before"))
}

/// A bytes object, or a MemoryError where `PyBytes::new` would panic.
#[inline]
pub(crate) fn copy<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: that many bytes can be read there, and no slice is longer than `isize::MAX`; a new reference comes back.
    let object = unsafe {
        let object = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t);
        Bound::from_owned_ptr_or_err(py, object)?
    };
    Ok(object.cast_into()?)
}

impl Record {
    #[inline]
    pub(crate) fn of(message: aether_ipc::Message<'_>) -> Record {
        let payload = message.payload();
        Record {
            id: message.id(),
            message_type: message.message_type(),
            lane: message.lane(),
            position: message.position(),
            place: Place { base: payload.as_ptr().cast_mut(), length: payload.len() },
        }
    }
}

/// Copies of messages, made one after the other.
pub(crate) struct Copies<T> {
    copies: Vec<T>,
    failed: Option<PyErr>,
}

impl<T> Copies<T> {
    pub(crate) fn new() -> Copies<T> {
        Copies { copies: Vec::new(), failed: None }
    }

    /// Adds a copy. Where there is no memory for it, the message stays where it is, and nothing comes after it.
    #[inline]
    pub(crate) fn take(&mut self, copy: impl FnOnce() -> PyResult<T>) -> Flow {
        match copy() {
            Ok(copy) => {
                self.copies.push(copy);
                Flow::Continue
            }
            Err(error) => {
                self.failed = Some(error);
                Flow::Keep
            }
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The copies; the failure only if there are none, as the message comes again.
    pub(crate) fn all(self) -> Result<Vec<T>> {
        match self.failed {
            Some(error) if self.copies.is_empty() => Err(error.into()),
            _ => Ok(self.copies),
        }
    }
}

impl Message {
    /// A message of which a consumer has shown the record, which it leaves where it is until the loan is over.
    #[inline]
    pub(crate) fn lent(record: Record, consumer: &Bound<'_, Consumer>) -> Message {
        let loan = consumer.get().handle.loan.number();
        Message { record, payload: Payload::Lent { consumer: consumer.clone().unbind(), loan } }
    }

    pub(crate) fn copied(py: Python<'_>, message: aether_ipc::Message<'_>) -> PyResult<Message> {
        let bytes = copy(py, message.payload())?;
        let mut record = Record::of(message);
        record.place.base = bytes.as_bytes().as_ptr().cast_mut();
        Ok(Message { record, payload: Payload::Owned(bytes.unbind()) })
    }

    /// Where the payload stands, if it still does.
    #[inline]
    fn place(&self) -> Result<Place> {
        match &self.payload {
            Payload::Lent { consumer, loan } if !consumer.get().handle.loan.is_current(*loan) => Err(gone()),
            _ => Ok(self.record.place),
        }
    }
}

#[pymethods]
impl Message {
    /// The application's id.
    #[getter]
    fn id(&self) -> i64 {
        self.record.id
    }

    /// The application's type.
    #[getter]
    fn r#type(&self) -> i32 {
        self.record.message_type
    }

    /// The lane that it came through.
    #[getter]
    fn lane(&self) -> u32 {
        self.record.lane
    }

    /// Its position in the lane, in bytes since the ring was made.
    #[getter]
    fn position(&self) -> u64 {
        self.record.position
    }

    /// The bytes, copied.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>> {
        if let Payload::Owned(bytes) = &self.payload {
            return Ok(bytes.bind(py).clone());
        }
        let place = self.place()?;
        // SAFETY: the loan goes on, so nobody writes these bytes before this method, which does not let go of the
        // interpreter's lock, is over.
        Ok(copy(py, unsafe { std::slice::from_raw_parts(place.base, place.length) })?)
    }

    /// The bytes where they stand, not copied: valid until the message is released.
    #[getter]
    fn view<'py>(slf: &Bound<'py, Self>) -> Result<Bound<'py, PyMemoryView>> {
        match &slf.get().payload {
            Payload::Lent { consumer, .. } => Ok(consumer.get().handle.loan.view(slf.as_any())?),
            Payload::Owned(_) => Ok(PyMemoryView::from(slf.as_any())?),
        }
    }

    /// Gives the message's space back to the producer. Nothing to do if that was done.
    fn release(&self, py: Python<'_>) -> Result<()> {
        match &self.payload {
            Payload::Lent { consumer, loan } => consumer.get().give_back(py, *loan),
            Payload::Owned(_) => Ok(()),
        }
    }

    /// Leaves the message in the ring: it comes again.
    fn keep(&self, py: Python<'_>) -> Result<()> {
        match &self.payload {
            Payload::Lent { consumer, loan } => consumer.get().keep(py, *loan),
            Payload::Owned(_) => Ok(()),
        }
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Releases the message; after an exception, keeps it.
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
            return self.release(py);
        }
        match self.keep(py) {
            // The exception's traceback may hold views; what it says matters more. The message is kept all the same.
            Err(failure) if matches!(*failure, Failure::Borrow(_)) => Ok(()),
            kept => kept,
        }
    }

    fn __len__(&self) -> usize {
        self.record.place.length
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        let Record { id, message_type, lane, position, place } = self.record;
        format!("<Message id={id} type={message_type} length={} lane={lane} position={position}>", place.length)
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: i32) -> Result<()> {
        let message = slf.get();
        let place = message.place().inspect_err(|_| {
            // SAFETY: Python's room for the answer; this says that there is none.
            unsafe { (*view).obj = std::ptr::null_mut() };
        })?;
        let object = slf.clone().into_any();
        match &message.payload {
            // SAFETY: the loan is the current one; nobody writes the bytes before it ends.
            Payload::Lent { consumer, .. } => unsafe {
                Ok(consumer.get().handle.loan.export(object, place, false, view, flags)?)
            },
            // SAFETY: of a bytes object that lives as long as this message.
            Payload::Owned(_) => unsafe { Ok(fill(object, place, false, view, flags)?) },
        }
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        if let Payload::Lent { consumer, .. } = &self.payload {
            consumer.get().handle.loan.unexport();
        }
    }
}
