//! `Producer`: offer, put, claim and commit, batches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::*},
    },
    time::{Duration, Instant},
};

use zerocopy::{Immutable, IntoBytes};

use crate::{
    bell::{self, Sleep},
    cursor::WriteEnd,
    error::{Corruption, Error, Result},
    events::event,
    layout::{Layout, Overflow, cursor_line, lane_line},
    mapping::{Direct, Epoch, LaneData, Mapping, View, Word, wake_all},
    origin::{self, Origin},
    ownership::{Role, RoleLock},
    record::{self, ALIGNMENT, CHECKSUM_SIZE, HEADER_SIZE, Header, padded},
    sequence,
    slots::{self, Waiting},
    testing::step,
    wait::{Wait, spin_briefly, wait_until},
};

/// Writes messages into a ring. One per lane at a time, in all processes.
///
/// A message for which [`offer`](Producer::offer), [`put`](Producer::put) or a commit returned is delivered, whatever
/// dies afterwards; one for which it did not return whole does not exist. Nothing on the way of a message allocates,
/// locks or calls the system, except waking a consumer that sleeps.
///
/// Dropping it, or the end of the process in whatever way, frees the lane for the next producer.
#[derive(Debug)]
pub struct Producer {
    end: WriteEnd,
    data: LaneData,
    write: Word<AtomicU64>,
    bell: Word<AtomicU32>,
    epoch: Epoch,
    max_payload: usize,
    /// 4 in a ring with checksums, else 0.
    trailer: usize,
    /// Records get an id or a checksum when they are published.
    seals: bool,
    /// Readers may copy while this side writes: word by word, then.
    lossy: bool,
    /// Every record stands in one piece, and nothing is added to it: the short way.
    plain: bool,
    offered: u64,
    cold: Box<Cold>,
}

/// What no message needs that finds space.
#[derive(Debug)]
struct Cold {
    lane: u32,
    wait: Wait,
    require_consumer: bool,
    /// The read cursors of all consumers in this lane.
    reads: Vec<Word<AtomicU64>>,
    oldest: Option<Word<AtomicU64>>,
    sequence: Option<Sequence>,
    space_bell: Word<AtomicU32>,
    last_look: Option<Instant>,
    /// Where a payload is written that does not stand in one piece, or is still to be copied word by word.
    scratch: Vec<u64>,
    reserved: Option<Reserved>,
    lock: RoleLock,
    mapping: Arc<Mapping>,
}

/// What [`Producer::reserve`] gave out.
#[derive(Debug, Clone, Copy)]
struct Reserved {
    position: u64,
    length: usize,
    /// In place, or in the scratch area.
    in_ring: bool,
}

/// The words that stamp ids.
#[derive(Debug)]
struct Sequence {
    next: Word<AtomicU64>,
    /// 1 while this lane may hold an id that is not committed yet.
    busy: Word<AtomicU64>,
}

/// The least time between two looks at whether consumers are alive, which cost system calls.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

impl Producer {
    pub(crate) fn new(mapping: &Arc<Mapping>) -> Result<Producer> {
        let layout = *mapping.layout();
        for lane in 0..layout.lanes {
            if let Some(lock) = RoleLock::try_take(mapping, Role::Producer(lane))? {
                // Whatever it sends, the lane is no copy of anything from now on.
                origin::lose(mapping, lane);
                return Producer::hold(mapping, &layout, lane, lock);
            }
        }
        Err(Error::RoleTaken {
            path: mapping.path().to_owned(),
            role: "producer".to_owned(),
            holders: slots::holder_pids(
                mapping,
                (0..layout.lanes).map(|lane| layout.write_line(lane) + cursor_line::PID),
            ),
        })
    }

    /// The producer of this lane, which goes on with what the lane is a copy of.
    pub(crate) fn relay(mapping: &Arc<Mapping>, lane: u32) -> Result<Producer> {
        let layout = *mapping.layout();
        let path = || mapping.path().to_owned();
        if lane >= layout.lanes {
            let (found, expected) = (layout.lanes.into(), u64::from(lane) + 1);
            return Err(Error::Mismatch { path: path(), field: "producers", found, expected });
        }
        match RoleLock::try_take(mapping, Role::Producer(lane))? {
            Some(lock) => Producer::hold(mapping, &layout, lane, lock),
            None => Err(Error::RoleTaken {
                path: path(),
                role: format!("producer of lane {lane}"),
                holders: slots::holder_pids(mapping, [layout.write_line(lane) + cursor_line::PID].into_iter()),
            }),
        }
    }

