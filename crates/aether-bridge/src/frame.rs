//! What the two halves send each other. Whoever can publish under the key may have made it: everything is checked
//! before anything follows from it.
//!
//! All integers are little-endian. Both kinds begin with a magic, which names the version too, and a CRC-32C over all
//! that follows it.
//!
//! | records | | | acknowledgement | |
//! |---|---|---|---|---|
//! | 0 | magic, CRC | | 0 | magic, CRC |
//! | 8 | flags, number of records | | 8 | status, lane |
//! | 16 | source | | 16 | source |
//! | 32 | sink, or 0 for anybody | | 32 | sink |
//! | 48 | lane, lanes | | 48 | next |
//! | 56 | released | | 56 | words, for a refusal |
//! | 64 | start | | | |
//! | 72 | records, as they stand in a ring without checksums | | | |

/// What a ring is known by.
pub(crate) type Identity = [u64; 2];

/// Instead of a sink: whoever listens.
pub(crate) const ANYBODY: Identity = [0, 0];

const RECORDS: u32 = u32::from_le_bytes(*b"AeR1");
const ACK: u32 = u32::from_le_bytes(*b"AeA1");
const CHECKED: usize = 8;
const HEAD: usize = 72;
const ACK_HEAD: usize = 56;
const RECORD_HEAD: usize = 16;
/// The longest text of a refusal.
const MAX_WORDS: usize = 1024;

const FLAG_CHECKSUMS: u32 = 1;
const FLAG_BEST_EFFORT: u32 = 2;
const FLAG_ANSWER: u32 = 4;

/// Bytes from which on a frame takes no further message: less than the 65,535 that Zenoh sends in one piece. Fuller
/// frames are no faster.
pub(crate) const FULL: usize = 48 << 10;
/// The largest payload: Zenoh takes a gibibyte, with what is around it.
pub(crate) const MAX_PAYLOAD: usize = (1 << 30) - (64 << 10);

/// What all records of a frame have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) source: Identity,
    pub(crate) sink: Identity,
    pub(crate) lane: u32,
    pub(crate) lanes: u32,
    /// Whether records have checksums in the source, and so take more space there.
    pub(crate) checksums: bool,
    pub(crate) best_effort: bool,
    /// Whether the source waits to hear what is committed.
    pub(crate) answer: bool,
    /// What the source has released: it can't send anything before. With best effort, what this run is known by.
    pub(crate) released: u64,
    /// The position of the first record. With best effort, its number.
    pub(crate) start: u64,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no frame of this version: {0}")]
