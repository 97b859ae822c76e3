//! Files whose bytes may not change: read, and made anew byte for byte. And `docs/format.md`, held against real files.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aether_ipc::{Buffer, Consumer, Error, Flow, Format, Observer, Options, Overflow};
use tempfile::{TempDir, tempdir};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn golden(name: &str) -> PathBuf {
    repository("testdata").join(name)
}

/// The payload that `testdata/README.md` describes.
fn payload(id: i64, length: usize) -> Vec<u8> {
    (0..length).map(|index| (id as u8).wrapping_add(index as u8)).collect()
}

/// Id, type and length of the payload.
type Message = (i64, i32, usize);

fn offer(buffer: &Buffer, messages: &[Message]) {
    let mut producer = buffer.producer().unwrap();
    for &(id, message_type, length) in messages {
        producer.offer(id, message_type, &payload(id, length)).unwrap();
    }
}

/// Reads up to `limit` messages and checks their payloads.
fn read(consumer: &mut Consumer, limit: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    consumer
        .drain(limit, |message| {
            assert_eq!(message.payload(), payload(message.id(), message.payload().len()));
            messages.push((message.id(), message.message_type(), message.payload().len()));
            Flow::Continue
        })
        .unwrap();
    messages
}

fn options() -> Options {
    Buffer::options().capacity(1024)
}

fn not_wrapped(options: &Options, path: &Path) {
    let buffer = options.create_new(path).unwrap();
    offer(&buffer, &[(1, 7, 11), (-2, -1, 0), (i64::MAX, i32::MIN, 256), (i64::MIN, i32::MAX, 9)]);
    assert_eq!(read(&mut buffer.consumer().unwrap(), 1).len(), 1);
}

fn wrapped(options: &Options, path: &Path) {
    let buffer = options.create_new(path).unwrap();
    offer(&buffer, &[(1, 1, 300), (2, 1, 300), (3, 1, 300), (4, 1, 36)]);
    assert_eq!(read(&mut buffer.consumer().unwrap(), 3).len(), 3);
    offer(&buffer, &[(5, 1, 200), (6, 1, 1)]);
}

fn lanes(path: &Path) {
    let bus = options().producers(2).consumers(3).sequence(true).create_new(path).unwrap();
    let (_audit, mut billing) = (bus.consumer_named("audit").unwrap(), bus.consumer_named("billing").unwrap());
    let (mut first, mut second) = (bus.producer().unwrap(), bus.producer().unwrap());
    // The ids given are not used, but the payloads are made from those that they get.
    first.offer(-1, 10, &payload(0, 5)).unwrap();
    second.offer(-1, 11, &payload(1, 6)).unwrap();
    assert_eq!(read(&mut billing, 2), [(0, 10, 5), (1, 11, 6)]);
    drop(bus.consumer().unwrap());
    first.offer(-1, 12, &payload(2, 100)).unwrap();
    second.offer(-1, 13, &payload(3, 7)).unwrap();
}

fn dropped(path: &Path) {
    let buffer = options().overflow(Overflow::DropOldest).create_new(path).unwrap();
    offer(&buffer, &(0..40).map(|id| (id, 3, 48)).collect::<Vec<_>>());
}

/// Makes all files in `directory`. Returns their names.
fn make_all(directory: &Path) -> Vec<&'static str> {
    let classic = options().classic(true);
    let checksums = options().checksums(true);
    not_wrapped(&classic, &directory.join("classic.ring"));
    wrapped(&classic, &directory.join("classic-wrapped.ring"));
    not_wrapped(&options(), &directory.join("extended.ring"));
    wrapped(&options(), &directory.join("extended-wrapped.ring"));
    wrapped(&checksums, &directory.join("checksums.ring"));
    lanes(&directory.join("lanes.ring"));
    dropped(&directory.join("dropped.ring"));
    vec![
        "checksums.ring",
        "classic-wrapped.ring",
        "classic.ring",
        "dropped.ring",
        "extended-wrapped.ring",
        "extended.ring",
        "lanes.ring",
    ]
}

