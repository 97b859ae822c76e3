//! Every offset and constant of the wire format: no other file has a magic number. `docs/format.md` draws it.

use crate::error::HeaderFault;

/// What a producer does when the ring has no space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// It waits (or reports [`Error::Full`](crate::Error::Full)): nothing is ever lost. The default.
    #[default]
    Wait,
    /// It overwrites the oldest messages; a consumer that falls behind is told by
    /// [`Error::Lagged`](crate::Error::Lagged).
    DropOldest,
}

/// Which of the two headers a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The reference's: data at 0x180, one producer, one consumer.
    Classic,
    /// This project's: data at a multiple of 64 KiB, checksummed header, lanes and consumer slots.
    Extended,
}

/// The smallest capacity, in bytes.
pub const MIN_CAPACITY: u64 = 1 << 10;
/// The largest capacity of a classic file, in bytes.
pub const MAX_CLASSIC_CAPACITY: u64 = 1 << 30;
/// The largest capacity of an extended file, in bytes per lane.
pub const MAX_CAPACITY: u64 = 1 << 40;
/// The most lanes (producers) in one file.
pub const MAX_PRODUCERS: u32 = 256;
/// The most consumer slots in one file.
pub const MAX_CONSUMERS: u32 = 1024;
/// The longest name of a durable consumer, in bytes of UTF-8.
pub const MAX_NAME: usize = 64;

/// Each cursor has this many bytes to itself: two lines of 64, or one of 128.
const LINE: usize = 128;

// The first three lines are the same in both formats.
const WRITE_CURSOR: usize = 0x000;
const READ_CURSOR: usize = 0x080;
/// Start of the fixed header, which ends at [`HEADER_END`].
pub(crate) const HEADER: usize = 0x100;
/// End of the fixed header; where a classic file's data starts.
pub(crate) const HEADER_END: usize = 0x180;
pub(crate) const HEADER_SIZE: usize = HEADER_END - HEADER;

/// Offsets within the fixed header.
mod field {
    pub(super) const CAPACITY_32: usize = 0x00;
    pub(super) const MAGIC: usize = 0x04;
    pub(super) const VERSION: usize = 0x08;
    pub(super) const FLAGS: usize = 0x0C;
    pub(super) const DATA_OFFSET: usize = 0x10;
    pub(super) const CAPACITY: usize = 0x18;
    pub(super) const LANES: usize = 0x20;
    pub(super) const CONSUMERS: usize = 0x24;
    pub(super) const RESERVED: usize = 0x28;
    pub(super) const CHECKSUM: usize = 0x7C;
}

/// "AeIP" as it stands in the file.
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"AeIP");
pub(crate) const VERSION: u32 = 1;

const FLAG_CHECKSUMS: u32 = 1 << 0;
const FLAG_DROP_OLDEST: u32 = 1 << 1;
const FLAG_SEQUENCE: u32 = 1 << 2;
const FLAGS_KNOWN: u32 = FLAG_CHECKSUMS | FLAG_DROP_OLDEST | FLAG_SEQUENCE;

/// Words that share the line of a cursor (of a consumer: its cursor in the first lane). Zero when nobody holds the
/// role, so that a file at rest has the reference's bytes there.
pub(crate) mod cursor_line {
    /// Process id of the holder, u32; it names the holder to people and decides nothing.
    pub(crate) const PID: usize = 0x08;
    /// How the holder wakes sleepers, u32: one of [`RINGS`] and [`RINGS_NOT`].
    pub(crate) const WAKING: usize = 0x0C;
    /// The bell of a classic file, u32, which has no control area.
    pub(crate) const CLASSIC_BELL: usize = 0x40;

    pub(crate) const RINGS: u32 = 1;
    pub(crate) const RINGS_NOT: u32 = 2;
}

/// Words in a lane's own line of the control area, all written by its producer.
pub(crate) mod lane_line {
    pub(crate) const OLDEST: usize = 0x00;
    pub(crate) const BUSY: usize = 0x08;
    pub(crate) const ORIGIN_STATE: usize = 0x10;
    pub(crate) const ORIGIN_SHIFT: usize = 0x18;
    pub(crate) const ORIGIN_SOURCE: usize = 0x20;
    pub(crate) const ORIGIN_NONE: u64 = 0;
    pub(crate) const ORIGIN_KNOWN: u64 = 1;
    pub(crate) const ORIGIN_LOST: u64 = 2;
}

