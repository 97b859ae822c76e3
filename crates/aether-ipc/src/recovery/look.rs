//! One lane, looked at from end to end: what can be believed, and what to do about the rest.

use std::sync::{Arc, atomic::Ordering::*};

use super::{Problem, Strategy};
use crate::{
    consumer::Run,
    cursor::{AWAY, ReadEnd, distance, distance_from_oldest},
    error::{Corruption, Error, Result},
    layout::{Layout, Overflow, slot},
    mapping::{Mapping, View},
    record::CHECKSUM_SIZE,
    slots,
};

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Count {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

pub(super) struct Look {
    mapping: Arc<Mapping>,
    pub(super) lane: u32,
    pub(super) capacity: u64,
    lossy: bool,
    pub(super) write: u64,
    pub(super) oldest: Option<u64>,
    oldest_fault: Option<Corruption>,
    /// Of all consumers for whom messages are kept.
    pub(super) reads: Vec<Read>,
    /// The first record that can't be believed, of those that wait.
    bad: Option<(u64, Corruption)>,
    /// Where a consumer goes on whose cursor can't be believed.
    restart: u64,
}

/// A consumer's cursor.
pub(super) struct Read {
    pub(super) slot: u32,
    pub(super) cursor: u64,
    /// Where the consumer would go on, if that can be told.
    start: Option<u64>,
    fault: Option<Corruption>,
}

/// What the cursors become.
pub(super) struct Repaired {
    pub(super) write: u64,
    pub(super) oldest: Option<u64>,
    /// In the order of [`Look::reads`].
    pub(super) reads: Vec<u64>,
}

impl Look {
    /// Consumers without a name count while they live, which `is_held` tells.
    pub(super) fn at(mapping: &Arc<Mapping>, lane: u32, is_held: &dyn Fn(u32) -> Result<bool>) -> Result<Look> {
        /// Words that move are read until they fit each other, or are wrong.
        const TRIES: usize = 64;
        let layout = *mapping.layout();
        let mut kept = Vec::new();
        for slot in 0..layout.consumers {
            let state = if layout.broadcast() { slots::state(mapping, slot) } else { slot::DURABLE };
            if ![slot::FREE, slot::ANONYMOUS].contains(&state) || is_held(slot)? {
                kept.push((slot, state));
            }
        }
        let mut look = Look::snapshot(mapping, &layout, lane, &kept);
        for _ in 1..TRIES {
            if look.oldest_fault.is_none() && look.reads.iter().all(|read| read.fault.is_none()) {
                break;
            }
            std::hint::spin_loop();
            look = Look::snapshot(mapping, &layout, lane, &kept);
        }
        look.find_bad()?;
        Ok(look)
    }

    fn snapshot(mapping: &Arc<Mapping>, layout: &Layout, lane: u32, kept: &[(u32, u32)]) -> Look {
        let load = |offset| u64::from_le(mapping.word(offset).load(Acquire));
        let lossy = layout.overflow == Overflow::DropOldest;
        // The write cursor last: in a sound ring it is not behind those loaded before.
        let oldest = layout.oldest(lane).map(load);
        let cursors: Vec<(u32, u32, u64)> =
            kept.iter().map(|&(slot, state)| (slot, state, load(layout.read_line(lane, slot)))).collect();
        let write = load(layout.write_line(lane));
        let mut oldest_fault = oldest.and_then(|oldest| distance_from_oldest(write, oldest, layout.capacity).err());
        let mut reads = Vec::new();
        for (slot, state, cursor) in cursors {
            // Far behind is what happens to a consumer of a lossy ring; it goes on at the oldest record.
            let start = match oldest {
                Some(oldest)
                    if lossy
                        && oldest_fault.is_none()
                        && cursor % 8 == 0
                        && oldest.wrapping_sub(cursor).cast_signed() > 0 =>
                {
                    oldest
                }
                _ => cursor,
            };
            let fault = distance(write, start, layout.capacity).err();
            let away = cursor == AWAY && state != slot::DURABLE;
            // A consumer without a name whose cursor does not fit is joining, or leaving.
            let joining = fault.is_some() && [slot::FREE, slot::ANONYMOUS].contains(&state);
            if !away && !joining {
                let start = fault.is_none().then_some(start);
                // One without a name may be joining, and not there yet.
                if let (Some(oldest), Some(read), slot::DURABLE) = (oldest, start, state)
                    && oldest.wrapping_sub(read).cast_signed() > 0
                {
                    oldest_fault = oldest_fault.or(Some(Corruption::OldestUnread { oldest, read }));
                }
                reads.push(Read { slot, cursor, start, fault });
            }
        }
        let capacity = layout.capacity;
        Look {
            mapping: mapping.clone(),
            lane,
            capacity,
            lossy,
            write,
            oldest,
            oldest_fault,
            reads,
            bad: None,
            restart: write,
        }
    }

    /// Walks over the records, looking for the first bad one and for cursors that stand between two.
    fn find_bad(&mut self) -> Result<()> {
        let slowest = self.slowest();
        // From the oldest record on, all are whole. What was released of them says where later ones begin.
        let begin = self.believed_oldest().unwrap_or(slowest);
        let begin = if self.write.wrapping_sub(begin) < self.write.wrapping_sub(slowest) { slowest } else { begin };
        let mut between: Vec<(u64, u64)> = Vec::new();
        let starts: Vec<u64> = self.reads.iter().filter_map(|read| read.start).collect();
        let mut note = |from: u64, to: u64| {
            let inside = |start: u64| start != from && start.wrapping_sub(from) < to.wrapping_sub(from);
            between.extend(starts.iter().filter(|&&start| inside(start)).map(|&start| (start, from)));
        };
        let mut bad = self.walk(begin, self.write, &mut note)?;
        if let Some((at, _)) = bad
            && self.write.wrapping_sub(at) > self.write.wrapping_sub(slowest)
        {
            // It is among those that were released, where it does no harm, and says nothing about where others begin.
            bad = self.walk(slowest, self.write, &mut note)?;
            self.restart = if starts.is_empty() { begin } else { slowest };
        } else {
            self.restart = begin;
        }
        if self.lossy && self.oldest_fault.is_some() {
            // Only the oldest position told which records are whole.
            self.restart = self.write;
        }
        for read in &mut self.reads {
            if let Some(&(start, begins)) = between.iter().find(|&&(start, _)| read.start == Some(start)) {
                read.fault = Some(Corruption::BetweenRecords { cursor: start });
                read.start = Some(begins);
            }
        }
        self.bad = bad;
        Ok(())
    }

    /// Calls `visit` with both ends of each whole record. Returns the first that is none.
    fn walk(&self, from: u64, to: u64, visit: &mut dyn FnMut(u64, u64)) -> Result<Option<(u64, Corruption)>> {
        let layout = self.mapping.layout();
        let floor = self.mapping.word(layout.oldest(self.lane).unwrap_or(layout.read_line(self.lane, 0)));
        let run = Run {
            index: 0,
            lane: self.lane,
            trailer: if layout.checksums { CHECKSUM_SIZE } else { 0 },
            view: *self.mapping.lane_data(self.lane),
            start: from,
            end: to,
            limit: usize::MAX,
        };
        let mut copies = Vec::new();
        let mut position = from;
        while position != to {
            copies.clear();
            // A floor that can't be one gives up nothing.
            let whole = |position| self.oldest_fault.is_some() || ReadEnd::still_whole(position, &floor);
            let read = run.copy(position, &mut copies, whole).and_then(|next| {
                let Some(next) = next else { return Ok(None) };
                let copy = Run { view: View::of_copy(&mut copies, position), end: next, ..run };
                // SAFETY: one record, in a copy that stands in one piece and outlives the message.
                unsafe { copy.read(position, &mut Vec::new()) }.map(|_| Some(next))
            });
            match read {
                Ok(Some(next)) => {
                    visit(position, next);
                    position = next;
                }
                Ok(None) => {
                    // Written over meanwhile: go on with what is left.
                    let oldest = u64::from_le(floor.load(Acquire));
                    // Beyond the end nothing is left; and a floor that went back, or to where none can be, leads nowhere.
                    let ahead = oldest.wrapping_sub(position);
                    if !oldest.is_multiple_of(8) || ahead == 0 || ahead > to.wrapping_sub(position) {
                        break;
                    }
                    position = oldest;
                }
                Err(Error::Corrupt { reason, .. }) => return Ok(Some((position, reason))),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(super) fn count(&self, from: u64, to: u64) -> Result<Count> {
        let mut count = Count::default();
        self.walk(from, to, &mut |from, to| {
            count.messages += 1;
            count.bytes += to.wrapping_sub(from);
        })?;
        Ok(count)
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let lane = self.lane;
        // Where the write cursor fits nothing, that it does not fit the consumers' cursors says it all.
        let oldest_fault = self.oldest_fault.filter(|_| self.believes_write() || self.reads.is_empty());
        let oldest = oldest_fault.map(|reason| (None, self.oldest.unwrap_or(self.write), reason));
        let bad = self.bad.map(|(position, reason)| (None, position, reason));
        let reads = self.reads.iter().filter_map(|read| Some((Some(read.slot), read.cursor, read.fault?)));
        let all = oldest.into_iter().chain(bad).chain(reads);
        all.map(move |(consumer, position, reason)| Problem { lane, consumer, position, reason })
    }

    /// The furthest back that a consumer goes on; the write cursor, if none can be told.
    pub(super) fn slowest(&self) -> u64 {
        let starts = self.reads.iter().filter_map(|read| read.start);
        starts.max_by_key(|&start| self.write.wrapping_sub(start)).unwrap_or(self.write)
    }

    /// Up to here records hold.
    pub(super) fn good_to(&self) -> u64 {
        self.bad.map_or(self.write, |(at, _)| at)
    }

    fn believed_oldest(&self) -> Option<u64> {
        self.oldest.filter(|_| self.oldest_fault.is_none())
    }

    /// Whether the write cursor fits any other.
    fn believes_write(&self) -> bool {
        self.believed_oldest().is_some() || self.reads.iter().any(|read| read.start.is_some())
    }

    /// The first position of which something may have waited; `None` if nothing tells.
    pub(super) fn earliest(&self) -> Option<u64> {
        if !self.believes_write() {
            return None;
        }
        if self.reads.iter().any(|read| read.start.is_none()) { self.believed_oldest() } else { Some(self.slowest()) }
    }

    pub(super) fn repair(&self, strategy: Strategy) -> Result<Repaired> {
        if !self.believes_write() {
            return self.repair_without_write(strategy);
        }
        let skips = strategy == Strategy::SkipToWrite;
        // Each consumer's cursor, and where it goes on with that: in a lossy ring not before the oldest record.
        let reads = self.reads.iter().map(|read| match (read.fault, read.start) {
            (None, Some(_)) if skips && self.bad.is_some() => (self.write, self.write),
            (None, Some(_)) if self.lossy && self.oldest_fault.is_some() => (self.restart, self.restart),
            (None, start) => (read.cursor, start.unwrap_or(read.cursor)),
            (Some(_), _) if skips => (self.write, self.write),
            (Some(_), start) => (start.unwrap_or(self.restart), start.unwrap_or(self.restart)),
        });
        let reads: Vec<(u64, u64)> = reads.collect();
        let slowest = reads.iter().map(|&(_, start)| start).max_by_key(|&start| self.write.wrapping_sub(start));
        let slowest = slowest.unwrap_or(self.write);
        let bad = self.walk(slowest, self.write, &mut |_, _| {})?;
        let write = bad.map_or(self.write, |(at, _)| at);
        let not_beyond = |cursor: u64| if write.wrapping_sub(cursor).cast_signed() < 0 { write } else { cursor };
        let oldest = self.oldest.map(|oldest| if self.oldest_fault.is_some() { slowest } else { not_beyond(oldest) });
        Ok(Repaired { write, oldest, reads: reads.into_iter().map(|(cursor, _)| not_beyond(cursor)).collect() })
    }

    /// The write cursor fits nothing. If the others fit each other, it is the one that is wrong.
    fn repair_without_write(&self, strategy: Strategy) -> Result<Repaired> {
        let aligned = self.write.checked_next_multiple_of(8).unwrap_or(0);
        let all_at =
            |write| Repaired { write, oldest: self.oldest.map(|_| write), reads: vec![write; self.reads.len()] };
        if strategy == Strategy::SkipToWrite {
            return Ok(all_at(aligned));
        }
        let Some(oldest) = self.oldest.filter(|oldest| oldest % 8 == 0) else {
            // A classic file with two cursors, of which one is wrong. The reader's place is kept.
            let place = self.reads.iter().map(|read| read.cursor).find(|cursor| cursor % 8 == 0);
            return Ok(all_at(place.unwrap_or(aligned)));
        };
        let ahead = |cursor: u64| cursor.wrapping_sub(oldest);
        let fits = |cursor: u64| distance(cursor, oldest, self.capacity).is_ok();
        let fitting = || self.reads.iter().map(|read| read.cursor).filter(|&cursor| fits(cursor));
        // Consumers have been up to here, so it was committed up to here.
        let furthest = fitting().max_by_key(|&cursor| ahead(cursor)).unwrap_or(oldest);
        let slowest = fitting().min_by_key(|&cursor| ahead(cursor)).unwrap_or(oldest);
        let write = if self.mapping.layout().checksums {
            // With its position under the checksum, no record of an earlier lap passes.
            let end = oldest.wrapping_add(self.capacity);
            let holds_to = self.walk(slowest, end, &mut |_, _| {})?.map_or(end, |(at, _)| at);
            if ahead(holds_to) > ahead(furthest) { holds_to } else { furthest }
        } else {
            furthest
        };
        let restart = |cursor| if fits(cursor) { cursor } else { oldest };
        Ok(Repaired {
            write,
            oldest: Some(oldest),
            reads: self.reads.iter().map(|read| restart(read.cursor)).collect(),
        })
    }
}
