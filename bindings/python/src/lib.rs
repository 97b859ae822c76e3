//! `aether_ipc._native`: the classes of the Python package, over the Rust library.
//!
//! Everything here relies on the global interpreter lock: what Python code sees changes only while it is held. It is
//! released around waits alone. So an interpreter that has another lock, or none, is refused.

mod arguments;
mod buffer;
mod consumer;
mod failure;
mod handle;
mod loan;
mod message;
mod observer;
mod producer;

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use pyo3::{exceptions::PyImportError, ffi, prelude::*};

/// Refuses every interpreter of the process but the first, and one without a lock.
fn check_interpreter(py: Python<'_>) -> PyResult<()> {
    const NONE: i64 = -1;
    static FIRST: AtomicI64 = AtomicI64::new(NONE);
    // SAFETY: the thread is attached to an interpreter, as `py` shows.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == NONE {
        return Err(PyErr::fetch(py));
    }
    if FIRST.compare_exchange(NONE, id, Relaxed, Relaxed).is_err_and(|first| first != id) {
        return Err(PyImportError::new_err(
            "aether_ipc is for one interpreter of a process, and another one has imported it: subinterpreters are not \
             supported",
        ));
    }
    // Windows has none before 3.14.
    let flags: Option<String> = py.import("sys")?.getattr_opt("abiflags")?.map(|flags| flags.extract()).transpose()?;
    if flags.is_some_and(|flags| flags.contains('t')) {
        return Err(PyImportError::new_err(
            "aether_ipc needs the global interpreter lock: free-threaded builds of Python are not supported",
        ));
    }
    Ok(())
}

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
        crate::check_interpreter(module.py())?;
        crate::loan::watch_forks()?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
