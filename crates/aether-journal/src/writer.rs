//! `Writer`: collects messages into blocks, and writes those.

use std::{
    fmt,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use zstd::{bulk::Compressor, zstd_safe::compress_bound};

use crate::{
    error::{Error, Result},
    files,
    format::{
        BlockHeader, Compression, FileHeader, HEADER, INDEX_MAGIC, Kind, MAGIC, MAX_BLOCK, MAX_BLOCKS, MAX_LANES,
        MAX_PAYLOAD, Record, Source, push_lanes, push_record,
    },
    reader::is_begun,
    segment::{Content, Loaded, Segment},
};

/// What is waited for when a block is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// For the system to have it: it survives the death of the process, and is lost with the machine until the system
    /// has written it to the disk by itself.
    Never,
    /// For the disk to have it, too.
    Block,
}

/// How a journal is written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How blocks are compressed.
    pub compression: Compression,
    /// A block is full when it has so many bytes, not compressed; up to [`MAX_BLOCK`].
    pub block_size: usize,
    /// A new file is begun before a block if the one at hand has so many bytes.
    pub roll_size: Option<u64>,
    /// A new file is begun before a block if the first message of the one at hand is so much older than the block's.
    pub roll_interval: Option<Duration>,
    /// What is waited for when a block is written.
    pub sync: Sync,
}

impl Default for Options {
    /// zstd at level 1, blocks of 1 MiB, a single file, no waiting for the disk.
    fn default() -> Options {
        Options {
            compression: Compression::Zstd(1),
            block_size: 1 << 20,
            roll_size: None,
            roll_interval: None,
            sync: Sync::Never,
        }
    }
}

/// Writes a journal, from its beginning or from where the last writer ended.
pub struct Writer {
    journal: PathBuf,
    options: Options,
    output: Output,
    /// Room for the block's header, then its records.
    buffer: Vec<u8>,
    /// What its header will say.
    open: BlockHeader,
    compressor: Option<Compressor<'static>>,
    compressed: Vec<u8>,
    /// By lane: the position behind the last message that was appended.
    ends: Vec<Option<u64>>,
    last_time: u64,
    messages: u64,
    cut: u64,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("file", &self.output.path)
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}

/// The file at hand.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    file: File,
    header: FileHeader,
    /// Where the last block ends.
    end: u64,
    /// The index that it will get.
    entries: Vec<u8>,
    count: u32,
    first_time: u64,
}

const EMPTY: BlockHeader = BlockHeader {
    kind: Kind::Messages,
    compressed: false,
    stored: 0,
    raw: 0,
    count: 0,
    lanes: 0,
    first_time: 0,
    last_time: 0,
    min_id: i64::MAX,
    max_id: i64::MIN,
    checksum: 0,
};

