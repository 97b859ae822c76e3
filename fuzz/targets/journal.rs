//! Any file as a journal: reading all of it, seeking in it, checking it, and going on with it.
//!
//! `crates/aether-journal/tests/corpus.rs` runs the same with the inputs that are kept.

use std::{fs, path::PathBuf};

use aether_journal::{Cursor, Error, Keep, Options, Reader, Record, Source, Writer, superfluous, verify};

/// Bytes from the fuzzer; when they are at an end, zeros come.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => u64::from(self.byte()),
            1 => u64::MAX - u64::from(self.byte()),
            2 => 1 << (self.byte() % 64),
            _ => self.bytes(8).iter().fold(0, |number, &byte| number << 8 | u64::from(byte)),
        }
    }

    /// Changes some of the bytes, or none.
    fn edit(&mut self, bytes: &mut [u8]) {
        for _ in 0..self.byte() % 3 {
            let at = usize::from(self.byte()) % bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = self.byte();
            }
        }
    }
}

/// A file whose checksums are right, whatever it says otherwise.
fn file(input: &mut Input<'_>) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..8].copy_from_slice(b"AETHJRNL");
    file[8] = 1;
    file[40] = 16;
    input.edit(&mut file[12..60]);
    let number: [u8; 4] = [file[12], file[13], file[14], file[15]];
    let checksum = crc32c::crc32c(&file[..60]);
    file[60..].copy_from_slice(&checksum.to_le_bytes());
    let mut entries = Vec::new();
    while !input.0.is_empty() && file.len() < 64 << 10 {
        match input.byte() % 8 {
            0 => file.extend_from_slice(input.bytes(40)),
            1 => {
                let count = (entries.len() / 72) as u32;
                let offset = file.len() as u64;
                block(&mut file, number, 2, &entries, count, &[], input);
                file.extend_from_slice(&offset.to_le_bytes());
                file.extend_from_slice(b"AeJINDEX");
            }
            _ => {
                let (mut records, mut lanes) = (Vec::new(), Vec::new());
                let count = input.byte() % 4;
                for _ in 0..count {
                    let mut head = [0; 40];
                    head[..8].copy_from_slice(&input.number().to_le_bytes());
                    head[8..16].copy_from_slice(&input.number().to_le_bytes());
                    head[16..24].copy_from_slice(&input.number().to_le_bytes());
                    head[28] = input.byte();
                    let length = input.byte() % 32;
                    head[32] = length;
                    input.edit(&mut head);
                    records.extend_from_slice(&head);
                    records.resize(records.len() + usize::from(length), 7);
                    records.resize(records.len().next_multiple_of(8), 0);
                    lanes.extend_from_slice(&u64::from(head[28]).to_le_bytes());
                    let position = u64::from_le_bytes(*head[16..24].first_chunk().unwrap_or(&[0; 8]));
                    let end = position.wrapping_add((u64::from(length) + 16).next_multiple_of(8));
                    lanes.extend_from_slice(&end.to_le_bytes());
                }
                let offset = file.len() as u64;
                block(&mut file, number, 1, &records, count.into(), &lanes, input);
                entries.extend_from_slice(&offset.to_le_bytes());
                entries.extend_from_slice(&file[offset as usize..offset as usize + 64]);
            }
        }
    }
    file
}

fn block(file: &mut Vec<u8>, number: [u8; 4], kind: u8, data: &[u8], count: u32, lanes: &[u8], input: &mut Input<'_>) {
    let choice = input.byte();
    let compressed = if choice & 1 == 1 { zstd::bulk::compress(data, 1).unwrap_or_default() } else { Vec::new() };
    let stored = if choice & 1 == 1 { &compressed[..] } else { data };
    let mut header = [0; 64];
    header[..4].copy_from_slice(b"AeJB");
    header[4] = kind;
    header[5] = choice & 1;
    header[8..12].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    header[12..16].copy_from_slice(&(data.len() as u32).to_le_bytes());
    header[16..20].copy_from_slice(&count.to_le_bytes());
    header[20] = (lanes.len() / 16) as u8;
    if let Some(first) = data.first_chunk::<16>().filter(|_| kind == 1) {
        header[24..32].copy_from_slice(&first[..8]);
        header[32..40].copy_from_slice(&first[..8]);
        header[40..48].copy_from_slice(&first[8..]);
        header[48..56].copy_from_slice(&first[8..]);
    }
    input.edit(&mut header[8..56]);
    let mut body = [stored, lanes].concat();
    body.resize(body.len().next_multiple_of(8), 0);
    input.edit(&mut body);
    header[56..60].copy_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    let place = [&number[..], &(file.len() as u64).to_le_bytes(), &header[..60]].concat();
    header[60..].copy_from_slice(&crc32c::crc32c(&place).to_le_bytes());
    file.extend_from_slice(&header);
    file.extend_from_slice(&body);
}

