//! Which file a ring is. A new one in the old one's place is another.

use std::{
    fs::Metadata,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

use crate::{
    error::{Error, Result},
    frame::Identity,
};

/// Between two looks at whether the file is still there.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// A file that was open when it had this identity.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    pub(crate) identity: Identity,
    looked: Instant,
}

impl Place {
    /// Opens what stands at `path` and learns which file it is.
    pub(crate) fn open<T>(path: &Path, open: impl Fn(&Path) -> aether_ipc::Result<T>) -> Result<(Place, T)> {
        let mut before = identify(path).ok();
        loop {
            let opened = open(path)?;
            let identity = identify(path)?;
            // Else it was made just now, or replaced while it was opened.
            if before == Some(identity) {
                return Ok((Place { path: path.to_owned(), identity, looked: Instant::now() }, opened));
            }
            before = Some(identity);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks now and then.
    pub(crate) fn check(&mut self) -> Result<()> {
        if self.looked.elapsed() < BETWEEN_LOOKS {
            return Ok(());
        }
        self.looked = Instant::now();
        match identify(&self.path) {
            Ok(identity) if identity == self.identity => Ok(()),
            _ => Err(Error::Replaced { path: self.path.clone() }),
        }
    }
}

/// The time to the nanosecond when it was made, and the number that the file system gave it.
fn identify(path: &Path) -> Result<Identity> {
    let identity = || {
        let metadata = path.metadata()?;
        let made = metadata.created()?.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        Ok([made.as_nanos() as u64, number(&metadata)])
    };
    identity().map_err(|source| Error::Identity { path: path.to_owned(), source })
}

#[cfg(unix)]
fn number(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> u64 {
    0
}
