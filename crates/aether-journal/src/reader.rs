//! `Reader`: a journal's messages, from the first, from an id or from a time on.

use std::path::{Path, PathBuf};

use crate::{
    error::{Error, Result},
    files,
    format::{BlockHeader, Record, Source, read_record},
    segment::{Content, Loaded, Segment},
    verify::Problem,
};

/// Reads a journal, also while it is being written: then up to what was there when it was opened.
#[derive(Debug)]
pub struct Reader {
    segments: Vec<Segment>,
    /// The file and the part of it that comes next, or is at hand.
    segment: usize,
    part: usize,
    loaded: Loaded,
    /// Where in the block at hand the next record starts.
    cursor: usize,
    at_hand: bool,
    skip_damaged: bool,
    skipped: Vec<Problem>,
}

impl Reader {
    /// Opens the journal of this name: that file, and those with `.000001` and so on behind the name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotAJournal`], [`Error::Version`], [`Error::MissingSegment`], [`Error::Corrupt`] if
    /// the files are not of one journal, [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Reader> {
        let path = path.as_ref();
        let numbers = files::numbers(path)?;
        let mut segments: Vec<Segment> = Vec::with_capacity(numbers.len());
        for &number in &numbers {
            let segment = match Segment::open(files::path_of(path, number)) {
                // The next file of a journal that a kill, or the writer right now, left without a header.
                Err(Error::NotAJournal { path }) if !segments.is_empty() && is_begun(&path) => continue,
                segment => segment?,
            };
            let first = segments.first().unwrap_or(&segment);
            if segment.header.number != number || segment.source() != first.source() {
                return Err(Error::NotAJournal { path: segment.path().to_owned() });
            }
            segments.push(segment);
        }
        if segments.is_empty() {
            return Err(Error::NotFound { path: path.to_owned() });
        }
        if let Some((_, earlier)) = segments.split_last_mut() {
            earlier.iter_mut().for_each(Segment::expect_sealed);
        }
        Ok(Reader {
            segments,
            segment: 0,
            part: 0,
            loaded: Loaded::default(),
            cursor: 0,
            at_hand: false,
            skip_damaged: false,
            skipped: Vec::new(),
        })
    }

    /// The files, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Which ring the journal is of.
    pub fn source(&self) -> Source {
        self.segments[0].source()
    }

    /// Whether what can't be believed is left out, and remembered in [`skipped`](Reader::skipped), instead of being an
    /// error. Off unless set.
    pub fn skip_damaged(&mut self, skip: bool) {
        self.skip_damaged = skip;
    }

    /// What was left out so far.
    pub fn skipped(&self) -> &[Problem] {
        &self.skipped
    }

    /// The next message; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`]: nothing of that block was given, and the next call says the same. [`Error::Io`].
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "an iterator can't lend from itself")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>> {
        if !self.find(|_| false, |_| false)? {
            return Ok(None);
        }
        let record = read_record(&self.loaded.data[self.cursor..]);
        Ok(record.map(|(record, size)| {
            self.cursor += size;
            record
        }))
    }

    /// Goes to the first message, in the order of the journal, whose id is at least this one. Whether there is one;
    /// if not, the reader is at the end.
    ///
    /// # Errors
    ///
    /// As [`next`](Reader::next), if there is damage before.
    pub fn seek_id(&mut self, id: i64) -> Result<bool> {
        self.rewind();
        self.find(|block| block.max_id < id, |record| record.id < id)
    }

    /// Goes to the first message that was recorded at this time or later, in nanoseconds since 1970. Whether there is
    /// one; if not, the reader is at the end.
    ///
    /// # Errors
    ///
    /// As [`next`](Reader::next), if there is damage before.
    pub fn seek_time(&mut self, time: u64) -> Result<bool> {
        self.rewind();
        self.find(|block| block.last_time < time, |record| record.time < time)
    }

    /// The file and the part of it that the last message came from.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.segment, self.part)
    }

    /// Goes to the first message of the last block. Whether there is any.
    ///
    /// # Errors
    ///
    /// As [`next`](Reader::next).
    pub fn seek_last_block(&mut self) -> Result<bool> {
        self.rewind();
        let Some(segment) = self.segments.iter().rposition(|segment| !segment.parts.is_empty()) else {
            return Ok(false);
        };
        (self.segment, self.part) = (segment, self.segments[segment].parts.len() - 1);
        self.find(|_| false, |_| false)
    }

    fn rewind(&mut self) {
        (self.segment, self.part, self.at_hand) = (0, 0, false);
    }

    /// Goes on to a record that is not to be passed over, and stays in front of it.
    fn find(&mut self, pass_block: impl Fn(&BlockHeader) -> bool, pass: impl Fn(&Record<'_>) -> bool) -> Result<bool> {
        loop {
            while self.at_hand {
                match read_record(&self.loaded.data[self.cursor..]) {
                    Some((record, size)) if pass(&record) => self.cursor += size,
                    Some(_) => return Ok(true),
                    None => {
                        self.at_hand = false;
                        self.part += 1;
                    }
                }
            }
            let Some(segment) = self.segments.get(self.segment) else { return Ok(false) };
            let Some(&part) = segment.parts.get(self.part) else {
                (self.segment, self.part) = (self.segment + 1, 0);
                continue;
            };
            let damage = match part.content {
                Content::Block(block) if pass_block(&block) => {
                    self.part += 1;
                    continue;
                }
                Content::Block(block) => segment.load(part.offset, &block, &mut self.loaded)?.err(),
                Content::Damage { damage, .. } => Some(damage),
            };
            let Some(damage) = damage else {
                (self.at_hand, self.cursor) = (true, 0);
                continue;
            };
            let (path, offset) = (segment.path().to_owned(), part.offset);
            if !self.skip_damaged {
                return Err(Error::Corrupt { path, offset, damage });
            }
            self.skipped.push(Problem { path, offset, damage });
            self.part += 1;
        }
    }
}

/// Whether a file is so short that it can only be the beginning of one.
pub(crate) fn is_begun(path: &PathBuf) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() < crate::format::HEADER as u64)
}
