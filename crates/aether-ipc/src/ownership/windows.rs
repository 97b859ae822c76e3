//! Byte-range locks of Windows, which belong to a handle and go with it. There is no fork.

use std::{fs::File, io, os::windows::io::AsRawHandle, sync::Mutex};

use windows_sys::Win32::{
    Foundation::ERROR_LOCK_VIOLATION,
    Storage::FileSystem::{LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, UnlockFileEx},
    System::IO::OVERLAPPED,
};

use crate::error::Result;

#[derive(Debug)]
pub(super) struct Descriptor(Mutex<Option<File>>);

impl Descriptor {
    pub(super) fn open(open: impl FnOnce() -> Result<File>) -> Result<Descriptor> {
        Ok(Descriptor(Mutex::new(Some(open()?))))
    }

    pub(super) fn try_lock(&self, byte: u64) -> io::Result<bool> {
        match self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).as_ref() {
            Some(file) => lock(file, byte),
            None => Ok(false),
        }
    }

    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    }
}

pub(super) fn is_locked(file: &File, byte: u64) -> io::Result<bool> {
    if !lock(file, byte)? {
        return Ok(true);
    }
    let mut place = place(byte);
    // SAFETY: a valid handle, and a place that outlives the call.
    unsafe { UnlockFileEx(file.as_raw_handle(), 0, 1, 0, &mut place) };
    Ok(false)
}

fn lock(file: &File, byte: u64) -> io::Result<bool> {
    let mut place = place(byte);
    let flags = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
    // SAFETY: a valid handle, and a place that outlives the call.
    if unsafe { LockFileEx(file.as_raw_handle(), flags, 0, 1, 0, &mut place) } != 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(ERROR_LOCK_VIOLATION as i32) { Ok(false) } else { Err(error) }
}

fn place(byte: u64) -> OVERLAPPED {
    // SAFETY: all zero is a valid `OVERLAPPED`.
    let mut place: OVERLAPPED = unsafe { std::mem::zeroed() };
    place.Anonymous.Anonymous.Offset = byte as u32;
    place.Anonymous.Anonymous.OffsetHigh = (byte >> 32) as u32;
    place
}
