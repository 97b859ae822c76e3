//! The bytes of the format, as `docs/journal.md` has them, and files whose bytes may not change.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use aether_journal::{Compression, Options, Reader, Record, Source, Writer};
use tempfile::tempdir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const MESSAGES: [Record<'static>; 4] = [
    Record { time: 1_767_225_600_000_000_001, id: -5, message_type: 7, lane: 0, position: 4096, payload: b"first" },
    Record { time: 1_767_225_600_000_000_002, id: 90, message_type: -1, lane: 3, position: 64, payload: b"" },
    Record { time: 1_767_225_600_500_000_003, id: 91, message_type: 0, lane: 0, position: 4128, payload: &[0xFF; 8] },
    Record { time: 1_767_225_601_000_000_004, id: 92, message_type: 2, lane: 3, position: 88, payload: &[7; 300] },
];

const SOURCE: Source = Source { identity: [0x1122_3344, 1_767_225_599_000_000_000], overhead: 20 };

/// Two blocks, of three messages and of one.
fn write(path: &Path, compression: Compression) {
    let mut options = Options::default();
    options.compression = compression;
    let mut writer = Writer::open(path, SOURCE, options).unwrap();
    for (index, message) in MESSAGES.iter().enumerate() {
        writer.append(message).unwrap();
        if index == 2 {
            writer.write_block().unwrap();
        }
    }
    writer.finish().unwrap();
}

#[test]
fn a_journal_of_each_kind_that_was_written_long_ago_can_be_read() {
    for (name, compression) in [("plain.journal", Compression::None), ("zstd.journal", Compression::Zstd(3))] {
        let path = root().join("testdata").join(name);
        if env::var_os("AETHER_WRITE_GOLDEN").is_some() {
            let _ = fs::remove_file(&path);
            write(&path, compression);
        }
        let mut reader = Reader::open(&path).unwrap();
        assert!(reader.segments()[0].is_sealed());
        assert_eq!(reader.source(), SOURCE);
        for message in MESSAGES {
            assert_eq!(reader.next().unwrap(), Some(message));
        }
        assert_eq!(reader.next().unwrap(), None);
    }
}

#[test]
fn the_bytes_of_a_journal_without_compression_are_always_the_same() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("journal");
    write(&path, Compression::None);
    assert!(fs::read(path).unwrap() == fs::read(root().join("testdata/plain.journal")).unwrap());
}

/// The rows of the table under a heading: offset, size, name.
fn table(document: &str, heading: &str) -> Vec<(usize, usize, String)> {
    let (_, section) = document.split_once(&format!("## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Some((cells.get(1)?.parse().ok()?, cells.get(2)?.parse().ok()?, cells.get(3)?.trim_matches('`').to_owned()))
    };
    section.lines().filter_map(row).collect()
}

/// The fields that start at `base`, by name; they must follow each other without a gap.
fn fields(document: &str, heading: &str, bytes: &[u8], base: usize) -> BTreeMap<String, u64> {
    let mut end = 0;
    let mut fields = BTreeMap::new();
    for (offset, size, name) in table(document, heading) {
        assert_eq!(offset, end, "a gap in front of {name} in {heading}");
        end = offset + size;
        let value =
            bytes[base + offset..base + end].iter().rev().take(8).fold(0, |value, &byte| value << 8 | u64::from(byte));
        fields.insert(name, value);
    }
    assert!(!fields.is_empty(), "{heading}");
    fields
}

fn has(fields: &BTreeMap<String, u64>, expected: &[(&str, u64)]) {
    for (name, value) in expected {
        assert_eq!(fields.get(*name), Some(value), "{name}");
    }
}

#[test]
fn the_tables_in_the_document_say_where_the_golden_file_has_what() {
    let document = fs::read_to_string(root().join("docs/journal.md")).unwrap();
    let bytes = fs::read(root().join("testdata/plain.journal")).unwrap();
    let letters = |text: &str| text.bytes().rev().fold(0, |value, byte| value << 8 | u64::from(byte));

    let header = fields(&document, "The start of a file", &bytes, 0);
    has(&header, &[("magic", letters("AETHJRNL")), ("version", 1), ("number", 0), ("before", 0)]);
    has(&header, &[("source_a", SOURCE.identity[0]), ("source_b", SOURCE.identity[1]), ("overhead", 20)]);
    has(&header, &[("reserved", 0), ("checksum", crc32c::crc32c(&bytes[..60]).into())]);

    let block = fields(&document, "A block", &bytes, 64);
    let stored = block["stored"] as usize;
    has(&block, &[("magic", letters("AeJB")), ("kind", 1), ("compression", 0), ("reserved", 0), ("count", 3)]);
    has(&block, &[("raw", stored as u64), ("lanes", 2), ("min_id", -5_i64 as u64), ("max_id", 91)]);
    has(&block, &[("first_time", MESSAGES[0].time), ("last_time", MESSAGES[2].time)]);
    let body = (stored + 2 * 16).next_multiple_of(8);
    has(&block, &[("body_checksum", crc32c::crc32c(&bytes[128..128 + body]).into())]);
    let mut place = 0_u32.to_le_bytes().to_vec();
    place.extend(64_u64.to_le_bytes());
    place.extend(&bytes[64..124]);
    has(&block, &[("header_checksum", crc32c::crc32c(&place).into())]);

    let mut at = 128;
    for message in &MESSAGES[..3] {
        let record = fields(&document, "A record", &bytes, at);
        has(&record, &[("time", message.time), ("id", message.id as u64), ("position", message.position)]);
        has(&record, &[("type", message.message_type as u32 as u64), ("lane", message.lane.into())]);
        has(&record, &[("length", message.payload.len() as u64), ("reserved", 0)]);
        assert_eq!(&bytes[at + 40..at + 40 + message.payload.len()], message.payload);
        at = (at + 40 + message.payload.len()).next_multiple_of(8);
    }
    assert_eq!(at, 128 + stored);

    // Behind 20 + 8 bytes in lane 0, and 20 bytes in lane 3, both padded.
    for (lane, end) in [(0, 4128 + 32), (3, 64 + 24)] {
        let entry = fields(&document, "The table of lanes", &bytes, at);
        has(&entry, &[("lane", lane), ("reserved", 0), ("end", end)]);
        at += 16;
    }

    let trailer = fields(&document, "The end of a file", &bytes, bytes.len() - 16);
    has(&trailer, &[("magic", letters("AeJINDEX"))]);
    let index = trailer["index"] as usize;
    has(&fields(&document, "A block", &bytes, index), &[("kind", 2), ("count", 2), ("stored", 144), ("lanes", 0)]);
    let second = 128 + body;
    for (entry, offset) in [(index + 64, 64), (index + 64 + 72, second)] {
        has(&fields(&document, "An entry of the index", &bytes, entry), &[("offset", offset as u64)]);
        assert_eq!(bytes[entry + 8..entry + 72], bytes[offset..offset + 64]);
    }
}