impl Writer {
    /// Begins a journal, or goes on with one of the same source. A block that was torn at its end is cut off.
    ///
    /// # Errors
    ///
    /// [`Error::OtherSource`], [`Error::Locked`], [`Error::NotAJournal`], [`Error::Version`],
    /// [`Error::MissingSegment`], [`Error::Io`]. [`Error::Corrupt`] if the last file has damage that is not at its end:
    /// nothing is changed then.
    pub fn open(path: impl AsRef<Path>, source: Source, options: Options) -> Result<Writer> {
        let journal = path.as_ref();
        let mut numbers = files::numbers(journal)?;
        let compressor = match options.compression {
            Compression::None => None,
            Compression::Zstd(level) => {
                Some(Compressor::new(level).map_err(Error::io(journal, "prepare to compress it"))?)
            }
        };
        let writer = |output: Output, past: Past, cut| Writer {
            journal: journal.to_owned(),
            options: options.clone(),
            output,
            buffer: vec![0; HEADER],
            open: EMPTY,
            compressor,
            compressed: Vec::new(),
            ends: past.ends,
            last_time: past.last_time,
            messages: past.messages,
            cut,
        };
        let Some(last) = numbers.pop() else {
            let output = Output::create(journal, FileHeader { number: 0, before: 0, source }, options.sync)?;
            return Ok(writer(output, Past::default(), 0));
        };
        let path = files::path_of(journal, last);
        let file = files::open_to_write(&path, false)?;
        // Whoever held the lock until now may have begun another file.
        if files::numbers(journal)?.last() != Some(&last) {
            return Err(Error::Locked { path });
        }
        if is_begun(&path) {
            // Only what was killed between making the file and writing its header leaves this.
            let mut bytes = Vec::new();
            files::read_at(&file, &path, 0, HEADER as u64, &mut bytes)?;
            if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
                return Err(Error::NotAJournal { path });
            }
            let past = Past::of(journal, &numbers, source)?;
            let output =
                Output::begin(path, file, FileHeader { number: last, before: past.messages, source }, options.sync)?;
            return Ok(writer(output, past, 0));
        }
        let segment = Segment::read(path, &file)?;
        if segment.source() != source {
            return Err(Error::OtherSource { path: journal.to_owned() });
        }
        let mut past = match segment.parts.is_empty() {
            true => Past::of(journal, &numbers, source)?,
            false => Past::default(),
        };
        let (output, cut) = Output::resume(segment, file, &mut past)?;
        Ok(writer(output, past, cut))
    }

    /// Messages in the journal: those that were there, and those written since.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The file that is written now.
    pub fn file(&self) -> &Path {
        &self.output.path
    }

    /// When the last message was appended, in nanoseconds since 1970.
    pub fn last_time(&self) -> u64 {
        self.last_time
    }

    /// Bytes that were torn, and cut off, when the journal was opened.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// The position behind the last message of a lane that was appended, now or earlier.
    pub fn end_of(&self, lane: u32) -> Option<u64> {
        self.ends.get(lane as usize).copied().flatten()
    }

    /// Adds a message to the block at hand. Whether it was added: one that the journal has already, by its lane and
    /// position, is left out. A time before that of the last message is taken to be that.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::Lane`].
    #[inline]
    pub fn append(&mut self, record: &Record<'_>) -> Result<bool> {
        if record.payload.len() > MAX_PAYLOAD {
            return Err(Error::TooLarge { payload: record.payload.len() });
        }
        let Some(end) = self.ends.get_mut(record.lane as usize) else {
            return Err(Error::Lane { lane: record.lane });
        };
        if end.is_some_and(|end| record.position.wrapping_sub(end).cast_signed() < 0) {
            return Ok(false);
        }
        *end = Some(self.output.header.source.end(record.position, record.payload.len()));
        let time = record.time.max(self.last_time);
        self.last_time = time;
        let open = &mut self.open;
        if open.count == 0 {
            open.first_time = time;
        }
        open.last_time = time;
        open.min_id = open.min_id.min(record.id);
        open.max_id = open.max_id.max(record.id);
        open.count += 1;
        push_record(&mut self.buffer, record, time);
        Ok(true)
    }

    /// Messages appended that [`write_block`](Writer::write_block) has not written.
    pub fn pending(&self) -> u32 {
        self.open.count
    }

    /// Whether the block at hand has its size.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.buffer.len() - HEADER >= self.options.block_size.min(MAX_BLOCK)
    }

    /// Writes the block at hand. From then on its messages are in the journal, as [`Sync`] says.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: the journal is as it was before, and the block still at hand.
    pub fn write_block(&mut self) -> Result<()> {
        if self.open.count == 0 {
            return Ok(());
        }
        if self.is_time_to_roll() {
            self.roll()?;
        }
        let records = self.buffer.len();
        self.open.compressed = self.compress()?;
        let block = if self.open.compressed { &mut self.compressed } else { &mut self.buffer };
        // Both fit: a block is full at the latest when it is `MAX_BLOCK` long, and one message may follow.
        self.open.raw = (records - HEADER) as u32;
        self.open.stored = (block.len() - HEADER) as u32;
        self.open.lanes = push_lanes(block, &self.ends);
        let written = self.output.write(block, &mut self.open, self.options.sync);
        self.buffer.truncate(records);
        written?;
        self.messages = self.messages.saturating_add(self.open.count.into());
        self.buffer.truncate(HEADER);
        self.open = EMPTY;
        Ok(())
    }

    /// Writes the block at hand, and the index at the end of the file, so that readers need not look for blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; what was written before is there all the same.
    pub fn finish(mut self) -> Result<()> {
        self.write_block()?;
        self.output.seal(self.options.sync)
    }

    /// Whether it is compressed, and smaller thereby.
    fn compress(&mut self) -> Result<bool> {
        let Some(compressor) = &mut self.compressor else { return Ok(false) };
        let records = &self.buffer[HEADER..];
        self.compressed.resize(HEADER + compress_bound(records.len()), 0);
        let size = compressor
            .compress_to_buffer(records, &mut self.compressed[HEADER..])
            .map_err(Error::io(&self.output.path, "compress a block for it"))?;
        self.compressed.truncate(HEADER + size);
        Ok(size < records.len())
    }

    fn is_time_to_roll(&self) -> bool {
        let output = &self.output;
        let age = Duration::from_nanos(self.open.last_time.saturating_sub(output.first_time));
        output.count > 0
            && (output.count >= MAX_BLOCKS
                || self.options.roll_size.is_some_and(|size| output.end >= size)
                || self.options.roll_interval.is_some_and(|interval| age >= interval))
    }

    fn roll(&mut self) -> Result<()> {
        let FileHeader { number, source, .. } = self.output.header;
        let last = || Error::LastNumber { path: self.output.path.clone() };
        let header = FileHeader { number: number.checked_add(1).ok_or_else(last)?, before: self.messages, source };
        self.output.seal(self.options.sync)?;
        self.output = Output::create(&self.journal, header, self.options.sync)?;
        Ok(())
    }
}

