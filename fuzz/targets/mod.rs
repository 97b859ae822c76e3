//! What the fuzzer runs with each input. `crates/aether-ipc/tests/corpus.rs` runs the same with the inputs that are kept.

// Each target is compiled with all of them.
#![allow(dead_code)]

pub(crate) mod api;
pub(crate) mod open;
pub(crate) mod poll;
pub(crate) mod scribble;

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::fs::FileExt,
    },
    path::PathBuf,
};

use aether_ipc::{Buffer, Message, Options, Overflow};

/// Numbers from the fuzzer's bytes. When they are at an end, zeros come.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Input<'a> {
        Input(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let found = self.bytes(8);
        bytes[..found.len()].copy_from_slice(found);
        u64::from_le_bytes(bytes)
    }

    /// Mostly near where checks may end; anything at times.
    pub(crate) fn spite(&mut self) -> u64 {
        let near = match self.byte() % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (self.byte() % 64),
            3 => 1024 * u64::from(self.byte()),
            4 => return self.number(),
            5 => return u64::from(self.byte()),
            _ => 24 * u64::from(self.byte() % 64),
        };
        near.wrapping_add(u64::from(self.byte() % 64)).wrapping_sub(32)
    }
}

/// A file in memory that goes with the process, however that ends.
pub(crate) struct Memory(File);

impl Memory {
    pub(crate) fn new(size: u64) -> Memory {
        // SAFETY: a string that ends with zero; the descriptor is new, and owned by nobody else.
        let file = unsafe {
            let descriptor = libc::memfd_create(c"ring".as_ptr(), libc::MFD_CLOEXEC);
            assert!(descriptor >= 0);
            File::from_raw_fd(descriptor)
        };
        file.set_len(size).unwrap();
        Memory(file)
    }

    /// The content of a ring just made with these options.
    pub(crate) fn ring(options: &Options) -> Memory {
        let path = scratch();
        drop(options.create_new(&path).unwrap());
        let content = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let memory = Memory::new(content.len() as u64);
        memory.write(0, &content);
        memory
    }

    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    /// Writes what lies within the file.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        let room = self.size().saturating_sub(at).min(bytes.len() as u64) as usize;
        self.0.write_all_at(&bytes[..room], at).unwrap();
    }

    pub(crate) fn word(&self, at: u64, value: u64) {
        self.write(at, &value.to_le_bytes());
    }

    pub(crate) fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }
}

/// A name that nobody else uses; whoever makes the file removes it.
pub(crate) fn scratch() -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = format!("aether-fuzz-{}-{}", std::process::id(), COUNTER.fetch_add(1, Relaxed));
    std::env::temp_dir().join(name)
}

/// All kinds of small rings.
pub(crate) fn shape(choice: u8) -> Options {
    let plain = Buffer::options().capacity(1024);
    match choice % 10 {
        0 => plain,
        1 => plain.classic(true),
        2 => plain.checksums(true),
        3 => plain.overflow(Overflow::DropOldest),
        4 => plain.overflow(Overflow::DropOldest).checksums(true),
        5 => plain.capacity(4096),
        6 => plain.producers(2),
        7 => plain.producers(2).sequence(true),
        8 => plain.consumers(3),
        _ => plain.producers(2).consumers(3).overflow(Overflow::DropOldest),
    }
}

/// Looks at every byte: one that is not there would be found out.
pub(crate) fn touch(message: &Message<'_>) -> u64 {
    assert!(message.payload().len() <= 4096, "longer than any ring here");
    let sum = message.payload().iter().fold(0_u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    std::hint::black_box(sum.wrapping_add(message.id() as u64).wrapping_add(message.message_type() as u64))
}
