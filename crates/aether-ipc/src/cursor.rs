//! The protocol: how a producer and its consumers move their cursors. This is the file that the model checker enters
//! (`tests/loom.rs` compiles it against loom's atomics), so it knows nothing of memory maps.
//!
//! Positions are bytes since the ring was made; they only grow, and every difference is taken modulo 2^64. Each end
//! keeps its own position in a plain field and a cached view of the other side, in the manner of `rtrb`: the other's
//! cache line is touched only when the cached view says "full" or "empty".

use super::error::Corruption;
use super::sync::{AtomicU64, OBSERVE, Ordering::Relaxed, PUBLISH, RELEASE, copied_fence, full_fence, overwrite_fence};

/// What stands in a read cursor while nobody is behind it. No position: those are multiples of 8.
pub(crate) const AWAY: u64 = u64::MAX;

/// Bytes committed and not yet released, if the two cursors can be believed (section 3 of the wire format).
#[inline]
pub(crate) fn distance(write: u64, read: u64, capacity: u64) -> Result<u64, Corruption> {
    let bytes = write.wrapping_sub(read);
    if bytes <= capacity && (write | read).is_multiple_of(8) {
        return Ok(bytes);
    }
    Err(unbelievable(write, read, capacity))
}

#[cold]
fn unbelievable(write: u64, read: u64, capacity: u64) -> Corruption {
    if write.wrapping_sub(read) > capacity {
        return Corruption::Apart { write, read, capacity };
    }
    Corruption::Misaligned { cursor: if write.is_multiple_of(8) { read } else { write } }
}

/// Bytes that have not been written over, likewise.
pub(crate) fn distance_from_oldest(write: u64, oldest: u64, capacity: u64) -> Result<u64, Corruption> {
    distance(write, oldest, capacity).map_err(|reason| match reason {
        Corruption::Apart { .. } => Corruption::Oldest { write, oldest, capacity },
        other => other,
    })
}

/// From where on the records of a lane have not been written over, and its write cursor, as a pair that can be believed:
/// for those whom the producer does not wait for. The write cursor is not behind the floor, and further than the
/// capacity before it only while the producer runs.
pub(crate) fn window(write: &AtomicU64, oldest: &AtomicU64, capacity: u64) -> Result<(u64, u64), Corruption> {
    let first = u64::from_le(write.load(OBSERVE));
    // Stored before what the load above has seen was published, or later: at most a capacity behind that.
    let floor = u64::from_le(oldest.load(OBSERVE));
    if floor.wrapping_sub(first).cast_signed() <= 0 {
        distance_from_oldest(first, floor, capacity)?;
        return Ok((floor, first));
    }
    // The producer went on in between; what it had published by then is seen now.
    let second = u64::from_le(write.load(OBSERVE));
    match distance_from_oldest(second, floor, capacity) {
        // It may even have gone on by more than the capacity since.
        Err(Corruption::Oldest { .. }) if second.wrapping_sub(floor).cast_signed() > 0 => Ok((floor, second)),
        sound => sound.map(|_| (floor, second)),
    }
}

/// The producer's end of a lane.
#[derive(Debug)]
pub(crate) struct WriteEnd {
    /// What the write cursor in the file says: records before it are committed, the next one goes here.
    position: u64,
    /// Up to here the ring may be written: a cached view of the slowest read cursor, plus the capacity.
    limit: u64,
    capacity: u64,
}

impl WriteEnd {
    /// Goes on where the write cursor says that the last producer stopped.
    pub(crate) fn resume(write: &AtomicU64, capacity: u64) -> Result<WriteEnd, Corruption> {
        let position = u64::from_le(write.load(OBSERVE));
        distance(position, position, capacity)?;
        // The limit is the position: the first message looks for space.
        Ok(WriteEnd { position, limit: position, capacity })
    }

    /// Takes over what the last producer of a lossy lane had given up, and no more.
    pub(crate) fn resume_lossy(&mut self, oldest: &AtomicU64) -> Result<(), Corruption> {
        let floor = u64::from_le(oldest.load(OBSERVE));
        distance_from_oldest(self.position, floor, self.capacity)?;
        self.limit = floor.wrapping_add(self.capacity);
        Ok(())
    }

    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that may be written from `position` on, as far as this end knows.
    #[inline]
    pub(crate) fn room(&self, position: u64) -> u64 {
        self.limit.wrapping_sub(position)
    }

