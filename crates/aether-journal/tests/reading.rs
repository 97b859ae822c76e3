//! What readers of a journal rely on: following it, indexes, cursors, and files that are removed.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use aether_journal::{
    Compression, Cursor, Damage, Error, Keep, Options, Reader, Record, Source, Writer, prune, superfluous, verify,
};
use tempfile::{TempDir, tempdir};

const SECOND: u64 = 1_000_000_000;

fn place() -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("journal");
    (folder, path)
}

/// Files of two blocks each.
fn rolled() -> Options {
    let mut options = Options::default();
    options.compression = Compression::None;
    options.roll_size = Some(1000);
    options
}

fn open(path: &Path) -> Writer {
    Writer::open(path, Source::default(), rolled()).unwrap()
}

/// Ten messages in a block, a second from one to the next.
fn append(writer: &mut Writer, block: u64) {
    for n in block * 10..block * 10 + 10 {
        let record = Record {
            time: n * SECOND,
            id: n as i64,
            message_type: 7,
            lane: 0,
            position: n * 48,
            payload: &[n as u8; 32],
        };
        assert!(writer.append(&record).unwrap());
    }
    writer.write_block().unwrap();
}

fn rest(reader: &mut Reader) -> Vec<i64> {
    std::iter::from_fn(|| reader.next().unwrap().map(|record| record.id)).collect()
}

fn file(path: &Path, number: u32) -> PathBuf {
    path.with_extension(format!("{number:06}"))
}

