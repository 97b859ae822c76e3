//! What C hands in, checked. The header states the contract that the `SAFETY` comments of this crate mean when they
//! speak of the caller: a handle comes from this library and was not freed, is used by one thread at a time, and every
//! other pointer that is not null is valid for what its parameter says.

use std::{
    ffi::{CStr, c_char, c_void},
    mem::MaybeUninit,
    time::Duration,
};

use crate::status::Failure;

type Result<T> = std::result::Result<T, Failure>;

/// A handle, or memory for a result.
pub(crate) trait Present<T> {
    fn present(self, name: &'static str) -> Result<T>;
}

impl<T> Present<T> for Option<T> {
    #[inline]
    fn present(self, name: &'static str) -> Result<T> {
        self.ok_or(Failure::Argument(name, "is null"))
    }
}

/// Bytes of the caller's.
///
/// # Safety
///
/// `length` bytes can be read at `start`, unless it is null, and do not change during `'a`.
#[inline]
pub(crate) unsafe fn bytes<'a>(start: *const c_void, length: usize, name: &'static str) -> Result<&'a [u8]> {
    // SAFETY: by this function's contract.
    unsafe { slice(start.cast(), length, name) }
}

/// An array of the caller's; null if it is empty.
///
/// # Safety
///
/// As [`bytes`], for `length` values.
#[inline]
pub(crate) unsafe fn slice<'a, T>(start: *const T, length: usize, name: &'static str) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    check(start, length, name)?;
    // SAFETY: not null, of a size that memory can have, and valid by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(start, length) })
}

/// An array of the caller's for results; null if it is empty.
///
/// # Safety
///
/// `length` values can be written at `start`, unless it is null, and nothing else uses them during `'a`.
#[inline]
pub(crate) unsafe fn room<'a, T>(start: *mut T, length: usize, name: &'static str) -> Result<&'a mut [MaybeUninit<T>]> {
    if length == 0 {
        return Ok(&mut []);
    }
    check(start, length, name)?;
    // SAFETY: not null, of a size that memory can have, and valid by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts_mut(start.cast(), length) })
}

#[inline]
fn check<T>(start: *const T, length: usize, name: &'static str) -> Result<()> {
    if start.is_null() {
        return Err(Failure::Argument(name, "is null"));
    }
    if length > isize::MAX as usize / size_of::<T>() {
        return Err(Failure::Argument(name, "is longer than memory can be"));
    }
    if !start.is_aligned() {
        return Err(Failure::Argument(name, "is not aligned"));
    }
    Ok(())
}

/// Text of the caller's.
///
/// # Safety
///
/// `start` is null, or text that ends with a zero and does not change during `'a`.
pub(crate) unsafe fn text<'a>(start: *const c_char, name: &'static str) -> Result<&'a str> {
    if start.is_null() {
        return Err(Failure::Argument(name, "is null"));
    }
    // SAFETY: not null, and ends with a zero by this function's contract.
    unsafe { CStr::from_ptr(start) }.to_str().map_err(|_| Failure::Argument(name, "is not UTF-8"))
}

/// What `AETHER_FOREVER` stands for is `None`.
pub(crate) fn timeout(nanoseconds: u64) -> Option<Duration> {
    (nanoseconds != u64::MAX).then(|| Duration::from_nanos(nanoseconds))
}

/// Hands a new handle out.
pub(crate) fn give<T>(out: &mut MaybeUninit<*mut T>, value: T) {
    out.write(Box::into_raw(Box::new(value)));
}
