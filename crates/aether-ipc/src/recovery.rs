//! Verify and repair: what is wrong in a ring, and how to go on with as little loss as can be.
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

use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, atomic::Ordering::*},
};

use crate::{
    buffer::holder_pids,
    consumer::Run,
    cursor::{AWAY, distance},
    error::{Corruption, Error, Result},
    layout::{Overflow, cursor_line},
    mapping::{Mapping, View},
    ownership::{Role, RoleLock},
    record::CHECKSUM_SIZE,
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
    /// The slot of the consumer whose cursor is wrong; `None` if a record is.
    pub consumer: Option<u32>,
    /// The position, in bytes since the ring was made.
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
    /// Keep the messages before the first bad one; give up all from there on.
    LastGood,
    /// Give up all that waits, good messages too; go on with what is committed next.
    SkipToWrite,
}

/// One cursor that a [`Plan`] moves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The lane.
    pub lane: u32,
    /// Which cursor: the write cursor, the oldest position, or that of a consumer's slot.
    pub cursor: CursorName,
    /// Its value now.
    pub from: u64,
    /// Its value after.
    pub to: u64,
}

/// A cursor of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorName {
    /// Bytes ever committed.
    Write,
    /// From where on records have not been written over.
    Oldest,
    /// Bytes ever released by the consumer in this slot.
    Read(u32),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cursor {
            CursorName::Write => write!(f, "lane {}: write cursor", self.lane)?,
            CursorName::Oldest => write!(f, "lane {}: oldest position", self.lane)?,
            CursorName::Read(slot) => write!(f, "lane {}: read cursor of consumer {slot}", self.lane)?,
        }
        write!(f, " from {} to {}", self.from, self.to)
    }
}

/// Looks at every record that waits, from the slowest consumer's cursor to the write cursor.
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
        let look = look(&mapping, lane);
        report.messages += look.messages;
        report.bytes += look.bad.map_or(look.write, |(at, _)| at).wrapping_sub(look.from);
        let record = look.bad.map(|(position, reason)| Problem { lane, consumer: None, position, reason });
        let cursors = look.bad_cursors.iter().map(|&(slot, position, reason)| Problem {
            lane,
            consumer: Some(slot),
            position,
            reason,
        });
        report.problems.extend(record.into_iter().chain(cursors));
    }
    mapping.check_whole()?;
    Ok(report)
}

/// One lane, looked at from end to end.
struct Look {
    write: u64,
    oldest: Option<u64>,
    /// Where the walk began: the slowest consumer that can be believed, or the write cursor.
    from: u64,
    /// Whole messages from there on.
    messages: u64,
    /// The first record that can't be believed.
    bad: Option<(u64, Corruption)>,
    /// Consumers whose cursor can't be believed.
    bad_cursors: Vec<(u32, u64, Corruption)>,
    /// All cursors that are not away.
    reads: Vec<(u32, u64)>,
}

fn look(mapping: &Arc<Mapping>, lane: u32) -> Look {
    let layout = mapping.layout();
    let load = |offset| u64::from_le(mapping.word(offset).load(Acquire));
    let lossy = layout.overflow == Overflow::DropOldest;
    // Read cursors first: in a sound ring, a write cursor loaded later is not behind them. One that moved meanwhile is
    // looked at again.
    let (mut reads, mut write, mut oldest);
    let mut tries = 0;
    loop {
        oldest = layout.oldest(lane).map(load);
        reads = (0..layout.consumers)
            .map(|slot| (slot, load(layout.read_line(lane, slot))))
            .filter(|&(_, read)| !layout.broadcast() || read != AWAY)
            .collect::<Vec<_>>();
        write = load(layout.write_line(lane));
        let sound = reads.iter().all(|&(_, read)| distance(write, read, layout.capacity).is_ok());
        tries += 1;
        if sound || lossy || tries == 64 {
            break;
        }
        std::hint::spin_loop();
    }
    let mut bad_cursors = Vec::new();
    let mut from = write;
    for &(slot, read) in &reads {
        // Far behind is what happens to a consumer of a lossy ring; it starts at the oldest record.
        let start = match oldest {
            Some(oldest) if lossy && oldest.wrapping_sub(read).cast_signed() > 0 => oldest,
            _ => read,
        };
        match distance(write, start, layout.capacity) {
            Ok(bytes) if bytes > write.wrapping_sub(from) => from = start,
            Ok(_) => {}
            Err(reason) => bad_cursors.push((slot, read, reason)),
        }
    }
    let run = Run {
        index: 0,
        lane,
        trailer: if layout.checksums { CHECKSUM_SIZE } else { 0 },
        view: *mapping.lane_data(lane),
        start: from,
        end: write,
        limit: usize::MAX,
    };
    let mut look = Look { write, oldest, from, messages: 0, bad: None, bad_cursors, reads };
    // Each cursor must be where a record begins or, if nothing waits, at the end.
    let mut between: Vec<(u32, u64)> =
        look.reads.iter().copied().filter(|&(_, read)| read.wrapping_sub(from) < write.wrapping_sub(from)).collect();
    let mut copies = Vec::new();
    let mut position = from;
    while position != write {
        between.retain(|&(_, read)| read != position);
        copies.clear();
        let next = run.copy(position, &mut copies, |_| true).and_then(|next| {
            let next = next.unwrap_or(write);
            let copy = Run { view: View::of_copy(&mut copies, position), end: next, ..run };
            // SAFETY: one record, in a copy that stands in one piece and outlives the message.
            unsafe { copy.read(position, &mut Vec::new()) }.map(|_| next)
        });
        match next {
            Ok(next) => position = next,
            Err(Error::Corrupt { reason, .. }) => {
                let moved_on = look
                    .reads
                    .iter()
                    .all(|&(slot, _)| load(layout.read_line(lane, slot)).wrapping_sub(position).cast_signed() > 0);
                if !(moved_on && !look.reads.is_empty()) {
                    look.bad = Some((position, reason));
                }
                break;
            }
            Err(_) => break,
        }
        look.messages += 1;
    }
    let end = look.bad.map_or(position, |(at, _)| at);
    for (slot, read) in between {
        if read.wrapping_sub(from) < end.wrapping_sub(from) {
            look.bad_cursors.push((slot, read, Corruption::BetweenRecords { cursor: read }));
        }
    }
    look
}

