//! `Consumer`: poll, drain, batches, and the merging of lanes.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::*},
    },
    time::Duration,
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    bell::{self, Sleep},
    cursor::ReadEnd,
    error::{Corruption, Error, Result},
    events::event,
    layout::{Overflow, cursor_line, lane_line},
    mapping::{Direct, Epoch, LaneData, Mapping, View, Word, wake_all},
    ownership::{Role, RoleLock, is_held},
    record::{self, CHECKSUM_SIZE, HEADER_SIZE, Header},
    sequence,
    slots::{self, Place, Waiting},
    testing::step,
    wait::{Wait, spin_briefly, wait_until},
};

/// What a handler wants done with the message that it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It is done; go on.
    Continue,
    /// It stays in the ring, for a retry; stop.
    Keep,
    /// It is done; release it and all before it now, and go on.
    Commit,
    /// It is done; stop here.
    Break,
}

/// What [`Consumer::poll`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// No message was there.
    Empty,
    /// The handler kept the message; it comes again.
    Kept,
    /// One message was handled and its space given back.
    Released,
}

/// The order in which messages of several lanes come. Within a lane it is always the order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Merge {
    /// Lanes take turns, so that none starves. No order between lanes. The default.
    #[default]
    Fair,
    /// The smallest id first: one total order, for lanes whose ids grow. A lane that is empty while its producer lives
    /// holds the others back, since a smaller id may still come; with a shared sequence, only while the next number is
    /// being committed. Looks at every lane for every message.
    ById,
}

/// A message in the ring, borrowed until it is released.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    header: Header,
    payload: &'a [u8],
    lane: u32,
    position: u64,
}

impl<'a> Message<'a> {
    /// The application's id.
    #[inline]
    pub fn id(&self) -> i64 {
        self.header.id
    }

    /// The application's type.
    #[inline]
    pub fn message_type(&self) -> i32 {
        self.header.message_type
    }

    /// The bytes, in the mapping itself where possible; always in one piece, and aligned to 8.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The lane that it came through.
    #[inline]
    pub fn lane(&self) -> u32 {
        self.lane
    }

    /// Its position in the lane, in bytes since the ring was made.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The payload as a value, in place.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if the payload has not the size of `T`, or `T` asks for an alignment of more than 8.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use aether_ipc::{Buffer, Flow};
    /// let buffer = Buffer::create(dir.path().join("ring"), 4096)?;
    /// buffer.producer()?.offer_value(1, 0, &[1_u32, 2])?;
    /// buffer.consumer()?.poll(|message| {
    ///     assert_eq!(message.value::<[u32; 2]>().unwrap(), &[1, 2]);
    ///     assert!(message.value::<u32>().is_err());
    ///     Flow::Continue
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn value<T: FromBytes + Immutable + KnownLayout>(&self) -> Result<&'a T> {
        T::ref_from_bytes(self.payload)
            .map_err(|_| Error::Layout { payload: self.payload.len(), expected: size_of::<T>() })
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id())
            .field("message_type", &self.message_type())
            .field("length", &self.payload.len())
            .field("lane", &self.lane)
            .field("position", &self.position)
            .finish()
    }
}

/// Where the messages that [`Consumer::peek`] showed stand, as records: header, payload, padding.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Peeked {
    /// Where the first record stands, aligned to 8.
    pub base: *const u8,
    /// Bytes of all records together.
    pub length: usize,
    /// How many they are.
    pub count: usize,
    /// Their lane.
    pub lane: u32,
    /// The position of the first.
    pub position: u64,
    /// Bytes of the checksum that the length in each record's header counts after the payload.
    pub trailer: usize,
}

/// Reads messages from a ring and releases them.
///
/// Nothing on the way of a message allocates, locks or calls the system, except waking a producer that sleeps.
/// Dropping it, or the end of the process in whatever way, frees the role; what was not released comes again.
#[derive(Debug)]
pub struct Consumer {
    lanes: Vec<LaneReader>,
    /// One lane, read in place, without checksums: the short way.
    plain: bool,
    /// 4 in a ring with checksums, else 0.
    trailer: usize,
    epoch: Epoch,
    received: u64,
    space_bell: Word<AtomicU32>,
    cold: Box<Cold>,
}

/// One lane, as its consumer sees it.
#[derive(Debug)]
struct LaneReader {
    lane: u32,
    end: ReadEnd,
    data: LaneData,
    write: Word<AtomicU64>,
    read: Word<AtomicU64>,
    /// Only where the producer never waits.
    oldest: Option<Word<AtomicU64>>,
}

#[derive(Debug)]
struct Cold {
    slot: u32,
    durable: bool,
    wait: Wait,
    require_producer: bool,
    merge: Merge,
    untrusted: bool,
    /// The lane whose turn it is.
    turn: usize,
    /// The next number of a shared sequence.
    expected: Option<i64>,
    /// Bytes lost that were not reported yet.
    lagged: u64,
    data_bell: Word<AtomicU32>,
    /// A record that does not stand in one piece.
    wrapped: Vec<u64>,
    /// Records copied before they are checked.
    copies: Vec<u64>,
    /// What [`Consumer::peek`] showed and was not released yet.
    peeked: Option<Run>,
    /// The position behind each message of `peeked`, and its id.
    ends: VecDeque<(u64, i64)>,
    lock: RoleLock,
    mapping: Arc<Mapping>,
}

/// Committed records of one lane, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) index: usize,
    pub(crate) lane: u32,
    pub(crate) trailer: usize,
    pub(crate) view: View,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// At most so many records.
    pub(crate) limit: usize,
}

/// Committed records of one lane that stand in one piece, without checksums: what most are.
#[derive(Clone, Copy)]
struct Stretch {
    place: *const u8,
    /// Bytes; the last record may be one that goes on elsewhere.
    size: u64,
    position: u64,
    lane: u32,
}