/// What the blocks written so far say.
struct Past {
    ends: Vec<Option<u64>>,
    last_time: u64,
    messages: u64,
}

impl Default for Past {
    fn default() -> Past {
        Past { ends: vec![None; MAX_LANES as usize], last_time: 0, messages: 0 }
    }
}

impl Past {
    /// What the last block in these files says.
    fn of(journal: &Path, numbers: &[u32], source: Source) -> Result<Past> {
        let mut past = Past::default();
        for &number in numbers.iter().rev() {
            let path = files::path_of(journal, number);
            let file = files::open_to_read(&path)?;
            let segment = Segment::read(path, &file)?;
            if segment.source() != source {
                return Err(Error::OtherSource { path: journal.to_owned() });
            }
            past.messages = past.messages.max(segment.through());
            let Some(part) = segment.parts.last() else { continue };
            let corrupt = |damage| Error::Corrupt { path: segment.path().to_owned(), offset: part.offset, damage };
            let mut loaded = Loaded::default();
            match part.content {
                Content::Block(header) => segment.load(&file, part.offset, &header, &mut loaded)?.map_err(corrupt)?,
                Content::Damage { damage, .. } => return Err(corrupt(damage)),
            }
            past.ends = loaded.ends;
            past.last_time = segment.times().map_or(0, |(_, last)| last);
            break;
        }
        Ok(past)
    }
}

impl Output {
    fn create(journal: &Path, header: FileHeader, sync: Sync) -> Result<Output> {
        let path = files::path_of(journal, header.number);
        let file = files::open_to_write(&path, true)?;
        let begun = Output::begin(path.clone(), file, header, sync);
        if begun.is_err() {
            // Without a header it would only be in the way. If it can't be removed, the next writer begins it anew.
            let _ = std::fs::remove_file(path);
        }
        begun
    }

    fn begin(path: PathBuf, file: File, header: FileHeader, sync: Sync) -> Result<Output> {
        let mut output = Output { path, file, header, end: 0, entries: Vec::new(), count: 0, first_time: 0 };
        output.put(&header.encode(), sync)?;
        output.end = HEADER as u64;
        if sync == Sync::Block {
            files::sync_folder(&output.path)?;
        }
        Ok(output)
    }

