//! `Cursor`: where a reader of a journal is, kept in a file beside it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    files,
    reader::Reader,
};

/// Most letters of a cursor's name.
pub(crate) const MAX_NAME: usize = 64;
/// Digits of the index in its file.
pub(crate) const DIGITS: usize = 20;

/// A place in a journal with a name, which outlives the reader that moves it. One process has it at a time.
///
/// It is the file `NAME.cursor-` and its own name beside the journal, with an index in decimal digits.
///
/// ```
/// # use aether_journal::{Cursor, Options, Reader, Record, Source, Writer};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("quotes.journal");
/// # let mut writer = Writer::open(&path, Source::default(), Options::default())?;
/// # for id in 0..3 {
/// #     let position = 24 * id as u64;
/// #     writer.append(&Record { time: 0, id, message_type: 7, lane: 0, position, payload: b"hello" })?;
/// # }
/// # writer.finish()?;
/// for expected in 0..3 {
///     let mut cursor = Cursor::open(&path, "audit")?;
///     let mut reader = Reader::open(&path)?;
///     cursor.seek(&mut reader)?;
///     assert_eq!(reader.next()?.map(|record| record.id), Some(expected));
///     cursor.set(reader.index())?; // the message is done: it will not come again
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    file: File,
    index: Option<u64>,
}

impl Cursor {
    /// Takes a cursor of this journal; makes it if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::CursorName`], [`Error::NotACursor`], [`Error::Locked`] while another process has it, [`Error::Io`].
    pub fn open(journal: impl AsRef<Path>, name: &str) -> Result<Cursor> {
        let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_');
        if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(is_letter) {
            return Err(Error::CursorName { name: name.to_owned() });
        }
        let mut path = journal.as_ref().as_os_str().to_owned();
        path.push(format!(".cursor-{name}"));
        let path = PathBuf::from(path);
        let mut file = match files::open_to_write(&path, false) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                match files::open_to_write(&path, true) {
                    // Somebody else was faster, and has it.
                    Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                        return Err(Error::Locked { path });
                    }
                    file => file?,
                }
            }
            file => file?,
        };
        let mut text = String::new();
        // Text that is no text can't be a cursor either; what is longer than one is not read to its end.
        if Read::by_ref(&mut file).take(DIGITS as u64 + 2).read_to_string(&mut text).is_err() {
            return Err(Error::NotACursor { path });
        }
        let index = match text.strip_suffix('\n') {
            // A kill came between making the file and writing it.
            None if text.is_empty() => None,
            Some(digits) if digits.len() == DIGITS => match digits.parse() {
                Ok(index) => Some(index),
                Err(_) => return Err(Error::NotACursor { path }),
            },
            _ => return Err(Error::NotACursor { path }),
        };
        Ok(Cursor { path, file, index })
    }

    /// Where it stands; `None` if it never was anywhere.
    pub fn index(&self) -> Option<u64> {
        self.index
    }

    /// Goes to the message at which it stands, or to the oldest one behind that is there. A new one stays where the
    /// reader is. Returns how many messages were removed before they were reached.
    ///
    /// # Errors
    ///
    /// [`Error::CursorBeyond`], and as [`Reader::seek_index`].
    pub fn seek(&self, reader: &mut Reader) -> Result<u64> {
        let Some(index) = self.index else { return Ok(0) };
        if index > reader.end() {
            return Err(Error::CursorBeyond { path: self.path.clone(), index, end: reader.end() });
        }
        reader.seek_index(index)?;
        Ok(reader.start().saturating_sub(index))
    }

    /// Moves it. From then on it stands there, whatever happens to the process.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn set(&mut self, index: u64) -> Result<()> {
        let text = format!("{index:0DIGITS$}\n");
        // At once, and within a page: a kill finds it as it was, or as it is to be.
        let written = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(text.as_bytes()));
        written.map_err(Error::io(&self.path, "move the cursor"))?;
        self.index = Some(index);
        Ok(())
    }
}