impl Stretch {
    /// Reads the record that is `at` bytes on, which is no more than there are. Returns the message, and where the next
    /// one is; `None` if there is none, or it can't be believed, or does not end here. Inlined, and free of calls, so that
    /// a loop keeps what it needs in registers.
    ///
    /// # Safety
    ///
    /// A record starts there, or the stretch ends; and the records are mapped, committed and not released during `'m`.
    #[inline(always)]
    unsafe fn read<'m>(self, at: u64) -> Option<(Message<'m>, u64)> {
        let left = self.size - at;
        if left < HEADER_SIZE as u64 {
            return None;
        }
        let place = self.place.wrapping_add(at as usize);
        // SAFETY: the header's bytes are part of the stretch, as just checked; records are aligned to 8. Words are accessed as
        // atomics or, by the side that owns them under the cursor protocol, plainly.
        let words = unsafe { &*place.cast::<[AtomicU64; 2]>() };
        let header = Header::decode([words[0].load(Relaxed), words[1].load(Relaxed)]);
        let size = header.validate(left, 0).ok()?;
        // SAFETY: as in `Run::in_place`; the record was found to end within the stretch.
        let payload = unsafe {
            std::slice::from_raw_parts(place.wrapping_add(HEADER_SIZE), header.length as usize - HEADER_SIZE)
        };
        let position = self.position.wrapping_add(at);
        Some((Message { header, payload, lane: self.lane, position }, at + size))
    }
}

/// What [`Consumer::look_shortly`] found.
enum Short {
    Stretch(Stretch),
    Empty,
    /// Something that takes a longer look.
    Other,
}

/// Most messages from one lane before the next one has its turn.
const TURN: usize = 64;
/// Most bytes copied at once, unless one message is longer.
const COPY: usize = 64 << 10;

impl Run {
    /// The start of the run, for the short way: nothing of it, if the records have checksums.
    #[inline(always)]
    fn stretch(self) -> Stretch {
        let (place, mapped) = self.view.from(self.start);
        let size = if self.trailer == 0 { self.end.wrapping_sub(self.start).min(mapped as u64) } else { 0 };
        Stretch { place, size, position: self.start, lane: self.lane }
    }

    /// Reads the record at `position`: its header once, checked before anything follows from it. Returns the message
    /// and the position behind it.
    ///
    /// # Safety
    ///
    /// `position` is that of a record between `start` and `end`; the records of the run are mapped, committed and not
    /// released during `'m`, and `wrapped`, if it is written, is neither moved nor written again during `'m`.
    pub(crate) unsafe fn read<'m>(self, position: u64, wrapped: &mut Vec<u64>) -> Result<(Message<'m>, u64)> {
        // SAFETY: by this function's contract.
        let (header, next) = unsafe { self.header(position) }?;
        // SAFETY: by this function's contract.
        let bytes = match unsafe { self.in_place(position, header) } {
            Some(bytes) => bytes,
            // SAFETY: by this function's contract.
            None => unsafe { self.copied(position, header, wrapped) },
        };
        Ok((self.message(position, header, bytes)?, next))
    }

    /// The header of the record at `position`, checked, and the position behind the record.
    ///
    /// # Safety
    ///
    /// As for [`read`](Self::read).
    #[inline(always)]
    pub(crate) unsafe fn header(self, position: u64) -> Result<(Header, u64)> {
        // SAFETY: the record's first 16 bytes are part of the run, by this function's contract and since every record is
        // that long; the words stand in the ring or in a copy.
        let words = unsafe { [self.view.word(position), self.view.word(position.wrapping_add(8))] };
        let header = Header::decode(words.map(|word| word.load(Relaxed)));
        match header.validate(self.end.wrapping_sub(position), self.trailer) {
            Ok(size) => Ok((header, position.wrapping_add(size))),
            Err(reason) => Err(self.corrupt(position, reason)),
        }
    }

    /// What follows the header, if it stands in one piece.
    ///
    /// # Safety
    ///
    /// As for [`read`](Self::read), whose checked header it is.
    #[inline(always)]
    unsafe fn in_place<'m>(self, position: u64, header: Header) -> Option<&'m [u8]> {
        let length = header.length as usize - HEADER_SIZE;
        let place = self.view.contiguous(position.wrapping_add(HEADER_SIZE as u64), length)?;
        // SAFETY: `length` bytes, which were found to lie before the end of the run, in one piece from `place` on. They
        // are committed, and the consumer has not released them: under the cursor protocol nobody writes them. (A peer
        // that breaks the protocol is what `Consumer::set_untrusted` is for.)
        Some(unsafe { std::slice::from_raw_parts(place, length) })
    }

    /// What follows the header, copied.
    ///
    /// # Safety
    ///
    /// As for [`in_place`](Self::in_place).
    #[cold]
    unsafe fn copied<'m>(self, position: u64, header: Header, copy: &mut Vec<u64>) -> &'m [u8] {
        let length = header.length as usize - HEADER_SIZE;
        copy.resize(length.div_ceil(8), 0);
        // SAFETY: words of the ring.
        unsafe { self.view.copy_out(position.wrapping_add(HEADER_SIZE as u64), copy) };
        // SAFETY: initialised words, which stay as they are during 'm by this function's contract.
        unsafe { std::slice::from_raw_parts(copy.as_ptr().cast(), length) }
    }

    /// The message that a header and what follows it are.
    #[inline(always)]
    fn message<'m>(self, position: u64, header: Header, bytes: &'m [u8]) -> Result<Message<'m>> {
        let payload = if self.trailer == 0 { bytes } else { self.check(position, header, bytes)? };
        Ok(Message { header, payload, lane: self.lane, position })
    }

    /// Copies the record at `position` behind `copies`, and returns the position behind it; `None` if `whole` says that
    /// it was written over meanwhile. The header is read once: what is checked is what stands in the copy.
    pub(crate) fn copy(self, position: u64, copies: &mut Vec<u64>, whole: impl Fn(u64) -> bool) -> Result<Option<u64>> {
        // SAFETY: words of the ring: a run that is copied is not itself a copy.
        let words = unsafe { [self.view.word(position), self.view.word(position.wrapping_add(8))] };
        let words = words.map(|word| word.load(Relaxed));
        let size = match Header::decode(words).validate(self.end.wrapping_sub(position), self.trailer) {
            Ok(size) => size,
            Err(reason) if whole(position) => return Err(self.corrupt(position, reason)),
            Err(_) => return Ok(None),
        };
        let start = copies.len();
        copies.extend_from_slice(&words);
        copies.resize(start + (size / 8) as usize, 0);
        // SAFETY: words of the ring.
        unsafe { self.view.copy_out(position.wrapping_add(HEADER_SIZE as u64), &mut copies[start + 2..]) };
        if whole(position) {
            return Ok(Some(position.wrapping_add(size)));
        }
        copies.truncate(start);
        Ok(None)
    }

    /// The payload of a record whose checksum holds.
    fn check(self, position: u64, header: Header, bytes: &[u8]) -> Result<&[u8]> {
        // `validate` has seen to it that there are as many.
        let (payload, stored) = bytes.split_at(bytes.len() - CHECKSUM_SIZE);
        let found = stored.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
        let computed = record::checksum(position, header, payload);
        if found == computed {
            Ok(payload)
        } else {
            Err(self.corrupt(position, Corruption::Checksum { found, computed }))
        }
    }

    #[cold]
    fn corrupt(self, position: u64, reason: Corruption) -> Error {
        event!(warn, lane = self.lane, position, %reason, "record can't be believed");
        Error::Corrupt { lane: self.lane, position, reason }
    }
}

