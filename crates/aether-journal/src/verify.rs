//! Checks all of a journal.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use crate::{
    error::{Damage, Result},
    reader::Reader,
};

/// Something in a journal that can't be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub damage: Damage,
}

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Files of the journal.
    pub segments: usize,
    /// Blocks of messages, sound or not.
    pub blocks: usize,
    /// Messages that can be read.
    pub messages: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Stretches of a lane that are not in the journal, between messages that are.
    pub gaps: u64,
    /// Bytes of the ring that passed in those stretches.
    pub missing_bytes: u64,
    /// Bytes of a block at the end that a kill has torn; they hold nothing that was committed to the journal.
    pub torn_bytes: u64,
    /// What can't be believed.
    pub problems: Vec<Problem>,
}

/// Reads all of a journal and checks each block, and that the messages of each lane follow each other.
///
/// # Errors
///
/// As [`Reader::open`], and [`Error::Io`](crate::Error::Io); damage is in the report.
pub fn verify(path: impl AsRef<Path>) -> Result<Report> {
    verify_with(path, |_| ControlFlow::Continue(()))
}

/// As [`verify`], and calls `each` for each message with the length of its payload. If that breaks off, the report is of
/// what came before.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_with(path: impl AsRef<Path>, mut each: impl FnMut(usize) -> ControlFlow<()>) -> Result<Report> {
    let mut reader = Reader::open(path)?;
    reader.skip_damaged(true);
    let source = reader.source();
    let mut report = Report {
        segments: reader.segments().len(),
        blocks: reader.segments().iter().map(|segment| segment.blocks()).sum(),
        torn_bytes: reader.segments().last().map_or(0, |segment| segment.torn()),
        ..Report::default()
    };
    let mut ends = vec![None; crate::format::MAX_LANES as usize];
    let mut repeated = Vec::new();
    while let Some(record) = reader.next()? {
        let (lane, position, length) = (record.lane as usize, record.position, record.payload.len());
        if each(length).is_break() {
            break;
        }
        report.messages += 1;
        report.payload_bytes += length as u64;
        let missing = ends[lane].map_or(0, |end: u64| position.wrapping_sub(end).cast_signed());
        if missing < 0 {
            repeated.push(reader.place());
            continue;
        }
        if missing > 0 {
            report.gaps += 1;
            report.missing_bytes += missing.cast_unsigned();
        }
        ends[lane] = Some(source.end(position, length));
    }
    repeated.dedup();
    report.problems = reader.skipped().to_vec();
    report.problems.extend(repeated.into_iter().filter_map(|(segment, part)| {
        let segment = reader.segments().get(segment)?;
        let offset = segment.parts.get(part)?.offset;
        Some(Problem { path: segment.path().to_owned(), offset, damage: Damage::Repeated })
    }));
    Ok(report)
}