pub(crate) struct Malformed(&'static str);

/// A frame being filled.
pub(crate) struct Writer {
    head: Head,
    count: u32,
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(head: Head) -> Writer {
        Writer { head, count: 0, bytes: vec![0; HEAD] }
    }

    /// Whether a message can be added and keep the frame small; the first one always can.
    pub(crate) fn has_room(&self, payload: usize) -> bool {
        self.count == 0 || self.bytes.len() + record_size(payload, false) <= FULL
    }

    pub(crate) fn push(&mut self, id: i64, message_type: i32, payload: &[u8]) {
        let length = (RECORD_HEAD + payload.len()) as u32;
        if self.count == 0 {
            self.bytes.reserve(FULL.max(record_size(payload.len(), false)));
        }
        let mut head = [0; RECORD_HEAD];
        head[..8].copy_from_slice(&id.to_le_bytes());
        head[8..12].copy_from_slice(&length.to_le_bytes());
        head[12..].copy_from_slice(&message_type.to_le_bytes());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(payload);
        let padding = payload.len().wrapping_neg() % 8;
        if padding > 0 {
            self.bytes.extend_from_slice(&[0; 8][..padding]);
        }
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Asks for an answer as soon as these are committed.
    pub(crate) fn ask(&mut self) {
        self.head.answer = true;
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let head = &self.head;
        let flag = |set, flag| if set { flag } else { 0 };
        let flags = flag(head.checksums, FLAG_CHECKSUMS)
            | flag(head.best_effort, FLAG_BEST_EFFORT)
            | flag(head.answer, FLAG_ANSWER);
        put_u32(&mut self.bytes, 8, flags);
        put_u32(&mut self.bytes, 12, self.count);
        put_identity(&mut self.bytes, 16, head.source);
        put_identity(&mut self.bytes, 32, head.sink);
        put_u32(&mut self.bytes, 48, head.lane);
        put_u32(&mut self.bytes, 52, head.lanes);
        put_u64(&mut self.bytes, 56, head.released);
        put_u64(&mut self.bytes, 64, head.start);
        seal(&mut self.bytes, RECORDS);
        self.bytes
    }
}

/// One message of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) id: i64,
    pub(crate) message_type: i32,
    pub(crate) payload: &'a [u8],
}

/// The messages of a frame that are still to be taken.
#[derive(Debug)]
pub(crate) struct Records<B = Vec<u8>> {
    pub(crate) head: Head,
    /// The position of the next one in the source.
    position: u64,
    /// Where the last one ends there.
    end: u64,
    /// How many are left.
    left: u32,
    offset: usize,
    bytes: B,
}

impl Head {
    /// What bytes say that may be no frame: enough to see whether it is worth the checks.
    pub(crate) fn peek(bytes: &[u8]) -> Option<Head> {
        if bytes.len() < HEAD {
            return None;
        }
        let flags = get_u32(bytes, 8);
        Some(Head {
            source: get_identity(bytes, 16),
            sink: get_identity(bytes, 32),
            lane: get_u32(bytes, 48),
            lanes: get_u32(bytes, 52),
            checksums: flags & FLAG_CHECKSUMS != 0,
            best_effort: flags & FLAG_BEST_EFFORT != 0,
            answer: flags & FLAG_ANSWER != 0,
            released: get_u64(bytes, 56),
            start: get_u64(bytes, 64),
        })
    }
}

impl<B: AsRef<[u8]>> Records<B> {
    /// Checks all of a frame, so that every record in it is whole.
    pub(crate) fn decode(frame: B) -> Result<Records<B>, Malformed> {
        let bytes = frame.as_ref();
        let rest = check(bytes, RECORDS, HEAD)?;
        let head = Head::peek(bytes).ok_or(Malformed("too short"))?;
        if get_u32(bytes, 8) & !(FLAG_CHECKSUMS | FLAG_BEST_EFFORT | FLAG_ANSWER) != 0 {
            return Err(Malformed("unknown flags"));
        }
        if head.lane >= head.lanes {
            return Err(Malformed("a lane beyond the number of lanes"));
        }
        if head.source == ANYBODY {
            return Err(Malformed("no source"));
        }
        let left = get_u32(bytes, 12);
        let (mut offset, mut end) = (0, head.start);
        for _ in 0..left {
            let (record, size) = record_at(rest, offset).ok_or(Malformed("a record that does not end"))?;
            offset += size;
            end = end.wrapping_add(record_size(record.payload.len(), head.checksums) as u64);
        }
        if offset != rest.len() {
            return Err(Malformed("bytes behind the last record"));
        }
        Ok(Records { head, position: head.start, end, left, offset: HEAD, bytes: frame })
    }

    /// The next record, the position where it begins in the source, and where it ends.
    pub(crate) fn peek(&self) -> Option<(Record<'_>, u64, u64)> {
        if self.left == 0 {
            return None;
        }
        let (record, _) = record_at(self.bytes.as_ref(), self.offset)?;
        let end = self.position.wrapping_add(record_size(record.payload.len(), self.head.checksums) as u64);
        Some((record, self.position, end))
    }

    /// Gives each record, and where it begins and ends in the source, to `take`, which says whether it is done with.
    /// Returns whether all are.
    pub(crate) fn each<E>(&mut self, mut take: impl FnMut(Record<'_>, u64, u64) -> Result<bool, E>) -> Result<bool, E> {
        let bytes = self.bytes.as_ref();
        while self.left > 0 {
            let Some((record, size)) = record_at(bytes, self.offset) else { break };
            let end = self.position.wrapping_add(record_size(record.payload.len(), self.head.checksums) as u64);
            if !take(record, self.position, end)? {
                return Ok(false);
            }
            self.offset += size;
            self.position = end;
            self.left -= 1;
        }
        Ok(true)
    }

    /// Goes on behind the next record.
    pub(crate) fn skip(&mut self) {
        if let Some((record, _, end)) = self.peek() {
            self.offset += record_size(record.payload.len(), false);
            self.position = end;
            self.left -= 1;
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.left
    }

    /// Where the last one ends in the source.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of memory that it takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.as_ref().len()
    }
}

/// What became of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// They are committed.
    Taken,
    /// Some before them are missing.
    Gap,
    /// They wait for space in the ring.
    Waiting,
    /// They can't be taken.
    Refused,
}

const STATUSES: [Status; 4] = [Status::Taken, Status::Gap, Status::Waiting, Status::Refused];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) status: Status,
    pub(crate) source: Identity,
    pub(crate) sink: Identity,
    pub(crate) lane: u32,
    /// Everything before this position is committed.
    pub(crate) next: u64,
    /// Why it was refused.
    pub(crate) words: String,
}