/// Where two files differ first, and how many bytes do.
fn difference(found: &[u8], expected: &[u8]) -> Option<String> {
    let differ: Vec<usize> =
        (0..found.len().max(expected.len())).filter(|&at| found.get(at) != expected.get(at)).collect();
    let first = *differ.first()?;
    Some(format!("{:#x}: {:?}, not {:?}; {} bytes differ", first, found.get(first), expected.get(first), differ.len()))
}

#[test]
fn each_file_comes_out_the_same_byte_for_byte_when_made_anew() {
    let folder = tempdir().unwrap();
    let names = make_all(folder.path());
    if std::env::var_os("AETHER_WRITE_GOLDEN").is_some() {
        for name in &names {
            fs::copy(folder.path().join(name), golden(name)).unwrap();
        }
    }
    for name in &names {
        let made = fs::read(folder.path().join(name)).unwrap();
        let kept = fs::read(golden(name)).unwrap();
        assert_eq!(difference(&made, &kept), None, "{name}");
    }
    let mut kept: Vec<String> =
        fs::read_dir(repository("testdata")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    kept.retain(|name| name.ends_with(".ring"));
    kept.sort();
    assert_eq!(kept, names, "a file that no test makes");
}

/// A copy of a golden file that may be changed.
fn copy(name: &str) -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join(name);
    fs::copy(golden(name), &path).unwrap();
    (folder, path)
}

/// What waits in `name`, as `testdata/README.md` has it.
fn documented(name: &str) -> Vec<Message> {
    let readme = fs::read_to_string(golden("README.md")).unwrap();
    let row = readme.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).expect("a row for each file");
    let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
    let message = |text: &str| {
        let parts: Vec<&str> = text.split('/').map(str::trim).collect();
        let [id, message_type, length] = parts[..] else { panic!("{text}") };
        (id.parse().unwrap(), message_type.parse().unwrap(), length.parse().unwrap())
    };
    cell.split(',').map(message).collect()
}

#[test]
fn each_file_reads_as_documented_and_reading_writes_nothing_but_the_read_cursor() {
    for (name, format, write, read_cursor) in [
        ("classic.ring", Format::Classic, 32 + 16 + 272 + 32, 32),
        ("classic-wrapped.ring", Format::Classic, 1016 + 216 + 24, 960),
        ("extended.ring", Format::Extended, 32 + 16 + 272 + 32, 32),
        ("extended-wrapped.ring", Format::Extended, 1016 + 216 + 24, 960),
        ("checksums.ring", Format::Extended, 1016 + 224 + 24, 960),
    ] {
        let expected = documented(name);
        let observer = Observer::open(golden(name)).unwrap();
        let info = observer.info().unwrap();
        assert_eq!((info.format, info.capacity), (format, 1024), "{name}");
        assert_eq!((info.write_cursor(), info.read_cursor()), (write, read_cursor), "{name}");
        assert_eq!(observer.count_messages().unwrap(), expected.len() as u64);
        assert_eq!(aether_ipc::recovery::verify(golden(name)).unwrap().problems, []);

        let (_folder, path) = copy(name);
        let buffer = Buffer::open(&path).unwrap();
        assert_eq!(read(&mut buffer.consumer().unwrap(), 10), expected, "{name}");
        let (mut found, kept) = (fs::read(&path).unwrap(), fs::read(golden(name)).unwrap());
        assert_eq!(found[0x080..0x088], u64::to_le_bytes(write));
        found[0x080..0x088].copy_from_slice(&kept[0x080..0x088]);
        assert_eq!(difference(&found, &kept), None, "{name}");
    }
}

#[test]
fn the_file_with_lanes_reads_as_documented() {
    let (_folder, path) = copy("lanes.ring");
    let bus = Buffer::open(&path).unwrap();
    let info = bus.observer().info().unwrap();
    assert_eq!((info.lanes.len(), info.consumer_slots, info.sequence, info.version), (2, 3, true, 1));
    let places: Vec<_> = info.consumers.iter().map(|c| (c.name.as_deref(), c.durable, c.holder, c.lag)).collect();
    assert_eq!(places, [(Some("audit"), true, None, 24 + 120 + 24 + 24), (Some("billing"), true, None, 120 + 24)]);
    let mut audit = bus.consumer_named("audit").unwrap();
    audit.set_merge(aether_ipc::Merge::ById);
    assert_eq!(read(&mut audit, 10), [(0, 10, 5), (1, 11, 6), (2, 12, 100), (3, 13, 7)]);
    let mut billing = bus.consumer_named("billing").unwrap();
    billing.set_merge(aether_ipc::Merge::ById);
    assert_eq!(read(&mut billing, 10), [(2, 12, 100), (3, 13, 7)]);
    // The sequence goes on.
    bus.producer().unwrap().offer(-1, 0, b"").unwrap();
    assert_eq!(read(&mut audit, 10), [(4, 0, 0)]);
}

