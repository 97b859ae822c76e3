//! The files of a journal: names, locks, reading at a place.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    format::MAX_BLOCK,
};

/// The file of this number: the journal's own name, then that with six digits behind it.
pub(crate) fn path_of(journal: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return journal.to_owned();
    }
    let mut name = journal.as_os_str().to_owned();
    name.push(format!(".{number:06}"));
    name.into()
}

/// The numbers of the files that are there, which follow each other. The first ones may have been removed.
pub(crate) fn numbers(journal: &Path) -> Result<Vec<u32>> {
    /// While a folder is listed, files may come and go, and one between be left out.
    const LOOKS: usize = 5;
    let mut looks = 0;
    loop {
        let numbers = list(journal)?;
        looks += 1;
        match numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            None => return Ok(numbers),
            Some(_) if looks < LOOKS => {}
            Some(pair) => return Err(Error::MissingSegment { path: path_of(journal, pair[0] + 1) }),
        }
    }
}

fn list(journal: &Path) -> Result<Vec<u32>> {
    let parent = match journal.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(parent, "list the folder"))?,
    };
    let Some(name) = journal.file_name() else { return Err(Error::NotAJournal { path: journal.to_owned() }) };
    let name = name.as_encoded_bytes();
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(parent, "list the folder"))?.file_name();
        let Some(suffix) = entry.as_encoded_bytes().strip_prefix(name) else { continue };
        let number = match suffix {
            b"" => Some(0),
            [b'.', digits @ ..] if digits.len() >= 6 => {
                str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).filter(|&number| number > 0)
            }
            _ => None,
        };
        // A name with more zeros than it needs is another file.
        numbers.extend(number.filter(|&number| path_of(journal, number).file_name() == Some(&entry)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Opens for reading what is a regular file: others, such as a named pipe, might never come to an end.
pub(crate) fn open_to_read(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    // Opening a named pipe would wait for somebody to write to it.
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path: path.to_owned() },
        _ => Error::Io { path: path.to_owned(), operation: "open the file", source },
    })?;
    match file.metadata().map_err(Error::io(path, "read its size"))?.is_file() {
        true => Ok(file),
        false => Err(Error::NotAJournal { path: path.to_owned() }),
    }
}

/// Opens for writing, unless another writer has it.
pub(crate) fn open_to_write(path: &Path, new: bool) -> Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(new);
    #[cfg(windows)]
    {
        const FILE_SHARE_READ: u32 = 1;
        const SHARING_VIOLATION: i32 = 32;
        std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, FILE_SHARE_READ);
        options.open(path).map_err(|source| match source.raw_os_error() {
            Some(SHARING_VIOLATION) => Error::Locked { path: path.to_owned() },
            _ => Error::Io { path: path.to_owned(), operation: "open the file for writing", source },
        })
    }
    #[cfg(not(windows))]
    {
        #[cfg(unix)]
        // Who may not read the ring shall not read what passed through it.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(Error::io(path, "open the file for writing"))?;
        #[cfg(unix)]
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked { path: path.to_owned() }),
            Err(error) => {
                return Err(Error::Io { path: path.to_owned(), operation: "lock the file", source: error.into() });
            }
        }
        Ok(file)
    }
}

/// Makes the name of a new file as lasting as its content.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let folder = File::open(parent).map_err(Error::io(parent, "open the folder"))?;
        folder.sync_all().map_err(Error::io(parent, "sync the folder"))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// More than a block is meant to have; what is longer grows while it comes.
const MAX_RESERVED: usize = MAX_BLOCK + (1 << 20);

/// Reads up to `length` bytes at `offset`, fewer only at the end of the file.
pub(crate) fn read_at(mut file: &File, path: &Path, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<()> {
    into.clear();
    // Callers ask for what the file has, or for little.
    into.reserve(usize::try_from(length).unwrap_or(usize::MAX).min(MAX_RESERVED));
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.take(length).read_to_end(into))
        .map_err(Error::io(path, "read"))?;
    Ok(())
}
