//! Linux, macOS and other Unix systems.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::Path,
    sync::{
        Once,
        atomic::{AtomicU32, AtomicUsize, Ordering::*},
    },
    time::Duration,
};

use rustix::mm::{MapFlags, ProtFlags};

use super::{Creation, Error, Result, disturbance, nap, open_error, space_error, write_new};
use crate::bell::Sleep;

pub(super) use self::platform::{allocate, create_unnamed, link_unnamed};
pub(crate) use self::platform::{heavy_fence, register_for_fences, sleep, wake_all};

pub(super) fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// Opens an existing file, never through a link in a directory where strangers can put links.
pub(super) fn open(path: &Path, writable: bool) -> Result<File> {
    // Non-blocking, so that a FIFO is an error and no hang.
    let mut flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    if in_world_writable_directory(path) {
        flags |= libc::O_NOFOLLOW;
    }
    let operation = if writable { "open for reading and writing" } else { "open for reading" };
    let file = OpenOptions::new().read(true).write(writable).custom_flags(flags).open(path).map_err(|source| {
        match source.raw_os_error() {
            Some(libc::ELOOP) => Error::NotAFile {
                path: path.to_owned(),
                found: "a symbolic link in a world-writable directory, or a loop of them",
            },
            // What opening a socket or a FIFO without a reader says.
            Some(libc::ENXIO) => Error::NotAFile { path: path.to_owned(), found: "a socket, FIFO or device" },
            _ => open_error(path, operation, source),
        }
    })?;
    let kind = file.metadata().map_err(|source| open_error(path, operation, source))?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let found = if kind.is_dir() { "a directory" } else { "a socket, FIFO or device" };
    Err(Error::NotAFile { path: path.to_owned(), found })
}

fn in_world_writable_directory(path: &Path) -> bool {
    parent(path).metadata().is_ok_and(|metadata| metadata.mode() & 0o002 != 0)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Opens the same file once more, as a new open file description: locks belong to those.
pub(crate) fn reopen(file: &File, path: &Path) -> Result<File> {
    // By the descriptor where the system offers that: the path may name another file by now.
    let by_descriptor = Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
    let options = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).clone();
    if let Ok(again) = options.open(by_descriptor) {
        return Ok(again);
    }
    let again = open(path, true)?;
    let id = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    match (id(file), id(&again)) {
        (Ok(first), Ok(second)) if first == second => Ok(again),
        _ => Err(Error::NotFound { path: path.to_owned() }),
    }
}

pub(super) fn create(path: &Path, creation: Creation) -> Result<Option<File>> {
    if path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    let size = creation.layout.file_size();
    check_size_limit(size).map_err(|source| space_error(path, size, source))?;
    let fill = |file: &File| -> Result<()> {
        let io = |source| space_error(path, size, source);
        file.set_permissions(std::fs::Permissions::from_mode(creation.mode)).map_err(io)?;
        allocate(file, size).map_err(io)?;
        write_new(file, &creation.layout).map_err(io)
    };
    if let Some(file) = create_unnamed(parent(path)) {
        fill(&file)?;
        match link_unnamed(&file, path) {
            Ok(()) => return Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            // Without /proc an unnamed file can't be linked; go the other way.
            Err(_) => {}
        }
    }
    create_named(path, fill)
}

/// Refuses a file that this process may not make so large: the system would answer with a signal that ends it.
pub(crate) fn check_size_limit(size: u64) -> io::Result<()> {
    match rustix::process::getrlimit(rustix::process::Resource::Fsize).current {
        Some(limit) if limit < size => Err(io::Error::from_raw_os_error(libc::EFBIG)),
        _ => Ok(()),
    }
}

/// For file systems without unnamed files: made under a name of its own, linked, and that name removed.
fn create_named(path: &Path, fill: impl Fn(&File) -> Result<()>) -> Result<Option<File>> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.{}.new", std::process::id(), COUNTER.fetch_add(1, Relaxed)));
    let temporary = parent(path).join(name);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(&temporary)
        .map_err(|source| open_error(path, "create", source))?;
    let linked = fill(&file).and_then(|()| match std::fs::hard_link(&temporary, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(open_error(path, "link into place", source)),
    });
    // Whatever happened, no stale name stays; that it can't be removed is not worth failing for.
    let _ = std::fs::remove_file(&temporary);
    Ok(linked?.then_some(file))
}

pub(super) fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(bytes, offset)
}

pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Maps `size` bytes of the file from `offset` on, `copies` times back to back.
pub(super) fn map(file: &File, offset: u64, size: usize, copies: usize, writable: bool) -> io::Result<*mut u8> {
    let total = size.checked_mul(copies).ok_or(io::ErrorKind::InvalidInput)?;
    let access = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
    // SAFETY: a new private mapping without access at an address that the system chooses.
    let base = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            total,
            ProtFlags::empty(),
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    }?
    .cast::<u8>();
    for copy in 0..copies {
        // SAFETY: `copy * size` is below `total`, so the target lies in the range reserved above, which nobody else knows
        // of yet and which is replaced as a whole.
        let mapped = unsafe {
            let target = base.add(copy * size).cast();
            rustix::mm::mmap(target, size, access, MapFlags::SHARED | MapFlags::FIXED, file, offset)
        };
        if let Err(error) = mapped {
            // SAFETY: the range reserved above, not handed out.
            unsafe { unmap(base, total) };
            return Err(error.into());
        }
    }
    Ok(base)
}

/// # Safety
///
/// The range was returned by [`map`], and nothing refers to it any more.
pub(super) unsafe fn unmap(base: *mut u8, size: usize) {
    // SAFETY: by this function's contract. An error would mean that the range was no mapping; nothing could be done.
    let _ = unsafe { rustix::mm::munmap(base.cast(), size) };
}

pub(super) fn prefault(base: *mut u8, size: usize, writable: bool) -> io::Result<()> {
    if platform::populate(base, size, writable) {
        return Ok(());
    }
    for offset in (0..size).step_by(page_size() as usize) {
        // SAFETY: within the mapped range and aligned. A read, so that nothing that another process writes is undone.
        unsafe { (*base.add(offset).cast::<AtomicUsize>()).load(Relaxed) };
    }
    Ok(())
}

pub(super) fn sync(file: &File, _ranges: &[(*mut u8, usize)]) -> io::Result<()> {
    // Shared maps of a file are its page cache: no msync is needed before.
    retry(|| file.sync_all())
}

fn retry<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Called by the bus error handler: one system call, nothing else.
pub(super) fn replace_by_memory(base: usize, size: usize) -> bool {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the range is one of this process's own mappings of a ring, still mapped, as its `Watch` has not ended;
    // pointers into it stay valid.
    let mapped = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::without_provenance_mut(base),
            size,
            access,
            MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
        )
    };
    mapped.is_ok()
}

static PREVIOUS: std::sync::OnceLock<libc::sigaction> = std::sync::OnceLock::new();

pub(super) fn install_bus_handler() -> io::Result<()> {
    static INSTALL: Once = Once::new();
    let mut result = Ok(());
    INSTALL.call_once(|| {
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
        // SAFETY: zero bytes are a valid `sigaction`; the pointers are to such; the handler does only what a signal
        // handler may. The previous action is stored before the new one can run.
        let status = unsafe {
            let mut previous: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut previous);
            let _ = PREVIOUS.set(previous);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut())
        };
        if status != 0 {
            result = Err(io::Error::last_os_error());
        }
    });
    result
}

extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the system passes a valid `siginfo_t`, whose address field is set for SIGBUS.
    let address = unsafe { (*info).si_addr() } as usize;
    if disturbance::absorb(address) {
        return;
    }
    match PREVIOUS.get() {
        Some(previous) if previous.sa_sigaction != libc::SIG_DFL && previous.sa_sigaction != libc::SIG_IGN => {
            if previous.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: with SA_SIGINFO the stored address is that of a function of this type.
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    unsafe { std::mem::transmute(previous.sa_sigaction) };
                handler(signal, info, context);
            } else {
                // SAFETY: without SA_SIGINFO it is one that takes the signal's number alone.
                let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(previous.sa_sigaction) };
                handler(signal);
            }
        }
        _ => {
            // SAFETY: back to the default action; the faulting instruction runs again and ends the process as it would
            // have without this handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::{ffi::CString, os::unix::ffi::OsStrExt, sync::OnceLock};

    use rustix::{
        io::Errno,
        thread::{ClockId, Timespec, futex},
    };

    use super::*;

    /// A file without a name, in the directory where it will get one; `None` where the file system has no such.
    pub(crate) fn create_unnamed(directory: &Path) -> Option<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
            .open(directory)
            .ok()
    }

    pub(crate) fn link_unnamed(file: &File, path: &Path) -> io::Result<()> {
        let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let to = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: two strings that end with zero.
        let status = unsafe {
            libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW)
        };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(crate) fn allocate(file: &File, size: u64) -> io::Result<()> {
        use rustix::fs::FallocateFlags;
        let (mut offset, mut piece) = (0, size);
        while offset < size {
            let length = piece.min(size - offset);
            match rustix::fs::fallocate(file, FallocateFlags::empty(), offset, length) {
                Ok(()) => offset += length,
                // By a signal, and some file systems then undo what was done: a process with a timer would never get to
                // the end of a large piece.
                Err(Errno::INTR) => piece = (length / 2).max(page_size()),
                // Not every file system can: write the zeros then.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return write_zeros(file, size),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn populate(base: *mut u8, size: usize, writable: bool) -> bool {
        use rustix::mm::{Advice, madvise};
        let advice = if writable { Advice::LinuxPopulateWrite } else { Advice::LinuxPopulateRead };
        // SAFETY: a range of this process's own mapping; the advice changes no content.
        unsafe { madvise(base.cast(), size, advice) }.is_ok()
    }

    /// Tells the system that this process wants other processes' fences; whether it will get them.
    pub(crate) fn register_for_fences() -> bool {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        *REGISTERED.get_or_init(|| membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED))
    }

    /// Makes every running thread of every registered process pass a full fence, and this one.
    pub(crate) fn heavy_fence() {
        std::sync::atomic::fence(SeqCst);
        membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED);
    }

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes three integers and touches no memory.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Sleeps while all the words have their values, at most `timeout`; woken by [`wake_all`] for any of them, from any
    /// process.
    pub(crate) fn sleep(sleeps: &[Sleep<'_>], timeout: Duration) {
        // Woken, interrupted, timed out, or a word has changed: in each case the caller looks again.
        if let [sleep] = sleeps {
            let _ = futex::wait(sleep.bell, futex::Flags::empty(), sleep.value, Some(&timespec(timeout)));
        } else if let Err(error) = sleep_on_any(sleeps, timeout)
            && !matches!(error, Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT)
        {
            // Linux before 5.16 can't, a filter may forbid it, and nobody can for more than 128 words.
            nap(sleeps, timeout);
        }
    }

    fn sleep_on_any(sleeps: &[Sleep<'_>], timeout: Duration) -> rustix::io::Result<usize> {
        let waiters: Vec<futex::Wait> = sleeps
            .iter()
            .map(|sleep| {
                let mut waiter = futex::Wait::new();
                waiter.val = sleep.value.into();
                waiter.uaddr = futex::WaitPtr::new(sleep.bell.as_ptr().cast());
                // Not private: others wake it.
                waiter.flags = futex::WaitFlags::SIZE_U32;
                waiter
            })
            .collect();
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32);
        let deadline = timespec(now.saturating_add(timeout));
        futex::waitv(&waiters, futex::WaitvFlags::empty(), Some(&deadline), ClockId::Monotonic)
    }

    fn timespec(duration: Duration) -> Timespec {
        Timespec { tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
    }

    pub(crate) fn wake_all(word: &AtomicU32) {
        // No error is possible that anything could be done about.
        let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;

    pub(crate) fn create_unnamed(_directory: &Path) -> Option<File> {
        None
    }

    pub(crate) fn link_unnamed(_file: &File, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn allocate(file: &File, size: u64) -> io::Result<()> {
        write_zeros(file, size)
    }

    pub(super) fn populate(_base: *mut u8, _size: usize, _writable: bool) -> bool {
        false
    }

    pub(crate) fn register_for_fences() -> bool {
        false
    }

    pub(crate) fn heavy_fence() {
        std::sync::atomic::fence(SeqCst);
    }

    /// There is no sleeping on a word of a file here.
    pub(crate) fn sleep(sleeps: &[Sleep<'_>], timeout: Duration) {
        nap(sleeps, timeout);
    }

    pub(crate) fn wake_all(_word: &AtomicU32) {}
}

/// Takes the space by writing it.
fn write_zeros(file: &File, size: u64) -> io::Result<()> {
    let zeros = [0; 64 << 10];
    let mut offset = 0;
    while offset < size {
        let length = zeros.len().min((size - offset) as usize);
        file.write_all_at(&zeros[..length], offset)?;
        offset += length as u64;
    }
    Ok(())
}
