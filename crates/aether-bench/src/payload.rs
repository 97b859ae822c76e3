//! What is in a payload: words that count up from the first one, so that each byte has to be written, and can be
//! checked by reading each of them.

/// Every message from here on is counted, until [`END`].
pub const START: u64 = u64::MAX - 1;
/// The last message.
pub const END: u64 = u64::MAX;
/// The smallest payload; all are multiples of it.
pub const WORD: usize = 8;

/// Writes `word`, `word + 1` and so on into all of `bytes`.
#[inline]
pub fn fill(bytes: &mut [u8], word: u64) {
    let mut value = word;
    for chunk in bytes.chunks_exact_mut(WORD) {
        chunk.copy_from_slice(&value.to_le_bytes());
        value = value.wrapping_add(1);
    }
}

/// Reads all of `bytes`, and gives the word that they were filled with; `None` if they were not.
///
/// The words are summed up, which a processor does as fast as it can load them.
#[inline]
pub fn read(bytes: &[u8]) -> Option<u64> {
    let mut sum = 0u64;
    for chunk in bytes.chunks_exact(WORD) {
        sum = sum.wrapping_add(u64::from_le_bytes(chunk.try_into().ok()?));
    }
    let first = u64::from_le_bytes(bytes.first_chunk().copied()?);
    let count = (bytes.len() / WORD) as u64;
    let expected = first.wrapping_mul(count).wrapping_add(count.wrapping_mul(count.wrapping_sub(1)) / 2);
    (sum == expected).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_is_read_and_a_changed_byte_is_noticed() {
        for size in [8, 64, 4096] {
            for word in [1, 77 << 56, START, END] {
                let mut bytes = vec![0; size];
                fill(&mut bytes, word);
                assert_eq!(read(&bytes), Some(word));
                if size > WORD {
                    for index in 0..size {
                        bytes[index] ^= 1;
                        assert_eq!(read(&bytes), None, "byte {index} of {size}");
                        bytes[index] ^= 1;
                    }
                }
            }
        }
        assert_eq!(read(&[1, 2, 3]), None);
    }
}
