//! How a stream of bytes is cut into messages, and how messages become a stream of bytes again.

use std::{
    io::{self, Write},
    num::NonZeroUsize,
    str::{self, FromStr},
    time::SystemTime,
};

use aether_ipc::Message;
use clap::ValueEnum;
use serde::Serialize;

use crate::exit::{Failure, Result};

/// How `send` cuts its input into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InFrame {
    Lines,
    Length,
    Fixed(NonZeroUsize),
    Whole,
}

impl FromStr for InFrame {
    type Err = String;

    fn from_str(text: &str) -> Result<InFrame, String> {
        match text {
            "lines" => Ok(InFrame::Lines),
            "length" => Ok(InFrame::Length),
            "whole" => Ok(InFrame::Whole),
            _ => text
                .strip_prefix("fixed:")
                .and_then(|size| usize::try_from(size_of_text(size).ok()?).ok())
                .and_then(NonZeroUsize::new)
                .map(InFrame::Fixed)
                .ok_or_else(|| "expected lines, length, whole, or fixed:N with a size N of at least 1 byte".to_owned()),
        }
    }
}

/// Reads a size such as `4096`, `64KiB` or `1M`. A letter without `i` counts in powers of two as well: nothing else is
/// a ring's capacity.
pub(crate) fn size_of_text(text: &str) -> Result<u64, parse_size::Error> {
    parse_size::Config::new().with_binary().parse_size(text)
}

/// Cuts what is pushed into messages.
pub(crate) struct Splitter {
    frame: InFrame,
    /// The largest payload of the ring.
    max: usize,
    /// The size of a message of an input that is too large to be one.
    piece: usize,
    buffer: Vec<u8>,
    /// Where the next message starts in the buffer.
    start: usize,
    /// How much behind `start` is known to hold no end of a line.
    scanned: usize,
    at_end: bool,
    in_pieces: bool,
    /// Messages cut so far.
    count: u64,
}

impl Splitter {
    pub(crate) fn new(frame: InFrame, max: usize) -> Result<Splitter> {
        if let InFrame::Fixed(size) = frame
            && size.get() > max
        {
            return Err(Failure::Ring(aether_ipc::Error::TooLarge { payload: size.get(), max }));
        }
        Ok(Splitter {
            frame,
            max,
            // Of a size at which producer and consumer can work at the same time.
            piece: (max / 4).max(1),
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            at_end: false,
            in_pieces: false,
            count: 0,
        })
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Nothing more will be pushed.
    pub(crate) fn end(&mut self) {
        self.at_end = true;
    }

    /// Bytes pushed that are not part of a message yet.
    pub(crate) fn rest(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether the last line was one without an end.
    pub(crate) fn ended_within_line(&self) -> bool {
        self.frame == InFrame::Lines && self.at_end && self.buffer.last().is_some_and(|&last| last != b'\n')
    }

    /// The next message; `None` if that takes more input.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>> {
        let cut = match self.frame {
            InFrame::Lines => self.line()?,
            InFrame::Length => self.with_length()?,
            InFrame::Fixed(size) => self.up_to(size.get()),
            InFrame::Whole => self.whole(),
        };
        let Some((head, length, tail)) = cut else { return Ok(None) };
        let from = self.start + head;
        self.start = from + length + tail;
        self.scanned = 0;
        self.count += 1;
        Ok(Some(&self.buffer[from..from + length]))
    }

    /// Bytes to skip, bytes of the message, bytes to skip.
    #[inline]
    fn line(&mut self) -> Result<Option<(usize, usize, usize)>> {
        let rest = &self.buffer[self.start..];
        let found = memchr::memchr(b'\n', &rest[self.scanned..]).map(|at| self.scanned + at);
        let length = found.unwrap_or(rest.len());
        if length > self.max {
            let more = if found.is_some() { "" } else { "at least " };
            return Err(self.too_large("line", &format!("{more}{length}")));
        }
        self.scanned = length;
        Ok(match found {
            Some(_) => Some((0, length, 1)),
            None if self.at_end && length > 0 => Some((0, length, 0)),
            None => None,
        })
    }

    fn with_length(&self) -> Result<Option<(usize, usize, usize)>> {
        let rest = &self.buffer[self.start..];
        let broken = |expected: usize| {
            Failure::Words(format!(
                "standard input ends within record {}: {} of its {expected} bytes are there (each record is a length of \
                 4 bytes, little-endian, and then as many bytes)",
                self.count + 1,
                rest.len(),
            ))
        };
        let Some((head, payload)) = rest.split_first_chunk::<4>() else {
            return if self.at_end && !rest.is_empty() { Err(broken(4)) } else { Ok(None) };
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > self.max {
            return Err(self.too_large("record", &length.to_string()));
        }
        match payload.len() >= length {
            true => Ok(Some((4, length, 0))),
            false if self.at_end => Err(broken(4 + length)),
            false => Ok(None),
        }
    }

    fn up_to(&self, size: usize) -> Option<(usize, usize, usize)> {
        let rest = self.rest();
        (rest >= size || self.at_end && rest > 0).then(|| (0, size.min(rest), 0))
    }

    fn whole(&mut self) -> Option<(usize, usize, usize)> {
        self.in_pieces |= self.rest() > self.max;
        self.up_to(if self.in_pieces { self.piece } else { usize::MAX })
    }

    #[cold]
    fn too_large(&self, what: &str, found: &str) -> Failure {
        Failure::Words(format!(
            "{what} {} of standard input has {found} bytes, and the largest message that this ring can take has {}; make \
             a ring with a larger --capacity, or send bytes as they are with --frame whole",
            self.count + 1,
            self.max,
        ))
    }
}

/// How messages are written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutFrame {
    /// The payload and a newline
    Lines,
    /// The payload's length as 4 bytes, little-endian, and the payload
    Length,
    /// The payload alone
    Raw,
    /// An object a line: id, type, lane, encoding (utf-8 or hex), payload; of a journal also index and time
    Json,
    /// The payload in hexadecimal, and a newline
    Hex,
}

/// A message to be written out, from a ring or from a journal.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) id: i64,
    pub(crate) message_type: i32,
    pub(crate) lane: u32,
    pub(crate) payload: &'a [u8],
    /// Its index in the journal, and when it was recorded.
    pub(crate) recorded: Option<(u64, SystemTime)>,
}

