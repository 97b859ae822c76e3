//! What a child tells its parent over a pipe, so that it is known after the child was killed.
//!
//! Entries have one size, and what is written at once is no longer than a pipe takes whole: a killed child leaves no
//! half entry.

use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};

/// What one message was or is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) message_type: i32,
    pub(crate) len: u32,
    pub(crate) digest: u64,
}

impl Message {
    pub(crate) fn new(id: i64, message_type: i32, payload: &[u8]) -> Message {
        let mut hasher = DefaultHasher::new();
        hasher.write(payload);
        Message { id, message_type, len: payload.len() as u32, digest: hasher.finish() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The role is taken; `position` is where the lane's write cursor, or the consumer's first read cursor, stands.
    Ready { lane: u32, position: u64 },
    /// Written before a message goes into the ring. `joined`: in one publication with the entry before.
    Intended { message: Message, joined: bool },
    /// Written after everything intended was committed; the write cursor stands at `position`.
    Committed { position: u64 },
    /// A message is there. `kept`: this child is going to leave it in the ring.
    Received { lane: u32, position: u64, message: Message, kept: bool },
    /// Written after everything received and not kept was released: `count` messages.
    Released { count: u64 },
    /// Written after everything received was given back unreleased.
    Kept,
    /// The library said that so many bytes were overwritten before they were read.
    Lagged { bytes: u64 },
}

const WORDS: usize = 6;
const SIZE: usize = WORDS * 8;
/// The least that POSIX lets a pipe take whole is 512 bytes; every system that this runs on has 4096.
pub(crate) const AT_ONCE: usize = 4096 / SIZE;

impl Entry {
    fn encode(self) -> [u64; WORDS] {
        let pack = |kind: u64, flag: bool, lane: u32| kind | u64::from(flag) << 8 | u64::from(lane) << 32;
        let [id, shape, digest] = match self {
            Entry::Intended { message, .. } | Entry::Received { message, .. } => [
                message.id.cast_unsigned(),
                u64::from(message.len) | u64::from(message.message_type.cast_unsigned()) << 32,
                message.digest,
            ],
            _ => [0; 3],
        };
        let (head, value) = match self {
            Entry::Ready { lane, position } => (pack(0, false, lane), position),
            Entry::Intended { joined, .. } => (pack(1, joined, 0), 0),
            Entry::Committed { position } => (pack(2, false, 0), position),
            Entry::Received { lane, position, kept, .. } => (pack(3, kept, lane), position),
            Entry::Released { count } => (pack(4, false, 0), count),
            Entry::Kept => (pack(5, false, 0), 0),
            Entry::Lagged { bytes } => (pack(6, false, 0), bytes),
        };
        [head, value, id, shape, digest, 0x00C0_FFEE]
    }

    fn decode(words: [u64; WORDS]) -> Option<Entry> {
        let [head, value, id, shape, digest, 0x00C0_FFEE] = words else { return None };
        let (flag, lane) = (head >> 8 & 1 == 1, (head >> 32) as u32);
        let message = Message {
            id: id.cast_signed(),
            message_type: ((shape >> 32) as u32).cast_signed(),
            len: shape as u32,
            digest,
        };
        Some(match head as u8 {
            0 => Entry::Ready { lane, position: value },
            1 => Entry::Intended { message, joined: flag },
            2 => Entry::Committed { position: value },
            3 => Entry::Received { lane, position: value, message, kept: flag },
            4 => Entry::Released { count: value },
            5 => Entry::Kept,
            6 => Entry::Lagged { bytes: value },
            _ => return None,
        })
    }
}

/// The child's end.
pub(crate) struct Journal<W: Write> {
    pipe: W,
    bytes: Vec<u8>,
}

impl<W: Write> Journal<W> {
    pub(crate) fn new(pipe: W) -> Journal<W> {
        Journal { pipe, bytes: Vec::with_capacity(AT_ONCE * SIZE) }
    }

    /// Once this returns, the parent will read the entries, whatever happens to this process.
    pub(crate) fn write(&mut self, entries: &[Entry]) {
        for chunk in entries.chunks(AT_ONCE) {
            self.bytes.clear();
            for word in chunk.iter().flat_map(|entry| entry.encode()) {
                self.bytes.extend_from_slice(&word.to_le_bytes());
            }
            if self.pipe.write_all(&self.bytes).is_err() {
                // The parent is gone, and with it the only reason to go on.
                std::process::exit(1);
            }
        }
    }
}

/// The parent's end: everything until the child's end is closed, in pieces.
pub(crate) fn read(mut pipe: impl Read, mut take: impl FnMut(Vec<Entry>)) -> Result<(), String> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = pipe.read(&mut piece).map_err(|error| format!("a journal cannot be read: {error}"))?;
        if count == 0 {
            return match bytes.len() {
                0 => Ok(()),
                rest => Err(format!("a journal ends with {rest} bytes of an entry of {SIZE}")),
            };
        }
        bytes.extend_from_slice(&piece[..count]);
        let whole = bytes.len() / SIZE * SIZE;
        let entries = bytes[..whole].chunks_exact(SIZE).map(entry).collect::<Option<Vec<Entry>>>();
        take(entries.ok_or("a journal has an entry of no known kind")?);
        bytes.drain(..whole);
    }
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    Entry::decode(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_reads_back_as_it_was_written() {
        let message = Message { id: -7, message_type: i32::MIN, len: 12, digest: u64::MAX };
        let entries = [
            Entry::Ready { lane: 3, position: 1 << 40 },
            Entry::Intended { message, joined: true },
            Entry::Intended { message, joined: false },
            Entry::Committed { position: 8 },
            Entry::Received { lane: u32::MAX, position: 16, message, kept: true },
            Entry::Received { lane: 0, position: 16, message, kept: false },
            Entry::Released { count: 2 },
            Entry::Kept,
            Entry::Lagged { bytes: 3 },
        ];
        let entries: Vec<Entry> = entries.into_iter().cycle().take(5 * AT_ONCE).collect();
        let mut bytes = Vec::new();
        Journal::new(&mut bytes).write(&entries);
        let mut back = Vec::new();
        assert_eq!(read(&bytes[..], |mut piece| back.append(&mut piece)), Ok(()));
        assert_eq!(back, entries);
    }

    #[test]
    fn a_journal_that_ends_in_an_entry_is_noticed() {
        let mut bytes = Vec::new();
        Journal::new(&mut bytes).write(&[Entry::Kept]);
        bytes.pop();
        assert!(read(&bytes[..], |_| ()).is_err());
    }
}
