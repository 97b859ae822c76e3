//! `Observer`: a look at a ring that needs no write permission and disturbs nobody.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::*},
    },
};

use crate::{
    consumer::{Flow, Message, Run},
    cursor::{AWAY, ReadEnd, distance, distance_from_oldest, window},
    error::{Corruption, Error, Result},
    layout::{Format, Overflow, VERSION},
    mapping::{Epoch, LaneData, Mapping, View, Word},
    ownership::Role,
    record::CHECKSUM_SIZE,
    slots,
    sync::copied_fence,
};

/// Looks at a ring through a read-only map: what it is, what waits in it, what passes through it.
///
/// It takes no role, moves no cursor and holds nobody back, so what it sees may be gone a moment later. Messages are
/// copied, then checked, then shown.
///
/// ```
/// use aether_ipc::{Buffer, Flow, Observer};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("ring");
/// Buffer::create(&path, 4096)?.producer()?.offer(1, 7, b"hello")?;
///
/// let observer = Observer::open(&path)?;
/// assert_eq!(observer.info()?.available_bytes(), 24);
/// observer.peek(10, |message| {
///     assert_eq!(message.payload(), b"hello");
///     Flow::Continue
/// })?;
/// assert_eq!(observer.count_messages()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Observer {
    mapping: Arc<Mapping>,
}

/// What a ring is and how it stands; an instant's truth.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The path by which it was opened.
    pub path: PathBuf,
    /// Which of the two headers it has.
    pub format: Format,
    /// Version of the extended header; 0 in a classic file.
    pub version: u32,
    /// Bytes of each lane's data section.
    pub capacity: u64,
    /// Where the first lane's data starts in the file.
    pub data_offset: u64,
    /// Length of the file in bytes.
    pub file_size: u64,
    /// Bytes that it takes on the disk, where the system says so.
    pub disk_size: u64,
    /// Whether each record carries a checksum.
    pub checksums: bool,
    /// Whether ids are stamped from a sequence shared by all producers.
    pub sequence: bool,
    /// What producers do when the ring is full.
    pub overflow: Overflow,
    /// The lanes, one for each producer.
    pub lanes: Vec<LaneInfo>,
    /// The consumers that hold producers back or read now.
    pub consumers: Vec<ConsumerInfo>,
    /// How many consumers the ring has room for.
    pub consumer_slots: u32,
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneInfo {
    /// Its number, from 0.
    pub lane: u32,
    /// Bytes ever committed.
    pub write_cursor: u64,
    /// Records from here on have not been written over; 0 in classic files, which do not say.
    pub oldest: u64,
    /// Process id of the producer that is there now; 0 if it left none.
    pub producer: Option<u32>,
}

/// One consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its slot, from 0.
    pub slot: u32,
    /// The name of a durable consumer among many.
    pub name: Option<String>,
    /// Whether its place is kept while it is away.
    pub durable: bool,
    /// Process id of the consumer that is there now; 0 if it left none.
    pub holder: Option<u32>,
    /// Bytes ever released, by lane.
    pub read_cursors: Vec<u64>,
    /// Bytes that wait for it, in all lanes together.
    pub lag: u64,
}

impl Info {
    /// The first lane's write cursor.
    pub fn write_cursor(&self) -> u64 {
        self.lanes.first().map_or(0, |lane| lane.write_cursor)
    }

    /// The first lane's read cursor, of the consumer that is furthest back; the write cursor if there is none.
    pub fn read_cursor(&self) -> u64 {
        let slowest = self.consumers.iter().max_by_key(|consumer| consumer.lag);
        slowest.and_then(|consumer| consumer.read_cursors.first().copied()).unwrap_or(self.write_cursor())
    }

    /// Bytes that wait for the slowest consumer.
    pub fn available_bytes(&self) -> u64 {
        self.consumers.iter().map(|consumer| consumer.lag).max().unwrap_or(0)
    }
}

/// How often two words that move are looked at before they are said not to fit.
const TRIES: usize = 64;

/// What an observer reads of one lane.
#[derive(Debug)]
struct LaneLook {
    lane: u32,
    capacity: u64,
    trailer: usize,
    lossy: bool,
    data: LaneData,
    write: Word<AtomicU64>,
    oldest: Option<Word<AtomicU64>>,
    reads: Vec<Word<AtomicU64>>,
    mapping: Arc<Mapping>,
}

