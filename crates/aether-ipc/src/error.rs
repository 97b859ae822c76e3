//! What can go wrong, as one enum that a user can match on.

use std::{io, path::PathBuf, time::Duration};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Each variant says what was found, what was expected, and where.
///
/// `Full`, `NoConsumer`, `Closed` and `TimedOut` are the everyday ones: they are back-pressure or the end of a wait,
/// and the operation may be tried again. [`Error::is_transient`] tells them from the rest.
///
/// ```
/// use aether_ipc::{Buffer, Error};
///
/// let dir = tempfile::tempdir()?;
/// let error = Buffer::create(dir.path().join("ring"), 1000).unwrap_err();
/// assert!(matches!(error, Error::Capacity { capacity: 1000, .. }));
/// assert!(error.to_string().contains("capacity must be a power of two"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ring has no space for the message now: back-pressure. Nothing was written.
    #[error("the ring is full: no space for the message until a consumer releases some")]
    Full,

    /// The payload is larger than an empty ring could ever take. Nothing was written.
    #[error(
        "payload of {payload} bytes is larger than this ring can ever hold ({max} bytes); create it with a larger capacity"
    )]
    TooLarge {
        /// Bytes in the payload.
        payload: usize,
        /// The largest payload of this ring, in bytes.
        max: usize,
    },

    /// The ring is full and no process holds the consumer's role; reported where
    /// [`Producer::require_consumer`](crate::Producer::require_consumer) asked for it.
    #[error("the ring is full and no consumer is there to make space")]
    NoConsumer,

    /// The ring is empty and no process holds a producer's role, so nothing more will come by itself; reported where
    /// [`Consumer::require_producer`](crate::Consumer::require_producer) asked for it.
    #[error("closed: the ring is empty and no producer holds it")]
    Closed,

    /// A wait ended without what it waited for.
    #[error("timed out after {waited:?} waiting for {awaited}")]
    TimedOut {
        /// How long was waited.
        waited: Duration,
        /// What for, in words.
        awaited: &'static str,
    },

    /// This handle was inherited through `fork`. The role stays with the parent process; open the buffer again here.
    #[error("this handle belongs to the parent process: after a fork, open the buffer again in the child")]
    Forked,

    /// The producer has overwritten messages that this consumer had not read
    /// ([`Overflow::DropOldest`](crate::Overflow::DropOldest)). Reported once; reading goes on at the oldest whole
    /// message.
    #[error("lagged: {bytes} bytes were overwritten before they were read")]
    Lagged {
        /// Bytes lost, headers and padding counted.
        bytes: u64,
    },

    /// The bytes in the ring break the format. Nothing was delivered and no cursor was moved.
    #[error(
        "corrupt at position {position} of lane {lane}: {reason}; `aether verify` explains, `aether recover` repairs"
    )]
    Corrupt {
        /// The lane, 0 for a ring with one producer.
        lane: u32,
        /// The position, in bytes since the ring was made.
        position: u64,
        /// What is wrong there.
        reason: Corruption,
    },

    /// Another process (or another handle in this one) holds the role.
    #[error("{path}: the {role} role is {}", explain_holders(.holders))]
    RoleTaken {
        /// The ring's file.
        path: PathBuf,
        /// `producer` or `consumer`, with its name if it has one.
        role: String,
        /// Process ids of the holders, as they wrote them down; 0 where unknown. None if all places are kept for
        /// named consumers that are away.
        holders: Vec<u32>,
    },

    /// The capacity asked for is not one that a ring can have. Never rounded.
    #[error("capacity must be a power of two from {min} to {max} bytes, not {capacity}")]
    Capacity {
        /// What was asked for, in bytes.
        capacity: u64,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed for this format.
        max: u64,
    },

    /// A combination of options that no ring can have.
    #[error("these options do not go together: {0}")]
    Options(&'static str),

    /// The name of a consumer is empty or too long, or the ring keeps no names.
    #[error("consumer name {name:?}: {reason}")]
    Name {
        /// The name given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The file is a ring of another shape than the one asked for.
    #[error("{path}: the ring has {field} {found}, not {expected}; open it without asking for one, or remove it first")]
    Mismatch {
        /// The ring's file.
        path: PathBuf,
        /// Which property differs.
        field: &'static str,
        /// What the file has.
        found: u64,
        /// What was asked for.
        expected: u64,
    },

    /// The file is no ring.
    #[error("{path}: not a ring: {reason}")]
    NotARing {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: HeaderFault,
    },

    /// The format version in the header is not one that this code knows. Nothing was written.
    #[error("{path}: format version {found} is not known (this code knows {known}); use a newer aether-ipc")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that this code knows.
        known: u32,
    },

    /// The file is shorter than its header says.
    #[error("{path}: cut short: {found} bytes where its header asks for {expected}")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size that its header asks for.
        expected: u64,
    },

    /// No file at that path, or no directory to create it in.
    #[error("{path}: no such file; `create` makes it if its directory exists, `connect` waits for it")]
    NotFound {
        /// The path.
        path: PathBuf,
    },

    /// `create_new` found a file there.
    #[error("{path}: already exists")]
    AlreadyExists {
        /// The path.
        path: PathBuf,
    },

    /// The path names something that is no regular file: a directory, a device, a link in a world-writable directory.
    #[error("{path}: {found}, where a regular file was expected")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },

    /// The system refuses access.
    #[error("{path}: permission denied ({operation}); check the file's owner and mode, or open it read-only")]
    Permission {
        /// The path.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
    },

    /// The file system (or a quota or `RLIMIT_FSIZE`) has no space for the ring. No file was left behind.
    #[error("{path}: no space for a ring of {size} bytes: {source}")]
    NoSpace {
        /// The path.
        path: PathBuf,
        /// Size of the file, in bytes.
        size: u64,
        /// What the system said.
        source: io::Error,
    },

    /// Anything else that the system reported.
    #[error("{path}: {operation}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },

    /// The bytes that were written into reserved space are not whole records. Nothing was published.
    #[error("no record at byte {offset} of the reserved space: {reason}")]
    Record {
        /// Where, in bytes from the start of the reserved space.
        offset: u64,
        /// What is wrong there.
        reason: Corruption,
    },

    /// The payload has not the size or the alignment of the type asked for.
    #[error("payload of {payload} bytes does not hold a value of {expected} bytes")]
    Layout {
        /// Bytes in the payload.
        payload: usize,
        /// Bytes that the type takes.
        expected: usize,
    },
}

