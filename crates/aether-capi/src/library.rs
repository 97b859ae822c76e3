//! What is true of the library as a whole.

use std::ffi::{c_char, c_void};

use aether_ipc::Direct;

use crate::status::{aether_status, guard};

/// The number in the library's file name: a library with another one is not called in the same way.
pub const AETHER_ABI: u32 = 0;
/// Bytes of a record before its payload: the id (8 bytes), the length (4) and the type (4), all little-endian. The
/// length counts the header, the payload, and the checksum if the ring has one.
pub const AETHER_HEADER_SIZE: usize = 16;
/// Every record starts at a multiple of this; the bytes between one and the next are padding.
pub const AETHER_ALIGNMENT: usize = 8;

/// Set in a bell while somebody sleeps, and so has to be woken: see `aether_direct`.
pub const AETHER_ASLEEP: u32 = 1;

/// What stands where, for callers who write or read records by themselves and move the cursor too, since even one call a
/// message would cost them more than the message: see `aether_producer_window` and `aether_consumer_direct`. It stays
/// there as long as the producer or consumer does. Cursors are 64-bit words, moved by release stores and looked at by
/// acquire loads; the bell and the disturbances are 32-bit words. All is null in rings in which this can't be done: those
/// with checksums or a shared sequence, those that drop messages, and for consumers those with several lanes or with
/// producers that are not trusted.
#[repr(C)]
pub struct aether_direct {
    /// The cursor behind the last record committed.
    pub write_cursor: *mut c_void,
    /// The cursor of this consumer, behind the last record released; null for a producer.
    pub read_cursor: *mut c_void,
    /// To be looked at after a cursor was moved, never before: if `AETHER_ASLEEP` is set, somebody has to be woken by
    /// `aether_producer_ring` or `aether_consumer_ring`.
    pub bell: *const c_void,
    /// Changes when something happened that only this library can judge: a fork, or a file that was cut short. To be
    /// compared before a cursor is moved; the next call finds out.
    pub disturbances: *const c_void,
    /// Where the data of the lane is mapped: what a position stands for is at its remainder by the capacity.
    pub data: *mut c_void,
    /// Bytes mapped there: twice the capacity where records that run over the end go on behind it, else the capacity.
    pub mapped: usize,
    /// Size of the data section.
    pub capacity: u64,
    /// Where the cursor of the producer or consumer stands now.
    pub position: u64,
}

impl aether_direct {
    pub(crate) fn new(direct: Option<(Direct, *mut u64)>) -> aether_direct {
        let null = std::ptr::null_mut();
        let none = aether_direct {
            write_cursor: null,
            read_cursor: null,
            bell: null,
            disturbances: null,
            data: null,
            mapped: 0,
            capacity: 0,
            position: 0,
        };
        direct.map_or(none, |(direct, read_cursor)| aether_direct {
            write_cursor: direct.write.cast(),
            read_cursor: read_cursor.cast(),
            bell: direct.bell.cast(),
            disturbances: direct.epoch.cast(),
            data: direct.base.cast(),
            mapped: direct.mapped,
            capacity: direct.capacity,
            position: direct.position,
        })
    }
}

/// The version of the library, as in "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn aether_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// `AETHER_ABI`, as the library has it.
#[unsafe(no_mangle)]
pub extern "C" fn aether_abi() -> u32 {
    AETHER_ABI
}

/// Turns a bus error in a mapped ring into `AETHER_STATUS_TRUNCATED`. It occurs when somebody cuts the file short
/// while it is mapped, and ends the process otherwise. Installs a signal handler for the whole process: a matter of the
/// program, not of a library. Bus errors elsewhere go to the handler that was there before.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_guard_bus_errors() -> aether_status {
    guard(|| Ok(aether_ipc::guard_bus_errors()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_bit_of_a_sleeper_is_the_librarys() {
        assert_eq!(super::AETHER_ASLEEP, aether_ipc::ASLEEP);
    }

    #[test]
    fn the_numbers_of_a_record_are_those_of_the_library() {
        assert_eq!(super::AETHER_HEADER_SIZE, aether_ipc::HEADER_SIZE);
        assert_eq!(super::AETHER_ALIGNMENT, aether_ipc::ALIGNMENT);
    }
}
