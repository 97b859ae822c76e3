//! Windows. Files are mapped once, not twice, so that records over the end of the data section are copied; and nobody
//! sleeps on a word of a file, as `WaitOnAddress` does not reach other processes: sleeps are short and bounded.

use std::{
    fs::{File, OpenOptions},
    io,
    os::windows::{fs::FileExt, io::AsRawHandle},
    path::Path,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering::*},
    time::Duration,
};

use windows_sys::Win32::{
    Foundation::CloseHandle,
    System::Memory::{
        CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, FlushViewOfFile, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile,
        PAGE_READONLY, PAGE_READWRITE, UnmapViewOfFile,
    },
};

use super::{Creation, Error, Result, nap, open_error, space_error, write_new};
use crate::bell::Sleep;

/// No capacity is a multiple of this: nothing is mapped twice.
pub(super) fn page_size() -> u64 {
    u64::MAX
}

pub(super) fn open(path: &Path, writable: bool) -> Result<File> {
    let operation = if writable { "open for reading and writing" } else { "open for reading" };
    if path.is_dir() {
        return Err(Error::NotAFile { path: path.to_owned(), found: "a directory" });
    }
    OpenOptions::new().read(true).write(writable).open(path).map_err(|source| open_error(path, operation, source))
}

pub(crate) fn reopen(_file: &File, path: &Path) -> Result<File> {
    // An open file can't be replaced under its name here.
    open(path, true)
}

pub(super) fn create(path: &Path, creation: Creation) -> Result<Option<File>> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    if path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{}.new", std::process::id(), COUNTER.fetch_add(1, Relaxed)));
    let temporary = path.with_file_name(name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&temporary)
        .map_err(|source| open_error(path, "create", source))?;
    let size = creation.layout.file_size();
    let filled = file.set_len(size).and_then(|()| write_new(&file, &creation.layout));
    let linked = filled.map_err(|source| space_error(path, size, source)).and_then(|()| {
        match std::fs::hard_link(&temporary, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(open_error(path, "link into place", source)),
        }
    });
    drop(file);
    // Whatever happened, no stale name stays; that it can't be removed is not worth failing for.
    let _ = std::fs::remove_file(&temporary);
    if linked? { open(path, true).map(Some) } else { Ok(None) }
}

pub(crate) fn check_size_limit(_size: u64) -> io::Result<()> {
    Ok(())
}

pub(super) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_read(bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                bytes = &mut bytes[count..];
                offset += count as u64;
            }
        }
    }
    Ok(())
}

pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = file.seek_write(bytes, offset)?;
        bytes = &bytes[count..];
        offset += count as u64;
    }
    Ok(())
}

pub(super) fn map(file: &File, offset: u64, size: usize, copies: usize, writable: bool) -> io::Result<*mut u8> {
    debug_assert_eq!(copies, 1);
    let (page, access) =
        if writable { (PAGE_READWRITE, FILE_MAP_READ | FILE_MAP_WRITE) } else { (PAGE_READONLY, FILE_MAP_READ) };
    // SAFETY: a valid handle; no security attributes and no name; size 0 stands for the whole file.
    let mapping = unsafe { CreateFileMappingW(file.as_raw_handle(), std::ptr::null(), page, 0, 0, std::ptr::null()) };
    if mapping.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle made above; the view keeps it alive after it is closed.
    let view = unsafe {
        let view = MapViewOfFile(mapping, access, (offset >> 32) as u32, offset as u32, size);
        CloseHandle(mapping);
        view
    };
    if view.Value.is_null() { Err(io::Error::last_os_error()) } else { Ok(view.Value.cast()) }
}

/// # Safety
///
/// The range was returned by [`map`], and nothing refers to it any more.
pub(super) unsafe fn unmap(base: *mut u8, _size: usize) {
    // SAFETY: by this function's contract.
    unsafe { UnmapViewOfFile(MEMORY_MAPPED_VIEW_ADDRESS { Value: base.cast() }) };
}

pub(super) fn prefault(base: *mut u8, size: usize, _writable: bool) -> io::Result<()> {
    for offset in (0..size).step_by(4096) {
        // SAFETY: within the mapped range and aligned. A read, so that nothing that another process writes is undone.
        unsafe { (*base.add(offset).cast::<AtomicUsize>()).load(Relaxed) };
    }
    Ok(())
}

pub(super) fn sync(file: &File, ranges: &[(*mut u8, usize)]) -> io::Result<()> {
    for &(base, size) in ranges {
        // SAFETY: a mapped range of this process.
        if unsafe { FlushViewOfFile(base.cast(), size) } == 0 {
            return Err(io::Error::last_os_error());
        }
    }
    file.sync_all()
}

pub(super) fn install_bus_handler() -> io::Result<()> {
    Ok(())
}

pub(crate) fn register_for_fences() -> bool {
    false
}

pub(crate) fn heavy_fence() {
    std::sync::atomic::fence(SeqCst);
}

pub(crate) fn sleep(sleeps: &[Sleep<'_>], timeout: Duration) {
    nap(sleeps, timeout);
}

pub(crate) fn wake_all(_word: &AtomicU32) {}
