//! Arguments: bytes, arrays of records, time-outs, names of choices.

use std::{mem::MaybeUninit, time::Duration};

use aether_ipc::{Merge, Overflow, Wait};
use pyo3::{
    buffer::PyUntypedBuffer,
    exceptions::PyTypeError,
    ffi,
    prelude::*,
    types::{PyBytes, PyMemoryView},
};

use crate::failure::{Failure, Result};

/// Seconds, or None for ever.
#[derive(Clone, Copy)]
pub(crate) struct Timeout(pub(crate) Option<Duration>);

impl FromPyObject<'_, '_> for Timeout {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Timeout> {
        let Some(seconds) = object.extract::<Option<f64>>()? else { return Ok(Timeout(None)) };
        let refuse = |_| argument(&format!("timeout must be seconds from 0 up, or None, not {seconds}"));
        Ok(Timeout(Some(Duration::try_from_secs_f64(seconds).map_err(refuse)?)))
    }
}

macro_rules! choice {
    ($name:ident, $rust:ty, $words:literal, $($text:literal => $value:expr),+) => {
        #[doc = concat!("One of ", $words, ".")]
        #[derive(Clone, Copy)]
        pub(crate) struct $name(pub(crate) $rust);

        impl FromPyObject<'_, '_> for $name {
            type Error = PyErr;

            fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<$name> {
                match object.extract::<&str>()? {
                    $($text => Ok($name($value)),)+
                    other => Err(argument(&format!("'{other}' is none of {}", $words)).into()),
                }
            }
        }
    };
}

choice!(WaitChoice, Wait, "'spin', 'yield', 'backoff' and 'park'",
    "spin" => Wait::Spin, "yield" => Wait::Yield, "backoff" => Wait::Backoff, "park" => Wait::Park);
choice!(MergeChoice, Merge, "'fair' and 'by-id'", "fair" => Merge::Fair, "by-id" => Merge::ById);
choice!(OverflowChoice, Overflow, "'wait' and 'drop-oldest'",
    "wait" => Overflow::Wait, "drop-oldest" => Overflow::DropOldest);

/// Calls `use_bytes` with the bytes of any object that has the buffer protocol.
#[inline]
pub(crate) fn with_bytes<R>(object: &Bound<'_, PyAny>, use_bytes: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    match object.cast::<PyBytes>() {
        Ok(bytes) => Ok(use_bytes(bytes.as_bytes())),
        Err(_) => with_buffer(object, use_bytes),
    }
}

fn with_buffer<R>(object: &Bound<'_, PyAny>, use_bytes: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    struct Release<'a>(&'a mut ffi::Py_buffer);
    impl Drop for Release<'_> {
        fn drop(&mut self) {
            // SAFETY: filled by `PyObject_GetBuffer`, and released once.
            unsafe { ffi::PyBuffer_Release(self.0) };
        }
    }
    let mut view = MaybeUninit::<ffi::Py_buffer>::zeroed();
    // SAFETY: an object, and room for its answer.
    if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_SIMPLE) } != 0 {
        return Err(PyErr::fetch(object.py()));
    }
    // SAFETY: filled, since the call succeeded; all zero is a value of it anyway.
    let view = Release(unsafe { view.assume_init_mut() });
    if view.0.len == 0 {
        return Ok(use_bytes(&[]));
    }
    // SAFETY: a simple buffer is that many contiguous bytes, there until it is released. Python code could write them, but
    // none runs before `use_bytes` returns: it holds the interpreter's lock and calls nothing in Python.
    Ok(use_bytes(unsafe { std::slice::from_raw_parts(view.0.buf.cast(), view.0.len as usize) }))
}

/// Records of one size, one after the other.
pub(crate) struct Records {
    buffer: PyUntypedBuffer,
    pub(crate) size: usize,
}