impl LaneReader {
    /// Makes sure that what is committed is known, if nothing is left of what was.
    #[inline]
    fn refresh(&mut self) -> Result<()> {
        if self.end.available() > 0 {
            return Ok(());
        }
        self.look()
    }

    fn look(&mut self) -> Result<()> {
        let corrupt = |end: &ReadEnd, reason| Error::Corrupt { lane: self.lane, position: end.position(), reason };
        match &self.oldest {
            None => self.end.refresh(&self.write).map_err(|reason| corrupt(&self.end, reason)),
            Some(oldest) => match self.end.refresh_lossy(&self.write, oldest) {
                Ok(0) => Ok(()),
                Ok(bytes) => Err(self.lagged(bytes)),
                Err(reason) => Err(corrupt(&self.end, reason)),
            },
        }
    }

    #[cold]
    fn lagged(&self, bytes: u64) -> Error {
        event!(debug, lane = self.lane, bytes, "messages were overwritten before they were read");
        Error::Lagged { bytes }
    }

    /// What is known to be committed and was not read, if anything.
    #[inline(always)]
    fn run(&self, index: usize, trailer: usize, limit: usize) -> Option<Run> {
        let (start, available) = (self.end.position(), self.end.available());
        (available > 0).then(|| Run {
            index,
            lane: self.lane,
            trailer,
            view: *self.data,
            start,
            end: start.wrapping_add(available),
            limit,
        })
    }

    /// Whether anything was committed that was not read.
    #[inline]
    fn has_more(&self) -> bool {
        u64::from_le(self.write.load(Acquire)) != self.end.position()
    }

    /// The id of the next record, which is available.
    fn head(&self) -> i64 {
        // SAFETY: a word of the ring.
        let word = unsafe { self.data.word(self.end.position()) }.load(Relaxed);
        u64::from_le(word).cast_signed()
    }
}

impl Consumer {
    pub(crate) fn new(mapping: &Arc<Mapping>) -> Result<Consumer> {
        Ok(Consumer::hold(mapping, slots::take(mapping)?))
    }

    pub(crate) fn named(mapping: &Arc<Mapping>, name: &str) -> Result<Consumer> {
        Ok(Consumer::hold(mapping, slots::take_named(mapping, name)?))
    }

    fn hold(mapping: &Arc<Mapping>, place: Place) -> Consumer {
        let layout = *mapping.layout();
        let Place { slot, durable, lock, ends } = place;
        let lossy = layout.overflow == Overflow::DropOldest;
        let lanes: Vec<LaneReader> = (0..layout.lanes)
            .zip(ends)
            .map(|(lane, end)| LaneReader {
                lane,
                end,
                data: mapping.lane_data(lane),
                write: mapping.word(layout.write_line(lane)),
                read: mapping.word(layout.read_line(lane, slot)),
                oldest: layout.oldest(lane).filter(|_| lossy).map(|offset| mapping.word(offset)),
            })
            .collect();
        let space_bell = mapping.half_word(layout.space_bell());
        slots::sign_in(mapping, layout.read_line(0, slot), &space_bell);
        event!(debug, path = %mapping.path().display(), slot, durable, "consumer came");
        Consumer {
            plain: lanes.len() == 1 && !lossy && !layout.checksums,
            lanes,
            trailer: if layout.checksums { CHECKSUM_SIZE } else { 0 },
            epoch: Epoch::now(),
            received: 0,
            space_bell,
            cold: Box::new(Cold {
                slot,
                durable,
                wait: Wait::default(),
                require_producer: false,
                merge: Merge::default(),
                untrusted: false,
                turn: 0,
                expected: None,
                lagged: 0,
                data_bell: mapping.half_word(layout.data_bell()),
                wrapped: Vec::new(),
                copies: Vec::new(),
                peeked: None,
                ends: VecDeque::new(),
                lock,
                mapping: mapping.clone(),
            }),
        }
    }