impl LaneLook {
    fn new(mapping: &Arc<Mapping>, lane: u32) -> LaneLook {
        let layout = mapping.layout();
        LaneLook {
            lane,
            capacity: layout.capacity,
            trailer: if layout.checksums { CHECKSUM_SIZE } else { 0 },
            lossy: layout.overflow == Overflow::DropOldest,
            data: mapping.lane_data(lane),
            write: mapping.word(layout.write_line(lane)),
            oldest: layout.oldest(lane).map(|offset| mapping.word(offset)),
            reads: (0..layout.consumers).map(|slot| mapping.word(layout.read_line(lane, slot))).collect(),
            mapping: mapping.clone(),
        }
    }

    fn written(&self) -> u64 {
        u64::from_le(self.write.load(Acquire))
    }

    /// Up to where records may have been written over. A classic file does not say; there it is what was released.
    fn floor(&self) -> u64 {
        u64::from_le(self.floor_word().load(Acquire))
    }

    fn floor_word(&self) -> &AtomicU64 {
        self.oldest.as_ref().map_or_else(|| &*self.reads[0], |oldest| &**oldest)
    }

    /// The floor and the write cursor, as a pair that can be believed.
    fn window(&self) -> Result<(u64, u64)> {
        window(&self.write, self.floor_word(), self.capacity).map_err(|reason| {
            let reason = match reason {
                Corruption::Oldest { write, oldest: read, capacity } if self.oldest.is_none() => {
                    Corruption::Apart { write, read, capacity }
                }
                reason => reason,
            };
            Error::Corrupt { lane: self.lane, position: self.floor(), reason }
        })
    }

    /// Where the consumers stand that are not away. The only one of a ring has no such state. A cursor that does not fit
    /// the write cursor, of a consumer without a name, is one that is joining or died so.
    fn positions(&self) -> impl Iterator<Item = u64> {
        let many = self.reads.len() > 1;
        let reads = (0..).zip(&self.reads).map(|(slot, read)| (slot, u64::from_le(read.load(Acquire))));
        reads.filter_map(move |(slot, read)| {
            let counts = !many
                || read != AWAY
                    && (distance(self.written(), read, self.capacity).is_ok()
                        || slots::name(&self.mapping, slot).is_some());
            counts.then_some(read)
        })
    }

    /// Whether the record copied from `position` had not been given up when the copy was done.
    fn still_whole(&self, position: u64) -> bool {
        ReadEnd::still_whole(position, self.floor_word())
    }

    /// Whether a consumer still waited for the record copied from `position` when the copy was done. Where the producer
    /// waits for consumers, it was not written over then.
    fn still_waits(&self, position: u64) -> bool {
        copied_fence();
        self.positions().any(|read| position.wrapping_sub(read).cast_signed() >= 0)
    }

    /// Where the slowest consumer stands, and the write cursor, as a pair that can be believed.
    fn waiting(&self) -> Result<(u64, u64)> {
        let mut fault = None;
        // Both may move between the two loads; a pair that does not fit is only wrong if it stays so.
        for _ in 0..TRIES {
            let positions = self.positions().collect::<Vec<_>>();
            let written = self.written();
            let read = positions.into_iter().max_by_key(|&read| written.wrapping_sub(read)).unwrap_or(written);
            let floor = self.floor();
            let behind = self.lossy && floor.wrapping_sub(read).cast_signed() > 0;
            let (from, fits): (_, fn(_, _, _) -> _) =
                if behind { (floor, distance_from_oldest) } else { (read, distance) };
            let now = self.written();
            match fits(now, from, self.capacity) {
                Ok(_) => return Ok((from, now)),
                Err(reason) => fault = Some(Error::Corrupt { lane: self.lane, position: from, reason }),
            }
            std::hint::spin_loop();
        }
        fault.map_or_else(|| Ok((self.written(), self.written())), Err)
    }

