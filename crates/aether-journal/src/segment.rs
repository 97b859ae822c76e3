//! One file of a journal: which blocks it has, and what is in them.

use std::{
    cmp::Ordering,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::{
    error::{Damage, Error, Result},
    files::{open_to_read, read_at},
    format::{
        BLOCK_MAGIC, BlockHeader, ENTRY, FileHeader, HEADER, INDEX_MAGIC, Kind, LANE, NotAHeader, Source, TRAILER,
        VERSION, read_lanes, read_record,
    },
};

/// One file of a journal.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    pub(crate) header: FileHeader,
    pub(crate) parts: Vec<Part>,
    /// Where the last whole block ends.
    pub(crate) end: u64,
    /// Messages in its blocks.
    messages: u64,
    sealed: bool,
    torn: u64,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    /// Messages of the journal before it, those in damaged stretches of this file not counted.
    pub(crate) before: u64,
    pub(crate) content: Content,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    Block(BlockHeader),
    Damage { bytes: u64, damage: Damage },
}

/// What a block holds.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) data: Vec<u8>,
    /// By lane: the position behind its last message so far.
    pub(crate) ends: Vec<Option<u64>>,
    spare: Vec<u8>,
}

impl Segment {
    /// Finds the blocks: by the index, or by going from header to header.
    pub(crate) fn open(path: PathBuf) -> Result<Segment> {
        let file = open_to_read(&path)?;
        Segment::read(path, &file)
    }

    pub(crate) fn read(path: PathBuf, file: &File) -> Result<Segment> {
        let length = file.metadata().map_err(Error::io(&path, "read its size"))?.len();
        let mut bytes = Vec::new();
        read_at(file, &path, 0, HEADER as u64, &mut bytes)?;
        let header = match bytes.first_chunk().map(FileHeader::decode) {
            Some(Ok(header)) => header,
            Some(Err(NotAHeader::Version(found))) => return Err(Error::Version { path, found, expected: VERSION }),
            _ => return Err(Error::NotAJournal { path }),
        };
        let end = HEADER as u64;
        let mut segment = Segment { path, header, parts: Vec::new(), end, messages: 0, sealed: false, torn: 0 };
        if !segment.read_index(file, length)? {
            segment.scan(file, length)?;
        }
        Ok(segment)
    }

    /// Finds what was written behind the last whole block since.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        let file = open_to_read(&self.path)?;
        let length = file.metadata().map_err(Error::io(&self.path, "read its size"))?.len();
        match length.cmp(&self.end) {
            // A writer cuts off what no reader takes for a block; this is another file, or was harmed.
            Ordering::Less => {
                let (path, offset) = (self.path.clone(), length);
                return Err(Error::Corrupt { path, offset, damage: Damage::Cut });
            }
            Ordering::Equal => {}
            Ordering::Greater => self.scan(&file, length)?,
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which ring it is of.
    pub fn source(&self) -> Source {
        self.header.source
    }

    /// How many blocks of messages it has.
    pub fn blocks(&self) -> usize {
        self.headers().count()
    }

    /// The index of its first message: how many the journal had before.
    pub fn first_index(&self) -> u64 {
        self.header.before
    }

    /// How many messages its blocks say that they hold.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Messages of the journal up to the end of this file.
    pub(crate) fn through(&self) -> u64 {
        self.header.before.saturating_add(self.messages)
    }

    fn push(&mut self, offset: u64, content: Content) {
        self.parts.push(Part { offset, before: self.through(), content });
        if let Content::Block(header) = content {
            self.messages += u64::from(header.count);
        }
    }

    /// As if it had no part; the index was not to be believed.
    fn forget(&mut self) {
        self.parts.clear();
        self.messages = 0;
    }

    /// Bytes of its blocks, without an index or a torn block at the end.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// When its first and its last message were recorded.
    pub fn times(&self) -> Option<(u64, u64)> {
        Some((self.headers().next()?.first_time, self.headers().last()?.last_time))
    }

    /// The smallest and the largest id.
    pub fn ids(&self) -> Option<(i64, i64)> {
        let min = self.headers().map(|header| header.min_id).min()?;
        let max = self.headers().map(|header| header.max_id).max()?;
        Some((min, max))
    }

    /// Whether it was ended with an index.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Bytes of a block at the end that was not written to its end; recording again cuts them off.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    fn headers(&self) -> impl Iterator<Item = &BlockHeader> {
        self.parts.iter().filter_map(|part| match &part.content {
            Content::Block(header) => Some(header),
            Content::Damage { .. } => None,
        })
    }