    fn hold(mapping: &Arc<Mapping>, layout: &Layout, lane: u32, lock: RoleLock) -> Result<Producer> {
        let write = mapping.word(layout.write_line(lane));
        let oldest = layout.oldest(lane).map(|offset| mapping.word(offset));
        let lossy = layout.overflow == Overflow::DropOldest;
        let corrupt = |reason| Error::Corrupt { lane, position: u64::from_le(write.load(Relaxed)), reason };
        let mut end = WriteEnd::resume(&write, layout.capacity).map_err(corrupt)?;
        if let (true, Some(oldest)) = (lossy, &oldest) {
            end.resume_lossy(oldest).map_err(corrupt)?;
        }
        let sequence = layout.sequence.then(|| Sequence {
            next: mapping.word(layout.sequence_word()),
            busy: mapping.word(layout.lane_line(lane) + lane_line::BUSY),
        });
        if let Some(sequence) = &sequence {
            // A predecessor may have died with it set; what it had not committed does not exist.
            sequence::settle(&sequence.busy);
        }
        let trailer = if layout.checksums { CHECKSUM_SIZE } else { 0 };
        let data = mapping.lane_data(lane);
        let seals = layout.checksums || layout.sequence;
        let largest = layout.capacity.min(u64::from(u32::MAX) & !7) as usize;
        let producer = Producer {
            end,
            plain: !lossy && !seals && data.memory().1 as u64 >= 2 * layout.capacity,
            data,
            write,
            bell: mapping.half_word(layout.data_bell()),
            epoch: Epoch::now(),
            max_payload: largest - HEADER_SIZE - trailer,
            trailer,
            seals,
            lossy,
            offered: 0,
            cold: Box::new(Cold {
                lane,
                wait: Wait::default(),
                require_consumer: false,
                reads: (0..layout.consumers).map(|slot| mapping.word(layout.read_line(lane, slot))).collect(),
                oldest,
                sequence,
                space_bell: mapping.half_word(layout.space_bell()),
                last_look: None,
                scratch: Vec::new(),
                reserved: None,
                lock,
                mapping: mapping.clone(),
            }),
        };
        slots::sign_in(mapping, layout.write_line(lane), &producer.bell);
        event!(debug, path = %mapping.path().display(), lane, position = producer.end.position(), "producer came");
        Ok(producer)
    }

