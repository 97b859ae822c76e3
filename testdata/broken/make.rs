//! Makes a directory of rings, each named for what is wrong with it:
//!
//!     AETHER_WRITE_BROKEN=DIRECTORY cargo test -p aether-ipc --test broken
//!
//! `expected.txt`, beside this file, lists what is said about each; `tests/broken.rs` makes them anew and compares.
//! Offsets are written out here, and not taken from the library, whose idea of them is what is tested.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use aether_ipc::{Buffer, Flow, Options, Overflow, Producer};

pub(crate) const WRITE: u64 = 0x000;
pub(crate) const READ: u64 = 0x080;
const HEADER: u64 = 0x100;
const SEQUENCE: u64 = 0x280;
/// Of the first lane. In a ring with one lane, what follows is the consumers' slots.
pub(crate) const OLDEST: u64 = 0x380;
const BUSY: u64 = 0x388;
pub(crate) const SLOTS: u64 = 0x400;
pub(crate) const LINE: u64 = 0x80;
const DATA_CLASSIC: u64 = 0x180;
pub(crate) const DATA: u64 = 64 << 10;
const CAPACITY: u64 = 1024;
/// Of a message of 8 bytes, of which most of these rings hold three.
pub(crate) const RECORD: u64 = 24;
pub(crate) const WRITTEN: u64 = 3 * RECORD;
/// The same with a checksum.
const RECORD_CHECKED: u64 = 32;

struct Maker<'a> {
    directory: &'a Path,
    names: Vec<String>,
}

impl Maker<'_> {
    fn path(&mut self, name: &str) -> PathBuf {
        self.names.push(name.to_owned());
        self.directory.join(name)
    }

    /// A file of any content.
    fn file(&mut self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    /// A ring of three messages, spoilt.
    fn ring(&mut self, name: &str, options: &Options, spoil: impl FnOnce(&Ring)) {
        let path = self.path(name);
        let mut producer = options.create_new(&path).unwrap().producer().unwrap();
        offer(&mut producer, 3);
        drop(producer);
        spoil(&Ring::of(&path));
    }

    /// The same for several kinds of rings: name, options, and where the data starts.
    fn each(&mut self, name: &str, kinds: &[(&str, &Options, u64)], spoil: impl Fn(&Ring, u64)) {
        for (kind, options, data) in kinds {
            self.ring(&format!("{name}-{kind}"), options, |ring| spoil(ring, *data));
        }
    }
}

pub(crate) fn offer(producer: &mut Producer, count: i64) {
    for id in 1..=count {
        producer.offer(id, 7, &id.to_le_bytes()).unwrap();
    }
}

pub(crate) struct Ring {
    file: File,
}

impl Ring {
    pub(crate) fn of(path: &Path) -> Ring {
        Ring { file: OpenOptions::new().read(true).write(true).open(path).unwrap() }
    }

    fn bytes(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
    }

    pub(crate) fn word(&self, at: u64, value: u64) {
        self.bytes(at, &value.to_le_bytes());
    }

    pub(crate) fn half(&self, at: u64, value: u32) {
        self.bytes(at, &value.to_le_bytes());
    }

    pub(crate) fn flip(&self, at: u64) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, at).unwrap();
        self.bytes(at, &[byte[0] ^ 1]);
    }

    fn cut(&self, size: u64) {
        self.file.set_len(size).unwrap();
    }

    fn size(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    /// The header's checksum made good again, so that the field that was spoilt is what is wrong.
    fn seal_header(&self) {
        let mut header = [0; 0x78];
        self.file.read_exact_at(&mut header, HEADER + 4).unwrap();
        self.half(0x17C, crc32c::crc32c(&header));
    }

    fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }
}

/// Fills an empty directory. Returns the names, in order.
pub(crate) fn make(directory: &Path) -> Vec<String> {
    let mut maker = Maker { directory, names: Vec::new() };
    sound(&mut maker);
    no_rings(&mut maker);
    cut_short(&mut maker);
    headers(&mut maker);
    cursors(&mut maker);
    records(&mut maker);
    checksums(&mut maker);
    dropping(&mut maker);
    lanes(&mut maker);
    slots(&mut maker);
    maker.names
}

fn plain() -> Options {
    Buffer::options().capacity(CAPACITY)
}

fn classic() -> Options {
    plain().classic(true)
}