impl Ack {
    /// An answer to a frame that is not taken.
    pub(crate) fn refusal(head: &Head, sink: Identity, words: String) -> Ack {
        Ack { status: Status::Refused, source: head.source, sink, lane: head.lane, next: 0, words }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; ACK_HEAD];
        put_u32(&mut bytes, 8, self.status as u32);
        put_u32(&mut bytes, 12, self.lane);
        put_identity(&mut bytes, 16, self.source);
        put_identity(&mut bytes, 32, self.sink);
        put_u64(&mut bytes, 48, self.next);
        let end = (0..=self.words.len().min(MAX_WORDS)).rev().find(|&end| self.words.is_char_boundary(end));
        bytes.extend_from_slice(&self.words.as_bytes()[..end.unwrap_or(0)]);
        seal(&mut bytes, ACK);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Ack, Malformed> {
        let words = check(bytes, ACK, ACK_HEAD)?;
        if words.len() > MAX_WORDS {
            return Err(Malformed("too many words"));
        }
        let words = str::from_utf8(words).map_err(|_| Malformed("words that are no UTF-8"))?;
        let status = STATUSES.get(get_u32(bytes, 8) as usize).ok_or(Malformed("unknown status"))?;
        Ok(Ack {
            status: *status,
            lane: get_u32(bytes, 12),
            source: get_identity(bytes, 16),
            sink: get_identity(bytes, 32),
            next: get_u64(bytes, 48),
            // They are shown on a terminal.
            words: words.replace(char::is_control, " "),
        })
    }
}

/// Bytes that a record takes in a ring.
pub(crate) fn record_size(payload: usize, checksums: bool) -> usize {
    (RECORD_HEAD + payload + if checksums { aether_ipc::CHECKSUM_SIZE } else { 0 }).next_multiple_of(8)
}

/// The record at `offset`, if it is whole, and the bytes that it takes.
fn record_at(bytes: &[u8], offset: usize) -> Option<(Record<'_>, usize)> {
    let rest = bytes.get(offset..)?;
    let head = rest.get(..RECORD_HEAD)?;
    let length = get_u32(head, 8) as usize;
    let payload = rest.get(RECORD_HEAD..length)?;
    let size = record_size(payload.len(), false);
    if payload.len() > MAX_PAYLOAD || size > rest.len() {
        return None;
    }
    let record = Record { id: get_u64(head, 0).cast_signed(), message_type: get_u32(head, 12).cast_signed(), payload };
    Some((record, size))
}

fn seal(bytes: &mut [u8], magic: u32) {
    put_u32(bytes, 0, magic);
    let checksum = crc32c::crc32c(&bytes[CHECKED..]);
    put_u32(bytes, 4, checksum);
}