    /// Puts one message into the ring if there is space. Never waits.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] (or [`Error::NoConsumer`], where asked for): nothing was written. [`Error::TooLarge`],
    /// [`Error::Corrupt`] if the consumer's cursor is impossible, [`Error::Forked`], [`Error::Truncated`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use aether_ipc::{Buffer, Error};
    /// let mut producer = Buffer::create(dir.path().join("ring"), 1024)?.producer()?;
    /// for id in 0..1024 / 24 {
    ///     producer.offer(id, 0, &id.to_le_bytes())?;
    /// }
    /// assert!(matches!(producer.offer(42, 0, b"one more"), Err(Error::Full)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn offer(&mut self, id: i64, message_type: i32, payload: &[u8]) -> Result<()> {
        match self.write_short(self.end.position(), id, message_type, payload) {
            Some(to) => {
                self.commit(to, 1);
                self.ring_if_wanted();
                Ok(())
            }
            None => self.offer_any(id, message_type, payload),
        }
    }

    #[inline(never)]
    fn offer_any(&mut self, id: i64, message_type: i32, payload: &[u8]) -> Result<()> {
        let to = self.write_record(self.end.position(), id, message_type, payload)?;
        self.publish(to, 1);
        Ok(())
    }

    /// Puts one message into the ring, waiting for space as [`set_wait`](Producer::set_wait) says.
    ///
    /// # Errors
    ///
    /// As [`offer`](Producer::offer), but never [`Error::Full`].
    #[inline]
    pub fn put(&mut self, id: i64, message_type: i32, payload: &[u8]) -> Result<()> {
        match self.offer(id, message_type, payload) {
            Err(Error::Full) => self.put_slowly(None, id, message_type, payload),
            other => other,
        }
    }

    /// As [`put`](Producer::put), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`put`](Producer::put), and [`Error::TimedOut`]: nothing was written.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use std::time::Duration;
    /// use aether_ipc::{Buffer, Error};
    /// let mut producer = Buffer::create(dir.path().join("ring"), 1024)?.producer()?;
    /// producer.offer(1, 0, &[0; 1000])?;
    /// let late = producer.put_within(Duration::from_millis(1), 2, 0, b"no space for this");
    /// assert!(matches!(late, Err(Error::TimedOut { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_within(&mut self, timeout: Duration, id: i64, message_type: i32, payload: &[u8]) -> Result<()> {
        match self.offer(id, message_type, payload) {
            Err(Error::Full) => self.put_slowly(Some(timeout), id, message_type, payload),
            other => other,
        }
    }

    /// Puts the bytes of a value into the ring: [`offer`](Producer::offer), for types whose bytes are all there is.
    ///
    /// # Errors
    ///
    /// As [`offer`](Producer::offer).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use aether_ipc::{Buffer, Flow};
    /// use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    ///
    /// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Debug, PartialEq)]
    /// #[repr(C)]
    /// struct Quote { bid: f64, ask: f64 }
    ///
    /// let buffer = Buffer::create(dir.path().join("ring"), 4096)?;
    /// buffer.producer()?.offer_value(1, 0, &Quote { bid: 1.25, ask: 1.5 })?;
    /// buffer.consumer()?.poll(|message| {
    ///     assert_eq!(message.value::<Quote>().unwrap(), &Quote { bid: 1.25, ask: 1.5 });
    ///     Flow::Continue
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn offer_value<T: IntoBytes + Immutable + ?Sized>(
        &mut self,
        id: i64,
        message_type: i32,
        value: &T,
    ) -> Result<()> {
        self.offer(id, message_type, value.as_bytes())
    }

    /// Puts as many of `values` into the ring as there is space for, each a message of its own, with ids counting up
    /// from `first_id`, and publishes them at once. Returns how many were taken, 0 if the ring is full.
    ///
    /// # Errors
    ///
    /// As [`offer`](Producer::offer), but never [`Error::Full`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use aether_ipc::Buffer;
    /// let mut producer = Buffer::create(dir.path().join("ring"), 1024)?.producer()?;
    /// assert_eq!(producer.offer_all(1, 0, &[1_u64; 100])?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn offer_all<T: IntoBytes + Immutable>(
        &mut self,
        first_id: i64,
        message_type: i32,
        values: &[T],
    ) -> Result<usize> {
        self.offer_each(first_id, message_type, size_of::<T>(), values.iter().map(T::as_bytes))
    }

    /// As [`offer_all`](Producer::offer_all), for records of `size` bytes each that stand one after the other in
    /// `bytes`.
    ///
    /// # Errors
    ///
    /// As [`offer_all`](Producer::offer_all), and [`Error::Layout`] if `bytes` holds no whole number of records.
    pub fn offer_array(&mut self, first_id: i64, message_type: i32, size: usize, bytes: &[u8]) -> Result<usize> {
        if size == 0 || !bytes.len().is_multiple_of(size) {
            return Err(Error::Layout { payload: bytes.len(), expected: size });
        }
        self.offer_each(first_id, message_type, size, bytes.chunks_exact(size))
    }

    /// For payloads of `size` bytes each. What `make_room` finds out for each message is found out once for all.
    #[inline]
    fn offer_each<'p>(
        &mut self,
        first_id: i64,
        message_type: i32,
        size: usize,
        payloads: impl ExactSizeIterator<Item = &'p [u8]>,
    ) -> Result<usize> {
        if payloads.len() == 0 {
            return Ok(0);
        }
        let position = self.end.position();
        let record = match self.make_room(position, size) {
            Ok(record) => record,
            Err(Error::Full) => return Ok(0),
            Err(error) => return Err(error),
        };
        let most = self.cold.mapping.layout().capacity / record;
        let wanted = most.min(payloads.len() as u64);
        if self.end.room(position) < wanted * record {
            // There is room for one; what keeps more from having it comes with the next call.
            let _ = self.look_for_space(position, wanted * record);
        }
        let count = wanted.min(self.end.room(position) / record);
        let run = self.data.contiguous(position, (count * record) as usize).filter(|_| !self.lossy);
        let length = (HEADER_SIZE + size + self.trailer) as u32;
        let mut offset = 0;
        for (id, payload) in (0..count as i64).zip(payloads) {
            let header = Header { id: first_id.wrapping_add(id), length, message_type };
            match run {
                // SAFETY: as in `write_short`, for `count` records of `record` bytes each, of which this is the one at
                // `offset`: there is room for them all, and `run` is where they are mapped in one piece.
                Some(run) => unsafe {
                    let place = run.add(offset as usize);
                    store_header(place, header);
                    copy(payload, place.add(HEADER_SIZE));
                },
                None => {
                    let at = position.wrapping_add(offset);
                    self.write_header(at, header.id, message_type, size);
                    self.copy_in(at, payload);
                }
            }
            step("written");
            offset += record;
        }
        self.publish(position.wrapping_add(offset), count);
        Ok(count as usize)
    }

    /// Reserves a message of `length` bytes, to be written in place: no copy. Nobody sees it before
    /// [`Claim::commit`], and dropping the claim aborts it.
    ///
    /// # Errors
    ///
    /// As [`offer`](Producer::offer).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use aether_ipc::Buffer;
    /// let mut producer = Buffer::create(dir.path().join("ring"), 4096)?.producer()?;
    /// let mut claim = producer.claim(5)?;
    /// claim.payload_mut().copy_from_slice(b"hello");
    /// claim.commit(1, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn claim(&mut self, length: usize) -> Result<Claim<'_>> {
        let position = self.end.position();
        let size = self.make_room(position, length)?;
        let (place, in_ring) = match self.data.contiguous(position, HEADER_SIZE + length) {
            Some(place) if !self.lossy => (place.wrapping_add(HEADER_SIZE), true),
            _ => (self.scratch(length), false),
        };
        Ok(Claim { producer: self, place, in_ring, length, size })
    }

    #[cold]
    fn scratch(&mut self, length: usize) -> *mut u8 {
        let scratch = &mut self.cold.scratch;
        if scratch.len() < length.div_ceil(8) {
            scratch.resize(length.div_ceil(8), 0);
        }
        scratch.as_mut_ptr().cast()
    }

    /// What was written to the scratch area, into the ring.
    #[cold]
    fn copy_scratch(&mut self, position: u64, length: usize) {
        let scratch = std::mem::take(&mut self.cold.scratch);
        self.copy_in(position, &scratch.as_bytes()[..length]);
        self.cold.scratch = scratch;
    }

    /// [`claim`](Producer::claim) and [`batch`](Producer::batch) for other languages, which can't borrow: an address,
    /// aligned to 8, and the bytes that may be written from there on, at least `least` and at most `most`. The caller
    /// writes whole records there, one after the other, as they are to stand in the ring; ids of a shared sequence and
    /// checksums are filled in later, but the length of a record counts its checksum. The bytes are the caller's until
    /// [`commit_reserved`](Producer::commit_reserved), or until anything else is written in whatever way.
    ///
    /// # Errors
    ///
    /// As [`offer`](Producer::offer).
    #[doc(hidden)]
    #[inline]
    pub fn reserve(&mut self, least: usize, most: usize) -> Result<(*mut u8, usize)> {
        self.cold.reserved = None;
        let around = HEADER_SIZE + self.trailer;
        let largest = padded(self.max_payload + around);
        let position = self.end.position();
        let least = self.make_room(position, least.saturating_sub(around))? as usize;
        let most = padded(most.min(largest)).max(least);
        if self.end.room(position) < most as u64 {
            match self.look_for_space(position, most as u64) {
                Ok(()) | Err(Error::Full | Error::NoConsumer) => {}
                Err(error) => return Err(error),
            }
        }
        // A cursor of a peer's that is no multiple of 8 is not ours to refuse here.
        let length = self.end.room(position).min(most as u64) as usize & !(ALIGNMENT - 1);
        let (place, in_ring) = match self.data.contiguous(position, length) {
            Some(place) if !self.lossy => (place, true),
            _ => (self.scratch(length), false),
        };
        self.cold.reserved = Some(Reserved { position, length, in_ring });
        Ok((place, length))
    }

    /// Bytes that are reserved.
    #[doc(hidden)]
    pub fn reserved(&self) -> usize {
        match self.cold.reserved {
            Some(reserved) if reserved.position == self.end.position() => reserved.length,
            _ => 0,
        }
    }

    /// Publishes the first `bytes` of what was reserved, or all if that is less, and gives up the rest. Returns how many
    /// records that were.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if these are not whole records, each with its padding: nothing is published.
    /// [`Error::Forked`], [`Error::Truncated`].
    #[doc(hidden)]
    #[inline]
    pub fn commit_reserved(&mut self, bytes: usize) -> Result<usize> {
        let bytes = bytes.min(self.reserved());
        let Some(Reserved { position, in_ring, .. }) = self.cold.reserved.take() else { return Ok(0) };
        if !self.epoch.is_current() {
            self.look_for_disturbance()?;
        }
        let view = if in_ring { *self.data } else { View::of_copy(&mut self.cold.scratch, position) };
        let to = position.wrapping_add(bytes as u64);
        let count = self.check_records(view, position, to)?;
        if !in_ring {
            // SAFETY: as in `write_short`; the words are not copied beyond what was reserved.
            unsafe { self.data.copy_in(position, &self.cold.scratch.as_bytes()[..bytes]) };
        }
        if count > 0 {
            self.publish(to, count as u64);
        }
        Ok(count)
    }

    /// For languages in which a call costs more than a message: what stands where, so that the caller publishes by
    /// itself what it wrote into a [`window`](Producer::window). `None` in rings whose records this library completes, or
    /// whose readers copy meanwhile.
    #[doc(hidden)]
    pub fn direct(&self) -> Option<Direct> {
        let possible = !self.seals && !self.lossy && cfg!(target_endian = "little");
        possible.then(|| Direct::new(&self.data, &self.write, &self.bell, self.end.position()))
    }

    /// Space for whole records that the caller writes and publishes by itself: where, and how many bytes; at least a
    /// message of `least` bytes fits, or there are none, where the ring is in two pieces. One record or more are
    /// published by storing the position behind them into the write cursor with release order; then the bell is to be
    /// looked at. Before anything else is asked of this producer, [`settle`](Producer::settle) has to be told.
    ///
    /// # Errors
    ///
    /// As [`offer`](Producer::offer).
    #[doc(hidden)]
    pub fn window(&mut self, least: usize) -> Result<(*mut u8, usize)> {
        self.cold.reserved = None;
        let position = self.end.position();
        let least = self.make_room(position, least)?;
        let (base, mapped) = self.data.memory();
        let place = self.data.contiguous(position, 0).unwrap_or(base);
        let in_one_piece = mapped - (place.addr() - base.addr());
        // A cursor of a peer's that is no multiple of 8 is not ours to refuse here.
        let length = self.end.room(position).min(in_one_piece as u64) & !(ALIGNMENT as u64 - 1);
        let length = if length < least { 0 } else { length as usize };
        self.cold.reserved = Some(Reserved { position, length, in_ring: true });
        Ok((place, length))
    }

    /// Takes note of what the caller published of its [`window`](Producer::window), so many bytes and messages, and ends
    /// that.
    #[doc(hidden)]
    pub fn settle(&mut self, bytes: usize, count: u64) {
        let bytes = bytes.min(self.reserved()) & !(ALIGNMENT - 1);
        self.cold.reserved = None;
        if bytes > 0 && !self.is_inherited() {
            // Once more what the caller stored.
            self.end.publish(&self.write, self.end.position().wrapping_add(bytes as u64));
            self.offered += count.min((bytes / HEADER_SIZE) as u64);
        }
    }

    /// Counts the records between two positions, which others wrote.
    fn check_records(&self, view: View, from: u64, to: u64) -> Result<usize> {
        let mut position = from;
        let mut count = 0;
        while position != to {
            let left = to.wrapping_sub(position);
            let fail = |reason| Error::Record { offset: position.wrapping_sub(from), reason };
            if left < HEADER_SIZE as u64 {
                return Err(fail(Corruption::TooLong { length: HEADER_SIZE as u32, committed: left }));
            }
            // SAFETY: words of the ring, or of the scratch area, where a header's bytes are left.
            let words = unsafe { [view.word(position), view.word(position.wrapping_add(8))] };
            let header = Header::decode(words.map(|word| word.load(Relaxed)));
            position = position.wrapping_add(header.validate(left, self.trailer).map_err(fail)?);
            count += 1;
        }
        Ok(count)
    }

    /// Bytes of the checksum that the length of each record counts after the payload.
    #[doc(hidden)]
    pub fn trailer(&self) -> usize {
        self.trailer
    }

    /// Starts a batch: many messages, one publication. Dropping it without [`ProducerBatch::commit`] aborts them all.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use aether_ipc::Buffer;
    /// let mut producer = Buffer::create(dir.path().join("ring"), 4096)?.producer()?;
    /// let mut batch = producer.batch();
    /// for id in 0..10 {
    ///     batch.push(id, 0, b"tick")?;
    /// }
    /// assert_eq!(batch.commit(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn batch(&mut self) -> ProducerBatch<'_> {
        let end = self.end.position();
        ProducerBatch { producer: self, end, count: 0 }
    }

    /// Waits until a message of `length` bytes has space, as [`set_wait`](Producer::set_wait) says.
    ///
    /// # Errors
    ///
    /// As [`put_within`](Producer::put_within); without a `timeout`, never [`Error::TimedOut`].
    pub fn wait_for_space(&mut self, length: usize, timeout: Option<Duration>) -> Result<()> {
        if spin_briefly(|| self.look(length, false))? {
            return Ok(());
        }
        let Waiting { bell, mapping, longest_sleep, .. } = self.waiting();
        let longest_sleep = || longest_sleep(&mapping);
        let strategy = self.cold.wait;
        wait_until(strategy, timeout, "space in the ring", &mut [Sleep::on(&bell)], longest_sleep, |tick| {
            self.look(length, tick)
        })
    }

    /// How this producer can be woken while it waits for space.
    pub(crate) fn waiting(&self) -> Waiting {
        let cold = &self.cold;
        Waiting {
            bell: cold.space_bell.clone(),
            mapping: cold.mapping.clone(),
            longest_sleep: slots::longest_sleep_of_producers,
            // Nobody rings when a consumer dies.
            ticks: cold.require_consumer || cold.reads.len() > 1,
        }
    }

    /// Whether a message of `length` bytes has space. With `tick`, looks at what costs system calls too.
    pub(crate) fn look(&mut self, length: usize, tick: bool) -> Result<bool> {
        if tick {
            self.cold.last_look = None;
        }
        match self.make_room(self.end.position(), length) {
            Ok(_) => Ok(true),
            Err(Error::Full) => Ok(false),
            Err(error) => Err(error),
        }
    }

    #[cold]
    fn put_slowly(&mut self, timeout: Option<Duration>, id: i64, message_type: i32, payload: &[u8]) -> Result<()> {
        self.wait_for_space(payload.len(), timeout)?;
        self.offer(id, message_type, payload)
    }

    /// [`write_record`](Self::write_record) for what most messages are: short, in a plain ring with space. `None` if this
    /// one is not: nothing was written. Inlined, and free of calls, so that it needs no stack and few registers.
    #[inline(always)]
    fn write_short(&mut self, position: u64, id: i64, message_type: i32, payload: &[u8]) -> Option<u64> {
        let size = padded(HEADER_SIZE + payload.len()) as u64;
        if !SHORT.contains(&payload.len()) || self.end.room(position) < size || !self.plain || !self.epoch.is_current()
        {
            return None;
        }
        let place = self.data.place(position);
        let header = Header { id, length: (HEADER_SIZE + payload.len()) as u32, message_type };
        // SAFETY: `size` bytes from `position` on, which the header and the payload are part of, have been released by every
        // consumer and are not committed: under the cursor protocol they are this producer's alone, whose `&mut self` this
        // is. They are mapped in one piece, as the ring is `plain` and `size` is no more than its capacity, which is what
        // `room` is at most; and aligned to 8. The payload is a slice of other memory: nobody can hold a slice of bytes that
        // are not committed, except of a claim, which borrows the producer. Its length is one of `SHORT`.
        unsafe {
            store_header(place, header);
            copy_short(payload, place.add(HEADER_SIZE));
        }
        step("written");
        Some(position.wrapping_add(size))
    }

    /// Writes a record at `position`, where nobody looks yet. Returns the position behind it.
    fn write_record(&mut self, position: u64, id: i64, message_type: i32, payload: &[u8]) -> Result<u64> {
        let size = self.make_room(position, payload.len())?;
        self.write_header(position, id, message_type, payload.len());
        match self.data.contiguous(position, HEADER_SIZE + payload.len()) {
            // SAFETY: as in `write_short`: `make_room` found the space, and it is in one piece from `place` on.
            Some(place) if !self.lossy => unsafe { copy(payload, place.wrapping_add(HEADER_SIZE)) },
            _ => self.copy_in(position, payload),
        }
        step("written");
        Ok(position.wrapping_add(size))
    }

    #[inline(always)]
    fn write_header(&mut self, position: u64, id: i64, message_type: i32, payload: usize) {
        let length = (HEADER_SIZE + payload + self.trailer) as u32;
        let words = Header { id, length, message_type }.encode();
        // SAFETY: as in `write_short`.
        unsafe {
            self.data.word(position).store(words[0], Relaxed);
            self.data.word(position.wrapping_add(8)).store(words[1], Relaxed);
        }
    }

    #[cold]
    fn copy_in(&mut self, position: u64, payload: &[u8]) {
        // SAFETY: as in `write_short`; atomic stores, since in a lossy ring copying readers may look meanwhile.
        unsafe { self.data.copy_in(position.wrapping_add(HEADER_SIZE as u64), payload) };
    }

    /// Checks that a record with `payload` bytes has space at `position`. Returns the bytes that it takes.
    #[inline(always)]
    fn make_room(&mut self, position: u64, payload: usize) -> Result<u64> {
        if payload > self.max_payload {
            return Err(Error::TooLarge { payload, max: self.max_payload });
        }
        if !self.epoch.is_current() {
            self.look_for_disturbance()?;
        }
        let size = padded(HEADER_SIZE + payload + self.trailer) as u64;
        if self.end.room(position) < size {
            self.look_for_space(position, size).map_err(|error| self.explain(error))?;
        }
        Ok(size)
    }

    /// A cursor may be bad because the file was cut short: then that is the error.
    #[cold]
    fn explain(&mut self, error: Error) -> Error {
        match error {
            Error::Corrupt { .. } => self.look_for_disturbance().err().unwrap_or(error),
            error => error,
        }
    }

    /// Commits everything before `to`.
    #[inline(always)]
    fn publish(&mut self, to: u64, count: u64) {
        if self.seals {
            self.publish_sealed(to, count);
        } else {
            self.commit(to, count);
        }
        self.ring_if_wanted();
    }

    #[inline(never)]
    fn publish_sealed(&mut self, to: u64, count: u64) {
        self.seal(to, count);
        self.commit(to, count);
        if let Some(sequence) = &self.cold.sequence {
            sequence::settle(&sequence.busy);
        }
    }

    #[inline(always)]
    fn commit(&mut self, to: u64, count: u64) {
        step("publish");
        self.end.publish(&self.write, to);
        step("published");
        self.offered += count;
    }

    #[inline(always)]
    fn ring_if_wanted(&self) {
        if bell::wanted(&self.bell) {
            self.ring();
        }
    }

    #[cold]
    #[doc(hidden)]
    pub fn ring(&self) {
        if bell::ring(&self.bell) {
            step("rung");
            wake_all(&self.bell);
        }
    }

    /// Stamps ids and checksums into the records between the write cursor and `to`.
    fn seal(&mut self, to: u64, count: u64) {
        let mut next_id = self.cold.sequence.as_ref().map(|sequence| {
            sequence::announce(&sequence.busy);
            step("busy");
            let id = sequence::stamp(&sequence.next, count);
            step("stamped");
            id
        });
        let lane = self.data.clone();
        let mut position = self.end.position();
        while position != to {
            // SAFETY: these are words of the ring, this producer's alone until published.
            let words = unsafe { [lane.word(position), lane.word(position.wrapping_add(8))] };
            let mut header = Header::decode(words.map(|word| word.load(Relaxed)));
            // Written by this process a moment ago. A peer that means harm may have changed it since; that must not lead
            // out of the ring.
            let Ok(size) = header.validate(to.wrapping_sub(position), self.trailer) else { return };
            if let Some(id) = &mut next_id {
                header.id = id.cast_signed();
                words[0].store(header.encode()[0], Relaxed);
                *id = id.wrapping_add(1);
            }
            if self.trailer > 0 {
                self.write_checksum(position, header);
            }
            position = position.wrapping_add(size);
        }
    }

    fn write_checksum(&mut self, position: u64, header: Header) {
        let payload = header.length as usize - HEADER_SIZE - CHECKSUM_SIZE;
        let start = position.wrapping_add(HEADER_SIZE as u64);
        let checksum = match self.data.contiguous(start, payload) {
            // SAFETY: `payload` bytes, mapped in one piece and this producer's alone until published.
            Some(place) => record::checksum(position, header, unsafe { std::slice::from_raw_parts(place, payload) }),
            None => {
                // Its claim, if it had one, was copied into the ring already.
                let copy = &mut self.cold.scratch;
                copy.resize(payload.div_ceil(8).max(copy.len()), 0);
                // SAFETY: words of the ring.
                unsafe { self.data.copy_out(start, &mut copy[..payload.div_ceil(8)]) };
                record::checksum(position, header, &copy.as_bytes()[..payload])
            }
        };
        // The trailer starts right behind the payload and may touch two words.
        for (index, byte) in checksum.to_le_bytes().into_iter().enumerate() {
            let at = start.wrapping_add((payload + index) as u64);
            let shift = 8 * (at % 8);
            // SAFETY: words of the ring, this producer's alone until published.
            let word = unsafe { self.data.word(at & !7) };
            let value = u64::from_le(word.load(Relaxed)) & !(0xFF << shift) | u64::from(byte) << shift;
            word.store(value.to_le(), Relaxed);
        }
    }

    /// Whether this is a forked child's copy of a producer.
    #[inline]
    fn is_inherited(&self) -> bool {
        !self.epoch.is_current() && self.cold.lock.is_inherited()
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

    #[cold]
    fn look_for_space(&mut self, position: u64, size: u64) -> Result<()> {
        if self.lossy {
            self.evict(position, size);
            return if self.end.room(position) >= size { Ok(()) } else { Err(Error::Full) };
        }
        let cold = &mut *self.cold;
        let oldest = cold.oldest.as_deref();
        let reads = || cold.reads.iter().map(|read| &**read);
        let published = self.end.position();
        let corrupt = |reason| Error::Corrupt { lane: cold.lane, position: published, reason };
        let many = cold.reads.len() > 1;
        if let [read] = cold.reads.as_slice() {
            self.end.refresh(read, oldest).map_err(corrupt)?;
        } else {
            self.end.refresh_slowest(reads(), oldest);
        }
        if self.end.room(position) >= size {
            return Ok(());
        }
        if (many || cold.require_consumer) && is_time_to_look(&mut cold.last_look) {
            if many {
                slots::sweep(&cold.mapping)?;
                slots::check_durable(&cold.mapping, cold.lane, published).map_err(corrupt)?;
                self.end.refresh_slowest(reads(), oldest);
                if self.end.room(position) >= size {
                    return Ok(());
                }
            }
            if cold.require_consumer && !slots::has_consumer(&cold.mapping)? {
                return Err(Error::NoConsumer);
            }
        }
        Err(Error::Full)
    }

    /// Gives up the oldest records of a lossy ring, until `size` bytes at `position` have space and some more, so that
    /// this is rare.
    fn evict(&mut self, position: u64, size: u64) {
        let published = self.end.position();
        let capacity = self.cold.mapping.layout().capacity;
        let wanted = size.max(capacity / 16);
        let mut floor = self.end.floor();
        while floor != published && floor.wrapping_add(capacity).wrapping_sub(position) < wanted {
            // SAFETY: words of the ring; committed by this lane, and nobody else writes them.
            let words = unsafe { [self.data.word(floor), self.data.word(floor.wrapping_add(8))] };
            let header = Header::decode(words.map(|word| word.load(Relaxed)));
            // Bytes that are no record can only be given up all together.
            let size = header.validate(published.wrapping_sub(floor), self.trailer);
            floor = size.map_or(published, |size| floor.wrapping_add(size));
        }
        self.end.grant(floor, self.cold.oldest.as_deref());
        step("evicted");
    }

    /// How blocking calls wait: [`Wait::Park`] unless set.
    pub fn set_wait(&mut self, wait: Wait) {
        self.cold.wait = wait;
    }

    /// Whether a full ring without any consumer is reported as [`Error::NoConsumer`], also while waiting. Off unless
    /// set: a consumer may come later. It is looked at some milliseconds apart; in between it is [`Error::Full`].
    pub fn require_consumer(&mut self, required: bool) {
        self.cold.require_consumer = required;
    }

    /// Whether any process consumes now. Asks the system.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what the system said.
    pub fn has_consumer(&self) -> Result<bool> {
        slots::has_consumer(&self.cold.mapping)
    }

    /// What this lane is a copy of, and how far it goes; for a producer that [relays](crate::Buffer::relay).
    pub fn origin(&self) -> Origin {
        origin::read(&self.cold.mapping, self.cold.lane, self.end.position())
    }

    /// Says that what this producer sends from now on is a copy of what `source` has from `position` on. From there on
    /// [`origin`](Producer::origin) counts with what is committed, so that it is right whenever the process dies; for
    /// this, each record must take as many bytes here as in the source.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] in a classic ring, whose file has no room for it. [`Error::Forked`], [`Error::Truncated`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use aether_ipc::{Buffer, Origin};
    ///
    /// let copy = Buffer::create(dir.path().join("copy"), 4096)?;
    /// let mut relay = copy.relay(0)?;
    /// assert_eq!(relay.origin(), Origin::None);
    /// relay.set_origin([1, 2], 64_000)?;
    /// relay.offer(1, 0, b"16 bytes of text")?;
    /// drop(relay);
    ///
    /// assert_eq!(copy.relay(0)?.origin(), Origin::Known { source: [1, 2], position: 64_032 });
    /// // Somebody else has had the lane since: what is in it is no copy any more.
    /// drop(copy.producer()?);
    /// assert_eq!(copy.relay(0)?.origin(), Origin::Lost);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_origin(&mut self, source: [u64; 2], position: u64) -> Result<()> {
        if !self.epoch.is_current() {
            self.look_for_disturbance()?;
        }
        origin::write(&self.cold.mapping, self.cold.lane, self.end.position(), source, position)
    }

    /// The lane that this producer writes, 0 in a ring with one.
    pub fn lane(&self) -> u32 {
        self.cold.lane
    }

    /// Size of the data section in bytes.
    pub fn capacity(&self) -> u64 {
        self.cold.mapping.layout().capacity
    }

    /// The largest payload that the empty ring can take, in bytes.
    pub fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// Where the next message goes: bytes committed in this lane since the ring was made.
    pub fn position(&self) -> u64 {
        self.end.position()
    }

    /// Bytes that the slowest consumer has not released yet; an instant's truth.
    pub fn lag(&self) -> u64 {
        let behind = |read: &Word<AtomicU64>| match u64::from_le(read.load(Acquire)) {
            crate::cursor::AWAY => 0,
            read => self.end.position().wrapping_sub(read).min(self.capacity()),
        };
        self.cold.reads.iter().map(behind).max().unwrap_or(0)
    }

    /// Bytes that are free now, headers and padding to be counted; an instant's truth.
    pub fn free_bytes(&self) -> u64 {
        if self.lossy { self.capacity() } else { self.capacity() - self.lag() }
    }

    /// Messages committed by this producer since it was taken.
    pub fn offered(&self) -> u64 {
        self.offered
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.cold.lock.is_inherited() {
            return;
        }
        slots::sign_out(&self.cold.mapping, self.cold.mapping.layout().write_line(self.cold.lane));
        event!(debug, path = %self.cold.mapping.path().display(), lane = self.cold.lane, "producer left");
        // A consumer that waits while there is a producer has to look again.
        self.ring();
    }
}