    /// Shows the records from `from` to `to`; `whole` says whether a copy can be believed. Returns how many were shown,
    /// where it stopped, and why.
    fn walk(
        &self,
        from: u64,
        to: u64,
        limit: usize,
        whole: impl Fn(u64) -> bool,
        copies: &mut Vec<u64>,
        handler: &mut dyn FnMut(Message<'_>) -> Flow,
    ) -> Walked {
        let epoch = Epoch::now();
        let mut walked = Walked { count: 0, position: from, end: End::Limit };
        let run =
            Run { index: 0, lane: self.lane, trailer: self.trailer, view: *self.data, start: from, end: to, limit };
        while walked.position != to {
            if walked.count == limit {
                return walked;
            }
            copies.clear();
            let next = match run.copy(walked.position, copies, &whole) {
                Ok(Some(next)) => next,
                Ok(None) => return Walked { end: End::Outrun, ..walked },
                Err(error) => return self.stop(walked, error),
            };
            let copy = Run { view: View::of_copy(copies, walked.position), end: next, ..run };
            // SAFETY: one record, copied just now; the copy is not touched while the message is shown, and stands in one piece.
            let message = match unsafe { copy.read(walked.position, &mut Vec::new()) } {
                Ok((message, _)) => message,
                Err(error) => return self.stop(walked, error),
            };
            // What was copied while the file was cut short is not what stood there.
            if !epoch.is_current()
                && let Err(error) = self.mapping.check_whole()
            {
                return self.stop(walked, error);
            }
            let flow = handler(message);
            if flow == Flow::Keep {
                return Walked { end: End::Handler, ..walked };
            }
            walked.position = next;
            walked.count += 1;
            if flow == Flow::Break {
                return Walked { end: End::Handler, ..walked };
            }
        }
        Walked { end: End::All, ..walked }
    }

    /// A record may be bad because the file was cut short: then that is the error.
    fn stop(&self, walked: Walked, error: Error) -> Walked {
        Walked { end: End::Fault(self.mapping.check_whole().err().unwrap_or(error)), ..walked }
    }
}

struct Walked {
    count: usize,
    position: u64,
    end: End,
}

enum End {
    All,
    Limit,
    Handler,
    Outrun,
    Fault(Error),
}

impl Observer {
    /// Opens a ring for looking on. Needs permission to read the file, no more.
    ///
    /// # Errors
    ///
    /// As [`Buffer::open`](crate::Buffer::open).
    pub fn open(path: impl AsRef<Path>) -> Result<Observer> {
        Ok(Observer { mapping: Arc::new(Mapping::open(path.as_ref(), false)?) })
    }

    pub(crate) fn new(mapping: Arc<Mapping>) -> Observer {
        Observer { mapping }
    }

    /// What the ring is and how it stands.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what the system said; [`Error::Truncated`].
    pub fn info(&self) -> Result<Info> {
        let layout = self.mapping.layout();
        let path = self.mapping.path().to_owned();
        let metadata = self.mapping.file().metadata().map_err(|source| Error::Io {
            path: path.clone(),
            operation: "read its size",
            source,
        })?;
        let mut lanes = Vec::new();
        for lane in 0..layout.lanes {
            let look = LaneLook::new(&self.mapping, lane);
            lanes.push(LaneInfo {
                lane,
                write_cursor: look.written(),
                oldest: layout.oldest(lane).map_or(0, |offset| u64::from_le(self.mapping.word(offset).load(Acquire))),
                producer: slots::holder(&self.mapping, Role::Producer(lane), layout.write_line(lane))?,
            });
        }
        let mut consumers = Vec::new();
        for slot in 0..layout.consumers {
            let read_cursors: Vec<u64> = (0..layout.lanes)
                .map(|lane| u64::from_le(self.mapping.word(layout.read_line(lane, slot)).load(Acquire)))
                .collect();
            let holder = slots::holder(&self.mapping, Role::Consumer(slot), layout.read_line(0, slot))?;
            let name = if layout.broadcast() { slots::name(&self.mapping, slot) } else { None };
            if holder.is_none() && read_cursors.iter().all(|&read| read == AWAY) {
                continue;
            }
            let behind = |(lane, &read): (&LaneInfo, &u64)| match read {
                AWAY => 0,
                read => lane.write_cursor.saturating_sub(read).min(layout.capacity),
            };
            let lag = lanes.iter().zip(&read_cursors).map(behind).sum();
            let durable = name.is_some() || !layout.broadcast();
            consumers.push(ConsumerInfo { slot, name, durable, holder, read_cursors, lag });
        }
        self.mapping.check_whole()?;
        Ok(Info {
            path,
            format: layout.format,
            version: if layout.format == Format::Extended { VERSION } else { 0 },
            capacity: layout.capacity,
            data_offset: layout.data_offset,
            file_size: metadata.len(),
            disk_size: disk_size(&metadata),
            checksums: layout.checksums,
            sequence: layout.sequence,
            overflow: layout.overflow,
            lanes,
            consumers,
            consumer_slots: layout.consumers,
        })
    }

