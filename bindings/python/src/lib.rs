//! `aether_ipc._native`: the classes of the Python package, over the Rust library.
//!
//! Everything here relies on the global interpreter lock: what Python code sees changes only while it is held. It is
//! released around waits alone.

mod arguments;
mod buffer;
mod consumer;
mod failure;
mod handle;
mod loan;
mod message;
mod observer;
mod producer;

use pyo3::prelude::*;

/// The native half of aether_ipc.
#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    use crate::{
        buffer::{Buffer, guard_bus_errors},
        consumer::{Consumer, Flow},
        message::Message,
        observer::{ConsumerInfo, Info, LaneInfo, Observer, Problem, Report, Tail, verify},
        producer::{Claim, Producer},
    };
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::loan::watch_forks()?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