/// A folder that nobody else uses.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("aether-fuzz-journal-{}-{}", std::process::id(), COUNTER.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Reads to the end. Returns how many messages.
fn read(reader: &mut Reader) -> Result<u64, Error> {
    let mut count = 0;
    while let Some(record) = reader.next()? {
        assert!(record.payload.len() < 1 << 20 && record.lane < 256);
        std::hint::black_box(record.payload.iter().fold(0_u64, |sum, &byte| sum.wrapping_add(byte.into())));
        count += 1;
    }
    Ok(count)
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input(data);
    let folder = Folder::new();
    let path = folder.0.join("journal");
    let is_raw = input.byte() % 4 == 0;
    let bytes = if is_raw { input.0.to_vec() } else { file(&mut input) };
    // Sometimes behind a sound file.
    if data.len().is_multiple_of(3) {
        let mut options = Options::default();
        options.roll_size = Some(1);
        let mut writer = Writer::open(&path, Source::default(), options).unwrap();
        for position in [0, 24] {
            writer.append(&record(position)).unwrap();
            writer.write_block().unwrap();
        }
        drop(writer);
        fs::write(folder.0.join("journal.000001"), &bytes).unwrap();
    } else {
        fs::write(&path, &bytes).unwrap();
    }
    let verified = verify(&path);
    let readable = Reader::open(&path);
    assert_eq!(verified.is_ok(), readable.is_ok(), "{verified:?}, {readable:?}");
    if let (Ok(report), Ok(mut reader)) = (verified, readable) {
        reader.skip_damaged(true);
        assert_eq!(read(&mut reader).unwrap(), report.messages);
        assert_eq!(reader.next().unwrap(), None);
        let _ = reader.refresh();
        for at in [0, 1, u64::MAX, reader.start().saturating_add(1)] {
            let found = reader.seek_index(at).unwrap();
            assert_eq!(found, reader.next().unwrap().is_some());
            let found = reader.seek_time(at).unwrap();
            assert_eq!(found, reader.next().unwrap().is_some_and(|record| record.time >= at));
            let found = reader.seek_id(at.cast_signed()).unwrap();
            assert_eq!(found, reader.next().unwrap().is_some_and(|record| record.id >= at.cast_signed()));
        }
        reader.skip_damaged(false);
        reader.seek_index(0).map(|_| ()).and_then(|()| read(&mut reader).map(|_| ())).or_else(known).unwrap();
        let cursor = Cursor::open(&path, "audit").unwrap();
        let _ = cursor.seek(&mut reader).or_else(|error| known(error).map(|()| 0)).unwrap();
        let _ = superfluous(&path, &Keep { bytes: Some(1), age: Some(std::time::Duration::ZERO) }, u64::MAX);
    }
    if let Ok(mut writer) = Writer::open(&path, Source::default(), Options::default()) {
        let position = writer.end_of(0).unwrap_or(0);
        if writer.append(&record(position)).unwrap() {
            writer.write_block().or_else(known).unwrap();
        }
        let _ = writer.finish();
    }
}

fn record(position: u64) -> Record<'static> {
    Record { time: 1, id: 1, message_type: 1, lane: 0, position, payload: b"x" }
}

/// What a file can be refused for.
fn known(error: Error) -> Result<(), Error> {
    match error {
        Error::Corrupt { .. } | Error::LastNumber { .. } | Error::NotAJournal { .. } => Ok(()),
        error => Err(error),
    }
}