impl Error {
    /// Whether the same call may succeed later, without anything being repaired: back-pressure, nobody there, a
    /// time-out, or having lagged.
    ///
    /// ```
    /// # use aether_ipc::Error;
    /// assert!(Error::Full.is_transient());
    /// assert!(!Error::Forked.is_transient());
    /// ```
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Full | Error::NoConsumer | Error::Closed | Error::TimedOut { .. } | Error::Lagged { .. })
    }
}

/// Why bytes in the ring can't be believed. See section 3 of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The write cursor is behind the read cursor, or more than the capacity before it.
    #[error("write cursor {write} and read cursor {read} are not within the capacity of {capacity} bytes")]
    Apart {
        /// The write cursor.
        write: u64,
        /// The read cursor.
        read: u64,
        /// The capacity, in bytes.
        capacity: u64,
    },
    /// The oldest position is beyond the write cursor, or more than the capacity behind it.
    #[error("write cursor {write} and oldest position {oldest} are not within the capacity of {capacity} bytes")]
    Oldest {
        /// The write cursor.
        write: u64,
        /// The oldest position: from there on, records are said not to have been written over.
        oldest: u64,
        /// The capacity, in bytes.
        capacity: u64,
    },
    /// The oldest position is beyond the cursor of a consumer for whom messages are kept.
    #[error("oldest position {oldest} is beyond read cursor {read}, from where on nothing was to be written over")]
    OldestUnread {
        /// The oldest position.
        oldest: u64,
        /// The read cursor.
        read: u64,
    },
    /// A cursor is no multiple of 8.
    #[error("cursor {cursor} is not a multiple of 8")]
    Misaligned {
        /// The cursor.
        cursor: u64,
    },
    /// A read cursor stands inside a record.
    #[error("read cursor {cursor} does not stand where a record begins")]
    BetweenRecords {
        /// The cursor.
        cursor: u64,
    },
    /// The length in a record's header is less than the header itself.
    #[error("record length {length} is less than the {least} that a record has at least")]
    TooShort {
        /// The length found.
        length: u32,
        /// The least possible.
        least: u32,
    },
    /// A record reaches beyond what was committed.
    #[error("record length {length} reaches beyond the {committed} bytes committed")]
    TooLong {
        /// The length found.
        length: u32,
        /// Bytes between the record's position and the write cursor.
        committed: u64,
    },
    /// The record's CRC-32C is not that of its bytes at this position.
    #[error("checksum {found:#010x} where the bytes give {computed:#010x}")]
    Checksum {
        /// The checksum stored.
        found: u32,
        /// The checksum computed.
        computed: u32,
    },
    /// A consumer's slot is in a state that there is not.
    #[error("consumer slot {slot} is in state {state}, which is none of 0 (free), 1 (taken) and 2 (kept for a name)")]
    SlotState {
        /// The slot.
        slot: u32,
        /// The state found.
        state: u32,
    },
    /// A consumer's slot is kept for a name that can't be one.
    #[error(
        "consumer slot {slot} is kept for a name that is not 1 to 64 bytes of UTF-8 without control characters, or that another one has"
    )]
    SlotName {
        /// The slot.
        slot: u32,
    },
}

