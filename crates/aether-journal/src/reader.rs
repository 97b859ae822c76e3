//! `Reader`: a journal's messages, from the first, from an id, a time or an index on, and those that come.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::{
    error::{Damage, Error, Result},
    files,
    format::{BlockHeader, HEADER, Record, Source, read_record},
    segment::{Content, Loaded, Part, Segment},
    verify::Problem,
};

/// Reads a journal, also while it is being written: up to what was there when it was opened, or at the last
/// [`refresh`](Reader::refresh). Only one of its files is held open.
#[derive(Debug)]
pub struct Reader {
    journal: PathBuf,
    segments: Vec<Segment>,
    /// The file and the part of it that comes next, or is at hand.
    segment: usize,
    part: usize,
    /// The file that was read last, by its place in `segments`.
    file: Option<(usize, File)>,
    loaded: Loaded,
    /// Where in the block at hand the next record starts, and how many are before it there.
    cursor: usize,
    passed: u64,
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
        let journal = path.as_ref().to_owned();
        let mut reader = Reader {
            segments: Vec::new(),
            segment: 0,
            part: 0,
            file: None,
            loaded: Loaded::default(),
            cursor: 0,
            passed: 0,
            at_hand: false,
            skip_damaged: false,
            skipped: Vec::new(),
            journal,
        };
        for number in files::numbers(&reader.journal)? {
            reader.push(number)?;
        }
        if reader.segments.is_empty() {
            return Err(Error::NotFound { path: reader.journal });
        }
        Ok(reader)
    }

    /// Adds the file of this number, which comes after those that are known.
    fn push(&mut self, number: u32) -> Result<()> {
        let segment = match Segment::open(files::path_of(&self.journal, number)) {
            // The next file of a journal that a kill, or the writer right now, left without a header.
            Err(Error::NotAJournal { path }) if !self.segments.is_empty() && is_begun(&path) => return Ok(()),
            // The oldest ones may be removed at any time.
            Err(Error::NotFound { .. }) if self.segments.is_empty() => return Ok(()),
            segment => segment?,
        };
        let first = self.segments.first().unwrap_or(&segment);
        if segment.header.number != number || segment.source() != first.source() {
            return Err(Error::NotAJournal { path: segment.path().to_owned() });
        }
        if let Some(last) = self.segments.last_mut() {
            last.expect_sealed();
        }
        self.segments.push(segment);
        Ok(())
    }

    /// Finds what was written since the journal was opened, or since the last call. Whether there is anything to read
    /// behind the place where the reader is.
    ///
    /// # Errors
    ///
    /// As [`open`](Reader::open); [`Error::Corrupt`] if the file has become shorter, such as when another journal was begun
    /// in its place.
    pub fn refresh(&mut self) -> Result<bool> {
        // In this order: once there is a file after it, no block is added to one.
        let numbers = files::numbers(&self.journal)?;
        if let Some(last) = self.segments.last_mut() {
            let number = last.header.number;
            let is_last = numbers.last().is_none_or(|&newest| newest <= number);
            let refreshed = match is_last {
                true => last.refresh(),
                false => Segment::open(last.path().to_owned()).map(|whole| {
                    // What was there before still is, part by part: a block is never changed.
                    if whole.parts.len() >= last.parts.len() {
                        *last = whole;
                    }
                }),
            };
            match refreshed {
                // Removed: what was read of it is known, and the rest is looked for in vain, and said to be.
                Err(Error::NotFound { .. }) => {}
                refreshed => refreshed?,
            }
            for number in numbers.into_iter().filter(|&other| other > number) {
                self.push(number)?;
            }
        }
        Ok(self.index() < self.end() || self.segment + 1 < self.segments.len())
    }

    /// The files, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Which ring the journal is of.
    pub fn source(&self) -> Source {
        self.segments[0].source()
    }

    /// The index of the next message: how many the journal had before it, those in files that were removed included.
    pub fn index(&self) -> u64 {
        let part = self.segments.get(self.segment).and_then(|segment| segment.parts.get(self.part));
        let before = part.map_or(self.end(), |part| part.before);
        if self.at_hand { before.saturating_add(self.passed) } else { before }
    }

    /// The index of the oldest message that is there.
    pub fn start(&self) -> u64 {
        self.segments[0].header.before
    }

    /// The index that the next message to be written will get.
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::through)
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
        if !self.find(|_, _| false, |_, _| false)? {
            return Ok(None);
        }
        let record = read_record(&self.loaded.data[self.cursor..]);
        Ok(record.map(|(record, size)| {
            self.cursor += size;
            self.passed += 1;
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
        self.find(|_, block| block.max_id < id, |_, record| record.id < id)
    }

    /// Goes to the first message that was recorded at this time or later, in nanoseconds since 1970. Whether there is
    /// one; if not, the reader is at the end.
    ///
    /// # Errors
    ///
    /// As [`next`](Reader::next), if there is damage before.
    pub fn seek_time(&mut self, time: u64) -> Result<bool> {
        self.rewind();
        self.find(|_, block| block.last_time < time, |_, record| record.time < time)
    }

    /// Goes to the message of this [index](Reader::index), or to the first one behind it that is there. Whether there is
    /// one; if not, the reader is at the end.
    ///
    /// # Errors
    ///
    /// As [`next`](Reader::next).
    pub fn seek_index(&mut self, index: u64) -> Result<bool> {
        self.rewind();
        self.find(|part, block| part.before.saturating_add(block.count.into()) <= index, |at, _| at < index)
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
        self.find(|_, _| false, |_, _| false)
    }

    fn rewind(&mut self) {
        (self.segment, self.part, self.at_hand) = (0, 0, false);
    }

    /// Goes on to a record that is not to be passed over, and stays in front of it.
    #[inline]
    fn find(
        &mut self,
        pass_block: impl Fn(&Part, &BlockHeader) -> bool,
        pass: impl Fn(u64, &Record<'_>) -> bool,
    ) -> Result<bool> {
        loop {
            let before = self.segments.get(self.segment).and_then(|segment| segment.parts.get(self.part));
            let before = before.map_or(0, |part| part.before);
            while self.at_hand {
                match read_record(&self.loaded.data[self.cursor..]) {
                    Some((record, size)) if pass(before.saturating_add(self.passed), &record) => {
                        self.cursor += size;
                        self.passed += 1;
                    }
                    Some(_) => return Ok(true),
                    None => {
                        self.at_hand = false;
                        self.part += 1;
                    }
                }
            }
            let Some(segment) = self.segments.get(self.segment) else { return Ok(false) };
            let Some(&part) = segment.parts.get(self.part) else {
                // Behind the last part of the last file more may come.
                if self.segment + 1 == self.segments.len() {
                    return Ok(false);
                }
                (self.segment, self.part) = (self.segment + 1, 0);
                continue;
            };
            let damage = match part.content {
                Content::Block(block) if pass_block(&part, &block) => {
                    self.part += 1;
                    continue;
                }
                Content::Block(block) => self.load(part.offset, &block)?,
                Content::Damage { damage, .. } => Some(damage),
            };
            let Some(damage) = damage else {
                (self.at_hand, self.cursor, self.passed) = (true, 0, 0);
                continue;
            };
            let path = self.segments[self.segment].path().to_owned();
            if !self.skip_damaged {
                return Err(Error::Corrupt { path, offset: part.offset, damage });
            }
            self.skipped.push(Problem { path, offset: part.offset, damage });
            self.part += if damage == Damage::Removed { usize::MAX - self.part } else { 1 };
        }
    }

    /// Reads a block of the file at hand.
    fn load(&mut self, offset: u64, block: &BlockHeader) -> Result<Option<Damage>> {
        let segment = &self.segments[self.segment];
        let file = match self.file.take() {
            Some((index, file)) if index == self.segment => file,
            _ => match files::open_to_read(segment.path()) {
                Err(Error::NotFound { .. }) => return Ok(Some(Damage::Removed)),
                file => file?,
            },
        };
        let loaded = segment.load(&file, offset, block, &mut self.loaded)?;
        self.file = Some((self.segment, file));
        Ok(loaded.err())
    }
}

/// Whether a file is so short that it can only be the beginning of one.
pub(crate) fn is_begun(path: &PathBuf) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() < HEADER as u64)
}