    /// Everything before this has been given up for writing over.
    pub(crate) fn floor(&self) -> u64 {
        self.limit.wrapping_sub(self.capacity)
    }

    /// Commits all that was written before `to`. The store is the commit point: before it nothing of that exists, after
    /// it all of it does.
    #[inline]
    pub(crate) fn publish(&mut self, write: &AtomicU64, to: u64) {
        write.store(to.to_le(), PUBLISH);
        self.position = to;
    }

    /// Looks at the one read cursor of this lane.
    ///
    /// The acquire pairs with the consumer's release: its reads are done before its bytes are written over.
    pub(crate) fn refresh(&mut self, read: &AtomicU64, oldest: Option<&AtomicU64>) -> Result<(), Corruption> {
        let read = u64::from_le(read.load(OBSERVE));
        distance(self.position, read, self.capacity)?;
        self.grant(read, oldest);
        Ok(())
    }

    /// Looks at the read cursors of all consumers, of which some may be [`AWAY`]; the slowest counts. With nobody
    /// there, nothing is waited for.
    ///
    /// The fence and the one in [`ReadEnd::join`] order this against a consumer that is joining: either its cursor is
    /// seen here, or it sees what had been published before this look, and starts no earlier.
    pub(crate) fn refresh_slowest<'a>(
        &mut self,
        reads: impl Iterator<Item = &'a AtomicU64>,
        oldest: Option<&AtomicU64>,
    ) {
        full_fence();
        let mut held = 0;
        for read in reads {
            let read = u64::from_le(read.load(OBSERVE));
            if read != AWAY {
                held = held.max(self.position.wrapping_sub(read));
            }
        }
        // A cursor further back than the capacity is a consumer in the middle of joining: no more space until it is done.
        if held <= self.capacity {
            self.grant(self.position.wrapping_sub(held), oldest);
        }
    }

    /// Gives up everything before `floor`, so that it may be written over.
    ///
    /// Copying readers learn of it through `oldest`, or in a classic file through the read cursor, before the bytes
    /// change: see [`ReadEnd::still_whole`]. The release pairs with [`window`].
    pub(crate) fn grant(&mut self, floor: u64, oldest: Option<&AtomicU64>) {
        let limit = floor.wrapping_add(self.capacity);
        // Never back: a batch may stand beyond the new limit already. That is safe: a consumer whose cursor appears behind
        // is joining, and starts no earlier than what was published when the old limit was looked up.
        if limit.wrapping_sub(self.limit).cast_signed() <= 0 {
            return;
        }
        self.limit = limit;
        if let Some(oldest) = oldest {
            oldest.store(floor.to_le(), RELEASE);
        }
        overwrite_fence();
    }
}

/// A consumer's end of a lane.
#[derive(Debug)]
pub(crate) struct ReadEnd {
    /// The next record to read.
    position: u64,
    /// Up to here records are known to be committed.
    end: u64,
    /// What the read cursor in the file says.
    released: u64,
    capacity: u64,
}

impl ReadEnd {
    /// Goes on where the read cursor says that the last consumer stopped.
    pub(crate) fn resume(read: &AtomicU64, write: &AtomicU64, capacity: u64) -> Result<ReadEnd, Corruption> {
        let position = u64::from_le(read.load(OBSERVE));
        let mut end = ReadEnd { position, end: position, released: position, capacity };
        end.refresh(write)?;
        Ok(end)
    }

    /// As [`resume`](Self::resume), in a lane whose producer never waits: it may be far ahead by now.
    pub(crate) fn resume_lossy(read: &AtomicU64, capacity: u64) -> Result<ReadEnd, Corruption> {
        let position = u64::from_le(read.load(OBSERVE));
        distance(position, position, capacity)?;
        Ok(ReadEnd { position, end: position, released: position, capacity })
    }

