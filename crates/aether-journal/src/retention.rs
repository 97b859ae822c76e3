//! Which files of a journal are kept.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    error::{Error, Result},
    files,
    reader::is_begun,
    segment::Segment,
};

/// How much of a journal is kept. Files are removed whole, the oldest first, and never the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// As many files as take no more than this together.
    pub bytes: Option<u64>,
    /// Files whose last message is no older than this.
    pub age: Option<Duration>,
}

/// The files of a journal that need not be kept, the oldest first. `now` is in nanoseconds since 1970.
///
/// # Errors
///
/// [`Error::MissingSegment`], [`Error::Io`], and what is wrong with a file whose age is asked for.
pub fn superfluous(journal: impl AsRef<Path>, keep: &Keep, now: u64) -> Result<Vec<PathBuf>> {
    let numbers = files::numbers(journal.as_ref())?;
    let mut paths: Vec<PathBuf> = numbers.iter().map(|&number| files::path_of(journal.as_ref(), number)).collect();
    let size = |path: &PathBuf| fs::metadata(path).map(|found| found.len()).map_err(Error::io(path, "read its size"));
    let mut bytes = paths.iter().try_fold(0_u64, |sum, path| Ok::<u64, Error>(sum.saturating_add(size(path)?)))?;
    // The last file that holds anything is where the next writer learns what the journal has.
    let Some(last) = paths.pop() else { return Ok(Vec::new()) };
    if is_begun(&last) || Segment::open(last)?.parts.is_empty() {
        paths.pop();
    }
    let mut superfluous = Vec::new();
    for path in paths {
        let too_many = keep.bytes.is_some_and(|most| bytes > most);
        let too_old = match keep.age {
            Some(age) if !too_many => {
                let last = Segment::open(path.clone())?.times().map_or(0, |(_, last)| last);
                Duration::from_nanos(now.saturating_sub(last)) > age
            }
            _ => false,
        };
        if !too_many && !too_old {
            break;
        }
        bytes = bytes.saturating_sub(size(&path)?);
        superfluous.push(path);
    }
    Ok(superfluous)
}

/// Removes the files of a journal that need not be kept. Returns which.
///
/// # Errors
///
/// As [`superfluous`]; what was removed before an error stays so.
pub fn prune(journal: impl AsRef<Path>, keep: &Keep, now: u64) -> Result<Vec<PathBuf>> {
    let paths = superfluous(journal, keep, now)?;
    for path in &paths {
        fs::remove_file(path).map_err(Error::io(path, "remove the file"))?;
    }
    Ok(paths)
}
