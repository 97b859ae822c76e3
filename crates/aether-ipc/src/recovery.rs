//! Verify and repair: what is wrong in a ring, and how to go on with as little loss as can be.
//!
//! A repair moves cursors and never touches a record. It believes those that fit each other:
//!
//! | what is wrong | [`LastGood`](Strategy::LastGood) | [`SkipToWrite`](Strategy::SkipToWrite) |
//! |---|---|---|
//! | a record | the write cursor goes back to it | its readers go on to the write cursor |
//! | a consumer's cursor | it goes back to the oldest whole record, or to the start of the record that it stands in | it goes on to the write cursor |
//! | the write cursor | it goes back to the last record that holds, where there are checksums; else to the consumers | all others go there |
//! | the oldest position | it becomes the slowest consumer's | the same |
//! | a consumer's slot | it is freed | the same |
//!
//! ```
//! use aether_ipc::{Buffer, recovery::{self, Strategy}};
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("ring");
//! Buffer::create(&path, 4096)?.producer()?.offer(1, 0, b"fine")?;
//! let report = recovery::verify(&path)?;
//! assert_eq!((report.problems.len(), report.messages), (0, 1));
//!
//! let plan = recovery::plan(&path, Strategy::LastGood)?;
//! assert!(plan.changes().is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod look;

use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, atomic::Ordering::*},
};

use look::{Count, Look};

use crate::{
    cursor::AWAY,
    error::{Corruption, Error, Result},
    events::event,
    layout::slot,
    mapping::{Mapping, check_size_limit},
    ownership::{Role, RoleLock, is_held},
    slots,
};

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Everything that is wrong; empty for a sound ring.
    pub problems: Vec<Problem>,
    /// Messages that wait and are whole.
    pub messages: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The lane.
    pub lane: u32,
    /// The consumer's slot, if it is wrong, or its cursor; `None` if a record or the oldest position is.
    pub consumer: Option<u32>,
    /// The position, in bytes since the ring was made; 0 if what is wrong is a consumer's slot.
    pub position: u64,
    /// What is wrong there.
    pub reason: Corruption,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}, position {}", self.lane, self.position)?;
        if let Some(slot) = self.consumer {
            write!(f, ", consumer {slot}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// What to give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Keep the messages before the first bad one; give up all from there on. A consumer whose cursor can't be believed
    /// starts with the oldest message that is still whole: some come again that it had released.
    LastGood,
    /// Give up all that waits where something is wrong, good messages too; go on with what is committed next.
    SkipToWrite,
}

/// One word that a [`Plan`] changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The lane.
    pub lane: u32,
    /// Which word.
    pub cursor: CursorName,
    /// Its value now.
    pub from: u64,
    /// Its value after.
    pub to: u64,
}

/// A word that a repair changes: a cursor of a lane, or a consumer's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CursorName {
    /// Bytes ever committed.
    Write,
    /// From where on records have not been written over.
    Oldest,
    /// Bytes ever released by the consumer in this slot.
    Read(u32),
    /// The state of this consumer's slot.
    Slot(u32),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cursor {
            CursorName::Write => write!(f, "lane {}: write cursor", self.lane)?,
            CursorName::Oldest => write!(f, "lane {}: oldest position", self.lane)?,
            CursorName::Read(slot) => write!(f, "lane {}: read cursor of consumer {slot}", self.lane)?,
            CursorName::Slot(slot) => write!(f, "consumer {slot}: state")?,
        }
        write!(f, " from {} to ", self.from)?;
        match (self.cursor, self.to) {
            (CursorName::Read(_), AWAY) => f.write_str("none"),
            (_, to) => write!(f, "{to}"),
        }
    }
}

