//! Failures, and the classes in `aether_ipc.errors` that Python sees them as.

use std::path::Path;

use aether_ipc::Error;
use pyo3::{exceptions::PyValueError, prelude::*};

/// What went wrong.
pub(crate) enum Failure {
    Ring(Error),
    Python(PyErr),
    /// The handle, a `producer` or so, was closed.
    Closed(&'static str),
    /// Another thread, or a handler further up, is using it.
    Busy(&'static str),
    /// Memory of the ring is in use, or was given back already.
    Borrow(&'static str),
    Argument(String),
}

/// In a box, so that a call that succeeds has little to hand over.
pub(crate) type Result<T, E = Box<Failure>> = std::result::Result<T, E>;

impl From<Error> for Box<Failure> {
    #[cold]
    fn from(error: Error) -> Box<Failure> {
        Box::new(Failure::Ring(error))
    }
}

impl From<PyErr> for Box<Failure> {
    #[cold]
    fn from(error: PyErr) -> Box<Failure> {
        Box::new(Failure::Python(error))
    }
}

impl From<Box<Failure>> for PyErr {
    #[cold]
    fn from(failure: Box<Failure>) -> PyErr {
        Python::attach(|py| match *failure {
            Failure::Python(error) => error,
            Failure::Argument(words) => PyValueError::new_err(words),
            Failure::Ring(error) => raise_ring(py, &error).unwrap_or_else(|error| error),
            Failure::Closed(what) => raise(py, "HandleClosedError", &format!("this {what} was closed")),
            Failure::Busy(what) => raise(
                py,
                "BusyError",
                &format!("this {what} is in use, by another thread or by the handler that is running"),
            ),
            Failure::Borrow(words) => raise(py, "BorrowError", words),
        })
    }
}

fn raise(py: Python<'_>, class: &str, words: &str) -> PyErr {
    new(py, class, words).map_or_else(|error| error, PyErr::from_value)
}

fn new<'py>(py: Python<'py>, class: &str, words: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("aether_ipc.errors")?.getattr(class)?.call1((words,))
}

/// The error with everything that it says, as attributes.
fn raise_ring(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let words = error.to_string();
    macro_rules! say {
        ($object:expr $(, $field:ident)*) => {{
            let object = $object?;
            $(object.setattr(stringify!($field), $field)?;)*
            object
        }};
    }
    let of = |class| new(py, class, &words);
    // An `OSError` as the system itself would raise it.
    let of_system = |class, path: &Path, number: Option<i32>| {
        py.import("aether_ipc.errors")?.getattr(class)?.call1((number, &words, path.as_os_str()))
    };
    let number = |name| py.import("errno")?.getattr(name)?.extract::<i32>().map(Some);
    let object = match error {
        Error::Full => of("FullError")?,
        Error::TooLarge { payload, max } => say!(of("TooLargeError"), payload, max),
        Error::NoConsumer => of("NoConsumerError")?,
        Error::Closed => of("ClosedError")?,
        Error::TimedOut { waited, awaited } => {
            let waited = waited.as_secs_f64();
            say!(of("TimedOutError"), waited, awaited)
        }
        Error::Forked => of("ForkedError")?,
        Error::Lagged { bytes } => say!(of("LaggedError"), bytes),
        Error::Corrupt { lane, position, reason } => {
            let reason = reason.to_string();
            say!(of("CorruptError"), lane, position, reason)
        }
        Error::RoleTaken { path, role, holders } => say!(of("RoleTakenError"), path, role, holders),
        Error::Capacity { capacity, min, max } => say!(of("CapacityError"), capacity, min, max),
        Error::Options(_) => of("OptionsError")?,
        Error::Name { name, reason } => say!(of("ConsumerNameError"), name, reason),
        Error::Mismatch { path, field, found, expected } => {
            say!(of("MismatchError"), path, field, found, expected)
        }
        Error::NotARing { path, reason } => {
            let reason = reason.to_string();
            say!(of("NotARingError"), path, reason)
        }
        Error::Version { path, found, known } => say!(of("VersionError"), path, found, known),
        Error::Layout { payload, expected } => say!(of("LayoutError"), payload, expected),
        Error::Record { offset, reason } => {
            let reason = reason.to_string();
            say!(of("RecordError"), offset, reason)
        }
        Error::Truncated { path, found, expected } => say!(of_system("TruncatedError", path, None), found, expected),
        Error::NotFound { path } => of_system("NotFoundError", path, number("ENOENT")?)?,
        Error::AlreadyExists { path } => of_system("AlreadyExistsError", path, number("EEXIST")?)?,
        Error::NotAFile { path, found } => say!(of_system("NotAFileError", path, None), found),
        Error::Permission { path, operation } => {
            say!(of_system("PermissionDeniedError", path, number("EACCES")?), operation)
        }
        Error::NoSpace { path, size, source } => say!(of_system("NoSpaceError", path, source.raw_os_error()), size),
        Error::Io { path, operation, source } => {
            say!(of_system("SystemCallError", path, source.raw_os_error()), operation)
        }
        _ => of("AetherError")?,
    };
    Ok(PyErr::from_value(object))
}
