//! Names for what is in no folder, made from the one of a measurement, so that it is found again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// Ten letters and digits, the same in every process.
pub(crate) fn short(place: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    format!("ab{:08x}", hasher.finish() as u32)
}

/// Removes what of POSIX shared memory begins with `name`.
pub(crate) fn remove_shared_memory(name: &str) {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(name) {
            // It is gone, or was not ours.
            let _ = fs::remove_file(entry.path());
        }
    }
}
