//! `aether_buffer`: create, open, connect.

use std::{
    ffi::{CString, c_char, c_void},
    mem::MaybeUninit,
};

use aether_ipc::{Buffer, Options, Overflow};

use crate::{
    arguments::{Present, give, text, timeout},
    consumer::aether_consumer,
    observer::aether_observer,
    producer::aether_producer,
    status::{Failure, aether_status, guard},
};

/// A ring of messages in a file that processes map and share. Threads may share it.
pub struct aether_buffer {
    buffer: Buffer,
    path: CString,
}

/// What a producer does when the ring has no space.
#[repr(C)]
pub enum aether_overflow {
    /// It waits, or reports `AETHER_STATUS_FULL`: nothing is ever lost.
    Wait = 0,
    /// It overwrites the oldest messages; a consumer that falls behind gets `AETHER_STATUS_LAGGED`.
    DropOldest = 1,
}

/// How a ring is made or opened. Zero means the default for every field but the first:
///
///     aether_options options = {.size = sizeof options, .capacity = 1 << 20};
#[repr(C)]
#[derive(Clone, Copy)]
pub struct aether_options {
    /// `sizeof(aether_options)`: later versions may add fields.
    pub size: usize,
    /// Size of the data section in bytes, a power of two, at least 1 KiB. A new ring needs it; one that is opened must
    /// have it, unless it is 0.
    pub capacity: u64,
    /// Access rights of a new file; 0600 by default. Ignored on Windows.
    pub mode: u32,
    /// How many producers a new ring has room for, each with a lane of its own: 1 by default, at most 256.
    pub producers: u32,
    /// How many consumers a new ring has room for: 1 by default, at most 1024. With more than one, each sees every
    /// message from when it joined, and only named ones are waited for while they are away.
    pub consumers: u32,
    /// What producers of a new ring do when it is full, an `aether_overflow`.
    pub overflow: i32,
    /// Not 0: a new file that the reference implementation can open: up to 1 GiB, one producer, one consumer.
    pub classic: u8,
    /// Not 0: brings every page into memory when opening, so that no message waits for it.
    pub prefault: u8,
    /// Not 0: a CRC-32C for each record of a new ring, checked by whoever reads it.
    pub checksums: u8,
    /// Not 0: all producers of a new ring share a sequence that stamps the ids; those given with a message are not
    /// used.
    pub sequence: u8,
    /// Zeros.
    pub reserved: [u8; 4],
}

/// The options that a caller means.
///
/// # Safety
///
/// `given` is null, or as many bytes as its first field says can be read there.
unsafe fn read(given: *const aether_options) -> Result<Options, Failure> {
    const NAME: &str = "options";
    if given.is_null() {
        return Ok(Buffer::options());
    }
    if !given.is_aligned() {
        return Err(Failure::Argument(NAME, "is not aligned"));
    }
    // SAFETY: not null, aligned, and at least this field is there by this function's contract.
    let size = unsafe { (*given).size };
    if !(size_of::<usize>()..=4096).contains(&size) {
        return Err(Failure::Argument(NAME, "has an impossible size; set it to `sizeof(aether_options)`"));
    }
    // SAFETY: `size` bytes are there by this function's contract.
    let bytes = unsafe { std::slice::from_raw_parts(given.cast::<u8>(), size) };
    let known = size.min(size_of::<aether_options>());
    if bytes[known..].iter().any(|&byte| byte != 0) {
        return Err(Failure::Argument(NAME, "has fields that this version of the library does not know"));
    }
    // What an older caller does not have stays zero: the default.
    let mut options = MaybeUninit::<aether_options>::zeroed();
    // SAFETY: no more bytes than either side has; every bit pattern is a value of a struct of integers.
    let options = unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), options.as_mut_ptr().cast(), known);
        options.assume_init()
    };
    options.check()
}

impl aether_options {
    fn check(self) -> Result<Options, Failure> {
        if self.reserved != [0; 4] {
            return Err(Failure::Argument("options.reserved", "is not zero"));
        }
        const WAIT: i32 = aether_overflow::Wait as i32;
        const DROP_OLDEST: i32 = aether_overflow::DropOldest as i32;
        let overflow = match self.overflow {
            WAIT => Overflow::Wait,
            DROP_OLDEST => Overflow::DropOldest,
            _ => return Err(Failure::Argument("options.overflow", "is no `aether_overflow`")),
        };
        let mut options = Buffer::options()
            .overflow(overflow)
            .classic(self.classic != 0)
            .prefault(self.prefault != 0)
            .checksums(self.checksums != 0)
            .sequence(self.sequence != 0);
        if self.capacity != 0 {
            options = options.capacity(self.capacity);
        }
        if self.mode != 0 {
            options = options.mode(self.mode);
        }
        if self.producers != 0 {
            options = options.producers(self.producers);
        }
        if self.consumers != 0 {
            options = options.consumers(self.consumers);
        }
        Ok(options)
    }
}