impl<'a> From<&Message<'a>> for Line<'a> {
    #[inline]
    fn from(message: &Message<'a>) -> Line<'a> {
        Line {
            id: message.id(),
            message_type: message.message_type(),
            lane: message.lane(),
            payload: message.payload(),
            recorded: None,
        }
    }
}

#[derive(Serialize)]
struct Described<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    id: i64,
    r#type: i32,
    lane: u32,
    encoding: &'static str,
    payload: &'a str,
}

impl OutFrame {
    /// Writes one message. Returns how many bytes that were.
    #[inline]
    pub(crate) fn write(self, line: &Line<'_>, out: &mut impl Write) -> io::Result<usize> {
        let payload = line.payload;
        match self {
            OutFrame::Lines => {
                out.write_all(payload)?;
                out.write_all(b"\n")?;
                Ok(payload.len() + 1)
            }
            OutFrame::Length => {
                let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
                out.write_all(&length.to_le_bytes())?;
                out.write_all(payload)?;
                Ok(4 + payload.len())
            }
            OutFrame::Raw => {
                out.write_all(payload)?;
                Ok(payload.len())
            }
            OutFrame::Json => {
                let hex;
                let (encoding, payload) = match str::from_utf8(payload) {
                    Ok(text) => ("utf-8", text),
                    Err(_) => {
                        hex = in_hex(payload);
                        ("hex", hex.as_str())
                    }
                };
                let &Line { id, message_type: r#type, lane, recorded, .. } = line;
                let (index, time) = recorded.unzip();
                let time = time.map(|time| humantime::format_rfc3339_nanos(time).to_string());
                let line = serde_json::to_vec(&Described { index, time, id, r#type, lane, encoding, payload })?;
                out.write_all(&line)?;
                out.write_all(b"\n")?;
                Ok(line.len() + 1)
            }
            OutFrame::Hex => {
                let hex = in_hex(payload);
                out.write_all(hex.as_bytes())?;
                out.write_all(b"\n")?;
                Ok(hex.len() + 1)
            }
        }
    }
}

fn in_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |&byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]].map(char::from);
    bytes.iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cuts `input`, pushed `step` bytes at a time.
    fn cut(frame: &str, max: usize, input: &[u8], step: usize) -> Result<Vec<Vec<u8>>> {
        let mut splitter = Splitter::new(frame.parse().unwrap(), max)?;
        let mut messages = Vec::new();
        for chunk in input.chunks(step) {
            splitter.push(chunk);
            while let Some(message) = splitter.next()? {
                messages.push(message.to_vec());
            }
        }
        splitter.end();
        while let Some(message) = splitter.next()? {
            messages.push(message.to_vec());
        }
        Ok(messages)
    }

