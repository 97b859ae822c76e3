//! A folder for each test, and looking at and into files behind the library's back.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use aether_ipc::Error;
use tempfile::{TempDir, tempdir};

/// A folder for one test, and what must be in it when the test is over.
pub(crate) struct Folder(pub(crate) TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempdir().unwrap())
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    pub(crate) fn holds(&self, expected: &[&str]) {
        let entry = |entry: Result<fs::DirEntry, _>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(&self.0).unwrap().map(entry).collect();
        names.sort_unstable();
        assert_eq!(names, expected, "something was left behind or taken away");
    }
}

#[track_caller]
pub(crate) fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

pub(crate) fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes over a file behind the library's back.
pub(crate) fn garble(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

pub(crate) const CAPACITY: u64 = 4096;
/// Where the data of an extended file with few lanes and consumers starts, see docs/format.md.
pub(crate) const DATA: u64 = 64 << 10;