fn checked() -> Options {
    plain().checksums(true)
}

fn lossy() -> Options {
    plain().overflow(Overflow::DropOldest)
}

fn bus() -> Options {
    plain().consumers(4)
}

/// What must raise no alarm: among broken files, these show that the alarms mean something.
fn sound(maker: &mut Maker) {
    for (kind, options) in
        [("classic", classic()), ("extended", plain()), ("checksums", checked()), ("dropping", lossy()), ("bus", bus())]
    {
        maker.ring(&format!("sound-{kind}"), &options, |_| {});
    }
    maker.ring("sound-cursors-before-and-after-2-to-the-64", &plain(), |ring| {
        // A record of 16 bytes before, and one after.
        ring.word(READ, 0_u64.wrapping_sub(16));
        ring.word(OLDEST, 0_u64.wrapping_sub(16));
        ring.word(WRITE, 16);
        ring.word(DATA + CAPACITY - 16, 1);
        ring.word(DATA + CAPACITY - 8, 16);
        ring.word(DATA, 2);
        ring.word(DATA + 8, 16);
    });
    maker.ring("garbage-that-was-released", &plain(), |ring| {
        ring.word(READ, RECORD);
        ring.word(DATA + 8, u64::MAX);
    });
    maker.ring("sound-garbage-not-committed-yet", &plain(), |ring| ring.word(DATA + WRITTEN + 8, u64::MAX));
    maker.ring("sound-garbage-in-process-ids-and-bells", &plain(), |ring| {
        for at in [0x008, 0x00C, 0x088, 0x08C, 0x180, 0x200] {
            ring.half(at, 0xDEAD_BEEF);
        }
    });
    let stamped = plain().sequence(true).producers(2).checksums(true);
    maker.ring("sound-sequence-at-its-end-and-lanes-busy", &stamped, |ring| {
        ring.word(SEQUENCE, u64::MAX);
        ring.word(BUSY, u64::MAX);
        ring.word(BUSY + LINE, u64::MAX);
    });
}