    #[test]
    fn lines_are_cut_alike_however_they_arrive() {
        let input = "one\n\nthree\r\n  vier ü\nlast".as_bytes();
        let expected: Vec<&[u8]> = vec![b"one", b"", b"three\r", "  vier ü".as_bytes(), b"last"];
        for step in 1..=input.len() {
            assert_eq!(cut("lines", 100, input, step).unwrap(), expected, "in steps of {step}");
        }
    }

    #[test]
    fn a_line_of_exactly_the_largest_size_passes_and_one_more_byte_is_an_error_that_names_the_line() {
        assert_eq!(cut("lines", 5, b"a\n12345\nb\n", 3).unwrap().len(), 3);
        for input in [&b"a\n123456\nb\n"[..], b"a\n123456789"] {
            for step in 1..=input.len() {
                let error = cut("lines", 5, input, step).unwrap_err().to_string();
                assert!(error.starts_with("line 2 of standard input has "), "{error}");
            }
        }
    }

    #[test]
    fn records_with_a_length_are_cut_alike_however_they_arrive() {
        let input = b"\x03\0\0\0abc\0\0\0\0\x01\0\0\0z";
        for step in 1..=input.len() {
            assert_eq!(cut("length", 100, input, step).unwrap(), [&b"abc"[..], b"", b"z"], "in steps of {step}");
        }
    }

    #[test]
    fn an_input_that_ends_within_a_record_is_an_error_that_says_what_is_missing() {
        let error = cut("length", 100, b"\x01\0\0\0a\x05\0\0\0xyz", 64).unwrap_err().to_string();
        assert!(error.contains("ends within record 2: 7 of its 9 bytes"), "{error}");
        let error = cut("length", 100, b"\x01\0", 64).unwrap_err().to_string();
        assert!(error.contains("ends within record 1: 2 of its 4 bytes"), "{error}");
        let error = cut("length", 100, b"\xff\xff\xff\xff", 64).unwrap_err().to_string();
        assert!(error.contains("record 1 of standard input has 4294967295 bytes"), "{error}");
    }

    #[test]
    fn fixed_records_have_their_size_and_the_last_one_what_is_left() {
        assert_eq!(cut("fixed:4", 100, b"aaaabbbbcc", 3).unwrap(), [&b"aaaa"[..], b"bbbb", b"cc"]);
        assert!(cut("fixed:101", 100, b"", 1).unwrap_err().to_string().contains("101 bytes"));
        for wrong in ["fixed:0", "fixed:", "fixed:-1", "fixed", "line", ""] {
            assert!(wrong.parse::<InFrame>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_whole_input_is_one_message_if_it_fits_and_pieces_that_make_it_up_if_not() {
        let input: Vec<u8> = (0..=250).collect();
        assert_eq!(cut("whole", 251, &input, 7).unwrap(), [&input[..]]);
        for step in [1, 7, 250, 251] {
            let pieces = cut("whole", 100, &input, step).unwrap();
            assert!(pieces.iter().all(|piece| piece.len() <= 25), "{pieces:?}");
            assert_eq!(pieces.concat(), input);
        }
        assert!(cut("whole", 100, b"", 1).unwrap().is_empty());
    }

    #[test]
    fn hexadecimal_digits_stand_in_the_order_of_the_bytes() {
        assert_eq!(in_hex(b"\x00\x1f\xa0\xff"), "001fa0ff");
    }

    #[test]
    fn sizes_count_in_powers_of_two() {
        assert_eq!(size_of_text("1M").unwrap(), 1 << 20);
        assert_eq!(size_of_text("64 KiB").unwrap(), 64 << 10);
        assert_eq!(size_of_text("4096").unwrap(), 4096);
        assert!(size_of_text("much").is_err());
        assert!(size_of_text("-1").is_err());
    }
}