/// Why a file is no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// Too small to hold a header.
    #[error("{size} bytes are less than the header's {header}")]
    TooSmall {
        /// Size of the file in bytes.
        size: u64,
        /// Size of the header in bytes.
        header: u64,
    },
    /// The capacity field is no allowed capacity (0: the creator has not finished, or never will).
    #[error("capacity field holds {capacity}, which is no power of two from {min} to {max}")]
    Capacity {
        /// The value found.
        capacity: u64,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
    /// Bytes after the capacity are neither zero (classic) nor this format's magic.
    #[error(
        "the bytes from 0x104 on are neither all zero (classic) nor begin with {expected:#010x}, but with {magic:#010x}"
    )]
    Magic {
        /// The value found.
        magic: u32,
        /// The value of an extended header.
        expected: u32,
    },
    /// The header's own checksum does not match.
    #[error("header checksum {found:#010x} where its fields give {computed:#010x}")]
    Checksum {
        /// The checksum stored.
        found: u32,
        /// The checksum computed.
        computed: u32,
    },
    /// A field of the extended header has an impossible value.
    #[error("header field `{field}` holds {value}")]
    Field {
        /// The field's name in `docs/format.md`.
        field: &'static str,
        /// The value found.
        value: u64,
    },
}

impl HeaderFault {
    /// Whether this is how a file looks while another implementation is making it.
    pub(crate) fn is_unfinished(self) -> bool {
        matches!(self, HeaderFault::TooSmall { .. } | HeaderFault::Capacity { capacity: 0, .. })
    }
}

fn explain_holders(pids: &[u32]) -> String {
    let holders = match pids {
        [] => return "kept for named consumers that are away; `forget` one of them to make place".to_owned(),
        [0] => "a process that left no id".to_owned(),
        [pid] => format!("process {pid}"),
        many => {
            let list: Vec<String> = many.iter().map(u32::to_string).collect();
            format!("processes {}", list.join(", "))
        }
    };
    format!("held by {holders}; it is free as soon as that process ends or lets go")
}
