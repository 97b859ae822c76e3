//! Open-file-description locks of Linux and macOS.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, IntoRawFd, RawFd},
    sync::{
        Once,
        atomic::{AtomicBool, AtomicI32, Ordering::*},
    },
};

use crate::{
    error::Result,
    mapping::{Slots, Taken, bump_forks},
    ownership::Bytes,
};

/// A descriptor in the list of those that a forked child closes.
#[derive(Debug)]
struct Listed(AtomicI32);

const NONE: RawFd = -1;

impl Default for Listed {
    fn default() -> Self {
        Listed(AtomicI32::new(NONE))
    }
}

static LISTED: Slots<Listed> = Slots::new();

/// Held while a descriptor exists that is not yet in the list; a fork waits for it.
static OPENING: AtomicBool = AtomicBool::new(false);

fn lock_opening() {
    while OPENING.compare_exchange_weak(false, true, Acquire, Relaxed).is_err() {
        std::thread::yield_now();
    }
}

fn unlock_opening() {
    OPENING.store(false, Release);
}

extern "C" fn before_fork() {
    lock_opening();
}

extern "C" fn after_fork_in_parent() {
    unlock_opening();
}

/// The child has one thread here, and may call only what a signal handler may.
extern "C" fn after_fork_in_child() {
    for listed in LISTED.values() {
        let descriptor = listed.0.swap(NONE, Relaxed);
        if descriptor != NONE {
            // SAFETY: listed descriptors belong to this module alone; a handle that refers to this one finds that it was
            // inherited and does not use it.
            unsafe { libc::close(descriptor) };
        }
    }
    bump_forks();
    unlock_opening();
}

fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: three functions that live as long as the program. It can only fail for want of memory, and then
        // children keep the locks of their parents, which is safe and late.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
    });
}

#[derive(Debug)]
pub(super) struct Descriptor(Taken<Listed>);

impl Descriptor {
    pub(super) fn open(open: impl FnOnce() -> Result<File>) -> Result<Descriptor> {
        watch_forks();
        lock_opening();
        let opened = open().map(|file| {
            let taken = LISTED.take();
            taken.value().0.store(file.into_raw_fd(), Relaxed);
            Descriptor(taken)
        });
        unlock_opening();
        opened
    }

    pub(super) fn try_lock(&self, bytes: Bytes) -> io::Result<bool> {
        let mut lock = request(libc::F_WRLCK as libc::c_short, bytes);
        match control(self.0.value().0.load(Relaxed), libc::F_OFD_SETLK, &mut lock) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn close(&self) {
        let descriptor = self.0.value().0.swap(NONE, Relaxed);
        if descriptor != NONE {
            // A program that another thread is starting has a copy of the descriptor until its `exec`: closing this one
            // would leave the lock to that. An unlock that fails leaves what closing does.
            let all = Bytes { start: 0, length: 0 };
            let _ = control(descriptor, libc::F_OFD_SETLK, &mut request(libc::F_UNLCK as libc::c_short, all));
            // SAFETY: this module's own descriptor, taken out of the list just now, so closed once.
            unsafe { libc::close(descriptor) };
        }
        self.0.give_back();
    }
}

pub(super) fn is_locked(file: &File, bytes: Bytes) -> io::Result<bool> {
    let mut lock = request(libc::F_WRLCK as libc::c_short, bytes);
    control(file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock)?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

fn request(kind: libc::c_short, bytes: Bytes) -> libc::flock {
    // SAFETY: all zero is a valid `flock`.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = bytes.start as libc::off_t;
    lock.l_len = bytes.length as libc::off_t;
    lock
}

fn control(descriptor: RawFd, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    loop {
        // SAFETY: `lock` is a valid `flock` that outlives the call.
        if unsafe { libc::fcntl(descriptor, command, std::ptr::from_mut(lock)) } != -1 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
