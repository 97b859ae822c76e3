//! A journal of messages: what passed through a ring, kept in files to be read again.
//!
//! Messages are collected into blocks, each with a checksum, compressed or not. What [`Writer::write_block`] has written
//! is in the journal, whatever happens to the process later; a block that a kill has torn is found and cut when the
//! journal is opened again. Files are rolled by size or time; blocks are indexed by id and time. The bytes are described
//! in `docs/journal.md`.
//!
//! ```
//! use aether_journal::{Options, Reader, Record, Source, Writer};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("quotes.journal");
//!
//! let mut writer = Writer::open(&path, Source::default(), Options::default())?;
//! for id in 1..=3 {
//!     let (time, position) = (1_700_000_000_000_000_000 + id, 24 * (id - 1));
//!     writer.append(&Record { time, id: id as i64, message_type: 7, lane: 0, position, payload: b"hello" })?;
//! }
//! writer.write_block()?; // from here on they are there for good
//! drop(writer);
//!
//! let mut reader = Reader::open(&path)?;
//! assert!(reader.seek_id(2)?);
//! assert_eq!(reader.next()?.map(|record| (record.id, record.payload)), Some((2, &b"hello"[..])));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs, rustdoc::broken_intra_doc_links)]

mod cursor;
mod error;
mod files;
mod format;
mod reader;
mod retention;
mod segment;
mod verify;
mod writer;

pub use cursor::Cursor;
pub use error::{Damage, Error, Result};
pub use format::{Compression, MAX_BLOCK, MAX_LANES, MAX_PAYLOAD, Record, Source};
pub use reader::Reader;
pub use retention::{Keep, prune, superfluous};
pub use segment::Segment;
pub use verify::{Problem, Report, verify, verify_with};
pub use writer::{Options, Sync, Writer};
