//! A record's header: encode, decode, validate. Pure functions over integers.

use crate::error::Corruption;

/// Bytes of the header before a payload.
pub const HEADER_SIZE: usize = 16;
/// Every record starts at a multiple of this.
pub const ALIGNMENT: usize = 8;
/// Bytes of the CRC-32C after a payload, in files made with checksums. The length field counts them.
pub const CHECKSUM_SIZE: usize = 4;

/// What the 16 bytes before a payload say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: i64,
    pub(crate) length: u32,
    pub(crate) message_type: i32,
}

impl Header {
    /// The two words as they stand in the file.
    #[inline]
    pub(crate) fn encode(self) -> [u64; 2] {
        let second = u64::from(self.length) | u64::from(self.message_type.cast_unsigned()) << 32;
        [self.id.cast_unsigned().to_le(), second.to_le()]
    }

    #[inline]
    pub(crate) fn decode(words: [u64; 2]) -> Header {
        let second = u64::from_le(words[1]);
        Header {
            id: u64::from_le(words[0]).cast_signed(),
            length: second as u32,
            message_type: ((second >> 32) as u32).cast_signed(),
        }
    }

    /// The bytes that the record takes in a ring of which `committed` bytes follow its position, or why it can't be
    /// believed. `trailer` is the checksum's size, or 0.
    #[inline]
    pub(crate) fn validate(self, committed: u64, trailer: usize) -> Result<u64, Corruption> {
        let size = padded(self.length as usize) as u64;
        let least = (HEADER_SIZE + trailer) as u32;
        if self.length >= least && size <= committed {
            return Ok(size);
        }
        Err(self.reject(least, committed))
    }

    #[cold]
    fn reject(self, least: u32, committed: u64) -> Corruption {
        if self.length < least {
            Corruption::TooShort { length: self.length, least }
        } else {
            Corruption::TooLong { length: self.length, committed }
        }
    }
}

/// Bytes that a record of `length` (header, payload and trailer) takes in the ring. The caller has bounded `length`.
#[inline]
pub(crate) fn padded(length: usize) -> usize {
    (length + (ALIGNMENT - 1)) & !(ALIGNMENT - 1)
}

/// CRC-32C over the record's position, header and payload: a record of an earlier lap at the same place can't pass.
pub(crate) fn checksum(position: u64, header: Header, payload: &[u8]) -> u32 {
    let mut fixed = [0; 24];
    let [first, second] = header.encode();
    fixed[..8].copy_from_slice(&position.to_le_bytes());
    fixed[8..16].copy_from_slice(&first.to_ne_bytes());
    fixed[16..].copy_from_slice(&second.to_ne_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&fixed), payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let header = Header { id: 0x0807_0605_0403_0201, length: 0x0C0B_0A09, message_type: 0x100F_0E0D };
        let words = header.encode();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes, (1..=16).collect::<Vec<u8>>());
        assert_eq!(Header::decode(words), header);
        let negative = Header { id: -1, length: 16, message_type: i32::MIN };
        assert_eq!(Header::decode(negative.encode()), negative);
    }

    #[test]
    fn only_lengths_that_hold_a_header_and_fit_what_is_committed_pass() {
        let with = |length| Header { id: 0, length, message_type: 0 };
        assert_eq!(with(16).validate(16, 0), Ok(16));
        assert_eq!(with(17).validate(24, 0), Ok(24));
        assert_eq!(with(15).validate(64, 0), Err(Corruption::TooShort { length: 15, least: 16 }));
        assert_eq!(with(19).validate(64, CHECKSUM_SIZE), Err(Corruption::TooShort { length: 19, least: 20 }));
        assert_eq!(with(17).validate(16, 0), Err(Corruption::TooLong { length: 17, committed: 16 }));
        assert_eq!(
            with(u32::MAX).validate(1 << 20, 0),
            Err(Corruption::TooLong { length: u32::MAX, committed: 1 << 20 })
        );
    }
}
