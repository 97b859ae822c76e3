//! `Buffer`: create, open, connect; and what may be taken from it.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use aether_ipc::{Merge, Options, Overflow, Wait};
use pyo3::prelude::*;

use crate::{
    arguments::{MergeChoice, OverflowChoice, Timeout, WaitChoice},
    consumer::Consumer,
    failure::{Failure, Result},
    handle::Patience,
    observer::{Info, Observer},
    producer::Producer,
};

/// A ring of messages in a file that processes map and share. Threads may share it, too.
///
/// Producers and consumers taken from it keep the file mapped, also after the Buffer was closed.
#[pyclass(frozen, module = "aether_ipc", weakref)]
pub(crate) struct Buffer {
    buffer: Mutex<Option<aether_ipc::Buffer>>,
}

impl Buffer {
    fn new(buffer: aether_ipc::Buffer) -> Buffer {
        Buffer { buffer: Mutex::new(Some(buffer)) }
    }

    fn open_buffer(&self) -> Result<aether_ipc::Buffer> {
        let buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.clone().ok_or_else(|| Failure::Closed("buffer").into())
    }
}

fn opening(capacity: Option<u64>, prefault: bool) -> Options {
    let options = aether_ipc::Buffer::options().prefault(prefault);
    match capacity {
        Some(capacity) => options.capacity(capacity),
        None => options,
    }
}

#[pymethods]
impl Buffer {
    /// Creates a ring of `capacity` bytes (a power of two, of each lane), or opens the one that is there if it has the
    /// shape asked for; with `exclusive`, that is an AlreadyExistsError.
    ///
    /// classic: a file that the reference implementation can open. mode: access rights of the file. prefault: bring every
    /// page into memory now. checksums: a CRC-32C for each record. sequence: one sequence of ids for all producers.
    /// producers, consumers: how many there may be. overflow: what producers do when the ring is full.
    #[staticmethod]
    #[pyo3(signature = (path, capacity, *, classic = false, mode = 0o600, prefault = false, checksums = false,
                        sequence = false, producers = 1, consumers = 1, overflow = None, exclusive = false))]
    #[allow(clippy::too_many_arguments)] // Python names them.
    fn create(
        py: Python<'_>,
        path: PathBuf,
        capacity: u64,
        classic: bool,
        mode: u32,
        prefault: bool,
        checksums: bool,
        sequence: bool,
        producers: u32,
        consumers: u32,
        overflow: Option<OverflowChoice>,
        exclusive: bool,
    ) -> Result<Buffer> {
        let options = opening(Some(capacity), prefault)
            .classic(classic)
            .mode(mode)
            .checksums(checksums)
            .sequence(sequence)
            .producers(producers)
            .consumers(consumers)
            .overflow(overflow.map_or(Overflow::Wait, |choice| choice.0));
        let made = py.detach(|| if exclusive { options.create_new(path) } else { options.create(path) });
        Ok(Buffer::new(made?))
    }

    /// Opens an existing ring. If a capacity is given, the ring must have it.
    #[staticmethod]
    #[pyo3(signature = (path, *, capacity = None, prefault = false))]
    fn open(py: Python<'_>, path: PathBuf, capacity: Option<u64>, prefault: bool) -> Result<Buffer> {
        let options = opening(capacity, prefault);
        Ok(Buffer::new(py.detach(|| options.open(path))?))
    }

    /// Opens a ring, waiting at most `timeout` seconds (None: for ever) until the other side has made it.
    #[staticmethod]
    #[pyo3(signature = (path, timeout = None, *, capacity = None, prefault = false))]
    fn connect(
        py: Python<'_>,
        path: PathBuf,
        timeout: Option<Timeout>,
        capacity: Option<u64>,
        prefault: bool,
    ) -> Result<Buffer> {
        let options = opening(capacity, prefault);
        let patience = Patience::new(timeout.unwrap_or(Timeout(None)));
        Ok(Buffer::new(patience.retry(py, |turn| options.connect(&path, turn))?))
    }

    /// Takes a producer's role: a free lane, continued where its last producer stopped.
    ///
    /// wait: how calls wait for space. require_consumer: NoConsumerError at a full ring that nobody consumes.
    #[pyo3(signature = (*, wait = None, require_consumer = false))]
    fn producer(&self, py: Python<'_>, wait: Option<WaitChoice>, require_consumer: bool) -> Result<Producer> {
        let buffer = self.open_buffer()?;
        let mut producer = py.detach(|| buffer.producer())?;
        producer.set_wait(wait.map_or(Wait::Park, |choice| choice.0));
        producer.require_consumer(require_consumer);
        Ok(Producer::new(producer))
    }

    /// Takes a consumer's role; with a name, that of a durable one, whose place is kept while it is away.
    ///
    /// wait: how calls wait for a message. require_producer: ClosedError, and the end of a loop, at an empty ring that
    /// nobody produces for. merge: the order of several lanes. untrusted: copy first, then check.
    #[pyo3(signature = (name = None, *, wait = None, require_producer = false, merge = None, untrusted = false))]
    fn consumer(
        &self,
        py: Python<'_>,
        name: Option<&str>,
        wait: Option<WaitChoice>,
        require_producer: bool,
        merge: Option<MergeChoice>,
        untrusted: bool,
    ) -> Result<Consumer> {
        let buffer = self.open_buffer()?;
        // Taking a name can wait for a process that changes one.
        let mut consumer = py.detach(|| match name {
            Some(name) => buffer.consumer_named(name),
            None => buffer.consumer(),
        })?;
        consumer.set_wait(wait.map_or(Wait::Park, |choice| choice.0));
        consumer.require_producer(require_producer);
        consumer.set_merge(merge.map_or(Merge::Fair, |choice| choice.0));
        consumer.set_untrusted(untrusted);
        Ok(Consumer::new(consumer))
    }

    /// Gives up the place of the durable consumer called `name`.
    fn forget(&self, py: Python<'_>, name: &str) -> Result<()> {
        let buffer = self.open_buffer()?;
        Ok(py.detach(|| buffer.forget(name))?)
    }

    /// A read-only look at the ring, which disturbs nobody.
    fn observer(&self) -> Result<Observer> {
        Ok(Observer::new(self.open_buffer()?.observer()))
    }

    /// What the ring is and how it stands.
    fn info(&self) -> Result<Info> {
        Ok(Info::of(self.open_buffer()?.observer().info()?))
    }

    /// Waits until everything committed so far is on the disk.
    fn sync(&self, py: Python<'_>) -> Result<()> {
        let buffer = self.open_buffer()?;
        Ok(py.detach(|| buffer.sync())?)
    }

    /// Size of the data section in bytes, of each lane.
    #[getter]
    fn capacity(&self) -> Result<u64> {
        Ok(self.open_buffer()?.capacity())
    }

    /// The path by which the ring was opened.
    #[getter]
    fn path(&self) -> Result<PathBuf> {
        Ok(self.open_buffer()?.path().to_owned())
    }

    /// Lets go of the ring. What was taken from it goes on.
    fn close(&self) {
        *self.buffer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exception_type, exception, traceback, /))]
    fn __exit__(
        &self,
        exception_type: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) {
        let _ = (exception_type, exception, traceback);
        self.close();
    }
}

/// Turns a bus error in a ring whose file was cut short into a TruncatedError of the next call, instead of the end of
/// the process. Installs a handler for the whole process.
#[pyfunction]
pub(crate) fn guard_bus_errors() -> Result<()> {
    Ok(aether_ipc::guard_bus_errors()?)
}
