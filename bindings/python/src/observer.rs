//! `Observer`, `Tail`, `Info`, and verify.

use std::{
    path::PathBuf,
    sync::{Mutex, TryLockError},
};

use aether_ipc::{Format, Overflow, recovery};
use pyo3::prelude::*;

use crate::{
    failure::{Failure, Result},
    message::{Copies, Message},
};

/// Looks at a ring through a read-only map: takes no role, moves no cursor, holds nobody back.
#[pyclass(frozen, module = "aether_ipc")]
pub(crate) struct Observer {
    observer: aether_ipc::Observer,
}

impl Observer {
    pub(crate) fn new(observer: aether_ipc::Observer) -> Observer {
        Observer { observer }
    }
}

#[pymethods]
impl Observer {
    /// Opens a ring for looking on. Needs permission to read the file, no more.
    #[staticmethod]
    fn open(path: PathBuf) -> Result<Observer> {
        Ok(Observer::new(aether_ipc::Observer::open(path)?))
    }

    /// What the ring is and how it stands.
    fn info(&self) -> Result<Info> {
        Ok(Info::of(self.observer.info()?))
    }

    /// Copies of up to `limit` messages that wait for the slowest consumer, without taking them.
    fn peek(&self, py: Python<'_>, limit: usize) -> Result<Vec<Message>> {
        let mut copies = Copies::new();
        self.observer.peek(limit, |message| copies.take(|| Message::copied(py, message)))?;
        copies.all()
    }

    /// Counts the messages that wait for the slowest consumer.
    fn count_messages(&self, py: Python<'_>) -> Result<u64> {
        Ok(py.detach(|| self.observer.count_messages())?)
    }

    /// Follows what is committed from now on or, `from_oldest`, what is still whole in the ring.
    #[pyo3(signature = (*, from_oldest = false))]
    fn tail(&self, from_oldest: bool) -> Tail {
        let tail = if from_oldest { self.observer.tail_from_oldest() } else { self.observer.tail() };
        Tail { tail: Mutex::new(tail) }
    }
}

/// Watches live traffic without ever holding it back.
#[pyclass(frozen, module = "aether_ipc")]
pub(crate) struct Tail {
    tail: Mutex<aether_ipc::Tail>,
}

#[pymethods]
impl Tail {
    /// Copies of up to `limit` messages that were committed since the last call; never waits.
    ///
    /// Raises LaggedError when some were written over before they were seen; the next call goes on.
    fn poll(&self, py: Python<'_>, limit: usize) -> Result<Vec<Message>> {
        let mut copies = Copies::new();
        // Never waited for: making a message may run other Python code, which may come here.
        let mut tail = match self.tail.try_lock() {
            Ok(tail) => tail,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Failure::Busy("tail").into()),
        };
        tail.poll(limit, |message| copies.take(|| Message::copied(py, message)))?;
        copies.all()
    }
}

/// What a ring is and how it stands; an instant's truth.
#[pyclass(frozen, get_all, module = "aether_ipc")]
pub(crate) struct Info {
    path: PathBuf,
    format: &'static str,
    version: u32,
    capacity: u64,
    data_offset: u64,
    file_size: u64,
    disk_size: u64,
    checksums: bool,
    sequence: bool,
    overflow: &'static str,
    lanes: Vec<LaneInfo>,
    consumers: Vec<ConsumerInfo>,
    consumer_slots: u32,
    write_cursor: u64,
    read_cursor: u64,
    available_bytes: u64,
}

/// One lane.
#[pyclass(frozen, get_all, module = "aether_ipc")]
#[derive(Clone)]
pub(crate) struct LaneInfo {
    lane: u32,
    write_cursor: u64,
    oldest: u64,
    producer: Option<u32>,
}

/// One consumer.
#[pyclass(frozen, get_all, module = "aether_ipc")]
#[derive(Clone)]
pub(crate) struct ConsumerInfo {
    slot: u32,
    name: Option<String>,
    durable: bool,
    holder: Option<u32>,
    read_cursors: Vec<u64>,
    lag: u64,
}

impl Info {
    pub(crate) fn of(info: aether_ipc::Info) -> Info {
        let lanes = info.lanes.iter().map(|lane| LaneInfo {
            lane: lane.lane,
            write_cursor: lane.write_cursor,
            oldest: lane.oldest,
            producer: lane.producer,
        });
        let consumers = info.consumers.iter().map(|consumer| ConsumerInfo {
            slot: consumer.slot,
            name: consumer.name.clone(),
            durable: consumer.durable,
            holder: consumer.holder,
            read_cursors: consumer.read_cursors.clone(),
            lag: consumer.lag,
        });
        Info {
            lanes: lanes.collect(),
            consumers: consumers.collect(),
            write_cursor: info.write_cursor(),
            read_cursor: info.read_cursor(),
            available_bytes: info.available_bytes(),
            format: match info.format {
                Format::Classic => "classic",
                Format::Extended => "extended",
            },
            overflow: match info.overflow {
                Overflow::Wait => "wait",
                Overflow::DropOldest => "drop-oldest",
                // The library may come to know more; this package is built with the one that it knows.
                _ => "unknown",
            },
            path: info.path,
            version: info.version,
            capacity: info.capacity,
            data_offset: info.data_offset,
            file_size: info.file_size,
            disk_size: info.disk_size,
            checksums: info.checksums,
            sequence: info.sequence,
            consumer_slots: info.consumer_slots,
        }
    }
}

/// What verify() found.
#[pyclass(frozen, get_all, module = "aether_ipc")]
pub(crate) struct Report {
    problems: Vec<Problem>,
    messages: u64,
    bytes: u64,
}

/// One thing that is wrong.
#[pyclass(frozen, get_all, module = "aether_ipc")]
#[derive(Clone)]
pub(crate) struct Problem {
    lane: u32,
    consumer: Option<u32>,
    position: u64,
    reason: String,
}

/// Looks at every record that waits, and at all that says who waits for what. Takes no role.
#[pyfunction]
pub(crate) fn verify(py: Python<'_>, path: PathBuf) -> Result<Report> {
    let report = py.detach(|| recovery::verify(path))?;
    let problems = report.problems.iter().map(|problem| Problem {
        lane: problem.lane,
        consumer: problem.consumer,
        position: problem.position,
        reason: problem.reason.to_string(),
    });
    Ok(Report { problems: problems.collect(), messages: report.messages, bytes: report.bytes })
}