    /// Goes on behind the last sound block, and says how many torn bytes were cut off there.
    fn resume(segment: Segment, file: File, past: &mut Past) -> Result<(Output, u64)> {
        let path = segment.path().to_owned();
        let length = file.metadata().map_err(Error::io(&path, "read its size"))?.len();
        let (mut entries, mut count, mut end) = (Vec::new(), 0, HEADER as u64);
        past.messages = segment.header.before;
        let mut loaded = Loaded::default();
        for (index, part) in segment.parts.iter().enumerate() {
            let is_last = index + 1 == segment.parts.len();
            let offset = part.offset;
            let header = match part.content {
                Content::Block(header) => header,
                Content::Damage { damage, .. } => return Err(Error::Corrupt { path, offset, damage }),
            };
            match segment.load(&file, offset, &header, &mut loaded)? {
                Ok(()) => {}
                // A crash of the machine can leave a block at its full length, but without its content.
                Err(_) if is_last && !segment.is_sealed() => break,
                Err(damage) => return Err(Error::Corrupt { path, offset, damage }),
            }
            push_entry(&mut entries, offset, &header.encode(segment.header.number, offset));
            count += 1;
            end = offset + HEADER as u64 + header.body();
            past.messages = past.messages.saturating_add(header.count.into());
            past.last_time = header.last_time;
            past.ends.clone_from(&loaded.ends);
        }
        let cut = if segment.is_sealed() { 0 } else { length - end };
        let first_time = segment.times().map_or(0, |(first, _)| first);
        let output = Output { path, file, header: segment.header, end, entries, count, first_time };
        output.file.set_len(end).map_err(Error::io(&output.path, "cut off its end"))?;
        Ok((output, cut))
    }

    /// Writes a block: fills in its header, at the start of `block`, and pads it.
    fn write(&mut self, block: &mut Vec<u8>, header: &mut BlockHeader, sync: Sync) -> Result<()> {
        block.resize(block.len().next_multiple_of(8), 0);
        header.checksum = crc32c::crc32c(&block[HEADER..]);
        let encoded = header.encode(self.header.number, self.end);
        block[..HEADER].copy_from_slice(&encoded);
        self.put(block, sync)?;
        push_entry(&mut self.entries, self.end, &encoded);
        if self.count == 0 {
            self.first_time = header.first_time;
        }
        self.count += 1;
        self.end += block.len() as u64;
        Ok(())
    }

    /// Writes the index behind the last block.
    fn seal(&mut self, sync: Sync) -> Result<()> {
        let mut index = vec![0; HEADER];
        index.extend_from_slice(&self.entries);
        // It fits: there are `MAX_BLOCKS` at most.
        let length = self.entries.len() as u32;
        let mut header = BlockHeader { kind: Kind::Index, stored: length, raw: length, count: self.count, ..EMPTY };
        header.checksum = crc32c::crc32c(&index[HEADER..]);
        index[..HEADER].copy_from_slice(&header.encode(self.header.number, self.end));
        index.extend_from_slice(&self.end.to_le_bytes());
        index.extend_from_slice(&INDEX_MAGIC);
        self.put(&index, sync)
    }

    /// All of it behind the last block, or nothing.
    fn put(&mut self, bytes: &[u8], sync: Sync) -> Result<()> {
        let mut write = || -> io::Result<()> {
            self.file.seek(SeekFrom::Start(self.end))?;
            self.file.write_all(bytes)?;
            if sync == Sync::Block { self.file.sync_data() } else { Ok(()) }
        };
        write().map_err(|source| {
            // What can't be cut off now is found torn by whoever opens it.
            let _ = self.file.set_len(self.end);
            Error::Io { path: self.path.clone(), operation: "write a block", source }
        })
    }
}

fn push_entry(entries: &mut Vec<u8>, offset: u64, header: &[u8; HEADER]) {
    entries.extend_from_slice(&offset.to_le_bytes());
    entries.extend_from_slice(header);
}