fn no_rings(maker: &mut Maker) {
    maker.file("empty", b"");
    maker.file("one-byte", b"x");
    maker.file("text", "It was a dark and stormy night. ".repeat(64).as_bytes());
    maker.file("zeros", &[0; 4096]);
    maker.file("all-bits-set", &[0xFF; 4096]);
    let noise = std::iter::successors(Some(1_u32), |x| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    maker.file("noise", &noise.flat_map(u32::to_be_bytes).take(4096).collect::<Vec<_>>());
}

fn cut_short(maker: &mut Maker) {
    maker.ring("cut-in-the-header-classic", &classic(), |ring| ring.cut(0x17F));
    maker.ring("cut-after-the-header-classic", &classic(), |ring| ring.cut(0x180));
    maker.ring("cut-by-one-byte-classic", &classic(), |ring| ring.cut(ring.size() - 1));
    maker.ring("cut-in-the-header-extended", &plain(), |ring| ring.cut(0x17F));
    maker.ring("cut-after-the-header-extended", &plain(), |ring| ring.cut(0x180));
    maker.ring("cut-before-the-data", &plain(), |ring| ring.cut(DATA));
    maker.ring("cut-by-one-byte-extended", &plain(), |ring| ring.cut(ring.size() - 1));
    maker.ring("cut-before-the-last-lane", &plain().producers(3), |ring| ring.cut(DATA + 2 * (64 << 10)));
}

fn headers(maker: &mut Maker) {
    for (name, capacity) in [
        ("capacity-0", 0),
        ("capacity-1", 1),
        ("capacity-1000", 1000),
        ("capacity-512", 512),
        ("capacity-2-to-the-31", 1 << 31),
        ("capacity-all-bits", u32::MAX),
    ] {
        maker.ring(&format!("{name}-classic"), &classic(), |ring| ring.half(HEADER, capacity));
    }
    maker.ring("capacity-greater-than-the-file-classic", &classic(), |ring| ring.half(HEADER, 2048));
    maker.ring("bytes-after-the-capacity-classic", &classic(), |ring| ring.half(0x110, 1));
    maker.ring("magic", &plain(), |ring| ring.half(0x104, 0xBAD0_BAD0));
    maker.ring("magic-0", &plain(), |ring| ring.half(0x104, 0));
    maker.ring("version-0", &plain(), |ring| ring.half(0x108, 0));
    maker.ring("version-2", &plain(), |ring| ring.half(0x108, 2));
    maker.ring("header-checksum", &plain(), |ring| ring.flip(0x17C));
    maker.ring("header-field-without-checksum", &plain(), |ring| ring.half(0x120, 2));
    let mut field = |name: &str, spoil: &dyn Fn(&Ring)| {
        maker.ring(name, &plain(), |ring| {
            spoil(ring);
            ring.seal_header();
        });
    };
    field("flags-unknown", &|ring| ring.half(0x10C, 1 << 3));
    field("flags-all", &|ring| ring.half(0x10C, u32::MAX));
    field("data-offset-0", &|ring| ring.word(0x110, 0));
    field("data-offset-misaligned", &|ring| ring.word(0x110, DATA + 8));
    field("data-offset-one-further", &|ring| ring.word(0x110, 2 * DATA));
    field("data-offset-all-bits", &|ring| ring.word(0x110, u64::MAX));
    field("capacity-64-0", &|ring| ring.word(0x118, 0));
    field("capacity-64-1000", &|ring| ring.word(0x118, 1000));
    field("capacity-64-2-to-the-41", &|ring| ring.word(0x118, 1 << 41));
    field("capacity-64-all-bits", &|ring| ring.word(0x118, u64::MAX));
    field("capacities-differ", &|ring| ring.word(0x118, 2048));
    field("capacity-2-to-the-40-of-a-small-file", &|ring| {
        ring.half(HEADER, 0);
        ring.word(0x118, 1 << 40);
    });
    field("lanes-0", &|ring| ring.half(0x120, 0));
    field("lanes-257", &|ring| ring.half(0x120, 257));
    field("lanes-all-bits", &|ring| ring.half(0x120, u32::MAX));
    field("lanes-256-of-a-small-file", &|ring| {
        ring.half(0x120, 256);
        ring.word(0x110, 128 << 10);
    });
    field("consumers-0", &|ring| ring.half(0x124, 0));
    field("consumers-1025", &|ring| ring.half(0x124, 1025));
    field("consumers-all-bits", &|ring| ring.half(0x124, u32::MAX));
    field("consumers-1024-with-tables-beyond-the-data-offset", &|ring| ring.half(0x124, 1024));
    field("reserved-byte", &|ring| ring.bytes(0x160, &[1]));
}

fn cursors(maker: &mut Maker) {
    let (classic, plain, lossy) = (classic(), plain(), lossy());
    let kinds = [("classic", &classic, DATA_CLASSIC), ("extended", &plain, DATA)];
    maker.each("write-cursor-behind-the-read-cursor", &kinds, |ring, _| {
        ring.word(READ, RECORD);
        ring.word(WRITE, 0);
    });
    maker.each("write-cursor-more-than-the-capacity-ahead", &kinds, |ring, _| ring.word(WRITE, CAPACITY + 8));
    maker.each("write-cursor-misaligned", &kinds, |ring, _| ring.word(WRITE, WRITTEN + 1));
    maker.each("write-cursor-just-below-2-to-the-64", &kinds, |ring, _| ring.word(WRITE, 0_u64.wrapping_sub(8)));
    maker.each("write-cursor-all-bits", &kinds, |ring, _| ring.word(WRITE, u64::MAX));
    maker.each("read-cursor-misaligned", &kinds, |ring, _| ring.word(READ, 4));
    maker.each("read-cursor-far-ahead", &kinds, |ring, _| ring.word(READ, 1 << 40));
    maker.each("read-cursor-just-below-2-to-the-64", &kinds, |ring, _| ring.word(READ, 0_u64.wrapping_sub(2048)));
    maker.each("read-cursor-all-bits", &kinds, |ring, _| ring.word(READ, u64::MAX));
    maker.each("both-cursors-misaligned", &kinds, |ring, _| {
        ring.word(WRITE, 28);
        ring.word(READ, 4);
    });
    maker.each("read-cursor-inside-a-record", &kinds, |ring, _| ring.word(READ, 8));
    maker.ring("both-cursors-jumped-together", &plain, |ring| {
        ring.word(WRITE, WRITTEN + (1 << 40));
        ring.word(READ, 1 << 40);
    });
    maker.ring("oldest-beyond-the-write-cursor", &plain, |ring| ring.word(OLDEST, 1 << 40));
    maker.ring("oldest-misaligned", &plain, |ring| ring.word(OLDEST, 3));
    maker.ring("oldest-too-far-behind", &plain, |ring| ring.word(OLDEST, 0_u64.wrapping_sub(2048)));
    maker.ring("oldest-beyond-a-read-cursor", &plain, |ring| ring.word(OLDEST, RECORD));
    maker.ring("oldest-beyond-the-write-cursor-dropping", &lossy, |ring| ring.word(OLDEST, 1 << 40));
    maker.ring("oldest-misaligned-dropping", &lossy, |ring| ring.word(OLDEST, 3));
    maker.ring("oldest-too-far-behind-dropping", &lossy, |ring| ring.word(OLDEST, 0_u64.wrapping_sub(2048)));
    maker.ring("oldest-all-bits-dropping", &lossy, |ring| ring.word(OLDEST, u64::MAX));
    maker.ring("oldest-inside-a-record-dropping", &lossy, |ring| ring.word(OLDEST, 8));
    maker.ring("read-cursor-beyond-the-write-cursor-dropping", &lossy, |ring| ring.word(READ, 1 << 40));
    maker.ring("read-cursor-misaligned-dropping", &lossy, |ring| ring.word(READ, 4));
    maker.ring("write-cursor-misaligned-dropping", &lossy, |ring| ring.word(WRITE, WRITTEN + 1));
    maker.ring("write-cursor-jumped-dropping", &lossy, |ring| ring.word(WRITE, 1 << 50));
}

fn records(maker: &mut Maker) {
    for length in 0..16 {
        maker.ring(&format!("record-length-{length}"), &plain(), |ring| ring.half(DATA + 8, length));
    }
    let (classic, plain, lossy, checked) = (classic(), plain(), lossy(), checked());
    let kinds = [
        ("classic", &classic, DATA_CLASSIC),
        ("extended", &plain, DATA),
        ("dropping", &lossy, DATA),
        ("checksums", &checked, DATA),
    ];
    maker.each("first-record-length-0", &kinds, |ring, data| ring.half(data + 8, 0));
    maker.each("first-record-length-all-bits", &kinds, |ring, data| ring.half(data + 8, u32::MAX));
    maker.each("first-record-length-wraps-when-padded", &kinds, |ring, data| ring.half(data + 8, u32::MAX - 3));
    maker.each("first-record-longer-than-what-is-committed", &kinds, |ring, data| ring.half(data + 8, 256));
    maker.each("second-record-length-0", &kinds[..3], |ring, data| ring.half(data + RECORD + 8, 0));
    maker.each("last-record-8-bytes-too-long", &kinds[..3], |ring, data| ring.half(data + 2 * RECORD + 8, 32));
    maker.ring("last-record-8-bytes-too-long-checksums", &checked, |ring| ring.half(DATA + 2 * RECORD_CHECKED + 8, 36));
    maker.each("zeros-where-records-were", &kinds, |ring, data| ring.bytes(data, &[0; WRITTEN as usize]));
    for (kind, options, data) in &kinds {
        let path = maker.path(&format!("record-over-the-end-with-a-bad-length-{kind}"));
        let buffer = options.create_new(&path).unwrap();
        let mut producer = buffer.producer().unwrap();
        // Its header's first word is the last of the data section.
        producer.offer(1, 7, &[1; 996]).unwrap();
        buffer.consumer().unwrap().drain(1, |_| Flow::Continue).unwrap();
        producer.offer(2, 7, &[2; 8]).unwrap();
        drop(producer);
        Ring::of(&path).half(*data, 3);
    }
}

fn checksums(maker: &mut Maker) {
    for length in 16..20 {
        maker.ring(&format!("record-length-{length}-without-its-checksum"), &checked(), |ring| {
            ring.half(DATA + 8, length);
        });
    }
    for (name, at) in [("id", 0), ("length", 8), ("type", 12), ("payload", 16), ("checksum", 24)] {
        maker.ring(&format!("bit-flipped-in-the-{name}"), &checked(), |ring| ring.flip(DATA + at));
    }
    let size = RECORD_CHECKED;
    maker.ring("bit-flipped-in-the-second-record", &checked(), |ring| ring.flip(DATA + size + 16));
    maker.ring("records-swapped", &checked(), |ring| {
        let (first, second) = (ring.read(DATA, size as usize), ring.read(DATA + size, size as usize));
        ring.bytes(DATA, &second);
        ring.bytes(DATA + size, &first);
    });
    maker.ring("record-of-an-earlier-lap", &checked(), |ring| {
        for cursor in [WRITE, READ, OLDEST] {
            ring.word(cursor, CAPACITY);
        }
        ring.word(WRITE, CAPACITY + size);
    });
}

fn dropping(maker: &mut Maker) {
    let both = lossy().checksums(true);
    maker.ring("bit-flipped-in-the-payload-dropping", &both, |ring| ring.flip(DATA + 16));
    let path = maker.path("sound-consumer-far-behind-dropping");
    offer(&mut lossy().create_new(&path).unwrap().producer().unwrap(), 200);
    let path = maker.path("lapped-record-with-a-bad-length-dropping");
    let buffer = lossy().create_new(&path).unwrap();
    offer(&mut buffer.producer().unwrap(), 200);
    let oldest = buffer.observer().info().unwrap().lanes[0].oldest;
    Ring::of(&path).half(DATA + (oldest + 8) % CAPACITY, 5);
}

fn lanes(maker: &mut Maker) {
    for (name, at, value) in
        [("bad-record-in-the-second-lane", None, 3), ("bad-write-cursor-of-the-second-lane", Some(0x480), 5)]
    {
        let path = maker.path(name);
        let buffer = plain().producers(2).create_new(&path).unwrap();
        let mut producers = [buffer.producer().unwrap(), buffer.producer().unwrap()];
        for producer in &mut producers {
            offer(producer, 3);
        }
        drop(producers);
        // The lanes' data sections are 64 KiB apart.
        Ring::of(&path).half(at.unwrap_or(2 * DATA + 8), value);
    }
}

/// Rings of four consumers, in whose first slot is a named one that is away, and for which three messages wait.
fn slots(maker: &mut Maker) {
    let mut bus = |name: &str, spoil: &dyn Fn(&Ring)| {
        let path = maker.path(name);
        let buffer = bus().create_new(&path).unwrap();
        drop(buffer.consumer_named("audit").unwrap());
        offer(&mut buffer.producer().unwrap(), 3);
        spoil(&Ring::of(&path));
    };
    const STATE: u64 = 0x00;
    const LENGTH: u64 = 0x04;
    const NAME: u64 = 0x10;
    bus("sound-named-consumer-away", &|_| {});
    bus("slot-state-unknown", &|ring| ring.half(SLOTS + STATE, 3));
    bus("slot-state-all-bits", &|ring| ring.half(SLOTS + STATE, u32::MAX));
    bus("slot-state-unknown-of-a-free-slot", &|ring| ring.half(SLOTS + LINE + STATE, 9));
    bus("name-empty", &|ring| ring.half(SLOTS + LENGTH, 0));
    bus("name-of-65-bytes", &|ring| ring.half(SLOTS + LENGTH, 65));
    bus("name-length-all-bits", &|ring| ring.half(SLOTS + LENGTH, u32::MAX));
    bus("name-not-utf-8", &|ring| ring.bytes(SLOTS + NAME, b"\xC3\x28"));
    bus("name-with-a-line-break", &|ring| ring.bytes(SLOTS + NAME, b"a\nb"));
    bus("name-twice", &|ring| {
        let twin = ring.read(SLOTS, LINE as usize);
        ring.bytes(SLOTS + LINE, &twin);
        // The first of the further read cursors, which follow the slots.
        ring.word(SLOTS + 4 * LINE, 0);
    });
    bus("named-consumer-ahead-of-the-write-cursor", &|ring| ring.word(READ, 1 << 40));
    bus("named-consumer-misaligned", &|ring| ring.word(READ, 4));
    bus("named-consumer-inside-a-record", &|ring| ring.word(READ, RECORD + 8));
    bus("named-consumer-without-a-cursor", &|ring| ring.word(READ, u64::MAX));
    bus("sound-nameless-dead-consumer-anywhere", &|ring| {
        ring.half(SLOTS + LINE + STATE, 1);
        ring.word(SLOTS + 4 * LINE, 1 << 40);
    });
    bus("first-record-length-0-bus", &|ring| ring.half(DATA + 8, 0));
}