/// What would be changed to make a ring sound again, and what that gives up. All roles are held until it is dropped, so
/// that nothing moves in between.
#[derive(Debug)]
pub struct Plan {
    mapping: Arc<Mapping>,
    changes: Vec<Change>,
    bytes: u64,
    messages: u64,
    _locks: Vec<RoleLock>,
}

/// Works out a repair, without doing it.
///
/// # Errors
///
/// What opening the file returns (a header that can't be believed can't be repaired: nothing says where the ring is),
/// and [`Error::RoleTaken`] while anybody produces or consumes.
pub fn plan(path: impl AsRef<Path>, strategy: Strategy) -> Result<Plan> {
    let mapping = Arc::new(Mapping::open(path.as_ref(), true)?);
    let layout = *mapping.layout();
    let mut locks = Vec::new();
    let roles = (0..layout.lanes).map(Role::Producer).chain((0..layout.consumers).map(Role::Consumer));
    for role in roles {
        let Some(lock) = RoleLock::try_take(&mapping, role)? else {
            let (role, line) = match role {
                Role::Producer(lane) => (format!("producer (lane {lane})"), layout.write_line(lane)),
                Role::Consumer(slot) => ("consumer".to_owned(), layout.read_line(0, slot)),
                Role::Registry => continue,
            };
            let holders = holder_pids(&mapping, [line + cursor_line::PID].into_iter());
            return Err(Error::RoleTaken { path: mapping.path().to_owned(), role, holders });
        };
        locks.push(lock);
    }
    let mut plan = Plan { mapping: mapping.clone(), changes: Vec::new(), bytes: 0, messages: 0, _locks: locks };
    for lane in 0..layout.lanes {
        plan.repair_lane(lane, look(&mapping, lane), strategy);
    }
    mapping.check_whole()?;
    Ok(plan)
}

impl Plan {
    /// The cursors to be moved; none in a sound ring.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Bytes that wait now and will not any more.
    pub fn bytes_given_up(&self) -> u64 {
        self.bytes
    }

    /// Whole messages among those bytes. Behind a bad record, none can be counted.
    pub fn messages_given_up(&self) -> u64 {
        self.messages
    }

    fn repair_lane(&mut self, lane: u32, look: Look, strategy: Strategy) {
        if look.bad.is_none() && look.bad_cursors.is_empty() {
            return;
        }
        let believed = look.reads.len() - look.bad_cursors.len().min(look.reads.len());
        // Without one cursor that fits the write cursor, nothing tells which of them is right. The write cursor stays
        // if it can be one, unless what is kept is asked for: then the consumer's place stays.
        let write = if believed == 0 && strategy == Strategy::LastGood {
            let aligned = look.reads.iter().map(|&(_, read)| read).find(|read| read % 8 == 0);
            aligned.unwrap_or(look.write.next_multiple_of(8))
        } else {
            match (look.bad, strategy) {
                (Some((at, _)), Strategy::LastGood) => at,
                _ => look.write.checked_next_multiple_of(8).unwrap_or(0),
            }
        };
        self.change(lane, CursorName::Write, look.write, write);
        for &(slot, read) in &look.reads {
            let is_bad = look.bad_cursors.iter().any(|&(bad, ..)| bad == slot);
            let beyond = write.wrapping_sub(read).cast_signed() < 0;
            let skips = strategy == Strategy::SkipToWrite && look.bad.is_some();
            if is_bad || beyond || skips {
                self.change(lane, CursorName::Read(slot), read, write);
            }
        }
        if let Some(oldest) = look.oldest
            && write.wrapping_sub(oldest).cast_signed() < 0
        {
            self.change(lane, CursorName::Oldest, oldest, write);
        }
        if believed > 0 {
            let kept_to = if strategy == Strategy::LastGood { write } else { look.from };
            self.bytes += if look.bad.is_some() { look.write.wrapping_sub(kept_to) } else { 0 };
            if strategy == Strategy::SkipToWrite && look.bad.is_some() {
                self.messages += look.messages;
            }
        }
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
            let offset = match change.cursor {
                CursorName::Write => layout.write_line(change.lane),
                CursorName::Read(slot) => layout.read_line(change.lane, slot),
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
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path: backup.to_owned() },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::NoSpace { path: backup.to_owned(), size: mapping.layout().file_size(), source }
        }
        _ => Error::Io { path: backup.to_owned(), operation: "keep a copy", source },
    };
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
