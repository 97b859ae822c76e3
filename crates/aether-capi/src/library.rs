//! What is true of the library as a whole.

use std::ffi::c_char;

use crate::status::{aether_status, guard};

/// The number in the library's file name: a library with another one is not called in the same way.
pub const AETHER_ABI: u32 = 0;
/// Bytes of a record before its payload: the id (8 bytes), the length (4) and the type (4), all little-endian. The
/// length counts the header, the payload, and the checksum if the ring has one.
pub const AETHER_HEADER_SIZE: usize = 16;
/// Every record starts at a multiple of this; the bytes between one and the next are padding.
pub const AETHER_ALIGNMENT: usize = 8;

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
    fn the_numbers_of_a_record_are_those_of_the_library() {
        assert_eq!(super::AETHER_HEADER_SIZE, aether_ipc::HEADER_SIZE);
        assert_eq!(super::AETHER_ALIGNMENT, aether_ipc::ALIGNMENT);
    }
}