#[test]
fn a_reader_follows_what_is_written_through_new_files_and_new_writers() {
    let (_folder, path) = place();
    let mut writer = open(&path);
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!((rest(&mut reader), reader.refresh().unwrap()), (vec![], false));
    for block in 0..7 {
        append(&mut writer, block);
        assert_eq!(rest(&mut reader), [], "not before it looks again");
        assert!(reader.refresh().unwrap());
        let expected: Vec<i64> = (block as i64 * 10..block as i64 * 10 + 10).collect();
        assert_eq!(rest(&mut reader), expected);
        assert_eq!(
            (reader.index(), reader.end(), reader.refresh().unwrap()),
            (block * 10 + 10, block * 10 + 10, false)
        );
        if block % 3 == 1 {
            // With an index at the end, which the next writer cuts off again.
            writer.finish().unwrap();
            assert!(!reader.refresh().unwrap());
            writer = open(&path);
        }
    }
    assert!(reader.segments().len() > 2);
    // One that stopped in the middle of a block goes on there.
    let mut other = Reader::open(&path).unwrap();
    assert!(other.seek_index(65).unwrap());
    assert_eq!(other.next().unwrap().unwrap().id, 65);
    append(&mut writer, 7);
    assert!(other.refresh().unwrap());
    assert_eq!(rest(&mut other), (66..80).collect::<Vec<_>>());
    // And one that is several files behind finds them all at once.
    let mut late = Reader::open(&path).unwrap();
    for block in 8..20 {
        append(&mut writer, block);
    }
    assert!(late.refresh().unwrap());
    assert_eq!(rest(&mut late), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_block_under_way_is_not_seen_before_it_is_whole() {
    let (folder, path) = place();
    let mut writer = open(&path);
    append(&mut writer, 0);
    append(&mut writer, 1);
    drop(writer);
    let whole = fs::read(&path).unwrap();
    let start = 64 + (whole.len() - 64) / 2;
    let growing = folder.path().join("growing");
    fs::write(&growing, &whole[..start]).unwrap();
    let mut reader = Reader::open(&growing).unwrap();
    assert_eq!(rest(&mut reader).len(), 10);
    for end in start..whole.len() {
        fs::write(&growing, &whole[..end]).unwrap();
        assert!(!reader.refresh().unwrap(), "{end}");
    }
    fs::write(&growing, &whole).unwrap();
    assert!(reader.refresh().unwrap());
    assert_eq!(rest(&mut reader), (10..20).collect::<Vec<_>>());
}

#[test]
fn a_reader_that_follows_a_journal_that_was_begun_anew_is_told_and_does_not_wait_for_ever() {
    let (_folder, path) = place();
    let mut writer = open(&path);
    append(&mut writer, 0);
    append(&mut writer, 1);
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(rest(&mut reader).len(), 20);
    drop(writer);
    fs::remove_file(&path).unwrap();
    append(&mut open(&path), 0);
    let error = reader.refresh().unwrap_err();
    assert!(matches!(error, Error::Corrupt { damage: Damage::Cut, .. }), "{error}");
}

#[test]
fn an_index_is_the_same_message_for_ever() {
    let (_folder, path) = place();
    let mut writer = open(&path);
    for block in 0..7 {
        append(&mut writer, block);
    }
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!((reader.start(), reader.index(), reader.end()), (0, 0, 70));
    for index in (0..70).rev() {
        assert!(reader.seek_index(index).unwrap());
        assert_eq!(reader.index(), index);
        assert_eq!(reader.next().unwrap().unwrap().id, index as i64);
        assert_eq!(reader.index(), index + 1);
    }
    assert!(!reader.seek_index(70).unwrap());
    assert_eq!(reader.index(), 70);
    fs::remove_file(&path).unwrap();
    fs::remove_file(file(&path, 1)).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!((reader.start(), reader.end()), (40, 70));
    assert!(reader.seek_index(3).unwrap());
    assert_eq!((reader.index(), reader.next().unwrap().unwrap().id), (40, 40));
    assert!(reader.seek_index(55).unwrap());
    assert_eq!(reader.next().unwrap().unwrap().id, 55);
}

#[test]
fn a_cursor_goes_on_where_it_was_and_says_what_was_removed_meanwhile() {
    let (_folder, path) = place();
    let mut writer = open(&path);
    for block in 0..6 {
        append(&mut writer, block);
    }
    let mut reader = Reader::open(&path).unwrap();
    let mut cursor = Cursor::open(&path, "audit-1").unwrap();
    assert_eq!((cursor.index(), cursor.seek(&mut reader).unwrap(), reader.index()), (None, 0, 0));
    reader.seek_index(5).unwrap();
    cursor.set(reader.index()).unwrap();
    let refused = Cursor::open(&path, "audit-1").unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert_eq!(Cursor::open(&path, "other").unwrap().index(), None);
    drop(cursor);
    let cursor = Cursor::open(&path, "audit-1").unwrap();
    assert_eq!((cursor.seek(&mut reader).unwrap(), reader.next().unwrap().unwrap().id), (0, 5));
    fs::remove_file(&path).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!((cursor.seek(&mut reader).unwrap(), reader.next().unwrap().unwrap().id), (15, 20));
    // It is no file of the journal.
    assert_eq!(verify(&path).unwrap().segments, 2);
}

#[test]
fn a_cursor_that_can_not_be_is_an_error_that_says_why() {
    let (folder, path) = place();
    append(&mut open(&path), 0);
    for name in ["", "a/b", "a b", "ü", &"x".repeat(65), ".."] {
        assert!(matches!(Cursor::open(&path, name), Err(Error::CursorName { .. })), "{name:?}");
    }
    let place = folder.path().join("journal.cursor-audit");
    for text in
        ["x", "5", "00000000000000000005", "99999999999999999999\n", "0000000000000000000\u{fc}\n", &"0".repeat(5000)]
    {
        fs::write(&place, text).unwrap();
        assert!(matches!(Cursor::open(&path, "audit"), Err(Error::NotACursor { .. })), "{text:?}");
        assert_eq!(fs::read_to_string(&place).unwrap(), text);
    }
    // As a kill right after it was made leaves it.
    fs::write(&place, "").unwrap();
    assert_eq!(Cursor::open(&path, "audit").unwrap().index(), None);
    fs::write(&place, "00000000000000000011\n").unwrap();
    let beyond = Cursor::open(&path, "audit").unwrap().seek(&mut Reader::open(&path).unwrap()).unwrap_err();
    assert!(matches!(beyond, Error::CursorBeyond { index: 11, end: 10, .. }), "{beyond}");
}

#[test]
fn files_are_kept_by_size_or_by_age_and_the_last_one_always() {
    let all = |path: &Path| Reader::open(path).unwrap().segments().len();
    let (_folder, path) = place();
    let mut writer = open(&path);
    for block in 0..9 {
        append(&mut writer, block);
    }
    assert_eq!(all(&path), 5);
    let size = |number| fs::metadata(file(&path, number)).unwrap().len();
    let kept = size(2) + size(3) + size(4);
    let keep = Keep { bytes: Some(kept), age: None };
    assert_eq!(superfluous(&path, &keep, 0).unwrap(), [path.clone(), file(&path, 1)]);
    assert_eq!(all(&path), 5, "nothing is removed by asking");
    assert_eq!(prune(&path, &keep, 0).unwrap().len(), 2);
    assert_eq!((all(&path), prune(&path, &keep, 0).unwrap()), (3, vec![]));
    // The last message of the third file is of second 59.
    let age = |seconds| Keep { bytes: None, age: Some(Duration::from_secs(seconds)) };
    assert_eq!(superfluous(&path, &age(30), 89 * SECOND).unwrap().len(), 0);
    assert_eq!(superfluous(&path, &age(30), 90 * SECOND).unwrap(), [file(&path, 2)]);
    assert_eq!(prune(&path, &age(0), 1000 * SECOND).unwrap().len(), 2);
    assert_eq!(prune(&path, &Keep { bytes: Some(0), age: None }, 0).unwrap().len(), 0);
    assert_eq!(all(&path), 1);
    append(&mut writer, 9);
    writer.finish().unwrap();
    assert_eq!(open(&path).messages(), 100);
    assert_eq!(rest(&mut Reader::open(&path).unwrap()), (80..100).collect::<Vec<_>>());
}

#[test]
fn what_the_next_writer_has_to_know_is_never_removed() {
    let (_folder, path) = place();
    let mut writer = open(&path);
    append(&mut writer, 0);
    append(&mut writer, 1);
    writer.finish().unwrap();
    // Begun by a writer that was killed before it wrote anything into it.
    fs::write(file(&path, 1), "").unwrap();
    let nothing = Keep { bytes: Some(0), age: Some(Duration::ZERO) };
    assert_eq!(prune(&path, &nothing, u64::MAX).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(open(&path).end_of(0), Some(20 * 48));
}

#[test]
fn a_file_that_is_removed_under_a_reader_is_said_and_can_be_passed_over() {
    let (_folder, path) = place();
    let mut writer = open(&path);
    for block in 0..6 {
        append(&mut writer, block);
    }
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().id, 0);
    for number in 1..=1 {
        fs::remove_file(file(&path, number)).unwrap();
    }
    fs::remove_file(&path).unwrap();
    // It has the first one open, and reads on in that.
    for id in 1..20 {
        assert_eq!(reader.next().unwrap().unwrap().id, id);
    }
    let error = reader.next().unwrap_err();
    assert!(matches!(error, Error::Corrupt { damage: Damage::Removed, .. }), "{error}");
    reader.skip_damaged(true);
    assert_eq!(reader.next().unwrap().unwrap().id, 40);
    assert_eq!(reader.skipped().len(), 1);
    assert!(!reader.refresh().unwrap() || rest(&mut reader).len() == 19);
}

#[test]
fn a_journal_may_have_more_files_than_a_process_may_open() {
    let (_folder, path) = place();
    let mut options = rolled();
    options.roll_size = Some(1);
    let mut writer = Writer::open(&path, Source::default(), options).unwrap();
    for block in 0..1200 {
        append(&mut writer, block);
    }
    writer.finish().unwrap();
    let before = descriptors();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!((reader.segments().len(), rest(&mut reader).len()), (1200, 12_000));
    // Other tests run beside this one.
    assert!(descriptors() < before + 200);
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let (folder, path) = place();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(Reader::open(&path), Err(Error::NotAJournal { .. })));
    assert!(matches!(Reader::open(folder.path()), Err(Error::NotAJournal { .. })));
    assert!(Reader::open("/dev/zero").is_err());
}

/// Bytes of a block whose checksums are right, whatever it says.
fn block(offset: u64, stored: &[u8], edit: impl FnOnce(&mut [u8; 64])) -> Vec<u8> {
    let mut header = [0; 64];
    header[..4].copy_from_slice(b"AeJB");
    header[4] = 1;
    header[8..12].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    header[12..16].copy_from_slice(&(stored.len() as u32).to_le_bytes());
    let mut body = stored.to_vec();
    edit(&mut header);
    let lanes = u32::from_le_bytes(header[20..24].try_into().unwrap());
    for lane in 0..lanes {
        body.extend_from_slice(&u64::from(lane).to_le_bytes());
        body.extend_from_slice(&48_u64.to_le_bytes());
    }
    body.resize(body.len().next_multiple_of(8), 0);
    header[56..60].copy_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    let place = [&0_u32.to_le_bytes()[..], &offset.to_le_bytes(), &header[..60]].concat();
    header[60..].copy_from_slice(&crc32c::crc32c(&place).to_le_bytes());
    [&header[..], &body].concat()
}

/// The first record that `append` makes.
fn one_record() -> Vec<u8> {
    let mut record = vec![0; 72];
    record[32..36].copy_from_slice(&32_u32.to_le_bytes());
    record
}

#[test]
fn blocks_with_right_checksums_that_lie_are_damage() {
    let (_folder, path) = place();
    drop(open(&path));
    let start = fs::read(&path).unwrap();
    let damage = |block: Vec<u8>| {
        fs::write(&path, [&start[..], &block].concat()).unwrap();
        let report = verify(&path).unwrap();
        report.problems.first().map(|problem| problem.damage)
    };
    let one = |header: &mut [u8; 64]| {
        header[16] = 1;
        header[20] = 1;
    };
    assert_eq!(damage(block(64, &one_record(), one)), None, "the one to start from is sound");
    for (at, expected) in [
        (16, Damage::Record),
        (20, Damage::Lanes),
        (24, Damage::Header),
        (32, Damage::Header),
        (40, Damage::Header),
        (48, Damage::Header),
    ] {
        let lying = block(64, &one_record(), |header| {
            one(header);
            header[at] ^= if at == 20 { 1 } else { 2 };
        });
        assert_eq!(damage(lying), Some(expected), "byte {at}");
    }
    let none = block(64, &[], |_| {});
    assert_eq!(damage(none), Some(Damage::Record), "a block without a record");
    let long = block(64, &one_record(), |header| {
        one(header);
        header[5] = 1;
        header[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    });
    assert_eq!(damage(long), None, "more than any writer makes is no block, and so torn");
    assert_eq!(verify(&path).unwrap().torn_bytes, 64 + 72 + 16);
}

#[test]
fn a_block_that_claims_to_become_more_than_it_does_takes_no_more_memory_than_it_becomes() {
    let (_folder, path) = place();
    drop(open(&path));
    let start = fs::read(&path).unwrap();
    let small = zstd_of(&one_record());
    let lying = block(64, &small, |header| {
        header[5] = 1;
        header[16] = 1;
        header[20] = 1;
        // A GiB, of which there are 72 bytes.
        header[12..16].copy_from_slice(&(1_u32 << 30).to_le_bytes());
    });
    fs::write(&path, [&start[..], &lying].concat()).unwrap();
    let before = peak();
    assert_eq!(verify(&path).unwrap().problems[0].damage, Damage::Compression);
    assert!(peak() < before + (256 << 20), "{} bytes", peak() - before);
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

/// The most memory that this process has had.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[test]
fn numbers_at_their_ends_are_errors_and_not_overflows() {
    let (folder, path) = place();
    let mut writer = open(&path);
    append(&mut writer, 0);
    append(&mut writer, 1);
    writer.finish().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // The last number that a file can have, and all the messages that there can be before it.
    bytes[12..24].fill(0xFF);
    let checksum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    let last = folder.path().join("high.4294967295");
    fs::write(&last, &bytes[..64]).unwrap();
    let high = folder.path().join("high");
    let mut reader = Reader::open(&high).unwrap();
    assert_eq!((reader.end(), rest(&mut reader), reader.refresh().unwrap()), (u64::MAX, vec![], false));
    let mut writer = open(&high);
    append(&mut writer, 0);
    append(&mut writer, 1);
    let record = Record { time: 0, id: 0, message_type: 0, lane: 0, position: 48 * 20, payload: &[0; 1000] };
    writer.append(&record).unwrap();
    assert!(matches!(writer.write_block(), Err(Error::LastNumber { .. })));
    drop(writer);
    let mut reader = Reader::open(&high).unwrap();
    assert_eq!(rest(&mut reader).len(), 20);
    assert!(!reader.seek_index(u64::MAX).unwrap());
    File::open(&last).unwrap();
}