    /// Others follow this file: then what it ends with was not torn by a kill.
    pub(crate) fn expect_sealed(&mut self) {
        if !self.sealed {
            self.push(self.end, Content::Damage { bytes: self.torn, damage: Damage::Unsealed });
            self.torn = 0;
        }
    }

    /// Reads the index at the end of the file. Whether there is one that can be believed.
    fn read_index(&mut self, file: &File, length: u64) -> Result<bool> {
        let Some(trailer) = length.checked_sub(TRAILER as u64) else { return Ok(false) };
        let mut bytes = Vec::new();
        read_at(file, &self.path, trailer, TRAILER as u64, &mut bytes)?;
        let (Some(offset), Some(magic)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) else {
            return Ok(false);
        };
        let offset = u64::from_le_bytes(*offset);
        if *magic != INDEX_MAGIC || offset < HEADER as u64 || offset >= trailer {
            return Ok(false);
        }
        let Some(header) = self.block_at(file, offset, length)? else { return Ok(false) };
        if header.kind != Kind::Index || offset + HEADER as u64 + header.body() != trailer {
            return Ok(false);
        }
        let mut loaded = Loaded::default();
        if self.load(file, offset, &header, &mut loaded)?.is_err() {
            return Ok(false);
        }
        let (entries, []) = loaded.data.as_chunks::<ENTRY>() else { return Ok(false) };
        let mut end = HEADER as u64;
        for entry in entries {
            let (Some(at), Some(header)) = (entry.first_chunk::<8>(), entry.last_chunk::<HEADER>()) else {
                return Ok(false);
            };
            let at = u64::from_le_bytes(*at);
            let block = BlockHeader::decode(header, self.header.number, at);
            let Some(block) = block.filter(|block| at == end && block.kind == Kind::Messages) else {
                self.forget();
                return Ok(false);
            };
            self.push(at, Content::Block(block));
            end = at + HEADER as u64 + block.body();
        }
        if end != offset {
            self.forget();
            return Ok(false);
        }
        self.end = end;
        self.sealed = true;
        Ok(true)
    }

    /// The header of the block at `offset`, if there is one, and the file has all of the block.
    fn block_at(&self, file: &File, offset: u64, length: u64) -> Result<Option<BlockHeader>> {
        let mut bytes = Vec::new();
        read_at(file, &self.path, offset, HEADER as u64, &mut bytes)?;
        Ok(bytes.first_chunk().and_then(|bytes| self.whole_block(bytes, offset, length)))
    }

    fn whole_block(&self, bytes: &[u8; HEADER], offset: u64, length: u64) -> Option<BlockHeader> {
        let header = BlockHeader::decode(bytes, self.header.number, offset)?;
        (header.body() <= length.checked_sub(offset + HEADER as u64)?).then_some(header)
    }

    /// Goes from header to header, from the end of the last block that is known.
    fn scan(&mut self, file: &File, length: u64) -> Result<()> {
        let mut offset = self.end;
        while offset < length {
            let content = match self.block_at(file, offset, length)? {
                Some(header) if header.kind == Kind::Messages => Content::Block(header),
                // Behind an index there is nothing more.
                Some(_) => break,
                None => match self.next_block(file, offset, length)? {
                    Some(next) => Content::Damage { bytes: next - offset, damage: Damage::NoBlock },
                    None => break,
                },
            };
            self.push(offset, content);
            offset += match content {
                Content::Block(header) => HEADER as u64 + header.body(),
                Content::Damage { bytes, .. } => bytes,
            };
        }
        self.end = offset.min(length);
        self.torn = length - self.end;
        Ok(())
    }