// Control area of an extended file, between the fixed header and the data.
const DATA_BELL: usize = 0x180;
const SPACE_BELL: usize = 0x200;
const SEQUENCE: usize = 0x280;
const LANES: usize = 0x380;

/// Within a consumer's slot.
pub(crate) mod slot {
    pub(crate) const STATE: usize = 0x00;
    pub(crate) const NAME_LENGTH: usize = 0x04;
    pub(crate) const NAME: usize = 0x10;
    pub(crate) const FREE: u32 = 0;
    pub(crate) const ANONYMOUS: u32 = 1;
    pub(crate) const DURABLE: u32 = 2;
}

/// The data section starts at, and each lane's takes, a multiple of this: the largest page size of any host, and the
/// allocation granularity of Windows.
pub(crate) const GRANULE: u64 = 64 << 10;

/// The shape of a ring: what its fixed header says, and where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    pub(crate) capacity: u64,
    pub(crate) lanes: u32,
    pub(crate) consumers: u32,
    pub(crate) checksums: bool,
    pub(crate) sequence: bool,
    pub(crate) overflow: Overflow,
    pub(crate) data_offset: u64,
}

impl Layout {
    pub(crate) fn classic(capacity: u64) -> Layout {
        Layout {
            format: Format::Classic,
            capacity,
            lanes: 1,
            consumers: 1,
            checksums: false,
            sequence: false,
            overflow: Overflow::Wait,
            data_offset: HEADER_END as u64,
        }
    }

    pub(crate) fn extended(capacity: u64, lanes: u32, consumers: u32) -> Layout {
        let mut layout = Layout { format: Format::Extended, lanes, consumers, ..Layout::classic(capacity) };
        layout.data_offset = layout.tables_end().next_multiple_of(GRANULE);
        layout
    }

    fn tables_end(&self) -> u64 {
        (self.reads() + (self.lanes as usize * self.consumers as usize - 1) * LINE) as u64
    }

    fn writes(&self) -> usize {
        LANES + self.lanes as usize * LINE
    }

    fn slots(&self) -> usize {
        self.writes() + (self.lanes as usize - 1) * LINE
    }

    fn reads(&self) -> usize {
        self.slots() + self.consumers as usize * LINE
    }

    /// The line that begins with the write cursor of `lane`.
    pub(crate) fn write_line(&self, lane: u32) -> usize {
        match lane {
            0 => WRITE_CURSOR,
            lane => self.writes() + (lane as usize - 1) * LINE,
        }
    }

    /// The line that begins with the read cursor of consumer `slot` in `lane`.
    pub(crate) fn read_line(&self, lane: u32, slot: u32) -> usize {
        match lane as usize * self.consumers as usize + slot as usize {
            0 => READ_CURSOR,
            index => self.reads() + (index - 1) * LINE,
        }
    }

    /// The lane's line in the control area of an extended file.
    pub(crate) fn lane_line(&self, lane: u32) -> usize {
        LANES + lane as usize * LINE
    }

    /// The word that says from where on the records of `lane` are not written over; classic files have none.
    pub(crate) fn oldest(&self, lane: u32) -> Option<usize> {
        (self.format == Format::Extended).then(|| self.lane_line(lane) + lane_line::OLDEST)
    }

    /// The line that says what `lane` is copied from; classic files have none.
    pub(crate) fn origin(&self, lane: u32) -> Option<usize> {
        (self.format == Format::Extended).then(|| self.lane_line(lane))
    }

    /// The cell that holds the state and name of consumer `slot`; only where there is more than one.
    pub(crate) fn slot_cell(&self, slot: u32) -> usize {
        self.slots() + slot as usize * LINE
    }

    /// Rung by producers, listened to by consumers.
    pub(crate) fn data_bell(&self) -> usize {
        match self.format {
            Format::Classic => WRITE_CURSOR + cursor_line::CLASSIC_BELL,
            Format::Extended => DATA_BELL,
        }
    }