    /// Shows up to `limit` messages that wait for the slowest consumer, lane by lane, without taking them. Returns how
    /// many. What is released and written over meanwhile is left out.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] at the first record that can't be believed.
    pub fn peek(&self, limit: usize, mut handler: impl FnMut(Message<'_>) -> Flow) -> Result<usize> {
        let mut copies = Vec::new();
        let mut count = 0;
        for lane in 0..self.mapping.layout().lanes {
            let look = LaneLook::new(&self.mapping, lane);
            loop {
                let (from, to) = look.waiting()?;
                let whole = |position| if look.lossy { look.still_whole(position) } else { look.still_waits(position) };
                let walked = look.walk(from, to, limit - count, whole, &mut copies, &mut handler);
                count += walked.count;
                match walked.end {
                    End::Handler => return Ok(count),
                    End::Fault(error) => return Err(error),
                    End::All | End::Limit => break,
                    // Nothing shown yet: start again where the consumer is by now. Else what was shown is enough.
                    End::Outrun if walked.count == 0 && to != from => {}
                    End::Outrun => break,
                }
                self.mapping.check_whole()?;
            }
        }
        self.mapping.check_whole()?;
        Ok(count)
    }

    /// Counts the messages that wait for the slowest consumer, by walking over their headers.
    ///
    /// # Errors
    ///
    /// As [`peek`](Observer::peek).
    pub fn count_messages(&self) -> Result<u64> {
        let count = self.peek(usize::MAX, |_| Flow::Continue)?;
        Ok(count as u64)
    }

    /// Follows what is committed from now on, in every lane.
    pub fn tail(&self) -> Tail {
        let lanes: Vec<LaneLook> =
            (0..self.mapping.layout().lanes).map(|lane| LaneLook::new(&self.mapping, lane)).collect();
        let positions = lanes.iter().map(LaneLook::written).collect();
        Tail { mapping: self.mapping.clone(), lanes, positions, turn: 0, copies: Vec::new() }
    }

    /// Follows as [`tail`](Observer::tail), but starts with what is still whole in the ring.
    pub fn tail_from_oldest(&self) -> Tail {
        let mut tail = self.tail();
        tail.positions = tail.lanes.iter().map(LaneLook::floor).collect();
        tail
    }
}

/// Watches live traffic without ever holding it back.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use aether_ipc::{Buffer, Flow};
/// let buffer = Buffer::create(dir.path().join("ring"), 4096)?;
/// let mut producer = buffer.producer()?;
/// producer.offer(1, 0, b"before")?;
/// let mut tail = buffer.observer().tail();
/// producer.offer(2, 0, b"after")?;
/// assert_eq!(tail.poll(10, |message| { assert_eq!(message.id(), 2); Flow::Continue })?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tail {
    mapping: Arc<Mapping>,
    lanes: Vec<LaneLook>,
    positions: Vec<u64>,
    /// The lane to start with.
    turn: usize,
    copies: Vec<u64>,
}

impl Tail {
    /// Shows up to `limit` messages that were committed since the last call. Returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::Lagged`] when messages were written over before they were shown (in a classic file: released, as it
    /// does not say more); the next call goes on with the oldest that is whole. [`Error::Corrupt`],
    /// [`Error::Truncated`].
    pub fn poll(&mut self, limit: usize, mut handler: impl FnMut(Message<'_>) -> Flow) -> Result<usize> {
        self.mapping.check_whole()?;
        let mut count = 0;
        for step in 0..self.lanes.len() {
            let index = (self.turn + step) % self.lanes.len();
            let (lane, position) = (&self.lanes[index], &mut self.positions[index]);
            if lane.written() == *position {
                continue;
            }
            let (floor, to) = match lane.window() {
                Ok(window) => window,
                // Those that were shown are reported first; what is wrong stays so.
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            };
            let lost = floor.wrapping_sub(*position);
            if lost.cast_signed() > 0 {
                if count > 0 {
                    break;
                }
                *position = floor;
                return Err(Error::Lagged { bytes: lost });
            }
            let ahead = to.wrapping_sub(*position);
            if ahead.cast_signed() > 0 && ahead > lane.capacity {
                // The producer went on by more than that while the two were read: the next call looks again.
                continue;
            }
            if let Err(reason) = distance(to, *position, lane.capacity) {
                if count > 0 {
                    break;
                }
                return Err(Error::Corrupt { lane: lane.lane, position: *position, reason });
            }
            let whole = |position| lane.still_whole(position);
            let walked = lane.walk(*position, to, limit - count, whole, &mut self.copies, &mut handler);
            *position = walked.position;
            count += walked.count;
            match walked.end {
                End::Handler => break,
                End::Fault(error) if count == 0 => return Err(error),
                End::Fault(_) => break,
                End::All | End::Limit | End::Outrun => {}
            }
            if count == limit {
                // The lanes behind this one come first the next time, so that none starves.
                self.turn = index + 1;
                break;
            }
        }
        Ok(count)
    }
}

#[cfg(unix)]
fn disk_size(metadata: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn disk_size(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}
