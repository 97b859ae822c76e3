//! What can go wrong.

use std::{fmt, io, path::PathBuf};

use crate::{
    cursor::{DIGITS, MAX_NAME},
    format::{MAX_LANES, MAX_PAYLOAD},
};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("{path}: can't {operation}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such journal.
    #[error("{path}: no such journal", path = .path.display())]
    NotFound {
        /// The journal's name.
        path: PathBuf,
    },
    /// The file is something else; it was left as it is.
    #[error("{path}: not a journal: it does not begin with \"AETHJRNL\" and a sound header", path = .path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// A version of the format that this code does not know.
    #[error("{path}: version {found} of the journal's format, and this program knows {expected}; take one that is as new as what wrote it", path = .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The one known here.
        expected: u32,
    },
    /// Bytes that can't be believed.
    #[error("{path}: corrupt at byte {offset}: {damage}", path = .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// A file in the middle of the journal is gone.
    #[error("{path}: this file of the journal is missing, but later ones are there", path = .path.display())]
    MissingSegment {
        /// The file that is not there.
        path: PathBuf,
    },
    /// The journal is of another ring: positions of the two can't be compared.
    #[error("{path}: this is the journal of another ring than the one to record; take another file", path = .path.display())]
    OtherSource {
        /// The journal.
        path: PathBuf,
    },
    /// The last file has the highest number that there is; no other can follow.
    #[error("{path}: no file can follow this one: its number is the highest that there is", path = .path.display())]
    LastNumber {
        /// The file.
        path: PathBuf,
    },
    /// A name that no cursor can have.
    #[error("{name:?}: a cursor's name has 1 to {MAX_NAME} letters of ASCII, digits, '-' or '_'")]
    CursorName {
        /// The name.
        name: String,
    },
    /// The file holds something else than a cursor; it was left as it is.
    #[error("{path}: not a cursor: expected {DIGITS} digits and the end of a line; remove it to start anew", path = .path.display())]
    NotACursor {
        /// The file.
        path: PathBuf,
    },
    /// The cursor stands behind all that the journal has.
    #[error("{path}: the cursor is at message {index}, and the journal ends at {end}: it belongs to another journal; remove it to start anew", path = .path.display())]
    CursorBeyond {
        /// The cursor's file.
        path: PathBuf,
        /// Where it stands.
        index: u64,
        /// Where the journal ends.
        end: u64,
    },
    /// Another process is at work with it.
    #[error("{path}: another process has this file open", path = .path.display())]
    Locked {
        /// The file that it holds.
        path: PathBuf,
    },
    /// A payload that no journal takes.
    #[error("a payload of {payload} bytes; a journal takes up to {MAX_PAYLOAD}")]
    TooLarge {
        /// Its size.
        payload: usize,
    },
    /// A lane that no ring has.
    #[error("lane {lane}; lanes are numbered from 0 to {last}", last = MAX_LANES - 1)]
    Lane {
        /// Its number.
        lane: u32,
    },
}

impl Error {
    pub(crate) fn io(path: &std::path::Path, operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, operation, source }
    }
}

/// What is wrong with a part of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// No block starts where one should.
    NoBlock,
    /// The file ends within a block.
    Cut,
    /// A block's content does not have its checksum.
    Checksum,
    /// A block's content can't be decompressed to its size.
    Compression,
    /// A record does not fit into its block, or they are not as many as the block says.
    Record,
    /// A block's table of lanes does not agree with its records.
    Lanes,
    /// A block's header tells of other times or ids than its records have.
    Header,
    /// A message that was there before, or one out of order.
    Repeated,
    /// A file that is not the last one has no end.
    Unsealed,
    /// The file was removed before it was read to its end.
    Removed,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Damage::NoBlock => "no sound header of a block, where one should be",
            Damage::Cut => "the file ends within this block",
            Damage::Checksum => "the block's content does not have the checksum that its header says",
            Damage::Compression => "the block's content can't be decompressed to the size that its header says",
            Damage::Record => "a record does not fit into its block, or the block has not as many as its header says",
            Damage::Lanes => "the block's table of lanes does not agree with its records",
            Damage::Header => "the block's header tells of other times or ids than its records have",
            Damage::Repeated => "a message comes again, or one of the same lane comes too late",
            Damage::Unsealed => "the file ends without an index, but is not the last one",
            Damage::Removed => "the file was removed before it was read to its end",
        })
    }
}
