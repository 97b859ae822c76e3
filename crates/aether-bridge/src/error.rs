//! What can go wrong between two rings.

use std::{io, path::PathBuf};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can end a half of a bridge. What the network does ends none: it is waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A ring.
    #[error(transparent)]
    Ring(#[from] aether_ipc::Error),

    /// A key is none that Zenoh takes, or has wildcards where one ring is meant.
    #[error("key {key:?}: {reason}")]
    Key {
        /// The key given.
        key: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Zenoh refuses a configuration.
    #[error("configuration of Zenoh{}: {reason}", file.as_ref().map_or(String::new(), |file| format!(", {}", file.display())))]
    Config {
        /// The file that it is from.
        file: Option<PathBuf>,
        /// What Zenoh said.
        reason: String,
    },

    /// Zenoh could not start, or has stopped.
    #[error("Zenoh: {reason}")]
    Network {
        /// What it said.
        reason: String,
    },

    /// The file system does not say when a file was made, so that one could not be told from its successor.
    #[error("{path}: can't tell this file from a later one of the same name: {source}; put the ring on another file system", path = path.display())]
    Identity {
        /// The ring's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Another file stands where the ring was, or none.
    #[error("{path}: removed or replaced while the bridge had it open; start the bridge again", path = path.display())]
    Replaced {
        /// Where the ring was.
        path: PathBuf,
    },

    /// A directory of rings can't hold one of this name.
    #[error("{path}: {reason}", path = path.display())]
    Place {
        /// Where the ring was to be.
        path: PathBuf,
        /// Why not.
        reason: String,
    },

    /// The two rings can't hold the same records.
    #[error("{path}: the ring has {found}, the one it is to be a copy of has {expected}; make it of the same shape", path = path.display())]
    Shape {
        /// The ring on the incoming side.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it would have to be.
        expected: String,
    },

    /// What comes is not from the ring that this one has been a copy of.
    #[error("{path}: lane {lane} {found}; `--rebind` goes on with what comes now, from where that stands", path = path.display())]
    Origin {
        /// The ring on the incoming side.
        path: PathBuf,
        /// Its lane.
        lane: u32,
        /// What it is a copy of.
        found: &'static str,
    },

    /// The source has released messages that this ring does not have.
    #[error(
        "{path}: lane {lane} goes on at position {wanted}, and the other side has nothing before {released} any more: \
         messages are lost; `--rebind` goes on without them", path = path.display()
    )]
    Released {
        /// The ring on the incoming side.
        path: PathBuf,
        /// Its lane.
        lane: u32,
        /// Where it goes on.
        wanted: u64,
        /// What the source has released.
        released: u64,
    },

    /// The incoming side says that it has what this ring never held.
    #[error(
        "{path}: lane {lane} holds messages up to {committed}, but the other side goes on at {wanted}, which is none of its \
         messages' ends: one of the two files was changed or brought back from a copy", path = path.display()
    )]
    Ahead {
        /// The ring on the outgoing side.
        path: PathBuf,
        /// Its lane.
        lane: u32,
        /// Where the other side goes on.
        wanted: u64,
        /// What is committed here.
        committed: u64,
    },

    /// Records that come do not begin where those before them ended.
    #[error("{path}: lane {lane}: records at position {found} where {expected} comes next", path = path.display())]
    Order {
        /// The ring on the incoming side.
        path: PathBuf,
        /// Its lane.
        lane: u32,
        /// Where a record begins.
        found: u64,
        /// Where the next one has to.
        expected: u64,
    },

    /// One side is to lose nothing, the other one may.
    #[error("{path}: this side is started {here}, the other one {there}; start both alike", path = path.display())]
    Mode {
        /// The ring on the incoming side.
        path: PathBuf,
        /// How this side was started.
        here: &'static str,
        /// How the other side was.
        there: &'static str,
    },

    /// A message is larger than what Zenoh carries.
    #[error("{path}: message {id} of {payload} bytes is larger than the {max} that can be carried", path = path.display())]
    TooLarge {
        /// The ring on the outgoing side.
        path: PathBuf,
        /// The message's id.
        id: i64,
        /// Bytes in its payload.
        payload: usize,
        /// The most there can be.
        max: usize,
    },

    /// The incoming side can't take what is sent.
    #[error("{key}: refused by the other side: {reason}")]
    Refused {
        /// The key.
        key: String,
        /// What the other side said.
        reason: String,
    },
}
