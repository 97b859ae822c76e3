//! The bytes of a journal, as `docs/journal.md` has them in tables. Pure functions.

/// Most bytes of one payload.
pub const MAX_PAYLOAD: usize = 1 << 30;
/// Most bytes of a block's records, not compressed, before its last one.
pub const MAX_BLOCK: usize = 64 << 20;
/// Most lanes of one journal.
pub const MAX_LANES: u32 = 256;

pub(crate) const MAGIC: [u8; 8] = *b"AETHJRNL";
pub(crate) const VERSION: u32 = 1;
/// Bytes of a file's header, and of a block's.
pub(crate) const HEADER: usize = 64;
pub(crate) const BLOCK_MAGIC: [u8; 4] = *b"AeJB";
/// Bytes before a record's payload.
pub(crate) const RECORD: usize = 40;
/// Most blocks of one file, so that its index is of a size that can be held.
pub(crate) const MAX_BLOCKS: u32 = 1 << 20;
/// Bytes of an entry in a block's table of lanes.
pub(crate) const LANE: usize = 16;
/// Bytes of an entry of an index: a block's offset and header.
pub(crate) const ENTRY: usize = 8 + HEADER;
/// Bytes at the end of a file that has an index: its offset, and these letters.
pub(crate) const TRAILER: usize = 16;
pub(crate) const INDEX_MAGIC: [u8; 8] = *b"AeJINDEX";

/// One message of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was recorded, in nanoseconds since 1970 began, UTC. Never less than that of the message before.
    pub time: u64,
    /// The application's id.
    pub id: i64,
    /// The application's type.
    pub message_type: i32,
    /// The lane that it came through.
    pub lane: u32,
    /// Its position in that lane.
    pub position: u64,
    /// The message itself.
    pub payload: &'a [u8],
}

/// Which ring a journal is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Any two numbers that another ring would not have; a journal is only continued with the same ones.
    pub identity: [u64; 2],
    /// Bytes that a message takes in the ring beside its payload, before they are rounded up to a multiple of 8: this
    /// tells messages that follow each other from those between which some are missing.
    pub overhead: u32,
}

impl Default for Source {
    /// A ring without checksums, of no identity.
    fn default() -> Source {
        Source { identity: [0; 2], overhead: 16 }
    }
}

impl Source {
    /// The position behind a message.
    pub(crate) fn end(&self, position: u64, payload: usize) -> u64 {
        position.wrapping_add((payload as u64 + u64::from(self.overhead)).next_multiple_of(8))
    }
}

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// With zstd, at this level.
    Zstd(i32),
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The start of each file of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) number: u32,
    /// Messages in the files before.
    pub(crate) before: u64,
    pub(crate) source: Source,
}