    /// Gives one message, if there is one, to `handler`, and releases it unless the handler keeps it.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`]: nothing was delivered, no cursor moved. [`Error::Lagged`] in a ring that drops messages.
    /// [`Error::Forked`], [`Error::Truncated`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use aether_ipc::{Buffer, Flow, Polled};
    /// let buffer = Buffer::create(dir.path().join("ring"), 4096)?;
    /// let (mut producer, mut consumer) = (buffer.producer()?, buffer.consumer()?);
    /// assert_eq!(consumer.poll(|_| Flow::Continue)?, Polled::Empty);
    /// producer.offer(1, 0, b"try me twice")?;
    /// assert_eq!(consumer.poll(|_| Flow::Keep)?, Polled::Kept);
    /// assert_eq!(consumer.poll(|_| Flow::Continue)?, Polled::Released);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A payload can't be kept past its release:
    ///
    /// ```compile_fail,E0521
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use aether_ipc::{Buffer, Flow};
    /// # let mut consumer = Buffer::create(dir.path().join("ring"), 4096).unwrap().consumer().unwrap();
    /// let mut kept: Option<&[u8]> = None;
    /// consumer.poll(|message| {
    ///     kept = Some(message.payload());
    ///     Flow::Continue
    /// });
    /// ```
    #[inline]
    pub fn poll(&mut self, handler: impl FnOnce(Message<'_>) -> Flow) -> Result<Polled> {
        match self.look_shortly() {
            Short::Stretch(stretch) => {
                // SAFETY: the stretch starts with a record of this consumer's, which is released further down, when the
                // message is gone.
                if let Some((message, next)) = unsafe { stretch.read(0) } {
                    if handler(message) == Flow::Keep {
                        return Ok(Polled::Kept);
                    }
                    self.count_shortly(next, 1);
                    self.release()?;
                    return Ok(Polled::Released);
                }
            }
            Short::Empty => return Ok(Polled::Empty),
            Short::Other => {}
        }
        self.poll_any(handler)
    }

    #[inline(never)]
    fn poll_any(&mut self, handler: impl FnOnce(Message<'_>) -> Flow) -> Result<Polled> {
        let Some(run) = self.next_run(1)? else { return Ok(Polled::Empty) };
        // SAFETY: the run starts with a record of this consumer's, which is released further down, when the message is
        // gone; `wrapped` is not touched before.
        let read = unsafe { run.read(run.start, &mut self.cold.wrapped) };
        let (message, next) = match read {
            Ok(read) => read,
            Err(error) => return Err(self.explain(error)),
        };
        let id = message.id();
        if handler(message) == Flow::Keep {
            return Ok(Polled::Kept);
        }
        self.count(run, next, 1, id);
        self.release()?;
        Ok(Polled::Released)
    }

    /// Gives up to `limit` messages to `handler`, then moves the cursor once. Returns how many were released. Ends
    /// early when the ring is empty or the handler says so.
    ///
    /// # Errors
    ///
    /// As [`poll`](Consumer::poll), if the first message is the bad one; one further on is reported by the next call.
    /// If the handler panics, its message comes again. Those handled before it may come again too: certainly if another
    /// consumer takes over, since none since the last [`Flow::Commit`] was released.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use aether_ipc::{Buffer, Flow};
    /// let buffer = Buffer::create(dir.path().join("ring"), 4096)?;
    /// buffer.producer()?.offer_all(1, 0, &[10_u64, 20, 30])?;
    /// let mut sum = 0;
    /// let count = buffer.consumer()?.drain(100, |message| {
    ///     sum += message.value::<u64>().unwrap();
    ///     Flow::Continue
    /// })?;
    /// assert_eq!((count, sum), (3, 60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn drain(&mut self, limit: usize, mut handler: impl FnMut(Message<'_>) -> Flow) -> Result<usize> {
        let mut total = 0;
        let mut go_on = true;
        while go_on && total < limit {
            let stretch = match self.look_shortly() {
                Short::Stretch(stretch) => stretch,
                Short::Empty => break,
                Short::Other => return self.drain_any(limit, handler, total),
            };
            // Of the stretch, and of all: what was handled, and what of that was counted.
            let (mut done, mut counted, mut before) = (0, 0, total);
            let mut odd = false;
            while total < limit {
                // SAFETY: each record stands where the one before ends; none is released before its message is gone.
                let Some((message, next)) = (unsafe { stretch.read(done) }) else {
                    odd = done != stretch.size;
                    break;
                };
                let flow = handler(message);
                if flow == Flow::Keep {
                    go_on = false;
                    break;
                }
                done = next;
                total += 1;
                if flow == Flow::Commit {
                    self.count_shortly(done - counted, total - before);
                    (counted, before) = (done, total);
                    self.release()?;
                } else if flow == Flow::Break {
                    go_on = false;
                    break;
                }
            }
            self.count_shortly(done - counted, total - before);
            if odd {
                return self.drain_any(limit, handler, total);
            }
        }
        self.release()?;
        Ok(total)
    }

    /// Goes on after `total` messages, in whatever ring.
    #[inline(never)]
    fn drain_any(
        &mut self,
        limit: usize,
        mut handler: impl FnMut(Message<'_>) -> Flow,
        mut total: usize,
    ) -> Result<usize> {
        let mut go_on = true;
        while go_on && total < limit {
            if total > 0 && self.lanes[0].oldest.is_some() {
                // The next look may step over a loss, which must not be released before it was reported.
                self.release()?;
            }
            let run = match self.next_run(limit - total) {
                Ok(Some(run)) => run,
                Ok(None) => break,
                Err(error) if total == 0 => return Err(error),
                Err(error) => {
                    self.defer(&error);
                    if self.lanes[0].oldest.is_some() {
                        return Ok(total);
                    }
                    break;
                }
            };
            let stretch = run.stretch();
            let mut position = run.start;
            let (mut done, mut counted) = (0, 0);
            let mut last_id = 0;
            while position != run.end && done < run.limit {
                let at = position.wrapping_sub(run.start);
                // SAFETY: each record's position follows from the one before; none is released before its message is gone, and
                // `wrapped` is only written for the next message.
                let short = if at <= stretch.size { unsafe { stretch.read(at) } } else { None };
                let read = match short {
                    Some((message, next)) => Ok((message, run.start.wrapping_add(next))),
                    // SAFETY: as above.
                    None => unsafe { run.read(position, &mut self.cold.wrapped) },
                };
                let (message, next) = match read {
                    Ok(record) => record,
                    Err(error) if total + done == 0 => return Err(self.explain(error)),
                    Err(_) => {
                        go_on = false;
                        break;
                    }
                };
                let id = message.id();
                let flow = handler(message);
                if flow == Flow::Keep {
                    go_on = false;
                    break;
                }
                last_id = id;
                position = next;
                done += 1;
                if flow == Flow::Commit {
                    self.count(run, position, done - counted, last_id);
                    counted = done;
                    self.release()?;
                } else if flow == Flow::Break {
                    go_on = false;
                    break;
                }
            }
            self.count(run, position, done - counted, last_id);
            total += done;
        }
        self.release()?;
        Ok(total)
    }

    /// Borrows up to `limit` messages in place. Those that were iterated over are released when the batch drops; a loop
    /// that was left early, and a panic in it, release no more than that: see [`Batch`].
    ///
    /// # Errors
    ///
    /// As [`poll`](Consumer::poll).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use aether_ipc::Buffer;
    /// let buffer = Buffer::create(dir.path().join("ring"), 4096)?;
    /// buffer.producer()?.offer_all(1, 0, &[10_u64, 20, 30])?;
    /// let mut consumer = buffer.consumer()?;
    /// let mut ids = Vec::new();
    /// for message in &consumer.batch(2)? {
    ///     ids.push(message.id());
    /// }
    /// assert_eq!((ids, consumer.received()), (vec![1, 2], 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Messages live no longer than their batch:
    ///
    /// ```compile_fail,E0716
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let mut consumer = aether_ipc::Buffer::create(dir.path().join("ring"), 4096).unwrap().consumer().unwrap();
    /// let first = consumer.batch(1).unwrap().iter().next();
    /// println!("{first:?}");
    /// ```
    #[inline]
    pub fn batch(&mut self, limit: usize) -> Result<Batch<'_>> {
        let run = if limit == 0 { None } else { self.next_run(limit)? };
        if let Some(run) = &run {
            // An iterator would end before a bad record without a word.
            // SAFETY: as in `poll`; the message is not used.
            let read = unsafe { run.read(run.start, &mut self.cold.wrapped) };
            read.map_err(|error| self.explain(error))?;
        }
        let start = run.map_or(0, |run| run.start);
        let room = RefCell::new(std::mem::take(&mut self.cold.wrapped));
        Ok(Batch {
            consumer: self,
            room,
            run,
            seen: Cell::new(Seen { position: start, count: 0, last_id: 0 }),
            wrapped: OnceCell::new(),
            kept: false,
        })
    }

    /// [`batch`](Consumer::batch) cut in two, for other languages, which can't borrow: shows up to `limit` messages of
    /// one lane to `visit` and leaves them where they are. Their bytes stay as they are until
    /// [`release_peeked`](Consumer::release_peeked), or until the next message is asked for in whatever way.
    ///
    /// The records stand in one piece: one that does not is copied, and comes alone.
    ///
    /// # Errors
    ///
    /// As [`poll`](Consumer::poll).
    #[doc(hidden)]
    #[inline]
    pub fn peek(&mut self, limit: usize, mut visit: impl FnMut(Message<'_>)) -> Result<Option<Peeked>> {
        self.cold.peeked = None;
        self.cold.ends.clear();
        if limit > 0
            && let Short::Stretch(stretch) = self.look_shortly()
        {
            let (mut length, mut count) = (0, 0);
            while count < limit
                // SAFETY: each record stands where the one before ends, and none is released here.
                && let Some((message, next)) = unsafe { stretch.read(length) }
            {
                self.cold.ends.push_back((stretch.position.wrapping_add(next), message.id()));
                visit(message);
                (length, count) = (next, count + 1);
            }
            if count > 0 {
                let Stretch { place, position, lane, .. } = stretch;
                self.cold.peeked = self.lanes[0].run(0, 0, limit);
                return Ok(Some(Peeked { base: place, length: length as usize, count, lane, position, trailer: 0 }));
            }
        }
        self.peek_any(limit, visit)
    }

    #[inline(never)]
    fn peek_any(&mut self, limit: usize, mut visit: impl FnMut(Message<'_>)) -> Result<Option<Peeked>> {
        let run = if limit == 0 { None } else { self.next_run(limit)? };
        let Some(mut run) = run else { return Ok(None) };
        let mut position = run.start;
        while position != run.end && self.cold.ends.len() < run.limit {
            // SAFETY: each record's position follows from the one before, and none is released here. A payload that is
            // written to `wrapped` is not shown.
            let (message, next) = match unsafe { run.read(position, &mut self.cold.wrapped) } {
                Ok(record) => record,
                Err(error) if position == run.start => return Err(self.explain(error)),
                // The next call reports it.
                Err(_) => break,
            };
            if run.view.contiguous(run.start, next.wrapping_sub(run.start) as usize).is_none() {
                if position != run.start {
                    break;
                }
                run = self.copy_one(run)?;
                continue;
            }
            self.cold.ends.push_back((next, message.id()));
            visit(message);
            position = next;
        }
        self.cold.peeked = Some(run);
        let length = position.wrapping_sub(run.start) as usize;
        let base = run.view.contiguous(run.start, length).map_or(std::ptr::null(), <*mut u8>::cast_const);
        Ok(Some(Peeked {
            base,
            length,
            count: self.cold.ends.len(),
            lane: run.lane,
            position: run.start,
            trailer: self.trailer,
        }))
    }

    /// The first record of a run, in a copy that stands in one piece.
    #[cold]
    fn copy_one(&mut self, run: Run) -> Result<Run> {
        let copies = &mut self.cold.copies;
        copies.clear();
        // The ring is one whose producer waits: others are read from copies anyway.
        let end = run.copy(run.start, copies, |_| true)?.unwrap_or(run.start);
        Ok(Run { view: View::of_copy(copies, run.start), end, limit: 1, ..run })
    }

    /// Messages that [`peek`](Consumer::peek) showed and that are still to be released.
    #[doc(hidden)]
    pub fn peeked(&self) -> usize {
        match self.cold.peeked {
            Some(run) if run.start == self.lanes[run.index].end.position() => self.cold.ends.len(),
            // Released meanwhile in another way.
            _ => 0,
        }
    }

    /// Releases the first `count` of the messages that [`peek`](Consumer::peek) showed, or all if there are fewer.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`], [`Error::Truncated`].
    #[doc(hidden)]
    #[inline]
    pub fn release_peeked(&mut self, count: usize) -> Result<()> {
        self.check_epoch()?;
        let count = count.min(self.peeked());
        let ends = &mut self.cold.ends;
        let last = if count == ends.len() {
            let last = ends.back().copied();
            ends.clear();
            last
        } else {
            ends.drain(..count).next_back()
        };
        let (Some(run), Some((position, last_id))) = (self.cold.peeked, last) else { return Ok(()) };
        self.cold.peeked = Some(Run { start: position, ..run });
        self.count(run, position, count, last_id);
        self.release()
    }

    /// For languages in which a call costs more than a message: what stands where, so that the caller reads committed
    /// records and moves the read cursor by itself, with release order, then looks at the bell. Before anything else is
    /// asked of this consumer, [`settle`](Consumer::settle) has to be told. `None` where records are checked or copied
    /// before they are shown, or come through several lanes.
    #[doc(hidden)]
    pub fn direct(&self) -> Option<(Direct, *mut u64)> {
        let lane = &self.lanes[0];
        let possible = self.plain && cfg!(target_endian = "little");
        let direct = || Direct::new(&lane.data, &lane.write, &self.space_bell, lane.end.position());
        possible.then(|| (direct(), lane.read.as_ptr()))
    }

    /// Takes note that the caller has read and released `count` messages, up to `position`. What was peeked at is not any
    /// more.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if that is behind what was released before, or beyond what is committed: nothing changes.
    /// [`Error::Forked`], [`Error::Truncated`].
    #[doc(hidden)]
    pub fn settle(&mut self, position: u64, count: u64) -> Result<()> {
        self.check_epoch()?;
        self.cold.peeked = None;
        self.cold.ends.clear();
        let LaneReader { lane, end, read, write, .. } = &mut self.lanes[0];
        let released = end.go_on_at(read, write, position);
        let bytes = released.map_err(|reason| Error::Corrupt { lane: *lane, position, reason })?;
        self.received += count.min(bytes / HEADER_SIZE as u64);
        self.ring_if_wanted();
        Ok(())
    }

    /// Waits until a message is there, as [`set_wait`](Consumer::set_wait) says.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], where [`require_producer`](Consumer::require_producer) asked for it; [`Error::Forked`],
    /// [`Error::Truncated`].
    #[inline]
    pub fn wait(&mut self) -> Result<()> {
        self.wait_for(None)
    }

    /// As [`wait`](Consumer::wait), at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Consumer::wait), and [`Error::TimedOut`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use std::time::Duration;
    /// use aether_ipc::{Buffer, Error};
    /// let mut consumer = Buffer::create(dir.path().join("ring"), 4096)?.consumer()?;
    /// assert!(matches!(consumer.wait_within(Duration::from_millis(1)), Err(Error::TimedOut { .. })));
    /// consumer.require_producer(true);
    /// assert!(matches!(consumer.wait(), Err(Error::Closed)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn wait_within(&mut self, timeout: Duration) -> Result<()> {
        self.wait_for(Some(timeout))
    }

    #[inline]
    fn wait_for(&mut self, timeout: Option<Duration>) -> Result<()> {
        let found = match &*self.lanes {
            [lane] => spin_briefly(|| Ok(lane.has_more())),
            _ => spin_briefly(|| self.look(false)),
        };
        if found? { self.check_epoch() } else { self.wait_longer(timeout) }
    }

    #[inline(never)]
    fn wait_longer(&mut self, timeout: Option<Duration>) -> Result<()> {
        let Waiting { bell, mapping, longest_sleep, .. } = self.waiting();
        let longest_sleep = || longest_sleep(&mapping);
        let strategy = self.cold.wait;
        wait_until(strategy, timeout, "a message", &mut [Sleep::on(&bell)], longest_sleep, |tick| self.look(tick))
    }

    /// Looks what is committed in one lane.
    pub(crate) fn look_into(&mut self, index: usize) -> Result<()> {
        self.check_epoch()?;
        self.lanes[index].look().map_err(|error| self.explain(error))
    }

    /// Up to `limit` records of one lane, from `start` on, to what [`look_into`](Self::look_into) saw.
    pub(crate) fn run_from(&self, index: usize, start: u64, limit: usize) -> Run {
        let lane = &self.lanes[index];
        let end = lane.end.position().wrapping_add(lane.end.available());
        Run { index, lane: lane.lane, trailer: self.trailer, view: *lane.data, start, end, limit }
    }

    /// Where one lane is released, and where it is read.
    pub(crate) fn end_of(&self, index: usize) -> &ReadEnd {
        &self.lanes[index].end
    }

    pub(crate) fn end_of_mut(&mut self, index: usize) -> &mut ReadEnd {
        &mut self.lanes[index].end
    }

    /// Gives up what stands before `position`, `count` records in one lane.
    pub(crate) fn release_to(&mut self, index: usize, position: u64, count: usize) -> Result<()> {
        self.check_epoch()?;
        step("release");
        let lane = &mut self.lanes[index];
        lane.end.release_to(&lane.read, position);
        step("released");
        self.received += count as u64;
        self.ring_if_wanted();
        Ok(())
    }

    /// Where a record is copied to that does not stand in one piece.
    pub(crate) fn room(&mut self) -> &mut Vec<u64> {
        &mut self.cold.wrapped
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn committed_in(&self, index: usize) -> u64 {
        u64::from_le(self.lanes[index].write.load(Acquire))
    }

    pub(crate) fn drops(&self) -> bool {
        self.lanes[0].oldest.is_some()
    }

    /// How this consumer can be woken while it waits for a message.
    pub(crate) fn waiting(&self) -> Waiting {
        let cold = &self.cold;
        Waiting {
            bell: cold.data_bell.clone(),
            mapping: cold.mapping.clone(),
            longest_sleep: slots::longest_sleep_of_consumers,
            // Nobody rings when a producer dies.
            ticks: cold.require_producer || cold.merge == Merge::ById && self.lanes.len() > 1,
        }
    }

    /// Whether [`wait`](Consumer::wait) would return at once. With `tick`, looks at what costs system calls too.
    pub(crate) fn look(&mut self, tick: bool) -> Result<bool> {
        self.check_epoch()?;
        if self.is_ready()? {
            return Ok(true);
        }
        // Asked in this order: what a producer committed before it went is seen by the second look.
        if tick && self.cold.require_producer && !self.has_producer()? && !self.is_ready()? {
            return Err(Error::Closed);
        }
        Ok(false)
    }

    fn is_ready(&mut self) -> Result<bool> {
        match self.cold.merge {
            Merge::ById if self.lanes.len() > 1 => {
                let smallest = self.smallest_id();
                smallest.map(|found| found.is_some()).map_err(|error| self.explain(error))
            }
            _ => Ok(self.lanes.iter().any(LaneReader::has_more)),
        }
    }

    #[inline(always)]
    fn check_epoch(&mut self) -> Result<()> {
        if self.epoch.is_current() { Ok(()) } else { self.look_for_disturbance() }
    }

    #[cold]
    fn look_for_disturbance(&mut self) -> Result<()> {
        if self.cold.lock.is_inherited() {
            return Err(Error::Forked);
        }
        self.cold.mapping.check_whole()?;
        self.epoch = Epoch::now();
        Ok(())
    }

    /// The next records to read, of one lane; at least one, at most `limit`.
    fn next_run(&mut self, limit: usize) -> Result<Option<Run>> {
        self.check_epoch()?;
        if !self.plain {
            return self.next_run_of_many(limit).map_err(|error| self.explain(error));
        }
        self.lanes[0].refresh().map_err(|error| self.explain(error))?;
        Ok(self.lanes[0].run(0, self.trailer, limit))
    }

    /// [`next_run`](Self::next_run) where nothing is out of the ordinary; what is, errors too, is left to that.
    #[inline(always)]
    fn look_shortly(&mut self) -> Short {
        if !self.plain || !self.epoch.is_current() {
            return Short::Other;
        }
        let [lane] = &mut *self.lanes else { return Short::Other };
        if lane.end.available() == 0 && lane.end.refresh(&lane.write).is_err() {
            return Short::Other;
        }
        lane.run(0, 0, usize::MAX).map_or(Short::Empty, |run| Short::Stretch(run.stretch()))
    }

    /// Remembers an error that would not come again, when messages have to be reported first.
    #[cold]
    fn defer(&mut self, error: &Error) {
        if let Error::Lagged { bytes } = error {
            self.cold.lagged += bytes;
        }
    }

    fn next_run_of_many(&mut self, limit: usize) -> Result<Option<Run>> {
        if self.cold.lagged > 0 {
            return Err(Error::Lagged { bytes: std::mem::take(&mut self.cold.lagged) });
        }
        let (index, limit) = match self.cold.merge {
            Merge::ById if self.lanes.len() > 1 => match self.smallest_id()? {
                Some(index) => (index, 1),
                None => return Ok(None),
            },
            _ => match self.next_in_turn()? {
                Some(index) => (index, if self.lanes.len() > 1 { limit.min(TURN) } else { limit }),
                None => return Ok(None),
            },
        };
        if self.cold.untrusted || self.lanes[index].oldest.is_some() {
            return self.copy_run(index, limit);
        }
        Ok(self.lanes[index].run(index, self.trailer, limit))
    }

    fn next_in_turn(&mut self) -> Result<Option<usize>> {
        let count = self.lanes.len();
        for step in 0..count {
            let index = (self.cold.turn + step) % count;
            self.lanes[index].refresh()?;
            if self.lanes[index].end.available() > 0 {
                self.cold.turn = (index + 1) % count;
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The lane with the smallest id, if no smaller one can come.
    fn smallest_id(&mut self) -> Result<Option<usize>> {
        let is_next = |consumer: &Consumer, id| match consumer.cold.expected {
            Some(expected) if consumer.cold.mapping.layout().sequence => id == expected,
            // All lanes have a message: none can send a smaller one.
            _ => {
                let mut lanes = consumer.lanes.iter();
                !consumer.cold.mapping.layout().sequence && lanes.all(|lane| lane.end.available() > 0)
            }
        };
        sequence::next_in_order(self, Consumer::smallest_head, is_next, Consumer::may_send_smaller)
    }

    fn smallest_head(&mut self) -> Result<Option<(i64, usize)>> {
        let mut smallest = None;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.refresh()?;
            if lane.end.available() > 0 {
                let head = (lane.head(), index);
                smallest = Some(smallest.map_or(head, |other| head.min(other)));
            }
        }
        Ok(smallest)
    }

    /// Whether a lane without a message has a producer that may still commit a smaller id than those that wait.
    fn may_send_smaller(&mut self) -> Result<bool> {
        let mapping = &self.cold.mapping;
        let layout = mapping.layout();
        for lane in self.lanes.iter().filter(|lane| lane.end.available() == 0) {
            let word_says_so = if layout.sequence {
                sequence::is_busy(&mapping.word(layout.lane_line(lane.lane) + lane_line::BUSY))
            } else {
                mapping.half_word(layout.write_line(lane.lane) + cursor_line::WAKING).load(Acquire) != 0
            };
            // The word may be a dead producer's; the lock is asked last, as it costs a system call.
            if word_says_so && is_held(mapping, Role::Producer(lane.lane))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Copies records out of the ring, then checks them: nothing that changes meanwhile can do harm, or be delivered
    /// torn. Returns them as a run in the copy.
    fn copy_run(&mut self, index: usize, limit: usize) -> Result<Option<Run>> {
        let Some(run) = self.lanes[index].run(index, self.trailer, limit) else { return Ok(None) };
        let lane = &self.lanes[index];
        let whole = |position| lane.oldest.as_ref().is_none_or(|oldest| ReadEnd::still_whole(position, oldest));
        let copies = &mut self.cold.copies;
        copies.clear();
        let mut position = run.start;
        let mut count = 0;
        while position != run.end && count < limit && (count == 0 || copies.len() * 8 < COPY) {
            match run.copy(position, copies, whole) {
                Ok(Some(next)) => position = next,
                Ok(None) => break,
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
            count += 1;
        }
        if count == 0 {
            // Written over under our hands: the next look says how much is lost.
            self.lanes[index].look()?;
            return Ok(None);
        }
        let view = View::of_copy(copies, run.start);
        self.check_epoch()?;
        Ok(Some(Run { view, end: position, ..run }))
    }

    /// Counts the records of a run before `position` as read.
    #[inline(always)]
    fn count(&mut self, run: Run, position: u64, count: usize, last_id: i64) {
        let end = &mut self.lanes[run.index].end;
        let size = position.wrapping_sub(end.position());
        end.advance(size);
        self.received += count as u64;
        if !self.plain && size > 0 {
            self.cold.expected = Some(last_id.wrapping_add(1));
        }
    }

    /// [`count`](Self::count) in a plain ring.
    #[inline(always)]
    fn count_shortly(&mut self, size: u64, count: usize) {
        if let [lane] = &mut *self.lanes {
            lane.end.advance(size);
        }
        self.received += count as u64;
    }

    /// Gives the space of what was read back to the producers.
    #[inline(always)]
    fn release(&mut self) -> Result<()> {
        // A handler may have forked, and a batch may be one that a child inherited: the messages are the parent's. Or the
        // file was cut short, and what the handler saw is not what was sent.
        self.check_epoch()?;
        step("release");
        let released = match &mut *self.lanes {
            [lane] => lane.end.release(&lane.read),
            lanes => release_all(lanes),
        };
        step("released");
        if released {
            self.ring_if_wanted();
        }
        Ok(())
    }

    /// A record or a cursor may be bad because the file was cut short: then that is the error.
    #[cold]
    pub(crate) fn explain(&mut self, error: Error) -> Error {
        self.check_epoch().err().unwrap_or(error)
    }

    #[inline(always)]
    fn ring_if_wanted(&self) {
        if bell::wanted(&self.space_bell) {
            self.ring();
        }
    }

    #[cold]
    #[doc(hidden)]
    pub fn ring(&self) {
        if bell::ring(&self.space_bell) {
            step("rung");
            wake_all(&self.space_bell);
        }
    }

    /// How [`wait`](Consumer::wait) waits: [`Wait::Park`] unless set.
    pub fn set_wait(&mut self, wait: Wait) {
        self.cold.wait = wait;
    }

    /// Whether waiting at an empty ring that no producer holds ends with [`Error::Closed`]. Off unless set: a producer
    /// may come later.
    pub fn require_producer(&mut self, required: bool) {
        self.cold.require_producer = required;
    }

    /// The order in which messages of several lanes come: [`Merge::Fair`] unless set.
    pub fn set_merge(&mut self, merge: Merge) {
        self.cold.merge = merge;
    }

    /// Reads by copying first and checking then, for producers that may mean harm: whatever they write into the ring
    /// meanwhile, a payload does not change while it is looked at. Costs the copy. Off unless set, except in rings that
    /// drop messages, which are always read so.
    pub fn set_untrusted(&mut self, untrusted: bool) {
        self.cold.untrusted = untrusted;
        self.plain = self.lanes.len() == 1 && !untrusted && !self.drops() && self.trailer == 0;
    }

    /// Whether any process produces now. Asks the system.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what the system said.
    pub fn has_producer(&self) -> Result<bool> {
        slots::has_producer(&self.cold.mapping)
    }

    /// Bytes committed in all lanes that this consumer has not read; an instant's truth.
    pub fn available_bytes(&self) -> u64 {
        let capacity = self.cold.mapping.layout().capacity;
        let waiting =
            |lane: &LaneReader| u64::from_le(lane.write.load(Acquire)).wrapping_sub(lane.end.position()).min(capacity);
        self.lanes.iter().map(waiting).sum()
    }

    /// What this consumer has released of lane 0, in bytes since the ring was made.
    pub fn position(&self) -> u64 {
        self.lanes[0].end.released()
    }

    /// Messages released since this consumer was taken.
    pub fn received(&self) -> u64 {
        self.received
    }
}

#[inline(never)]
fn release_all(lanes: &mut [LaneReader]) -> bool {
    let mut released = false;
    for lane in lanes {
        released |= lane.end.release(&lane.read);
    }
    released
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let cold = &self.cold;
        if cold.lock.is_inherited() {
            return;
        }
        event!(debug, path = %cold.mapping.path().display(), slot = cold.slot, "consumer left");
        if cold.durable {
            slots::sign_out(&cold.mapping, cold.mapping.layout().read_line(0, cold.slot));
            // A producer that waits while there is a consumer has to look again.
            self.ring();
        } else {
            slots::vacate(&cold.mapping, cold.slot);
        }
    }
}

/// Messages borrowed in place.
///
/// When it drops, those that an iterator has yielded are released: all of them after a loop that ran to its end, and
/// those up to the one at hand after a `break`. After [`keep`](Batch::keep), if the thread is panicking, or in a child
/// that inherited the batch through a fork, none are.
/// A bad record ends the iteration before it; the consumer's next call reports it.
#[derive(Debug)]
pub struct Batch<'a> {
    consumer: &'a mut Consumer,
    run: Option<Run>,
    seen: Cell<Seen>,
    /// The record that does not stand in one piece: no run has more than one.
    wrapped: OnceCell<Wrapped>,
    /// The consumer's room for it.
    room: RefCell<Vec<u64>>,
    kept: bool,
}

/// A record that was copied, and the position behind it.
#[derive(Debug)]
struct Wrapped {
    position: u64,
    header: Header,
    next: u64,
    copy: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    position: u64,
    count: usize,
    last_id: i64,
}

impl Batch<'_> {
    /// Whether no message was there.
    pub fn is_empty(&self) -> bool {
        self.run.is_none()
    }

    /// Iterates over the messages, from the first.
    #[inline]
    pub fn iter(&self) -> BatchIter<'_> {
        BatchIter { batch: self, position: self.run.map_or(0, |run| run.start), count: 0 }
    }

    /// Drops the batch without releasing any message: they come again.
    pub fn keep(mut self) {
        self.kept = true;
    }

    #[cold]
    fn read_wrapped(&self, run: Run, position: u64, header: Header, next: u64) -> Option<(Message<'_>, u64)> {
        let wrapped = self.wrapped.get_or_init(|| {
            let mut copy = self.room.take();
            // SAFETY: as in `BatchIter::next`; what is returned is not used.
            unsafe { run.copied(position, header, &mut copy) };
            Wrapped { position, header, next, copy }
        });
        // The first one stays. The same position read again is the same record; another one is a peer's doing.
        if wrapped.position != position {
            return None;
        }
        let bytes = wrapped.copy.as_bytes().get(..wrapped.header.length as usize - HEADER_SIZE)?;
        Some((run.message(position, wrapped.header, bytes).ok()?, wrapped.next))
    }
}

impl<'b> IntoIterator for &'b Batch<'_> {
    type Item = Message<'b>;
    type IntoIter = BatchIter<'b>;

    fn into_iter(self) -> BatchIter<'b> {
        self.iter()
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let room = self.wrapped.take().map_or_else(|| self.room.take(), |wrapped| wrapped.copy);
        self.consumer.cold.wrapped = room;
        let seen = self.seen.get();
        if let Some(run) = self.run
            && seen.count > 0
            && !self.kept
            && !std::thread::panicking()
        {
            self.consumer.count(run, seen.position, seen.count, seen.last_id);
            // What stands in the way is reported by the consumer's next call.
            let _ = self.consumer.release();
        }
    }
}

/// Iterator over the messages of a [`Batch`].
#[derive(Debug, Clone)]
pub struct BatchIter<'b> {
    batch: &'b Batch<'b>,
    position: u64,
    count: usize,
}

impl<'b> Iterator for BatchIter<'b> {
    type Item = Message<'b>;

    #[inline]
    fn next(&mut self) -> Option<Message<'b>> {
        let run = self.batch.run?;
        if self.position == run.end || self.count == run.limit {
            return None;
        }
        let position = self.position;
        // SAFETY: each record's position follows from the one before. None is released before the batch drops, which the
        // message borrows.
        let (header, next) = unsafe { run.header(position) }.ok()?;
        // SAFETY: as above.
        let (message, next) = match unsafe { run.in_place(position, header) } {
            Some(bytes) => (run.message(position, header, bytes).ok()?, next),
            None => self.batch.read_wrapped(run, position, header, next)?,
        };
        self.position = next;
        self.count += 1;
        if self.count > self.batch.seen.get().count {
            self.batch.seen.set(Seen { position: next, count: self.count, last_id: message.id() });
        }
        Some(message)
    }
}