    /// Rung by consumers, listened to by producers.
    pub(crate) fn space_bell(&self) -> usize {
        match self.format {
            Format::Classic => READ_CURSOR + cursor_line::CLASSIC_BELL,
            Format::Extended => SPACE_BELL,
        }
    }

    /// The word that stamps ids; only in files made with a shared sequence.
    pub(crate) fn sequence_word(&self) -> usize {
        SEQUENCE
    }

    /// Bytes from the start of one lane's data to the next.
    fn stride(&self) -> u64 {
        match self.format {
            Format::Classic => self.capacity,
            Format::Extended => self.capacity.next_multiple_of(GRANULE),
        }
    }

    /// Where the data of `lane` starts in the file.
    pub(crate) fn data(&self, lane: u32) -> u64 {
        self.data_offset + u64::from(lane) * self.stride()
    }

    /// Size of the whole file.
    pub(crate) fn file_size(&self) -> u64 {
        // The last lane needs no padding after it, so that a classic file ends with its data.
        self.data(self.lanes - 1) + self.capacity
    }

    /// Whether more than one consumer reads the same messages, each with a cursor of its own that may be away.
    pub(crate) fn broadcast(&self) -> bool {
        self.consumers > 1
    }

    /// The fixed header, from 0x100 to 0x180.
    pub(crate) fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut header = [0; HEADER_SIZE];
        put_u32(
            &mut header,
            field::CAPACITY_32,
            u32::try_from(self.capacity).map_or(0, |c| if u64::from(c) > MAX_CLASSIC_CAPACITY { 0 } else { c }),
        );
        if self.format == Format::Extended {
            let flags = if self.checksums { FLAG_CHECKSUMS } else { 0 }
                | if self.overflow == Overflow::DropOldest { FLAG_DROP_OLDEST } else { 0 }
                | if self.sequence { FLAG_SEQUENCE } else { 0 };
            put_u32(&mut header, field::MAGIC, MAGIC);
            put_u32(&mut header, field::VERSION, VERSION);
            put_u32(&mut header, field::FLAGS, flags);
            put_u64(&mut header, field::DATA_OFFSET, self.data_offset);
            put_u64(&mut header, field::CAPACITY, self.capacity);
            put_u32(&mut header, field::LANES, self.lanes);
            put_u32(&mut header, field::CONSUMERS, self.consumers);
            let checksum = crc32c::crc32c(&header[field::MAGIC..field::CHECKSUM]);
            put_u32(&mut header, field::CHECKSUM, checksum);
        }
        header
    }

    /// Reads the fixed header back, believing nothing.
    pub(crate) fn decode(header: &[u8; HEADER_SIZE]) -> Result<Layout, Undecodable> {
        let capacity_32 = get_u32(header, field::CAPACITY_32);
        let magic = get_u32(header, field::MAGIC);
        if header[field::MAGIC..].iter().all(|&byte| byte == 0) {
            check_capacity(u64::from(capacity_32), MAX_CLASSIC_CAPACITY)?;
            return Ok(Layout::classic(u64::from(capacity_32)));
        }
        if magic != MAGIC {
            return Err(HeaderFault::Magic { magic, expected: MAGIC }.into());
        }
        // The version comes before the checksum: a later version may well compute that differently.
        let version = get_u32(header, field::VERSION);
        if version != VERSION {
            return Err(Undecodable::Version(version));
        }
        let found = get_u32(header, field::CHECKSUM);
        let computed = crc32c::crc32c(&header[field::MAGIC..field::CHECKSUM]);
        if found != computed {
            return Err(HeaderFault::Checksum { found, computed }.into());
        }
        let capacity = get_u64(header, field::CAPACITY);
        check_capacity(capacity, MAX_CAPACITY)?;
        let bad = |field, value| Err(Undecodable::Fault(HeaderFault::Field { field, value }));
        let expected_32 = if capacity > MAX_CLASSIC_CAPACITY { 0 } else { capacity };
        if u64::from(capacity_32) != expected_32 {
            return bad("capacity_32", u64::from(capacity_32));
        }
        let flags = get_u32(header, field::FLAGS);
        if flags & !FLAGS_KNOWN != 0 {
            return bad("flags", u64::from(flags));
        }
        let lanes = get_u32(header, field::LANES);
        if !(1..=MAX_PRODUCERS).contains(&lanes) {
            return bad("lanes", u64::from(lanes));
        }
        let consumers = get_u32(header, field::CONSUMERS);
        if !(1..=MAX_CONSUMERS).contains(&consumers) {
            return bad("consumers", u64::from(consumers));
        }
        if let Some(&byte) = header[field::RESERVED..field::CHECKSUM].iter().find(|&&byte| byte != 0) {
            return bad("reserved", byte.into());
        }
        let mut layout = Layout::extended(capacity, lanes, consumers);
        let data_offset = get_u64(header, field::DATA_OFFSET);
        if data_offset != layout.data_offset {
            return bad("data_offset", data_offset);
        }
        layout.checksums = flags & FLAG_CHECKSUMS != 0;
        layout.sequence = flags & FLAG_SEQUENCE != 0;
        if flags & FLAG_DROP_OLDEST != 0 {
            layout.overflow = Overflow::DropOldest;
        }
        Ok(layout)
    }
}

