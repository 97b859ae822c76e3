//! What is promised of a journal, whatever happens to its writer and its files.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use aether_journal::{Compression, Damage, Error, Options, Reader, Record, Source, Sync, Writer, verify};
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

const SECOND: u64 = 1_000_000_000;

/// Message number `n` of a lane in which each takes 48 bytes, a second after the one before.
fn record(n: u64, payload: &[u8; 32]) -> Record<'_> {
    Record { time: n * SECOND, id: n as i64, message_type: 7, lane: 0, position: n * 48, payload }
}

fn payload(n: u64) -> [u8; 32] {
    std::array::from_fn(|index| (n as u8).wrapping_mul(31).wrapping_add(index as u8))
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("journal");
    (folder, path)
}

fn options(compression: Compression) -> Options {
    let mut options = Options::default();
    options.compression = compression;
    options
}

fn append(writer: &mut Writer, numbers: std::ops::Range<u64>) {
    for n in numbers {
        assert!(writer.append(&record(n, &payload(n))).unwrap());
    }
    writer.write_block().unwrap();
}

fn open(path: &Path, options: &Options) -> Writer {
    Writer::open(path, Source::default(), options.clone()).unwrap()
}

/// Blocks of ten messages each.
fn write(path: &Path, options: &Options, blocks: u64) -> Writer {
    let mut writer = open(path, options);
    for block in 0..blocks {
        append(&mut writer, block * 10..block * 10 + 10);
    }
    writer
}

/// The ids of all messages, each of which has its own payload.
fn ids(path: &Path) -> Vec<u64> {
    let mut reader = Reader::open(path).unwrap();
    rest(&mut reader).unwrap()
}

