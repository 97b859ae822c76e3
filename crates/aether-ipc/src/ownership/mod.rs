//! Who is the producer, who is the consumer: locks that die with their process.
//!
//! Each role is one byte far past the end of the file, locked through an open file description of its own. The system
//! drops the lock when the last descriptor of it goes, however the process ends: no clock, no process id and no
//! time-out decides who is alive. Descriptors are closed on `exec`, and a forked child closes those that it inherited,
//! so a role never outlives the process that took it.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use crate::{
    error::{Error, Result},
    mapping::{Mapping, forks, reopen},
};

/// What can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The producer of a lane.
    Producer(u32),
    /// A consumer's slot.
    Consumer(u32),
    /// Short-lived: whoever is changing the names of consumers.
    Registry,
    /// All of them at once, so that nobody else is there.
    Everything,
}

impl Role {
    /// The bytes that are locked. Files never reach that far, and every signed 64-bit offset can name them.
    fn bytes(self) -> Bytes {
        const FIRST: u64 = 1 << 62;
        let one = |start| Bytes { start, length: 1 };
        match self {
            Role::Registry => one(FIRST),
            Role::Producer(lane) => one(FIRST + (1 << 20) + u64::from(lane)),
            Role::Consumer(slot) => one(FIRST + (1 << 21) + u64::from(slot)),
            Role::Everything => Bytes { start: FIRST, length: 1 << 22 },
        }
    }
}

/// A range of a file.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    start: u64,
    length: u64,
}

/// A role held by this process, until dropped.
#[derive(Debug)]
pub(crate) struct RoleLock {
    descriptor: system::Descriptor,
    forks: u32,
}

impl RoleLock {
    /// Takes the role if nobody holds it: `None` otherwise.
    pub(crate) fn try_take(mapping: &Mapping, role: Role) -> Result<Option<RoleLock>> {
        let descriptor = system::Descriptor::open(|| reopen(mapping.file(), mapping.path()))?;
        match descriptor.try_lock(role.bytes()) {
            Ok(true) => Ok(Some(RoleLock { descriptor, forks: forks() })),
            Ok(false) => {
                descriptor.close();
                Ok(None)
            }
            Err(source) => {
                descriptor.close();
                Err(Error::Io { path: mapping.path().to_owned(), operation: "lock a role", source })
            }
        }
    }

    /// Whether this process was forked off the one that took the role. The role stays with the parent.
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != forks()
    }
}

impl Drop for RoleLock {
    fn drop(&mut self) {
        // In a child the descriptor was closed at the fork, and its number may be another file's by now.
        if !self.is_inherited() {
            self.descriptor.close();
        }
    }
}

/// Whether any process, this one included, holds the role now. Takes nothing; needs no write access.
pub(crate) fn is_held(mapping: &Mapping, role: Role) -> Result<bool> {
    system::is_locked(mapping.file(), role.bytes()).map_err(|source| Error::Io {
        path: mapping.path().to_owned(),
        operation: "ask who holds a role",
        source,
    })
}
