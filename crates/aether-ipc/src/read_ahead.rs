//! `ReadAhead`: reading messages now and releasing them later.

use std::{collections::VecDeque, time::Duration};

use crate::{
    consumer::{Consumer, Flow, Message},
    error::{Error, Result},
};

/// A consumer whose messages are done later than they are read, such as when another machine has them: reading does not
/// release, and what is not released can be read again. Each lane is read by itself.
///
/// What was read and not released comes again for the next consumer in this place.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use aether_ipc::{Buffer, Flow, ReadAhead};
///
/// let buffer = Buffer::create(dir.path().join("ring"), 4096)?;
/// buffer.producer()?.offer_all(1, 0, &[10_u64, 20, 30])?;
/// let mut ahead = ReadAhead::new(buffer.consumer()?)?;
///
/// let mut ends = Vec::new();
/// ahead.read(0, 100, |message| {
///     ends.push(message.position() + 24);
///     Flow::Continue
/// })?;
/// assert_eq!((ahead.position(0), ahead.released(0)), (72, 0));
///
/// // The first two are done; the third is wanted again.
/// assert_eq!(ahead.release_to(0, ends[1])?, Some(2));
/// ahead.rewind(0);
/// assert_eq!((ahead.position(0), ahead.released(0)), (48, 48));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReadAhead {
    consumer: Consumer,
    /// By lane: what was read and not released, so that releasing it need not count it again.
    stretches: Vec<VecDeque<Stretch>>,
}

/// Messages that were read one after the other.
#[derive(Debug)]
struct Stretch {
    start: u64,
    end: u64,
    count: usize,
}

/// Bytes from which on a stretch grows no more.
const LONG: u64 = 32 << 10;

impl ReadAhead {
    /// Goes on where the consumer is.
    ///
    /// # Errors
    ///
    /// [`Error::Options`] in a ring that drops the oldest: it keeps nothing for anybody.
    pub fn new(consumer: Consumer) -> Result<ReadAhead> {
        if consumer.drops() {
            return Err(Error::Options(
                "a ring that drops the oldest keeps nothing that could be released later (a bridge takes it with --best-effort)",
            ));
        }
        let stretches = (0..consumer.lanes()).map(|_| VecDeque::new()).collect();
        Ok(ReadAhead { consumer, stretches })
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> u32 {
        self.consumer.lanes() as u32
    }

    /// Gives up to `limit` messages of a lane to `handler`, and releases none, not even for [`Flow::Commit`]. Returns how
    /// many were read. Ends early when the lane has no more, or when the handler says so; what it keeps is not read.
    ///
    /// # Errors
    ///
    /// As [`Consumer::drain`].
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn read(&mut self, lane: u32, limit: usize, mut handler: impl FnMut(Message<'_>) -> Flow) -> Result<usize> {
        let index = lane as usize;
        self.consumer.look_into(index)?;
        let run = self.consumer.run_from(index, self.position(lane), limit);
        let mut position = run.start;
        let mut count = 0;
        while position != run.end && count < limit {
            // SAFETY: each record's position follows from the one before, and all stand between what was released and what is
            // committed. None is released here, and `room` is only written for the next message.
            let (message, next) = match unsafe { run.read(position, self.consumer.room()) } {
                Ok(record) => record,
                Err(error) if count == 0 => return Err(self.consumer.explain(error)),
                // The next call reports it.
                Err(_) => break,
            };
            let flow = handler(message);
            if flow == Flow::Keep {
                break;
            }
            position = next;
            count += 1;
            if flow == Flow::Break {
                break;
            }
        }
        if count > 0 {
            self.consumer.end_of_mut(index).advance(position.wrapping_sub(run.start));
            match self.stretches[index].back_mut() {
                Some(last) if last.end.wrapping_sub(last.start) < LONG => {
                    last.end = position;
                    last.count += count;
                }
                _ => self.stretches[index].push_back(Stretch { start: run.start, end: position, count }),
            }
        }
        Ok(count)
    }

    /// Releases everything before `position` in a lane, and counts it as read. Returns how many messages that were, or
    /// `None` if `position` is not one where a committed message ends that was not released: then nothing happens.
    ///
    /// # Errors
    ///
    /// As [`Consumer::drain`].
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn release_to(&mut self, lane: u32, position: u64) -> Result<Option<usize>> {
        let index = lane as usize;
        self.consumer.look_into(index)?;
        let run = self.consumer.run_from(index, self.released(lane), usize::MAX);
        let wanted = position.wrapping_sub(run.start);
        if wanted > run.end.wrapping_sub(run.start) {
            return Ok(None);
        }
        let whole = |stretch: &&Stretch| stretch.end.wrapping_sub(run.start) <= wanted;
        let (mut at, mut count, mut stretches) = (run.start, 0, 0);
        for stretch in self.stretches[index].iter().take_while(whole) {
            at = stretch.end;
            count += stretch.count;
            stretches += 1;
        }
        let mut rest = 0;
        while position.wrapping_sub(at).cast_signed() > 0 {
            // SAFETY: as in `read`; the bytes behind the header are not looked at.
            let header = unsafe { run.header(at) };
            (_, at) = header.map_err(|error| self.consumer.explain(error))?;
            rest += 1;
        }
        if at != position {
            return Ok(None);
        }
        count += rest;
        if count > 0 {
            self.consumer.release_to(index, position, count)?;
            self.stretches[index].drain(..stretches);
            if let Some(first) = self.stretches[index].front_mut() {
                first.start = position;
                first.count = first.count.saturating_sub(rest);
            }
        }
        Ok(Some(count))
    }

    /// Reads again, from the first message of a lane that was not released.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn rewind(&mut self, lane: u32) {
        self.consumer.end_of_mut(lane as usize).rewind();
        self.stretches[lane as usize].clear();
    }

    /// Where the next message to read stands in a lane.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn position(&self, lane: u32) -> u64 {
        self.consumer.end_of(lane as usize).position()
    }

    /// Where the first message stands that was not released.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn released(&self, lane: u32) -> u64 {
        self.consumer.end_of(lane as usize).released()
    }

    /// Where a lane ends: everything before it is committed.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn committed(&self, lane: u32) -> u64 {
        self.consumer.committed_in(lane as usize)
    }

    /// Whether a lane has messages that were not read.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn has_more(&self, lane: u32) -> bool {
        self.committed(lane) != self.position(lane)
    }

    /// Waits until any lane has a message that was not read, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As [`Consumer::wait_within`].
    pub fn wait_within(&mut self, timeout: Duration) -> Result<()> {
        self.consumer.wait_within(timeout)
    }
}
