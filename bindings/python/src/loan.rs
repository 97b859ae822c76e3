//! Memory of a ring that Python may see for a while, and the proof that nobody sees it when that ends.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use pyo3::{
    ffi,
    prelude::*,
    types::{PyMemoryView, PyWeakrefMethods, PyWeakrefReference},
};

use crate::failure::{Failure, Result};

/// Forks that led to this process.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// From now on, [`FORKS`] is kept.
pub(crate) fn watch_forks() -> PyResult<()> {
    #[cfg(unix)]
    {
        extern "C" fn count() {
            FORKS.fetch_add(1, Relaxed);
        }
        // SAFETY: the handler only adds to an atomic, which a child of a process with threads may do.
        let error = unsafe { libc::pthread_atfork(None, None, Some(count)) };
        if error != 0 {
            return Err(std::io::Error::from_raw_os_error(error).into());
        }
    }
    Ok(())
}

/// Bytes in a ring, or in its consumer's copy of a record.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) base: *mut u8,
    pub(crate) length: usize,
}

// SAFETY: an address and a length, which any thread may know; using them is what needs a reason.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

/// What a handle has lent: one message or one claim at a time, known by a number.
pub(crate) struct Loan {
    number: AtomicU64,
    /// Buffers that Python code holds of the memory on loan: views, arrays, slices of them.
    exports: AtomicUsize,
    /// The views that this package itself made, which it takes back. Weak, since each keeps its handle alive.
    views: Mutex<Vec<Py<PyWeakrefReference>>>,
    born: u32,
}

impl Loan {
    pub(crate) fn new() -> Loan {
        Loan {
            number: AtomicU64::new(0),
            exports: AtomicUsize::new(0),
            views: Mutex::new(Vec::new()),
            born: FORKS.load(Relaxed),
        }
    }

    /// The number of the loan that begins now.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.number.load(Relaxed)
    }

    /// Whether the loan of that number goes on. In a forked child, those of the parent never do.
    #[inline]
    pub(crate) fn is_current(&self, number: u64) -> bool {
        self.number() == number && !self.is_inherited()
    }

    /// Whether the handle is the parent process's.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.born != FORKS.load(Relaxed)
    }

    /// Ends the loan, if nobody can see the memory any more once the views made here were taken back.
    #[inline]
    pub(crate) fn end(&self, py: Python<'_>) -> Result<()> {
        if self.exports.load(Relaxed) != 0 {
            self.take_back(py)?;
        }
        self.abandon();
        Ok(())
    }

    #[cold]
    fn take_back(&self, py: Python<'_>) -> Result<()> {
        let views = std::mem::take(&mut *self.views.lock().unwrap_or_else(PoisonError::into_inner));
        let mut refused = Vec::new();
        for view in views {
            // A view that others were made of refuses; then it counts as an export below, and is asked again later.
            if let Some(memory) = view.bind(py).upgrade()
                && memory.call_method0("release").is_err()
            {
                refused.push(view);
            }
        }
        *self.views.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        if self.exports.load(Relaxed) == 0 {
            return Ok(());
        }
        let words = "an array, a slice or a view of the payload is still in use: let go of it (`del`), or keep `payload`, \
                     which is a copy";
        Err(Failure::Borrow(words).into())
    }

    /// Ends the loan when it is known that no view is left.
    #[inline]
    pub(crate) fn abandon(&self) {
        self.number.store(self.number().wrapping_add(1), Relaxed);
    }

    /// Whether Python code holds buffers of the memory on loan.
    pub(crate) fn is_seen(&self) -> bool {
        self.exports.load(Relaxed) != 0
    }

    /// A view of `object`, whose buffer is what is on loan, that is taken back when the loan ends.
    pub(crate) fn view<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyMemoryView>> {
        let view = PyMemoryView::from(object)?;
        let weak = PyWeakrefReference::new(view.as_any())?.unbind();
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|view| view.bind(object.py()).upgrade().is_some());
        views.push(weak);
        Ok(view)
    }

    /// Serves a request for a buffer of what is on loan.
    ///
    /// # Safety
    ///
    /// As for [`fill`], for as long as the loan is not ended.
    pub(crate) unsafe fn export(
        &self,
        object: Bound<'_, PyAny>,
        place: Place,
        writable: bool,
        view: *mut ffi::Py_buffer,
        flags: i32,
    ) -> PyResult<()> {
        // SAFETY: by this function's contract; the loan does not end while exports are counted.
        unsafe { fill(object, place, writable, view, flags) }?;
        self.exports.fetch_add(1, Relaxed);
        Ok(())
    }

    /// One that was exported is gone.
    pub(crate) fn unexport(&self) {
        self.exports.fetch_sub(1, Relaxed);
    }
}

/// Serves a request for a buffer.
///
/// # Safety
///
/// `view` is what Python passed to `__getbuffer__` of `object`. The bytes stay there until the buffer is released,
/// which keeps `object` alive; nobody but Python code writes them if they are writable, and nobody if not.
pub(crate) unsafe fn fill(
    object: Bound<'_, PyAny>,
    place: Place,
    writable: bool,
    view: *mut ffi::Py_buffer,
    flags: i32,
) -> PyResult<()> {
    let py = object.py();
    // SAFETY: by this function's contract; no mapped range is longer than `isize::MAX`.
    let filled = unsafe {
        ffi::PyBuffer_FillInfo(
            view,
            object.as_ptr(),
            place.base.cast(),
            place.length as ffi::Py_ssize_t,
            i32::from(!writable),
            flags,
        )
    };
    if filled == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
}