/// Writes a header that stands in one piece.
///
/// # Safety
///
/// `place` is aligned to 8, and its 16 bytes are words of the ring.
#[inline(always)]
unsafe fn store_header(place: *mut u8, header: Header) {
    // SAFETY: by this function's contract; words are accessed as atomics by everybody.
    let words = unsafe { &*place.cast::<[AtomicU64; 2]>() };
    for (word, value) in words.iter().zip(header.encode()) {
        word.store(value, Relaxed);
    }
}

/// `memcpy`.
///
/// # Safety
///
/// `to` is valid for writes of as many bytes as `from` has, and does not overlap it.
#[inline(always)]
unsafe fn copy(from: &[u8], to: *mut u8) {
    // SAFETY: by this function's contract.
    unsafe {
        if SHORT.contains(&from.len()) {
            copy_short(from, to);
        } else {
            to.copy_from_nonoverlapping(from.as_ptr(), from.len());
        }
    }
}

/// Lengths of payloads that [`copy_short`] can copy.
const SHORT: std::ops::RangeInclusive<usize> = 8..=64;

/// `memcpy` without a call: two loads and two stores of a fitting width, which overlap where they must.
///
/// # Safety
///
/// The length of `from` is one of [`SHORT`]; `to` is valid for writes of as many bytes, and does not overlap it.
#[inline(always)]
unsafe fn copy_short(from: &[u8], to: *mut u8) {
    /// The first and the last `T` of what is to be copied, which together are all of it.
    #[inline(always)]
    unsafe fn ends<T>(from: *const u8, to: *mut u8, length: usize) {
        let end = length - size_of::<T>();
        // SAFETY: by the contract of `copy_short`, and as there are from one to two `T` in `length` bytes. Both are loaded
        // before either is stored.
        unsafe {
            let first = from.cast::<T>().read_unaligned();
            let last = from.add(end).cast::<T>().read_unaligned();
            to.cast::<T>().write_unaligned(first);
            to.add(end).cast::<T>().write_unaligned(last);
        }
    }
    let (from, length) = (from.as_ptr(), from.len());
    // SAFETY: by this function's contract, and the arms.
    unsafe {
        match length {
            ..=16 => ends::<u64>(from, to, length),
            17..=32 => ends::<u128>(from, to, length),
            _ => ends::<[u128; 2]>(from, to, length),
        }
    }
}