    /// Becomes one more consumer of this lane, from now on.
    ///
    /// The first store makes producers that look from now on wait for this cursor. One that looked before the store,
    /// and did not see it, had by then published what the second load sees, and will look again before it writes a
    /// capacity further. So nothing from the second load on is ever written over.
    pub(crate) fn join(read: &AtomicU64, write: &AtomicU64, capacity: u64) -> Result<ReadEnd, Corruption> {
        read.store(write.load(OBSERVE), RELEASE);
        full_fence();
        let position = u64::from_le(write.load(OBSERVE));
        distance(position, position, capacity)?;
        read.store(position.to_le(), RELEASE);
        Ok(ReadEnd { position, end: position, released: position, capacity })
    }

    /// Stops holding producers back.
    pub(crate) fn leave(read: &AtomicU64) {
        read.store(AWAY.to_le(), RELEASE);
    }

    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    #[inline]
    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    /// Committed bytes not yet read, as far as this end knows.
    #[inline]
    pub(crate) fn available(&self) -> u64 {
        self.end.wrapping_sub(self.position)
    }

    /// Looks at the write cursor. The acquire pairs with [`WriteEnd::publish`].
    #[inline]
    pub(crate) fn refresh(&mut self, write: &AtomicU64) -> Result<(), Corruption> {
        let write = u64::from_le(write.load(OBSERVE));
        distance(write, self.position, self.capacity)?;
        self.end = write;
        Ok(())
    }

    /// Looks at the write cursor of a lane whose producer never waits. Returns the bytes that were given up before
    /// this end read them; reading goes on after those.
    pub(crate) fn refresh_lossy(&mut self, write: &AtomicU64, oldest: &AtomicU64) -> Result<u64, Corruption> {
        let (floor, write) = window(write, oldest, self.capacity)?;
        let lost = floor.wrapping_sub(self.position);
        let lost = if lost.cast_signed() > 0 { lost } else { 0 };
        let position = self.position.wrapping_add(lost);
        let ahead = write.wrapping_sub(position);
        if ahead.cast_signed() < 0 {
            return Err(Corruption::Apart { write, read: position, capacity: self.capacity });
        }
        self.position = position;
        // Further ahead than the capacity, the floor has moved on too: the next call looks again.
        self.end = if ahead <= self.capacity { write } else { position };
        Ok(lost)
    }

    /// Whether bytes copied from `position` on had not been given up when the copy was done.
    pub(crate) fn still_whole(position: u64, oldest: &AtomicU64) -> bool {
        copied_fence();
        u64::from_le(oldest.load(Relaxed)).wrapping_sub(position).cast_signed() <= 0
    }

    /// Counts `size` bytes as read; the space is given back by [`release`](Self::release).
    #[inline]
    pub(crate) fn advance(&mut self, size: u64) {
        self.position = self.position.wrapping_add(size);
    }

    /// Reads again what was read and not released.
    pub(crate) fn rewind(&mut self) {
        self.position = self.released;
    }

    /// Gives back the space before `position`, which is where a committed record ends. It counts as read.
    pub(crate) fn release_to(&mut self, read: &AtomicU64, position: u64) {
        let read_on = self.position.wrapping_sub(position);
        let reached = if read_on.cast_signed() > 0 { self.position } else { position };
        self.position = position;
        self.release(read);
        self.position = reached;
    }

    /// Goes on behind what somebody else has read and released in this end's name, whose store this repeats. Returns the
    /// bytes that were; refuses to go back, or beyond what is committed.
    pub(crate) fn go_on_at(&mut self, read: &AtomicU64, write: &AtomicU64, position: u64) -> Result<u64, Corruption> {
        let write = u64::from_le(write.load(OBSERVE));
        let capacity = self.capacity;
        let bytes = position.wrapping_sub(self.released);
        // It may be more than the capacity by now: the producer saw each of the stores.
        if bytes.cast_signed() < 0 {
            return Err(Corruption::Apart { write, read: position, capacity });
        }
        distance(write, position, capacity)?;
        *self = ReadEnd { position, end: position, released: position, capacity };
        read.store(position.to_le(), RELEASE);
        Ok(bytes)
    }

    /// Gives back the space of all that was read. Whether there was any.
    #[inline]
    pub(crate) fn release(&mut self, read: &AtomicU64) -> bool {
        if self.released == self.position {
            return false;
        }
        self.released = self.position;
        read.store(self.position.to_le(), RELEASE);
        true
    }
}