/// Why bytes are no [`FileHeader`].
pub(crate) enum NotAHeader {
    Version(u32),
    Other,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.before.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.source.identity[0].to_le_bytes());
        bytes[32..40].copy_from_slice(&self.source.identity[1].to_le_bytes());
        bytes[40..44].copy_from_slice(&self.source.overhead.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Result<FileHeader, NotAHeader> {
        if bytes[..8] != MAGIC {
            return Err(NotAHeader::Other);
        }
        match u32_at(bytes, 8) {
            VERSION => {}
            other => return Err(NotAHeader::Version(other)),
        }
        if u32_at(bytes, 60) != crc32c::crc32c(&bytes[..60]) {
            return Err(NotAHeader::Other);
        }
        Ok(FileHeader {
            number: u32_at(bytes, 12),
            before: u64_at(bytes, 16),
            source: Source { identity: [u64_at(bytes, 24), u64_at(bytes, 32)], overhead: u32_at(bytes, 40) },
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Messages = 1,
    Index = 2,
}

/// The start of each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) kind: Kind,
    pub(crate) compressed: bool,
    /// Bytes of the data as they stand in the file.
    pub(crate) stored: u32,
    /// Bytes of the data when decompressed.
    pub(crate) raw: u32,
    /// Records, or entries of an index.
    pub(crate) count: u32,
    pub(crate) lanes: u32,
    pub(crate) first_time: u64,
    pub(crate) last_time: u64,
    pub(crate) min_id: i64,
    pub(crate) max_id: i64,
    /// Of everything behind the header.
    pub(crate) checksum: u32,
}

/// Where a block stands is in its checksum, so that a block within a payload, or of another file, does not pass for one.
fn block_checksum(bytes: &[u8], number: u32, offset: u64) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(place, bytes)
}

impl BlockHeader {
    /// Bytes behind the header: data, table of lanes, padding.
    pub(crate) fn body(&self) -> u64 {
        (u64::from(self.stored) + u64::from(self.lanes) * LANE as u64).next_multiple_of(8)
    }

    pub(crate) fn encode(&self, number: u32, offset: u64) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&BLOCK_MAGIC);
        bytes[4] = self.kind as u8;
        bytes[5] = self.compressed.into();
        bytes[8..12].copy_from_slice(&self.stored.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.raw.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.count.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.lanes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_time.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.last_time.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.min_id.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.max_id.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = block_checksum(&bytes[..60], number, offset);
        bytes[60..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER], number: u32, offset: u64) -> Option<BlockHeader> {
        if bytes[..4] != BLOCK_MAGIC || u32_at(bytes, 60) != block_checksum(&bytes[..60], number, offset) {
            return None;
        }
        let kind = match bytes[4] {
            1 => Kind::Messages,
            2 => Kind::Index,
            _ => return None,
        };
        let header = BlockHeader {
            kind,
            compressed: match bytes[5] {
                0 => false,
                1 => true,
                _ => return None,
            },
            stored: u32_at(bytes, 8),
            raw: u32_at(bytes, 12),
            count: u32_at(bytes, 16),
            lanes: u32_at(bytes, 20),
            first_time: u64_at(bytes, 24),
            last_time: u64_at(bytes, 32),
            min_id: u64_at(bytes, 40).cast_signed(),
            max_id: u64_at(bytes, 48).cast_signed(),
            checksum: u32_at(bytes, 56),
        };
        // So that nothing makes room for more than a writer can have put there.
        let fits = match header.compressed {
            true => header.stored < header.raw && header.raw as usize <= MAX_BLOCK + RECORD + MAX_PAYLOAD,
            false => header.stored == header.raw,
        };
        (header.lanes <= MAX_LANES && fits).then_some(header)
    }
}

/// Appends a record: its head, its payload, zeros up to a multiple of 8.
#[inline]
pub(crate) fn push_record(buffer: &mut Vec<u8>, record: &Record<'_>, time: u64) {
    let mut head = [0; RECORD];
    head[..8].copy_from_slice(&time.to_le_bytes());
    head[8..16].copy_from_slice(&record.id.to_le_bytes());
    head[16..24].copy_from_slice(&record.position.to_le_bytes());
    head[24..28].copy_from_slice(&record.message_type.to_le_bytes());
    head[28..32].copy_from_slice(&record.lane.to_le_bytes());
    // `Writer::append` has checked that it is no longer than `MAX_PAYLOAD`.
    head[32..36].copy_from_slice(&(record.payload.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&head);
    buffer.extend_from_slice(record.payload);
    buffer.resize(buffer.len().next_multiple_of(8), 0);
}

/// The record at the start of `data`, and the bytes that it takes; `None` if it does not fit.
#[inline]
pub(crate) fn read_record(data: &[u8]) -> Option<(Record<'_>, usize)> {
    let (head, rest) = data.split_first_chunk::<RECORD>()?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let length = word(32) as usize;
    let payload = rest.get(..length)?;
    let size = (RECORD + length).next_multiple_of(8);
    let record = Record {
        time: long(0),
        id: long(8).cast_signed(),
        position: long(16),
        message_type: word(24).cast_signed(),
        lane: word(28),
        payload,
    };
    (size <= data.len() && record.lane < MAX_LANES && length <= MAX_PAYLOAD).then_some((record, size))
}

/// Appends the table of lanes: the position behind the last message of each that has any.
pub(crate) fn push_lanes(buffer: &mut Vec<u8>, ends: &[Option<u64>]) -> u32 {
    let mut count = 0;
    for (lane, end) in (0_u32..).zip(ends).filter_map(|(lane, end)| Some((lane, (*end)?))) {
        buffer.extend_from_slice(&lane.to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&end.to_le_bytes());
        count += 1;
    }
    count
}

/// The table of lanes, by number.
pub(crate) fn read_lanes(table: &[u8]) -> Option<Vec<Option<u64>>> {
    let mut ends = vec![None; MAX_LANES as usize];
    let (entries, _) = table.as_chunks::<LANE>();
    for entry in entries {
        let (lane, end) = (entry.first_chunk::<4>()?, entry.last_chunk::<8>()?);
        *ends.get_mut(u32::from_le_bytes(*lane) as usize)? = Some(u64::from_le_bytes(*end));
    }
    Some(ends)
}