/// Looks at every record that waits, from the slowest consumer's cursor to the write cursor, and at all that says who
/// waits for what.
///
/// Takes no role. In a ring that is in use, records that are released meanwhile are not looked at.
///
/// # Errors
///
/// What opening the file returns; a broken ring is no error here but a [`Report`] with problems.
pub fn verify(path: impl AsRef<Path>) -> Result<Report> {
    let mapping = Arc::new(Mapping::open(path.as_ref(), false)?);
    let mut report = Report { problems: Vec::new(), messages: 0, bytes: 0 };
    for lane in 0..mapping.layout().lanes {
        let look = Look::at(&mapping, lane, &|slot| is_held(&mapping, Role::Consumer(slot)))?;
        let waiting = look.count(look.slowest(), look.good_to())?;
        report.messages += waiting.messages;
        report.bytes += waiting.bytes;
        report.problems.extend(look.problems());
    }
    for (slot, reason) in slots::faults(&mapping) {
        report.problems.push(Problem { lane: 0, consumer: Some(slot), position: 0, reason });
    }
    mapping.check_whole()?;
    Ok(report)
}

/// What would be changed to make a ring sound again, and what that gives up. All roles are held until it is dropped, so
/// that nothing moves in between.
#[derive(Debug)]
pub struct Plan {
    mapping: Arc<Mapping>,
    changes: Vec<Change>,
    given_up: Count,
    _lock: RoleLock,
}

/// Works out a repair, without doing it.
///
/// # Errors
///
/// What opening the file returns (a header that can't be believed can't be repaired: nothing says where the ring is),
/// and [`Error::RoleTaken`] while anybody produces or consumes.
pub fn plan(path: impl AsRef<Path>, strategy: Strategy) -> Result<Plan> {
    let mapping = Arc::new(Mapping::open(path.as_ref(), true)?);
    let lock = take_everything(&mapping)?;
    let mut plan = Plan { mapping: mapping.clone(), changes: Vec::new(), given_up: Count::default(), _lock: lock };
    let freed = plan.repair_slots();
    for lane in 0..mapping.layout().lanes {
        let look = Look::at(&mapping, lane, &|_| Ok(false))?;
        plan.repair_lane(&look, strategy, &freed)?;
    }
    mapping.check_whole()?;
    Ok(plan)
}

fn take_everything(mapping: &Arc<Mapping>) -> Result<RoleLock> {
    if let Some(lock) = RoleLock::try_take(mapping, Role::Everything)? {
        return Ok(lock);
    }
    let layout = mapping.layout();
    let producers = (0..layout.lanes)
        .map(|lane| (format!("producer (lane {lane})"), Role::Producer(lane), layout.write_line(lane)));
    let consumers =
        (0..layout.consumers).map(|slot| ("consumer".to_owned(), Role::Consumer(slot), layout.read_line(0, slot)));
    for (role, held, line) in producers.chain(consumers) {
        if let Some(pid) = slots::holder(mapping, held, line)? {
            return Err(Error::RoleTaken { path: mapping.path().to_owned(), role, holders: vec![pid] });
        }
    }
    // Another repair, a change of the consumers' names, or a holder that went away just now.
    let role = "producer or consumer".to_owned();
    Err(Error::RoleTaken { path: mapping.path().to_owned(), role, holders: vec![0] })
}

impl Plan {
    /// What is to be changed; nothing in a sound ring.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Bytes that wait now and will not any more. Where a cursor can't be believed, nothing tells how many waited: then it
    /// is the most that it can be.
    pub fn bytes_given_up(&self) -> u64 {
        self.given_up.bytes
    }

    /// Whole messages among those bytes. Behind a bad record or cursor, none can be counted.
    pub fn messages_given_up(&self) -> u64 {
        self.given_up.messages
    }

    /// Frees the slots that nobody can come back to; returns which.
    fn repair_slots(&mut self) -> Vec<u32> {
        let faults = slots::faults(&self.mapping);
        for &(slot, reason) in &faults {
            let from = match reason {
                Corruption::SlotState { state, .. } => state,
                _ => slot::DURABLE,
            };
            self.change(0, CursorName::Slot(slot), from.into(), slot::FREE.into());
        }
        faults.into_iter().map(|(slot, _)| slot).collect()
    }

