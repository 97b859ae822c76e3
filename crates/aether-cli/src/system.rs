//! What differs between operating systems.

use std::{
    fs::File,
    io::{self, Seek},
    path::PathBuf,
};

/// Standard output without the line buffer in front of it, which would keep what it could not write.
pub(crate) fn stdout() -> io::Result<File> {
    #[cfg(unix)]
    let owned = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?;
    #[cfg(windows)]
    let owned = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned()?;
    Ok(File::from(owned))
}

/// Nanoseconds on a clock that all processes of this machine share.
#[inline]
pub(crate) fn now() -> u64 {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
    #[cfg(not(unix))]
    {
        // `Instant` can't be told to another process.
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        time.map_or(0, |time| time.as_nanos() as u64)
    }
}

/// Where files live in memory, if there is such a place.
pub(crate) fn memory_folder() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { std::env::temp_dir() }
}

/// What tells a file from another one that was made at the same path: the number of its inode, which may be used again,
/// and when it was made, which not every file system knows.
#[cfg(feature = "operations")]
pub(crate) fn identity(path: &std::path::Path) -> io::Result<[u64; 2]> {
    let metadata = std::fs::metadata(path)?;
    let created = metadata.created().unwrap_or(std::time::UNIX_EPOCH);
    let nanoseconds = created.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Ok([number, nanoseconds as u64])
}

/// Lets this process open as many files as the system allows: each ring under watch is one. If it can't, some rings can't
/// be looked at, and that is said of each.
#[cfg(feature = "operations")]
pub(crate) fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// What is left to read of standard input, if it is a regular file.
pub(crate) fn size_of_stdin() -> Option<u64> {
    #[cfg(unix)]
    let owned = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned().ok()?;
    #[cfg(windows)]
    let owned = std::os::windows::io::AsHandle::as_handle(&io::stdin()).try_clone_to_owned().ok()?;
    let mut file = File::from(owned);
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
    // A duplicate shares its position with the original.
    metadata.len().checked_sub(file.stream_position().ok()?)
}
