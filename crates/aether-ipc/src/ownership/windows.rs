//! Byte-range locks of Windows, which belong to a handle and go with it. There is no fork.

use std::{fs::File, io, os::windows::io::AsRawHandle, sync::Mutex};

use windows_sys::Win32::{
    Foundation::ERROR_LOCK_VIOLATION,
    Storage::FileSystem::{LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, UnlockFileEx},
    System::IO::OVERLAPPED,
};

use crate::{error::Result, ownership::Bytes};

#[derive(Debug)]
pub(super) struct Descriptor(Mutex<Option<File>>);

impl Descriptor {
    pub(super) fn open(open: impl FnOnce() -> Result<File>) -> Result<Descriptor> {
        Ok(Descriptor(Mutex::new(Some(open()?))))
    }

    pub(super) fn try_lock(&self, bytes: Bytes) -> io::Result<bool> {
        match self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_ref() {
            Some(file) => lock(file, bytes),
            None => Ok(false),
        }
    }

    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    }
}

pub(super) fn is_locked(file: &File, bytes: Bytes) -> io::Result<bool> {
    if !lock(file, bytes)? {
        return Ok(true);
    }
    let mut place = place(bytes);
    let (low, high) = halves(bytes.length);
    // SAFETY: a valid handle, and a place that outlives the call.
    unsafe { UnlockFileEx(file.as_raw_handle(), 0, low, high, &mut place) };
    Ok(false)
}

fn lock(file: &File, bytes: Bytes) -> io::Result<bool> {
    let mut place = place(bytes);
    let (low, high) = halves(bytes.length);
    let flags = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
    // SAFETY: a valid handle, and a place that outlives the call.
    if unsafe { LockFileEx(file.as_raw_handle(), flags, 0, low, high, &mut place) } != 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(ERROR_LOCK_VIOLATION as i32) { Ok(false) } else { Err(error) }
}

fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

fn place(bytes: Bytes) -> OVERLAPPED {
    // SAFETY: all zero is a valid `OVERLAPPED`.
    let mut place: OVERLAPPED = unsafe { std::mem::zeroed() };
    let (low, high) = halves(bytes.start);
    place.Anonymous.Anonymous.Offset = low;
    place.Anonymous.Anonymous.OffsetHigh = high;
    place
}
