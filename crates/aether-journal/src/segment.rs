//! One file of a journal: which blocks it has, and what is in them.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    error::{Damage, Error, Result},
    files::read_at,
    format::{
        BLOCK_MAGIC, BlockHeader, ENTRY, FileHeader, HEADER, INDEX_MAGIC, Kind, LANE, NotAHeader, Source, TRAILER,
        VERSION, read_lanes, read_record,
    },
};

/// One file of a journal.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    pub(crate) file: File,
    pub(crate) header: FileHeader,
    pub(crate) parts: Vec<Part>,
    /// Where the last whole block ends.
    pub(crate) end: u64,
    sealed: bool,
    torn: u64,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) offset: u64,
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
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NotFound { path: path.clone() },
            _ => Error::Io { path: path.clone(), operation: "open the file", source },
        })?;
        Segment::read(path, file)
    }

    pub(crate) fn read(path: PathBuf, file: File) -> Result<Segment> {
        let length = file.metadata().map_err(Error::io(&path, "read its size"))?.len();
        let mut bytes = Vec::new();
        read_at(&file, &path, 0, HEADER as u64, &mut bytes)?;
        let header = match bytes.first_chunk().map(FileHeader::decode) {
            Some(Ok(header)) => header,
            Some(Err(NotAHeader::Version(found))) => return Err(Error::Version { path, found, expected: VERSION }),
            _ => return Err(Error::NotAJournal { path }),
        };
        let mut segment = Segment { path, file, header, parts: Vec::new(), end: HEADER as u64, sealed: false, torn: 0 };
        if !segment.read_index(length)? {
            segment.scan(length)?;
        }
        Ok(segment)
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

    /// How many messages its blocks say that they hold.
    pub fn messages(&self) -> u64 {
        self.headers().map(|header| u64::from(header.count)).sum()
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
            let content = Content::Damage { bytes: self.torn, damage: Damage::Unsealed };
            self.parts.push(Part { offset: self.end, content });
            self.torn = 0;
        }
    }

    /// Reads the index at the end of the file. Whether there is one that can be believed.
    fn read_index(&mut self, length: u64) -> Result<bool> {
        let Some(trailer) = length.checked_sub(TRAILER as u64) else { return Ok(false) };
        let mut bytes = Vec::new();
        read_at(&self.file, &self.path, trailer, TRAILER as u64, &mut bytes)?;
        let (Some(offset), Some(magic)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) else {
            return Ok(false);
        };
        let offset = u64::from_le_bytes(*offset);
        if *magic != INDEX_MAGIC || offset < HEADER as u64 || offset >= trailer {
            return Ok(false);
        }
        let Some(header) = self.block_at(offset, length)? else { return Ok(false) };
        if header.kind != Kind::Index || offset + HEADER as u64 + header.body() != trailer {
            return Ok(false);
        }
        let mut loaded = Loaded::default();
        if self.load(offset, &header, &mut loaded)?.is_err() {
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
                self.parts.clear();
                return Ok(false);
            };
            self.parts.push(Part { offset: at, content: Content::Block(block) });
            end = at + HEADER as u64 + block.body();
        }
        if end != offset {
            self.parts.clear();
            return Ok(false);
        }
        self.end = end;
        self.sealed = true;
        Ok(true)
    }

    /// The header of the block at `offset`, if there is one, and the file has all of the block.
    fn block_at(&self, offset: u64, length: u64) -> Result<Option<BlockHeader>> {
        let mut bytes = Vec::new();
        read_at(&self.file, &self.path, offset, HEADER as u64, &mut bytes)?;
        let header = bytes.first_chunk().and_then(|bytes| BlockHeader::decode(bytes, self.header.number, offset));
        Ok(header.filter(|header| header.body() <= length - offset - HEADER as u64))
    }

    /// Goes from header to header.
    fn scan(&mut self, length: u64) -> Result<()> {
        let mut offset = HEADER as u64;
        while offset < length {
            let content = match self.block_at(offset, length)? {
                Some(header) if header.kind == Kind::Messages => Content::Block(header),
                _ => match self.next_block(offset, length)? {
                    Some(next) => Content::Damage { bytes: next - offset, damage: Damage::NoBlock },
                    None => break,
                },
            };
            self.parts.push(Part { offset, content });
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
    fn next_block(&self, from: u64, length: u64) -> Result<Option<u64>> {
        const CHUNK: usize = 1 << 20;
        let mut bytes = Vec::new();
        let mut base = from + 8;
        while base < length {
            read_at(&self.file, &self.path, base, CHUNK as u64, &mut bytes)?;
            let (words, _) = bytes.as_chunks::<8>();
            for (offset, _) in (base..).step_by(8).zip(words).filter(|(_, word)| word.starts_with(&BLOCK_MAGIC)) {
                let header = if length - offset < HEADER as u64 { None } else { self.block_at(offset, length)? };
                if header.is_some_and(|header| header.kind == Kind::Messages) {
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
        offset: u64,
        header: &BlockHeader,
        loaded: &mut Loaded,
    ) -> Result<std::result::Result<(), Damage>> {
        let body = &mut loaded.spare;
        read_at(&self.file, &self.path, offset + HEADER as u64, header.body(), body)?;
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
        let mut rest = &self.data[..];
        for _ in 0..header.count {
            let (record, size) = read_record(rest).ok_or(Damage::Record)?;
            ends[record.lane as usize] = Some(source.end(record.position, record.payload.len()));
            rest = &rest[size..];
        }
        if !rest.is_empty() {
            return Err(Damage::Record);
        }
        if ends == self.ends { Ok(()) } else { Err(Damage::Lanes) }
    }
}