fn is_time_to_look(last: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let due = last.is_none_or(|last| now - last >= BETWEEN_LOOKS);
    if due {
        *last = Some(now);
    }
    due
}

/// A message that is being written in place. Dropping it aborts it.
#[derive(Debug)]
#[must_use = "a claim that is not committed is aborted"]
pub struct Claim<'a> {
    producer: &'a mut Producer,
    place: *mut u8,
    /// Or in the scratch area.
    in_ring: bool,
    length: usize,
    size: u64,
}

impl Claim<'_> {
    /// The payload, aligned to 8. It holds whatever stood there before.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        // SAFETY: `length` bytes in one piece from `place` on, either of the producer's scratch area, which is initialised,
        // or of the ring, where `make_room` found them released and not committed: this producer's alone, which the
        // claim borrows mutably.
        unsafe { std::slice::from_raw_parts_mut(self.place, self.length) }
    }

    /// Commits the message. In a child that inherited the claim through a fork, this does nothing: it is the parent's.
    #[inline]
    pub fn commit(self, id: i64, message_type: i32) {
        let producer = self.producer;
        if producer.is_inherited() {
            return;
        }
        let position = producer.end.position();
        producer.write_header(position, id, message_type, self.length);
        if !self.in_ring {
            producer.copy_scratch(position, self.length);
        }
        producer.publish(position.wrapping_add(self.size), 1);
    }
}

/// Messages that are published together. Dropping it without [`commit`](ProducerBatch::commit) aborts them.
#[derive(Debug)]
#[must_use = "a batch that is not committed is aborted"]
pub struct ProducerBatch<'a> {
    producer: &'a mut Producer,
    /// The position behind the last message written.
    end: u64,
    count: u64,
}

impl ProducerBatch<'_> {
    /// Adds a message.
    ///
    /// # Errors
    ///
    /// As [`Producer::offer`]; what was pushed before stays in the batch.
    #[inline]
    pub fn push(&mut self, id: i64, message_type: i32, payload: &[u8]) -> Result<()> {
        self.end = match self.producer.write_short(self.end, id, message_type, payload) {
            Some(end) => end,
            None => self.producer.write_record(self.end, id, message_type, payload)?,
        };
        self.count += 1;
        Ok(())
    }

    /// Messages in the batch.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Publishes all messages with one store. Returns how many: none in a child that inherited the batch through a fork.
    #[inline]
    pub fn commit(self) -> usize {
        if self.producer.is_inherited() {
            return 0;
        }
        if self.count > 0 {
            self.producer.publish(self.end, self.count);
        }
        self.count as usize
    }
}