/// What follows a head that can be believed.
fn check(bytes: &[u8], magic: u32, head: usize) -> Result<&[u8], Malformed> {
    if bytes.len() < head {
        return Err(Malformed("too short"));
    }
    if get_u32(bytes, 0) != magic {
        return Err(Malformed("another magic"));
    }
    if get_u32(bytes, 4) != crc32c::crc32c(&bytes[CHECKED..]) {
        return Err(Malformed("another checksum"));
    }
    Ok(&bytes[head..])
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn put_identity(bytes: &mut [u8], at: usize, identity: Identity) {
    put_u64(bytes, at, identity[0]);
    put_u64(bytes, at + 8, identity[1]);
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(get_u32(bytes, at)) | u64::from(get_u32(bytes, at + 4)) << 32
}

fn get_identity(bytes: &[u8], at: usize) -> Identity {
    [get_u64(bytes, at), get_u64(bytes, at + 8)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> impl Strategy<Value = Head> {
        (any::<[u64; 2]>(), any::<[u64; 2]>(), 0..256_u32, any::<(bool, bool, bool)>(), any::<(u64, u64)>()).prop_map(
            |(source, sink, lane, (checksums, best_effort, answer), (released, start))| Head {
                source: [source[0] | 1, source[1]],
                sink,
                lane,
                lanes: lane + 1,
                checksums,
                best_effort,
                answer,
                released,
                start,
            },
        )
    }

    type Message = (i64, i32, Vec<u8>);

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        prop::collection::vec((any::<i64>(), any::<i32>(), prop::collection::vec(any::<u8>(), 0..100)), 0..20)
    }

    fn written(head: Head, messages: &[Message]) -> Vec<u8> {
        let mut writer = Writer::new(head);
        for (id, message_type, payload) in messages {
            writer.push(*id, *message_type, payload);
        }
        writer.finish()
    }

    /// A frame that somebody made who knows how, from bytes of his own.
    fn forged(mut bytes: Vec<u8>, magic: u32) -> Vec<u8> {
        if bytes.len() >= CHECKED {
            seal(&mut bytes, magic);
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_as_it_was_written(head in head(), messages in messages()) {
            let mut records = Records::decode(written(head, &messages)).unwrap();
            prop_assert_eq!(records.head, head);
            let end = records.end();
            let mut position = head.start;
            for (id, message_type, payload) in &messages {
                let (record, start, end) = records.peek().unwrap();
                prop_assert_eq!(&record, &Record { id: *id, message_type: *message_type, payload });
                prop_assert_eq!(start, position);
                position = end;
                records.skip();
            }
            prop_assert!(records.peek().is_none());
            prop_assert_eq!(position, end);
        }

        #[test]
        fn any_changed_bit_and_any_missing_byte_is_noticed(head in head(), messages in messages(), at: prop::sample::Index, bit in 0..8) {
            let good = written(head, &messages);
            let mut bad = good.clone();
            let at = at.index(good.len());
            bad[at] ^= 1_u8 << bit;
            prop_assert!(Records::decode(bad).is_err());
            prop_assert!(Records::decode(good[..at].to_vec()).is_err());
        }

        #[test]
        fn whatever_is_forged_is_refused_or_holds_whole_records(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = forged(bytes, RECORDS);
            if let Ok(mut records) = Records::decode(bytes.clone()) {
                while records.peek().is_some() {
                    records.skip();
                }
                prop_assert_eq!(records.offset, bytes.len());
            }
        }

        #[test]
        fn lengths_and_counts_that_lie_are_refused(head in head(), messages in messages(), lie: u32, at: prop::sample::Index) {
            prop_assume!(!messages.is_empty());
            let good = written(head, &messages);
            let mut offset = HEAD;
            for (_, _, payload) in &messages[..at.index(messages.len())] {
                offset += record_size(payload.len(), false);
            }
            for field in [12, offset + 8] {
                let mut bad = good.clone();
                let truth = get_u32(&bad, field);
                put_u32(&mut bad, field, lie);
                let decoded = Records::decode(forged(bad, RECORDS));
                // A length that pads to the same size ends the record in the same place.
                let same = lie == truth || field != 12 && lie >= 16 && lie.div_ceil(8) == truth.div_ceil(8);
                prop_assert_eq!(decoded.is_ok(), same, "{} instead of {}", lie, truth);
            }
        }

        #[test]
        fn an_acknowledgement_reads_back_as_it_was_written(status in 0..4_usize, source: [u64; 2], sink: [u64; 2], lane: u32, next: u64, words in "[^\\x00-\\x1f\\x7f-\\x9f]{0,200}") {
            let ack = Ack { status: STATUSES[status], source, sink, lane, next, words };
            prop_assert_eq!(Ack::decode(&ack.encode()), Ok(ack));
        }

        #[test]
        fn whatever_is_forged_as_an_acknowledgement_is_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(ack) = Ack::decode(&forged(bytes, ACK)) {
                prop_assert!(!ack.words.contains(char::is_control));
            }
        }
    }

    #[test]
    fn the_words_of_a_refusal_are_cut_between_characters() {
        let words = "ü".repeat(MAX_WORDS);
        let ack = Ack { status: Status::Refused, source: [1, 0], sink: [2, 0], lane: 0, next: 0, words };
        assert_eq!(Ack::decode(&ack.encode()).unwrap().words, "ü".repeat(MAX_WORDS / 2));
    }
}