fn rest(reader: &mut Reader) -> Result<Vec<u64>, Error> {
    let mut ids = Vec::new();
    while let Some(found) = reader.next()? {
        let n = found.id as u64;
        assert_eq!(found, record(n, &payload(n)));
        ids.push(n);
    }
    Ok(ids)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

const BOTH: [Compression; 2] = [Compression::None, Compression::Zstd(3)];

#[test]
fn what_was_written_is_read_again_also_while_the_writer_is_there() {
    for compression in BOTH {
        let (_folder, path) = place();
        let mut writer = write(&path, &options(compression), 3);
        assert!(writer.append(&record(30, &payload(30))).unwrap());
        assert_eq!((writer.messages(), writer.pending()), (30, 1));
        assert_eq!(ids(&path), (0..30).collect::<Vec<_>>());
        writer.finish().unwrap();
        assert_eq!(ids(&path), (0..31).collect::<Vec<_>>());
    }
}

#[test]
fn a_writer_goes_on_where_the_last_one_ended_however_that_was() {
    for compression in BOTH {
        let (_folder, path) = place();
        let options = options(compression);
        write(&path, &options, 1).finish().unwrap();
        drop({
            let mut writer = open(&path, &options);
            append(&mut writer, 10..20);
            writer
        });
        let mut writer = open(&path, &options);
        assert_eq!((writer.messages(), writer.cut(), writer.end_of(0)), (20, 0, Some(20 * 48)));
        append(&mut writer, 20..30);
        writer.finish().unwrap();
        assert_eq!(ids(&path), (0..30).collect::<Vec<_>>());
    }
}

#[test]
fn what_the_journal_has_already_is_left_out() {
    let (_folder, path) = place();
    drop(write(&path, &Options::default(), 2));
    let mut writer = open(&path, &Options::default());
    for n in 15..25 {
        assert_eq!(writer.append(&record(n, &payload(n))).unwrap(), n >= 20, "{n}");
    }
    writer.finish().unwrap();
    assert_eq!(ids(&path), (0..25).collect::<Vec<_>>());
}

/// As a kill in the middle of a write leaves it.
#[test]
fn a_journal_cut_short_anywhere_has_its_whole_blocks_and_goes_on() {
    for compression in BOTH {
        let (folder, path) = place();
        let options = options(compression);
        let mut ends = vec![64];
        let mut writer = open(&path, &options);
        for block in 0..3 {
            append(&mut writer, block * 10..block * 10 + 10);
            ends.push(length(&path));
        }
        writer.finish().unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            let path = folder.path().join(format!("cut-{cut}"));
            fs::write(&path, &whole[..cut]).unwrap();
            let kept = 10 * ends[1..].iter().filter(|&&end| end <= cut as u64).count() as u64;
            if cut >= 64 {
                assert_eq!(ids(&path), (0..kept).collect::<Vec<_>>(), "cut at {cut}");
                assert_eq!(verify(&path).unwrap().problems, [], "cut at {cut}");
            }
            let mut writer = open(&path, &options);
            assert_eq!(writer.messages(), kept, "cut at {cut}");
            let end = ends.iter().rev().find(|&&end| end <= cut as u64);
            assert_eq!(writer.cut(), end.map_or(0, |end| cut as u64 - end), "cut at {cut}");
            append(&mut writer, kept..kept + 10);
            writer.finish().unwrap();
            assert_eq!(ids(&path), (0..kept + 10).collect::<Vec<_>>(), "cut at {cut}");
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn a_last_block_without_its_content_as_a_crash_of_the_machine_leaves_it_is_cut() {
    let (_folder, path) = place();
    drop(write(&path, &options(Compression::None), 3));
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 300..].fill(0);
    fs::write(&path, &bytes).unwrap();
    let report = verify(&path).unwrap();
    assert_eq!((report.messages, report.problems.len(), report.problems[0].damage), (20, 1, Damage::Checksum));
    let mut writer = open(&path, &options(Compression::None));
    assert_eq!((writer.messages(), writer.cut()), (20, (end as u64 - 64) / 3));
    append(&mut writer, 20..30);
    assert_eq!(ids(&path), (0..30).collect::<Vec<_>>());
}

#[test]
fn damage_that_is_not_at_the_end_is_reported_and_changes_nothing() {
    for (at, damage) in [(64, Damage::NoBlock), (64 + 64 + 5, Damage::Checksum)] {
        let (_folder, path) = place();
        drop(write(&path, &options(Compression::None), 3));
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();

        let mut reader = Reader::open(&path).unwrap();
        for _ in 0..2 {
            let error = reader.next().unwrap_err();
            assert!(matches!(error, Error::Corrupt { offset: 64, damage: found, .. } if found == damage), "{error}");
        }
        reader.skip_damaged(true);
        assert_eq!(rest(&mut reader).unwrap(), (10..30).collect::<Vec<_>>());
        assert_eq!((reader.skipped().len(), reader.skipped()[0].damage), (1, damage));
        let report = verify(&path).unwrap();
        assert_eq!((report.messages, report.problems), (20, reader.skipped().to_vec()));

        let refused = Writer::open(&path, Source::default(), Options::default());
        assert!(matches!(refused, Err(Error::Corrupt { offset: 64, .. })));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_new_file_is_begun_by_size() {
    let (_folder, path) = place();
    let mut options = options(Compression::None);
    options.roll_size = Some(1000);
    let writer = write(&path, &options, 6);
    assert_eq!(writer.messages(), 60);
    drop(writer);
    let reader = Reader::open(&path).unwrap();
    let files: Vec<_> = reader.segments().iter().map(|file| (file.messages(), file.is_sealed())).collect();
    // A block takes 64 + 10 × 72 + 16 bytes: the second one reaches the size.
    assert_eq!(files, [(20, true), (20, true), (20, false)]);
    assert_eq!(reader.segments()[2].path().extension().unwrap(), "000002");
    assert_eq!(ids(&path), (0..60).collect::<Vec<_>>());

    let mut writer = open(&path, &options);
    assert_eq!((writer.messages(), writer.end_of(0)), (60, Some(60 * 48)));
    append(&mut writer, 60..70);
    writer.finish().unwrap();
    assert_eq!(ids(&path), (0..70).collect::<Vec<_>>());
}

#[test]
fn a_new_file_is_begun_by_time() {
    let (_folder, path) = place();
    let mut options = Options::default();
    options.roll_interval = Some(Duration::from_secs(20));
    write(&path, &options, 5).finish().unwrap();
    let reader = Reader::open(&path).unwrap();
    // The last message of the second block is 19 seconds behind the first of all, that of the third 29.
    let files: Vec<_> = reader.segments().iter().map(|file| (file.messages(), file.times().unwrap())).collect();
    assert_eq!(files, [(20, (0, 19 * SECOND)), (20, (20 * SECOND, 39 * SECOND)), (10, (40 * SECOND, 49 * SECOND))]);
}

#[test]
fn seeking_finds_the_first_message_of_an_id_or_a_time_with_and_without_an_index() {
    let (_folder, path) = place();
    let mut options = options(Compression::Zstd(1));
    options.roll_size = Some(700);
    drop(write(&path, &options, 9));
    for sealed in [false, true] {
        if sealed {
            open(&path, &options).finish().unwrap();
        }
        let mut reader = Reader::open(&path).unwrap();
        assert!(reader.segments().len() > 2);
        assert_eq!(reader.segments().last().unwrap().is_sealed(), sealed);
        for n in (0..90).rev() {
            assert!(reader.seek_id(n as i64).unwrap());
            assert_eq!(reader.next().unwrap().unwrap().id, n as i64);
            assert!(reader.seek_time(n * SECOND).unwrap());
            assert_eq!(rest(&mut reader).unwrap(), (n..90).collect::<Vec<_>>());
            assert!(reader.seek_time((n * SECOND).saturating_sub(1)).unwrap());
            assert_eq!(reader.next().unwrap().unwrap().id, n as i64);
        }
        assert!(!reader.seek_id(90).unwrap() && !reader.seek_time(89 * SECOND + 1).unwrap());
        assert_eq!(reader.next().unwrap(), None);
        assert!(reader.seek_id(i64::MIN).unwrap());
        assert_eq!(rest(&mut reader).unwrap().len(), 90);
    }
}

#[test]
fn the_last_block_is_found_whichever_file_it_is_in() {
    let (_folder, path) = place();
    let mut options = Options::default();
    options.roll_size = Some(100);
    let writer = open(&path, &options);
    assert!(!Reader::open(&path).unwrap().seek_last_block().unwrap());
    drop(writer);
    write(&path, &options, 3).finish().unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert!(reader.seek_last_block().unwrap());
    assert_eq!(rest(&mut reader).unwrap(), (20..30).collect::<Vec<_>>());
}

#[test]
fn times_never_go_back_even_if_the_clock_does() {
    let (_folder, path) = place();
    let mut writer = open(&path, &Options::default());
    for (n, time) in [(0, 100), (1, 50), (2, 150)] {
        writer.append(&Record { time, ..record(n, &payload(n)) }).unwrap();
    }
    writer.write_block().unwrap();
    drop(writer);
    let mut writer = open(&path, &Options::default());
    writer.append(&Record { time: 7, ..record(3, &payload(3)) }).unwrap();
    writer.finish().unwrap();
    let mut reader = Reader::open(&path).unwrap();
    let times: Vec<u64> = std::iter::from_fn(|| reader.next().unwrap().map(|record| record.time)).collect();
    assert_eq!(times, [100, 100, 150, 150]);
}

#[test]
fn lanes_are_told_apart_and_gaps_are_counted() {
    let (_folder, path) = place();
    let mut writer = open(&path, &Options::default());
    for (lane, position) in [(0, 0), (255, 960), (0, 48), (255, 1008), (0, 192)] {
        assert!(writer.append(&Record { lane, position, ..record(1, &payload(1)) }).unwrap());
    }
    assert!(!writer.append(&Record { lane: 255, position: 1008, ..record(1, &payload(1)) }).unwrap());
    let error = writer.append(&Record { lane: 256, ..record(1, &payload(1)) }).unwrap_err();
    assert!(error.to_string().contains("lane 256"), "{error}");
    writer.finish().unwrap();
    let report = verify(&path).unwrap();
    assert_eq!((report.messages, report.payload_bytes, report.gaps, report.missing_bytes), (5, 160, 1, 96));
    assert_eq!(report.problems, []);
}

#[test]
fn a_journal_of_another_ring_is_refused() {
    let (_folder, path) = place();
    drop(write(&path, &Options::default(), 1));
    let other = Source { identity: [1, 2], ..Source::default() };
    let error = Writer::open(&path, other, Options::default()).unwrap_err();
    assert!(matches!(error, Error::OtherSource { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn only_the_same_user_may_read_a_journal() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = place();
    let mut options = Options::default();
    options.roll_size = Some(1);
    drop(write(&path, &options, 2));
    for file in fs::read_dir(folder.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_second_writer_is_refused() {
    let (_folder, path) = place();
    let mut options = options(Compression::None);
    options.roll_size = Some(100);
    let mut writer = write(&path, &options, 3);
    let error = Writer::open(&path, Source::default(), Options::default()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    append(&mut writer, 30..40);
    drop(writer);
    assert_eq!(open(&path, &options).messages(), 40);
}

#[test]
fn a_file_that_is_no_journal_is_left_as_it_is() {
    for content in
        [&b"hello"[..], &[b'x'; 5000], b"AETHJRNL and nothing that follows from that, to a length of 64 bytes"]
    {
        let (_folder, path) = place();
        fs::write(&path, content).unwrap();
        for error in [Writer::open(&path, Source::default(), Options::default()).err(), Reader::open(&path).err()] {
            let error = error.unwrap();
            let known = matches!(error, Error::NotAJournal { .. } | Error::Version { .. });
            assert!(known && error.to_string().contains("journal"), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let (_folder, path) = place();
    assert!(matches!(Reader::open(&path), Err(Error::NotFound { .. })));
}

#[test]
fn old_files_may_be_removed_but_not_those_in_between() {
    let (folder, path) = place();
    let mut options = options(Compression::None);
    options.roll_size = Some(100);
    write(&path, &options, 4).finish().unwrap();
    fs::write(folder.path().join("journal.000009.txt"), "not one of them").unwrap();
    fs::write(folder.path().join("journal.1"), "not one of them").unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(ids(&path), (10..40).collect::<Vec<_>>());
    let mut writer = open(&path, &options);
    assert_eq!(writer.messages(), 40);
    append(&mut writer, 40..50);
    drop(writer);
    fs::remove_file(folder.path().join("journal.000002")).unwrap();
    let error = Reader::open(&path).unwrap_err();
    assert!(error.to_string().contains("journal.000002"), "{error}");
}

#[test]
fn a_file_that_is_not_the_last_and_lost_its_end_is_damage_and_not_a_torn_block() {
    let (_folder, path) = place();
    let mut options = options(Compression::None);
    options.roll_size = Some(1000);
    write(&path, &options, 4).finish().unwrap();
    let first = File::options().write(true).open(&path).unwrap();
    first.set_len(64 + 800).unwrap();
    let report = verify(&path).unwrap();
    assert_eq!((report.messages, report.problems.len(), report.problems[0].damage), (30, 1, Damage::Unsealed));
}

#[test]
fn a_next_file_without_a_header_is_begun_anew() {
    let (folder, path) = place();
    let mut options = options(Compression::None);
    options.roll_size = Some(100);
    write(&path, &options, 2).finish().unwrap();
    fs::write(folder.path().join("journal.000002"), "AETHJ").unwrap();
    assert_eq!(ids(&path), (0..20).collect::<Vec<_>>());
    let mut writer = open(&path, &options);
    assert_eq!((writer.messages(), writer.end_of(0)), (20, Some(20 * 48)));
    append(&mut writer, 20..30);
    assert_eq!(ids(&path), (0..30).collect::<Vec<_>>());
}

#[test]
fn waiting_for_the_disk_changes_nothing_in_the_bytes() {
    let (_folder, path) = place();
    let (_other, synced) = place();
    let mut options = options(Compression::None);
    options.roll_size = Some(100);
    write(&path, &options, 2).finish().unwrap();
    options.sync = Sync::Block;
    write(&synced, &options, 2).finish().unwrap();
    assert_eq!(fs::read(path).unwrap(), fs::read(synced).unwrap());
}

/// What happens to a file.
#[derive(Debug, Clone)]
enum Harm {
    Flip { at: prop::sample::Index, bits: u8 },
    Cut { at: prop::sample::Index },
    Fill { at: prop::sample::Index, length: usize, byte: u8 },
    Append { bytes: Vec<u8> },
    Copy { from: prop::sample::Index, to: prop::sample::Index, length: usize },
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 1..=255_u8).prop_map(|(at, bits)| Harm::Flip { at, bits }),
        at().prop_map(|at| Harm::Cut { at }),
        (at(), 1..400_usize, any::<u8>()).prop_map(|(at, length, byte)| Harm::Fill { at, length, byte }),
        prop::collection::vec(any::<u8>(), 1..200).prop_map(|bytes| Harm::Append { bytes }),
        (at(), at(), 1..1000_usize).prop_map(|(from, to, length)| Harm::Copy { from, to, length }),
    ]
}

fn do_harm(bytes: &mut Vec<u8>, harm: &Harm) {
    if bytes.is_empty() {
        return;
    }
    let size = bytes.len();
    match harm {
        Harm::Flip { at, bits } => bytes[at.index(size)] ^= bits,
        Harm::Cut { at } => bytes.truncate(at.index(size)),
        Harm::Fill { at, length, byte } => {
            let at = at.index(size);
            bytes[at..size.min(at + length)].fill(*byte);
        }
        Harm::Append { bytes: more } => bytes.extend_from_slice(more),
        Harm::Copy { from, to, length } => {
            let (from, to) = (from.index(size), to.index(size));
            let length = (*length).min(size - from).min(size - to);
            bytes.copy_within(from..from + length, to);
        }
    }
}

proptest! {
    /// Nothing panics, nothing hangs, and no message is given that was not written.
    #[test]
    fn whatever_happens_to_a_file_only_messages_that_were_written_come_out(
        harms in prop::collection::vec(harm(), 1..4),
        compressed: bool,
        sealed: bool,
        rolled: bool,
    ) {
        let (_folder, path) = place();
        let mut options = options(BOTH[usize::from(compressed)]);
        options.roll_size = rolled.then_some(900);
        let writer = write(&path, &options, 5);
        if sealed {
            writer.finish().unwrap();
        } else {
            drop(writer);
        }
        let mut bytes = fs::read(&path).unwrap();
        harms.iter().for_each(|harm| do_harm(&mut bytes, harm));
        fs::write(&path, &bytes).unwrap();

        if let Ok(mut reader) = Reader::open(&path) {
            reader.skip_damaged(true);
            let ids = rest(&mut reader).unwrap();
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
            prop_assert!(ids.iter().all(|&id| id < 50));
            let _ = (reader.seek_id(25).unwrap(), reader.seek_time(40 * SECOND).unwrap());
            reader.skip_damaged(false);
            let end = reader.seek_id(i64::MIN).and_then(|_| rest(&mut reader));
            let expected = matches!(end, Ok(_) | Err(Error::Corrupt { .. }));
            prop_assert!(expected, "{end:?}");
            prop_assert_eq!(verify(&path).unwrap().messages, ids.len() as u64);
        }
        if let Ok(mut writer) = Writer::open(&path, Source::default(), options) {
            writer.append(&record(1000, &payload(1000))).unwrap();
            writer.write_block().unwrap();
            let mut reader = match Reader::open(&path) {
                Ok(reader) => reader,
                // The first of several files has no sound header any more; the writer looks at the last one.
                Err(error) => {
                    let known = matches!(error, Error::NotAJournal { .. } | Error::Version { .. });
                    prop_assert!(rolled && known, "{error}");
                    return Ok(());
                }
            };
            reader.skip_damaged(true);
            prop_assert_eq!(rest(&mut reader).unwrap().pop(), Some(1000));
        }
    }
}