    fn repair_lane(&mut self, look: &Look, strategy: Strategy, freed: &[u32]) -> Result<()> {
        let repaired = look.repair(strategy)?;
        self.change(look.lane, CursorName::Write, look.write, repaired.write);
        if let (Some(from), Some(to)) = (look.oldest, repaired.oldest) {
            self.change(look.lane, CursorName::Oldest, from, to);
        }
        let mut slowest = None;
        for (read, &to) in look.reads.iter().zip(&repaired.reads) {
            if freed.contains(&read.slot) {
                self.change(look.lane, CursorName::Read(read.slot), read.cursor, AWAY);
                continue;
            }
            self.change(look.lane, CursorName::Read(read.slot), read.cursor, to);
            // Before the oldest position, nothing waits any more.
            let start = repaired.oldest.filter(|oldest| oldest.wrapping_sub(to).cast_signed() > 0).unwrap_or(to);
            slowest = slowest.into_iter().chain([start]).max_by_key(|&start| repaired.write.wrapping_sub(start));
        }
        let slowest = slowest.unwrap_or(repaired.write);
        let kept = repaired.write.wrapping_sub(slowest);
        let Some(before) = look.earliest() else {
            self.given_up.bytes += look.capacity - kept.min(look.capacity);
            return Ok(());
        };
        self.given_up.bytes += look.write.wrapping_sub(before).saturating_sub(kept);
        // Kept are those from `slowest` to the new write cursor; behind that, nothing can be counted.
        let end = if slowest == repaired.write { look.good_to() } else { slowest };
        self.given_up.messages += look.count(before, end)?.messages;
        Ok(())
    }

    fn change(&mut self, lane: u32, cursor: CursorName, from: u64, to: u64) {
        if from != to {
            self.changes.push(Change { lane, cursor, from, to });
        }
    }

    /// Keeps a copy of the file at `backup`, which must not exist, then moves the cursors and writes them to the disk.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] for the copy, [`Error::NoSpace`], [`Error::Io`]: nothing was changed then, unless
    /// writing the repaired file to the disk is what failed.
    pub fn apply(self, backup: impl AsRef<Path>) -> Result<()> {
        let backup = backup.as_ref();
        copy(&self.mapping, backup)?;
        let layout = *self.mapping.layout();
        for change in &self.changes {
            event!(
                warn,
                path = %self.mapping.path().display(),
                lane = change.lane,
                cursor = ?change.cursor,
                from = change.from,
                to = change.to,
                "cursor repaired"
            );
            let offset = match change.cursor {
                CursorName::Write => layout.write_line(change.lane),
                CursorName::Read(slot) => layout.read_line(change.lane, slot),
                CursorName::Slot(slot) => {
                    let state = self.mapping.half_word(layout.slot_cell(slot) + slot::STATE);
                    state.store((change.to as u32).to_le(), Release);
                    continue;
                }
                CursorName::Oldest => match layout.oldest(change.lane) {
                    Some(offset) => offset,
                    None => continue,
                },
            };
            self.mapping.word(offset).store(change.to.to_le(), Release);
        }
        self.mapping.sync()
    }
}

fn copy(mapping: &Mapping, backup: &Path) -> Result<()> {
    let size = mapping.layout().file_size();
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: backup.to_owned() },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::NoSpace { path: backup.to_owned(), size, source }
        }
        _ => Error::Io { path: backup.to_owned(), operation: "keep a copy", source },
    };
    check_size_limit(size).map_err(fail)?;
    let mut from = crate::mapping::reopen(mapping.file(), mapping.path())?;
    let mut to = fs::OpenOptions::new().write(true).create_new(true).open(backup).map_err(fail)?;
    let copied = from
        .metadata()
        .and_then(|metadata| to.set_permissions(metadata.permissions()))
        .and_then(|()| io::copy(&mut from, &mut to))
        .and_then(|_| to.sync_all());
    copied.map_err(|error| {
        // Half a copy is worth nothing; that it can't be removed is not worth another error.
        let _ = fs::remove_file(backup);
        fail(error)
    })
}