    /// Where the next whole block of messages starts, behind one that can't be believed.
    fn next_block(&self, file: &File, from: u64, length: u64) -> Result<Option<u64>> {
        const CHUNK: usize = 1 << 20;
        let mut bytes = Vec::new();
        let mut base = from + 8;
        while base < length {
            // A header that starts at the end of the chunk is in it, too.
            read_at(file, &self.path, base, (CHUNK + HEADER) as u64, &mut bytes)?;
            for at in (0..CHUNK.min(bytes.len())).step_by(8) {
                let Some(header) = bytes[at..].first_chunk() else { break };
                let offset = base + at as u64;
                if header.starts_with(&BLOCK_MAGIC)
                    && let Some(block) = self.whole_block(header, offset, length)
                    && block.kind == Kind::Messages
                {
                    return Ok(Some(offset));
                }
            }
            base += CHUNK as u64;
        }
        Ok(None)
    }

    /// Reads a block, and checks all of it.
    pub(crate) fn load(
        &self,
        file: &File,
        offset: u64,
        header: &BlockHeader,
        loaded: &mut Loaded,
    ) -> Result<std::result::Result<(), Damage>> {
        let body = &mut loaded.spare;
        read_at(file, &self.path, offset + HEADER as u64, header.body(), body)?;
        Ok(loaded.accept(header, &self.header.source))
    }
}

impl Loaded {
    fn accept(&mut self, header: &BlockHeader, source: &Source) -> std::result::Result<(), Damage> {
        self.data.clear();
        let body = &mut self.spare;
        if body.len() as u64 != header.body() {
            return Err(Damage::Cut);
        }
        if crc32c::crc32c(body) != header.checksum {
            return Err(Damage::Checksum);
        }
        let stored = header.stored as usize;
        self.ends = read_lanes(&body[stored..stored + header.lanes as usize * LANE]).ok_or(Damage::Lanes)?;
        body.truncate(stored);
        if header.compressed {
            // Never more than the header says, whatever the data claim to become.
            let most = u64::from(header.raw) + 1;
            let decoder = zstd::stream::read::Decoder::new(&body[..]);
            let read = decoder.and_then(|decoder| decoder.take(most).read_to_end(&mut self.data));
            if !read.is_ok_and(|read| read as u64 + 1 == most) {
                return Err(Damage::Compression);
            }
        } else {
            std::mem::swap(body, &mut self.data);
        }
        if header.kind == Kind::Messages { self.check(header, source) } else { Ok(()) }
    }

    /// Whether the records are those that the header and the table of lanes tell of.
    fn check(&self, header: &BlockHeader, source: &Source) -> std::result::Result<(), Damage> {
        let mut ends = self.ends.clone();
        let (mut ids, mut times) = ((i64::MAX, i64::MIN), (u64::MAX, 0));
        let mut rest = &self.data[..];
        for _ in 0..header.count {
            let (record, size) = read_record(rest).ok_or(Damage::Record)?;
            ends[record.lane as usize] = Some(source.end(record.position, record.payload.len()));
            ids = (ids.0.min(record.id), ids.1.max(record.id));
            // Where they stand still or go on, the first is the smallest.
            if record.time < times.1 {
                return Err(Damage::Header);
            }
            times = (times.0.min(record.time), record.time);
            rest = &rest[size..];
        }
        if !rest.is_empty() || header.count == 0 {
            return Err(Damage::Record);
        }
        if ids != (header.min_id, header.max_id) || times != (header.first_time, header.last_time) {
            return Err(Damage::Header);
        }
        if ends == self.ends { Ok(()) } else { Err(Damage::Lanes) }
    }
}