/// What the functions that open a ring have in common.
///
/// # Safety
///
/// As the header asks of every caller.
unsafe fn open_with(
    path: *const c_char,
    options: *const aether_options,
    buffer: Option<&mut MaybeUninit<*mut aether_buffer>>,
    open: impl FnOnce(&Options, &str) -> aether_ipc::Result<Buffer>,
) -> aether_status {
    guard(|| {
        let out = buffer.present("buffer")?;
        // SAFETY: the caller's, as the header says.
        let (path, options) = unsafe { (text(path, "path")?, read(options)?) };
        let buffer = open(&options, path)?;
        give(out, aether_buffer { buffer, path: CString::new(path).unwrap_or_default() });
        Ok(())
    })
}

/// Creates the ring, or opens the one that is there if it has the shape asked for. An existing file keeps its messages.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_buffer_create(
    path: *const c_char,
    options: *const aether_options,
    buffer: Option<&mut MaybeUninit<*mut aether_buffer>>,
) -> aether_status {
    // SAFETY: the caller's, as the header says.
    unsafe { open_with(path, options, buffer, |options, path| options.create(path)) }
}

/// Creates the ring; `AETHER_STATUS_ALREADY_EXISTS` if there is a file already.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_buffer_create_new(
    path: *const c_char,
    options: *const aether_options,
    buffer: Option<&mut MaybeUninit<*mut aether_buffer>>,
) -> aether_status {
    // SAFETY: the caller's, as the header says.
    unsafe { open_with(path, options, buffer, |options, path| options.create_new(path)) }
}

/// Opens an existing ring. Of the options, a capacity must agree, and `prefault` is done; `options` may be null.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_buffer_open(
    path: *const c_char,
    options: *const aether_options,
    buffer: Option<&mut MaybeUninit<*mut aether_buffer>>,
) -> aether_status {
    // SAFETY: the caller's, as the header says.
    unsafe { open_with(path, options, buffer, |options, path| options.open(path)) }
}

/// As `aether_buffer_open`, waiting until the other side has made the ring.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_buffer_connect(
    path: *const c_char,
    options: *const aether_options,
    timeout_ns: u64,
    buffer: Option<&mut MaybeUninit<*mut aether_buffer>>,
) -> aether_status {
    let timeout = timeout(timeout_ns).unwrap_or(std::time::Duration::MAX);
    // SAFETY: the caller's, as the header says.
    unsafe { open_with(path, options, buffer, |options, path| options.connect(path, timeout)) }
}

/// Frees the handle; null is nothing to do. Producers, consumers and observers that were taken from it live on.
#[unsafe(no_mangle)]
pub extern "C" fn aether_buffer_free(buffer: Option<Box<aether_buffer>>) -> aether_status {
    guard(|| {
        drop(buffer);
        Ok(())
    })
}

/// Takes a producer's role: a free lane, continued where its last producer stopped.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_producer(
    buffer: Option<&aether_buffer>,
    producer: Option<&mut MaybeUninit<*mut aether_producer>>,
) -> aether_status {
    guard(|| {
        let (buffer, out) = (buffer.present("buffer")?, producer.present("producer")?);
        give(out, aether_producer::new(buffer.buffer.producer()?));
        Ok(())
    })
}

/// Takes a consumer's role. In a ring with one consumer, it goes on where the last one stopped. In a ring with more, it
/// sees every message committed from now on, and holds producers back until it is freed or dies.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_consumer(
    buffer: Option<&aether_buffer>,
    consumer: Option<&mut MaybeUninit<*mut aether_consumer>>,
) -> aether_status {
    guard(|| {
        let (buffer, out) = (buffer.present("buffer")?, consumer.present("consumer")?);
        give(out, aether_consumer::new(buffer.buffer.consumer()?));
        Ok(())
    })
}