/// Why [`Layout::decode`] refused a header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undecodable {
    Fault(HeaderFault),
    Version(u32),
}

impl From<HeaderFault> for Undecodable {
    fn from(fault: HeaderFault) -> Self {
        Undecodable::Fault(fault)
    }
}

pub(crate) fn is_capacity(capacity: u64, max: u64) -> bool {
    capacity.is_power_of_two() && (MIN_CAPACITY..=max).contains(&capacity)
}

fn check_capacity(capacity: u64, max: u64) -> Result<(), HeaderFault> {
    if is_capacity(capacity, max) { Ok(()) } else { Err(HeaderFault::Capacity { capacity, min: MIN_CAPACITY, max }) }
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(get_u32(bytes, at)) | u64::from(get_u32(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let mut layout = Layout::extended(1 << 20, 3, 5);
        layout.checksums = true;
        layout.sequence = true;
        layout.overflow = Overflow::DropOldest;
        assert_eq!(Layout::decode(&layout.encode()), Ok(layout));
        let huge = Layout::extended(1 << 33, 1, 1);
        assert_eq!(huge.encode()[..4], [0; 4], "a classic reader must refuse capacities over 1 GiB");
        assert_eq!(Layout::decode(&huge.encode()), Ok(huge));
        let classic = Layout::classic(4096);
        assert_eq!(Layout::decode(&classic.encode()), Ok(classic));
    }

    #[test]
    fn any_single_changed_bit_of_an_extended_header_is_noticed() {
        let good = Layout::extended(1 << 20, 2, 3).encode();
        for bit in 0..HEADER_SIZE * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Layout::decode(&bad).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn no_two_words_of_the_control_area_share_a_line() {
        for (lanes, consumers) in [(1, 1), (1, 4), (4, 1), (3, 5), (64, 256)] {
            let layout = Layout::extended(1 << 16, lanes, consumers);
            let mut lines = vec![HEADER, layout.data_bell(), layout.space_bell(), layout.sequence_word()];
            lines.extend((0..lanes).flat_map(|lane| [layout.write_line(lane), layout.lane_line(lane)]));
            lines.extend((0..consumers).map(|slot| layout.slot_cell(slot)));
            lines.extend((0..lanes).flat_map(|lane| (0..consumers).map(move |slot| layout.read_line(lane, slot))));
            let count = lines.len();
            assert!(lines.iter().all(|&line| line % LINE == 0 && ((line + LINE) as u64) <= layout.data_offset));
            lines.sort_unstable();
            lines.dedup();
            assert_eq!(lines.len(), count, "{lanes} lanes, {consumers} consumers");
            assert_eq!(layout.data_offset % GRANULE, 0);
        }
    }

    #[test]
    fn one_to_one_keeps_the_classic_offsets() {
        let layout = Layout::extended(1 << 16, 1, 1);
        assert_eq!((layout.write_line(0), layout.read_line(0, 0)), (0x000, 0x080));
    }
}