impl Records {
    /// The records of an array: its items along the first axis, or pieces of `size` bytes.
    pub(crate) fn new(array: &Bound<'_, PyAny>, size: Option<usize>) -> Result<Records> {
        let (buffer, natural) = match as_numpy(array)? {
            // NumPy does not export all of its types, such as dates, by the buffer protocol: hence as bytes.
            Some(array) => {
                let dtype = array.getattr("dtype")?;
                check_dtype(&dtype)?;
                if !array.getattr("flags")?.getattr("c_contiguous")?.is_truthy()? {
                    return Err(argument("the array is not C-contiguous; numpy.ascontiguousarray copies it"));
                }
                let item: usize = dtype.getattr("itemsize")?.extract()?;
                let shape: Vec<usize> = array.getattr("shape")?.extract()?;
                let natural = shape.iter().skip(1).fold(item, |size, &length| size.saturating_mul(length));
                if natural == 0 {
                    return Err(no_bytes());
                }
                let bytes = array.call_method1("reshape", (-1,))?.call_method1("view", ("u1",))?;
                (PyUntypedBuffer::get(&bytes)?, Some(natural))
            }
            None => {
                // Not of the object itself, as some, such as those of ctypes, leave out what a view fills in.
                let view = PyMemoryView::from(array)?;
                if view.getattr("ndim")?.extract::<usize>()? == 0 {
                    return Err(PyTypeError::new_err("this is one value, not an array of records: `put` it").into());
                }
                let buffer = PyUntypedBuffer::get(&view)?;
                if holds_pointers(&buffer.format().to_string_lossy()) {
                    return Err(no_objects());
                }
                let natural = buffer.shape().iter().skip(1).fold(buffer.item_size(), |size, &n| size.saturating_mul(n));
                let plain = buffer.item_size() == 1 && buffer.dimensions() == 1;
                (buffer, (!plain).then_some(natural))
            }
        };
        let size = size
            .or(natural)
            .ok_or_else(|| argument("these are plain bytes: say with `record_size` how many make a record"))?;
        if size == 0 {
            return Err(no_bytes());
        }
        if !buffer.is_c_contiguous() {
            return Err(argument("the array is not C-contiguous"));
        }
        Ok(Records { buffer, size })
    }

    /// The bytes, for as long as the interpreter's lock is held and nothing in Python is called.
    pub(crate) fn with_bytes<R>(&self, use_bytes: impl FnOnce(&[u8]) -> R) -> R {
        if self.buffer.len_bytes() == 0 {
            return use_bytes(&[]);
        }
        // SAFETY: a contiguous buffer that is held; nobody writes it meanwhile, as in `with_buffer`.
        use_bytes(unsafe { std::slice::from_raw_parts(self.buffer.buf_ptr().cast(), self.buffer.len_bytes()) })
    }

    /// Where records may be written, and how many fit.
    pub(crate) fn room(&self) -> Result<(*mut u8, usize)> {
        if self.buffer.readonly() {
            return Err(PyTypeError::new_err("the array is read-only").into());
        }
        Ok((self.buffer.buf_ptr().cast(), self.buffer.len_bytes() / self.size))
    }
}

/// Refuses NumPy types whose bytes are addresses.
pub(crate) fn check_dtype(dtype: &Bound<'_, PyAny>) -> Result<()> {
    if dtype.getattr("hasobject")?.is_truthy()? { Err(no_objects()) } else { Ok(()) }
}

fn no_objects() -> Box<Failure> {
    PyTypeError::new_err("objects of Python's can't be sent, only their bytes").into()
}

fn no_bytes() -> Box<Failure> {
    argument("a record has at least 1 byte")
}

fn argument(words: &str) -> Box<Failure> {
    Box::new(Failure::Argument(words.to_owned()))
}

/// The object as NumPy's own kind of array, if it is any kind of one. If NumPy was not imported, it is none.
fn as_numpy<'py>(object: &Bound<'py, PyAny>) -> Result<Option<Bound<'py, PyAny>>> {
    let modules = object.py().import("sys")?.getattr("modules")?;
    let Ok(numpy) = modules.get_item("numpy") else { return Ok(None) };
    if !object.is_instance(&numpy.getattr("ndarray")?)? {
        return Ok(None);
    }
    Ok(Some(numpy.call_method1("asarray", (object,))?))
}

/// Whether a format of the buffer protocol has addresses in it. Between colons stand names.
fn holds_pointers(format: &str) -> bool {
    // A `Z` with a number's type behind it is complex.
    let is_string = |types: &str| types.match_indices('Z').any(|(at, _)| !types[at + 1..].starts_with(['f', 'd', 'g']));
    format.split(':').step_by(2).any(|types| types.contains(['O', 'P', '&', 'X', 'z']) || is_string(types))
}