/// Takes the role of the durable consumer called `name`, in a ring with room for more than one: its place is kept while
/// it is away, and holds producers back. The first time, it starts with what is committed from now on.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_buffer_consumer_named(
    buffer: Option<&aether_buffer>,
    name: *const c_char,
    consumer: Option<&mut MaybeUninit<*mut aether_consumer>>,
) -> aether_status {
    guard(|| {
        let (buffer, out) = (buffer.present("buffer")?, consumer.present("consumer")?);
        // SAFETY: the caller's, as the header says.
        let name = unsafe { text(name, "name") }?;
        give(out, aether_consumer::new(buffer.buffer.consumer_named(name)?));
        Ok(())
    })
}

/// Gives up the place of the durable consumer called `name`, so that it holds nobody back any more.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_buffer_forget(buffer: Option<&aether_buffer>, name: *const c_char) -> aether_status {
    guard(|| {
        let buffer = buffer.present("buffer")?;
        // SAFETY: the caller's, as the header says.
        let name = unsafe { text(name, "name") }?;
        Ok(buffer.buffer.forget(name)?)
    })
}

/// A look at the ring that takes no role and disturbs nobody.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_observer(
    buffer: Option<&aether_buffer>,
    observer: Option<&mut MaybeUninit<*mut aether_observer>>,
) -> aether_status {
    guard(|| {
        let (buffer, out) = (buffer.present("buffer")?, observer.present("observer")?);
        give(out, aether_observer::new(buffer.buffer.observer()));
        Ok(())
    })
}

/// Size of the data section in bytes, of each lane.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_capacity(
    buffer: Option<&aether_buffer>,
    capacity: Option<&mut MaybeUninit<u64>>,
) -> aether_status {
    guard(|| {
        let buffer = buffer.present("buffer")?;
        capacity.present("capacity")?.write(buffer.buffer.capacity());
        Ok(())
    })
}

/// Where the messages of a lane stand, unless a consumer shows copies: the first byte, and how many are mapped from there
/// on, until this buffer and everything that was taken from it is freed. For languages that must know which memory they
/// may read.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_memory(
    buffer: Option<&aether_buffer>,
    lane: u32,
    base: Option<&mut MaybeUninit<*const c_void>>,
    length: Option<&mut MaybeUninit<usize>>,
) -> aether_status {
    guard(|| {
        let buffer = buffer.present("buffer")?;
        let (base_out, length_out) = (base.present("base")?, length.present("length")?);
        let memory = buffer.buffer.memory(lane);
        let (base, length) = memory.ok_or(Failure::Argument("lane", "is not one of this ring"))?;
        base_out.write(base.cast());
        length_out.write(length);
        Ok(())
    })
}

/// Where the cursors of the first lane stand: bytes ever committed, and bytes ever released by the consumer that is
/// furthest back, or the first number once more if no consumer is there.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_cursors(
    buffer: Option<&aether_buffer>,
    write_cursor: Option<&mut MaybeUninit<u64>>,
    read_cursor: Option<&mut MaybeUninit<u64>>,
) -> aether_status {
    guard(|| {
        let buffer = buffer.present("buffer")?;
        let (write_out, read_out) = (write_cursor.present("write_cursor")?, read_cursor.present("read_cursor")?);
        let (write, read) = buffer.buffer.cursors();
        write_out.write(write);
        read_out.write(read);
        Ok(())
    })
}

/// Sets the write cursor of a ring with one producer and one consumer, to mend it by hand while neither is there: else
/// `AETHER_STATUS_ROLE_TAKEN`. The value is not checked here, but by whoever takes a role next.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_set_write_cursor(buffer: Option<&aether_buffer>, value: u64) -> aether_status {
    guard(|| Ok(buffer.present("buffer")?.buffer.set_write_cursor(value)?))
}

/// As `aether_buffer_set_write_cursor`, for the read cursor.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_set_read_cursor(buffer: Option<&aether_buffer>, value: u64) -> aether_status {
    guard(|| Ok(buffer.present("buffer")?.buffer.set_read_cursor(value)?))
}

/// The path by which the ring was opened. It is the handle's own and lives as long.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_path(
    buffer: Option<&aether_buffer>,
    path: Option<&mut MaybeUninit<*const c_char>>,
) -> aether_status {
    guard(|| {
        let buffer = buffer.present("buffer")?;
        path.present("path")?.write(buffer.path.as_ptr());
        Ok(())
    })
}

/// Waits until everything committed so far is on the disk. Nothing else here waits for a disk.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_buffer_sync(buffer: Option<&aether_buffer>) -> aether_status {
    guard(|| Ok(buffer.present("buffer")?.buffer.sync()?))
}