#[test]
fn the_file_that_dropped_messages_reads_as_documented() {
    let (_folder, path) = copy("dropped.ring");
    let mut consumer = Buffer::open(&path).unwrap().consumer().unwrap();
    let lagged = consumer.poll(|_| Flow::Continue);
    assert!(matches!(lagged, Err(Error::Lagged { bytes: 1536 })), "{lagged:?}");
    assert_eq!(read(&mut consumer, 100), (24..40).map(|id| (id, 3, 48)).collect::<Vec<_>>());
}

/// Puts pieces at their offsets into a file of zeros.
fn assemble(size: usize, pieces: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; size];
    for (offset, bytes) in pieces {
        file[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    file
}

/// By hand, from the format's text alone.
#[test]
fn the_classic_files_are_what_the_format_says_when_put_together_by_hand() {
    let up: Vec<u8> = (0..=255).map(|byte: u8| byte.wrapping_add(0xFF)).collect();
    let expected = assemble(
        0x180 + 1024,
        &[
            (0x000, &[0x60, 0x01, 0, 0, 0, 0, 0, 0]), // write cursor: 32 + 16 + 272 + 32 = 352
            (0x080, &[0x20, 0, 0, 0, 0, 0, 0, 0]),    // read cursor: 32
            (0x100, &[0x00, 0x04, 0, 0]),             // capacity: 1024
            // Released, and still there: id 1, length 27, type 7, 11 bytes, 5 of padding.
            (0x180, &[1, 0, 0, 0, 0, 0, 0, 0, 27, 0, 0, 0, 7, 0, 0, 0]),
            (0x190, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
            // id -2, length 16, type -1.
            (0x1A0, &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 16, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
            // id 2^63 - 1, length 272, type -2^31, 256 bytes from 0xFF on.
            (0x1B0, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x10, 0x01, 0, 0, 0, 0, 0, 0x80]),
            (0x1C0, &up),
            // id -2^63, length 25, type 2^31 - 1, 9 bytes.
            (0x2C0, &[0, 0, 0, 0, 0, 0, 0, 0x80, 25, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x7F]),
            (0x2D0, &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ],
    );
    assert_eq!(difference(&fs::read(golden("classic.ring")).unwrap(), &expected), None);

    let count = |from: u8, length: usize| -> Vec<u8> { (0..length).map(|k| from.wrapping_add(k as u8)).collect() };
    let expected = assemble(
        0x180 + 1024,
        &[
            (0x000, &[0xE8, 0x04, 0, 0, 0, 0, 0, 0]), // write cursor: 1016 + 216 + 24 = 1256
            (0x080, &[0xC0, 0x03, 0, 0, 0, 0, 0, 0]), // read cursor: 960
            (0x100, &[0x00, 0x04, 0, 0]),
            // The first three, at 0, 320 and 640, each of 316 bytes and 4 of padding.
            (0x180, &[1, 0, 0, 0, 0, 0, 0, 0, 0x3C, 0x01, 0, 0, 1, 0, 0, 0]),
            (0x190, &count(1, 300)),
            (0x2C0, &[2, 0, 0, 0, 0, 0, 0, 0, 0x3C, 0x01, 0, 0, 1, 0, 0, 0]),
            (0x2D0, &count(2, 300)),
            (0x400, &[3, 0, 0, 0, 0, 0, 0, 0, 0x3C, 0x01, 0, 0, 1, 0, 0, 0]),
            (0x410, &count(3, 300)),
            // At 960: 52 bytes and 4 of padding.
            (0x540, &[4, 0, 0, 0, 0, 0, 0, 0, 52, 0, 0, 0, 1, 0, 0, 0]),
            (0x550, &count(4, 36)),
            // At 1016: the id is the last of the data section, the rest of the header the first. Length 216.
            (0x578, &[5, 0, 0, 0, 0, 0, 0, 0]),
            (0x180, &[216, 0, 0, 0, 1, 0, 0, 0]),
            (0x188, &count(5, 200)),
            // At 1232, which is 208: one byte; what stands in its padding was written by a message before.
            (0x250, &[6, 0, 0, 0, 0, 0, 0, 0, 17, 0, 0, 0, 1, 0, 0, 0]),
            (0x260, &[6]),
        ],
    );
    assert_eq!(difference(&fs::read(golden("classic-wrapped.ring")).unwrap(), &expected), None);
}

mod document {
    //! `docs/format.md`, held against files that differ in every word it names.

    use std::{collections::HashMap, fs::File};

    use super::*;

    /// The tables' rows by the name in their third column: offset as written, and size.
    fn tables() -> HashMap<String, (String, usize)> {
        let text = fs::read_to_string(repository("docs/format.md")).unwrap();
        let mut rows = HashMap::new();
        for line in text.lines().filter(|line| line.starts_with("| 0x")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if let [_, offset, size, name, _, _] = cells[..] {
                let row = (offset.to_owned(), size.parse().unwrap());
                assert!(rows.insert(name.trim_matches('`').to_owned(), row).is_none(), "{name} stands there twice");
            }
        }
        rows
    }

    /// The value of sums and products of numbers and the letters of `values`, with parentheses.
    fn evaluate(text: &str, values: &HashMap<char, u64>) -> u64 {
        fn sum(text: &mut &str, values: &HashMap<char, u64>) -> u64 {
            let mut total = product(text, values);
            loop {
                match take(text, &['+', '-']) {
                    Some('+') => total += product(text, values),
                    Some(_) => total -= product(text, values),
                    None => return total,
                }
            }
        }
        fn product(text: &mut &str, values: &HashMap<char, u64>) -> u64 {
            let mut total = atom(text, values);
            while take(text, &['×']).is_some() {
                total *= atom(text, values);
            }
            total
        }
        fn atom(text: &mut &str, values: &HashMap<char, u64>) -> u64 {
            if take(text, &['(']).is_some() {
                let total = sum(text, values);
                assert_eq!(take(text, &[')']), Some(')'), "{text}");
                return total;
            }
            *text = text.trim_start();
            let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            *text = rest;
            match word.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
                None => word.parse().unwrap_or_else(|_| values[&word.chars().next().unwrap()]),
            }
        }
        fn take(text: &mut &str, wanted: &[char]) -> Option<char> {
            let trimmed = text.trim_start();
            let first = trimmed.chars().next().filter(|c| wanted.contains(c))?;
            *text = &trimmed[first.len_utf8()..];
            Some(first)
        }
        let mut rest = text;
        let value = sum(&mut rest, values);
        assert_eq!(rest.trim(), "", "{text:?} was not understood");
        value
    }

    /// A file whose words are looked up by the names in the document.
    struct Document {
        path: PathBuf,
        tables: HashMap<String, (String, usize)>,
        lanes: u64,
        consumers: u64,
    }

    impl Document {
        fn offset(&self, name: &str, lane: u64, consumer: u64) -> usize {
            let values = HashMap::from([('L', self.lanes), ('C', self.consumers), ('l', lane), ('c', consumer)]);
            let (offset, _) = self.tables.get(name).unwrap_or_else(|| panic!("{name} is not in the document"));
            evaluate(offset, &values) as usize
        }

        fn bytes(&self, name: &str, lane: u64, consumer: u64) -> Vec<u8> {
            let start = self.offset(name, lane, consumer);
            fs::read(&self.path).unwrap()[start..start + self.tables[name].1].to_vec()
        }

        fn word(&self, name: &str) -> u64 {
            self.word_of(name, 0, 0)
        }

        fn word_of(&self, name: &str, lane: u64, consumer: u64) -> u64 {
            let mut word = [0; 8];
            let bytes = self.bytes(name, lane, consumer);
            word[..bytes.len()].copy_from_slice(&bytes);
            u64::from_le_bytes(word)
        }
    }

    #[test]
    fn the_offsets_of_the_fixed_header_are_those_of_the_document() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("ring");
        options().capacity(2048).producers(3).consumers(5).checksums(true).sequence(true).create_new(&path).unwrap();
        let file = Document { path, tables: tables(), lanes: 3, consumers: 5 };
        assert_eq!(file.bytes("magic", 0, 0), b"AeIP");
        assert_eq!(file.word("version"), 1);
        assert_eq!(file.word("flags"), 1 + 4);
        assert_eq!(file.word("data_offset"), 65536);
        assert_eq!((file.word("capacity"), file.word("capacity_32")), (2048, 2048));
        assert_eq!((file.word("lanes"), file.word("consumers")), (3, 5));
        assert!(file.bytes("reserved", 0, 0).iter().all(|&byte| byte == 0));
        assert_eq!(file.offset("reserved", 0, 0) + 84, file.offset("header_checksum", 0, 0));
        let fixed = &fs::read(&file.path).unwrap()[0x104..0x17C];
        assert_eq!(file.word("header_checksum"), u64::from(crc32c::crc32c(fixed)));

        let path = folder.path().join("lossy");
        options().overflow(Overflow::DropOldest).create_new(&path).unwrap();
        assert_eq!(Document { path, ..file }.word("flags"), 2);
    }

    #[test]
    fn the_offsets_of_the_control_area_are_those_of_the_document() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("bus");
        let (lanes, consumers) = (3, 4);
        let bus = options().producers(3).consumers(4).sequence(true).create_new(&path).unwrap();
        let file = Document { path, tables: tables(), lanes, consumers };
        let me = u64::from(std::process::id());

        let names = ["first", "a second one", "third"];
        let mut readers: Vec<_> = names.iter().map(|name| bus.consumer_named(name).unwrap()).collect();
        readers.push(bus.consumer().unwrap());
        let mut producers: Vec<_> = (0..3).map(|_| bus.producer().unwrap()).collect();
        for (lane, producer) in producers.iter_mut().enumerate() {
            for _ in 0..10 + lane {
                producer.offer(0, 0, b"").unwrap();
            }
        }
        for (index, reader) in readers.iter_mut().enumerate() {
            reader.set_merge(aether_ipc::Merge::ById);
            // All of the first lane, and a part of the second that differs.
            assert_eq!(reader.drain(10 + index, |_| Flow::Continue).unwrap(), 10 + index);
        }
        assert_eq!(file.word("sequence"), 10 + 11 + 12);
        for lane in 0..lanes {
            let name = if lane == 0 { "write_cursor" } else { "lane_write_cursor" };
            assert_eq!(file.word_of(name, lane, 0), 16 * (10 + lane), "lane {lane}");
        }
        for consumer in 0..consumers {
            for lane in 0..lanes {
                let name = if lane + consumer == 0 { "read_cursor" } else { "place_read_cursor" };
                let released = 16 * [10, consumer, 0][lane as usize];
                assert_eq!(file.word_of(name, lane, consumer), released, "consumer {consumer} in lane {lane}");
            }
            let name = names.get(consumer as usize).copied().unwrap_or_default();
            assert_eq!(file.word_of("place_state", 0, consumer), if name.is_empty() { 1 } else { 2 });
            assert_eq!(file.word_of("place_name_length", 0, consumer), name.len() as u64);
            assert_eq!(file.bytes("place_name", 0, consumer)[..name.len()], *name.as_bytes());
        }

        // What a lane is a copy of.
        let origin = |lane| ["origin_state", "origin_shift"].map(|name| file.word_of(name, lane, 0));
        assert_eq!((origin(0), origin(2)), ([0, 0], [0, 0]));
        drop(producers.pop());
        let mut relay = bus.relay(2).unwrap();
        relay.set_origin([7, 8], 1000).unwrap();
        assert_eq!(origin(2), [1, 1000 - 16 * 12]);
        let source = file.bytes("origin_source", 2, 0);
        assert_eq!(source, [7_u64, 8].map(u64::to_le_bytes).concat());
        drop(relay);
        producers.push(bus.producer().unwrap());
        assert_eq!((origin(0), origin(2)[0]), ([0, 0], 2));

        // Who is there, behind each cursor.
        let pid_and_waking = |cursor: usize| {
            let bytes = &fs::read(&file.path).unwrap()[cursor + 8..cursor + 16];
            u64::from_le_bytes(bytes.try_into().unwrap())
        };
        let waking = file.word("producer_waking");
        assert!(waking == 1 || waking == 2);
        assert_eq!((file.word("producer_pid"), file.word("consumer_pid")), (me, me));
        assert_eq!(file.word("consumer_waking"), waking);
        let there = me | waking << 32;
        for lane in 1..lanes {
            assert_eq!(pid_and_waking(file.offset("lane_write_cursor", lane, 0)), there);
        }
        for consumer in 1..consumers {
            assert_eq!(pid_and_waking(file.offset("place_read_cursor", 0, consumer)), there);
        }

        // An id drawn and not committed holds a reader back that merges by id.
        let reader = &mut readers[0];
        let mut next = |busy: u64| {
            let at = file.offset("busy", 0, 0) as u64;
            write_at(&file.path, at, &busy.to_le_bytes());
            let mut seen = None;
            reader
                .poll(|message| {
                    seen = Some(message.id());
                    Flow::Keep
                })
                .unwrap();
            seen
        };
        // Number 10 is the next, so the reader waits for nothing; with one left out, it waits while a lane is busy.
        assert_eq!((next(0), next(1)), (Some(10), Some(10)));
        let second = file.word("data_offset") + (64 << 10);
        write_at(&file.path, second, &11_u64.to_le_bytes());
        assert_eq!((next(1), next(0)), (None, Some(11)));

        drop((producers, readers));
        for (name, lane, consumer) in [("write_cursor", 0, 0), ("lane_write_cursor", 2, 0), ("place_read_cursor", 0, 3)]
        {
            assert_eq!(pid_and_waking(file.offset(name, lane, consumer)), 0, "{name} of a role that was left");
        }
        assert_eq!(file.word_of("place_read_cursor", 1, 3), u64::MAX);
        assert_eq!(file.word_of("place_state", 0, 3), 0);
    }

    #[test]
    fn the_oldest_position_of_each_lane_stands_where_the_document_says() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("bus");
        let bus = options().producers(2).overflow(Overflow::DropOldest).create_new(&path).unwrap();
        let file = Document { path, tables: tables(), lanes: 2, consumers: 1 };
        let mut producers = [bus.producer().unwrap(), bus.producer().unwrap()];
        for (producer, count) in producers.iter_mut().zip([20_u64, 30]) {
            for _ in 0..count {
                producer.offer(0, 0, &[0; 48]).unwrap();
            }
        }
        assert_eq!(file.word_of("oldest", 0, 0), 64 * (20 - 16));
        assert_eq!(file.word_of("oldest", 1, 0), 64 * (30 - 16));
    }

    #[test]
    fn the_bells_stand_where_the_document_says() {
        for classic in [false, true] {
            let folder = tempdir().unwrap();
            let path = folder.path().join("ring");
            let buffer = options().classic(classic).create_new(&path).unwrap();
            let file = Document { path, tables: tables(), lanes: 1, consumers: 1 };
            let (data, space) =
                if classic { ("classic_data_bell", "classic_space_bell") } else { ("data_bell", "space_bell") };
            let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
            assert_eq!((file.word(data), file.word(space)), (0, 0));
            let _ = consumer.wait_within(Duration::from_millis(2));
            assert_eq!((file.word(data), file.word(space)), (1, 0), "somebody was about to sleep");
            producer.offer(1, 0, &[0; 1000]).unwrap();
            assert_eq!((file.word(data), file.word(space)), (2, 0), "rung once, nobody asleep");
            let _ = producer.put_within(Duration::from_millis(2), 2, 0, b"");
            assert_eq!((file.word(data), file.word(space)), (2, 1));
            consumer.poll(|_| Flow::Continue).unwrap();
            assert_eq!((file.word(data), file.word(space)), (2, 2));
        }
    }

    #[test]
    fn lanes_start_where_the_document_says_and_the_file_ends_with_the_last() {
        let folder = tempdir().unwrap();
        for (capacity, lanes, consumers) in [(1024, 3, 1), (65536, 2, 2), (131_072, 2, 1), (1024, 256, 4)] {
            let path = folder.path().join(format!("{capacity} {lanes}"));
            let buffer = options().capacity(capacity).producers(lanes).consumers(consumers).create_new(&path).unwrap();
            let file = Document { path, tables: tables(), lanes: lanes.into(), consumers: consumers.into() };
            let last = file.offset("place_read_cursor", u64::from(lanes) - 1, u64::from(consumers) - 1) as u64;
            let data_offset = file.word("data_offset");
            assert_eq!(data_offset, (last + 128).next_multiple_of(64 << 10));
            let lane = u64::from(lanes) - 1;
            let mut producers: Vec<_> = (0..lanes).map(|_| buffer.producer().unwrap()).collect();
            producers[lane as usize].offer(0x1234, 0, b"").unwrap();
            let start = data_offset + lane * capacity.max(64 << 10);
            let content = fs::read(&file.path).unwrap();
            assert_eq!(content[start as usize..][..2], [0x34, 0x12]);
            assert_eq!(content.len() as u64, start + capacity);
        }
    }

    #[test]
    fn a_record_s_checksum_is_what_the_document_says() {
        let file = fs::read(golden("checksums.ring")).unwrap();
        let record = &file[65536 + 960..][..56];
        let position = 960_u64.to_le_bytes();
        let expected = crc32c::crc32c(&[&position, &record[..16], &record[16..52]].concat());
        assert_eq!(record[52..56], expected.to_le_bytes());
        assert_eq!(record[8], 56, "the length counts the checksum");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn roles_are_locks_on_the_bytes_of_the_document() {
        use std::os::fd::AsRawFd;

        let text = fs::read_to_string(repository("docs/format.md")).unwrap();
        let byte = |role: &str, lane: u64, consumer: u64| {
            let row = text.lines().find(|line| line.starts_with("| 0x4") && line.contains(role)).expect(role);
            let values = HashMap::from([('l', lane), ('c', consumer)]);
            evaluate(row.split('|').nth(1).unwrap(), &values)
        };
        let folder = tempdir().unwrap();
        let path = folder.path().join("bus");
        let bus = options().producers(3).consumers(3).create_new(&path).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let is_locked = |byte: u64| {
            // SAFETY: all zero is a valid `flock`.
            let mut lock: libc::flock = unsafe { std::mem::zeroed() };
            lock.l_type = libc::F_WRLCK as libc::c_short;
            lock.l_start = byte as libc::off_t;
            lock.l_len = 1;
            // SAFETY: an open descriptor, and a valid `flock` that outlives the call.
            assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) }, 0);
            lock.l_type != libc::F_UNLCK as libc::c_short
        };
        let producers = [bus.producer().unwrap(), bus.producer().unwrap()];
        let consumers = [bus.consumer().unwrap(), bus.consumer().unwrap()];
        for (held, number) in [(true, 0), (true, 1), (false, 2)] {
            assert_eq!(is_locked(byte("the producer of lane", number, 0)), held);
            assert_eq!(is_locked(byte("the consumer in place", 0, number)), held);
        }
        assert!(!is_locked(byte("changing the names", 0, 0)));
        drop((producers, consumers));
        assert!(!is_locked(byte("the producer of lane", 0, 0)) && !is_locked(byte("the consumer in place", 0, 0)));

        let (first, last) = (0x4000_0000_0000_0000, 0x4000_0000_003F_FFFF);
        assert!(text.contains(&format!("A repair locks {first:#X} to {last:#X}").replace("0X", "0x")));
        let plan = aether_ipc::recovery::plan(&path, aether_ipc::recovery::Strategy::LastGood).unwrap();
        assert_eq!([first - 1, first, last, last + 1].map(is_locked), [false, true, true, false]);
        drop(plan);
        assert!(!is_locked(first));
    }

    fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
        use std::io::{Seek, SeekFrom, Write};
        let mut file = File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(bytes).unwrap();
    }
}
