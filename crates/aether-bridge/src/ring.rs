//! The ring that frames are put into: what fits, what comes next, what is committed.

use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, Instant},
};

use aether_ipc::{Buffer, Format, Info, Origin, Producer};

use crate::{
    error::{Error, Result},
    event::Event,
    frame::{ANYBODY, Ack, Head, Identity, Records, Status},
    identity::Place,
    telemetry::Gaps,
};

/// How long to sleep for space in a full ring before a look at what else has come.
const NAP: Duration = Duration::from_millis(1);
/// How often the other side is told that its messages wait for space.
const BETWEEN_WORDS: Duration = Duration::from_millis(50);

pub(crate) struct Ring {
    pub(crate) place: Place,
    buffer: Buffer,
    shape: Info,
    lanes: Vec<Lane>,
    rebind: bool,
    /// Whose records are in it, or go in now: for a run, no other's do.
    source: Option<Identity>,
    /// Messages that were told of.
    counted: u64,
    gaps: Gaps,
}

/// One lane and the frames that wait for space in it.
struct Lane {
    producer: Producer,
    waiting: VecDeque<Records>,
    /// What they take of memory.
    bytes: usize,
    /// Whose frame came last.
    source: Identity,
    /// Where the last of those that wait ends in the source.
    end: u64,
    /// Where a new copy has to begin, until it does.
    begin: Option<u64>,
    answer: Option<Status>,
    told: Instant,
}

/// Why a frame is not taken.
pub(crate) enum Refusal {
    /// This ring can go on no further.
    End(Error),
    /// It is the sender who has to change something; others may go on.
    Sender(Error),
}

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal::End(error.into())
    }
}

impl Ring {
    pub(crate) fn open(path: &Path, rebind: bool) -> Result<Ring> {
        let (place, buffer) = Place::open(path, |path| Buffer::open(path))?;
        Ring::of(place, buffer, rebind)
    }

    /// Makes it, for what comes, with so many bytes in each lane; unless it is there.
    pub(crate) fn create(path: &Path, capacity: u64, head: &Head, rebind: bool) -> Result<Ring> {
        let (place, buffer) = Place::open(path, |path| {
            let options = Buffer::options().capacity(capacity).producers(head.lanes).checksums(head.checksums);
            match Buffer::open(path) {
                Err(aether_ipc::Error::NotFound { .. }) => options.create(path),
                opened => opened,
            }
        })?;
        Ring::of(place, buffer, rebind)
    }

    fn of(place: Place, buffer: Buffer, rebind: bool) -> Result<Ring> {
        let shape = buffer.observer().info()?;
        let (lanes, gaps) = (Vec::new(), Gaps::default());
        let ring = Ring { place, buffer, shape, lanes, rebind, source: None, counted: 0, gaps };
        if ring.shape.format == Format::Classic {
            return Err(ring.misfit("the classic format, which has no room to say where to go on", "the extended one"));
        }
        if ring.shape.sequence {
            return Err(ring.misfit("a shared sequence, which gives ids of its own", "ids that stay as they are"));
        }
        Ok(ring)
    }

    fn misfit(&self, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Shape { path: self.path().to_owned(), found: found.into(), expected: expected.into() }
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    /// Takes the roles of all the lanes that the source has, if this was not done yet.
    fn take_lanes(&mut self, head: &Head) -> Result<(), Refusal> {
        if self.shape.checksums != head.checksums {
            let words = |checksums| if checksums { "checksums" } else { "no checksums" };
            return Err(Refusal::Sender(self.misfit(words(self.shape.checksums), words(head.checksums))));
        }
        let words = |lanes| format!("{lanes} lanes");
        if head.lanes as usize > self.shape.lanes.len() {
            return Err(Refusal::Sender(self.misfit(words(self.shape.lanes.len()), words(head.lanes as usize))));
        }
        for lane in self.lanes.len() as u32..head.lanes {
            let producer = self.buffer.relay(lane)?;
            let (waiting, told) = (VecDeque::new(), Instant::now());
            self.lanes.push(Lane {
                producer,
                waiting,
                bytes: 0,
                source: ANYBODY,
                end: 0,
                begin: None,
                answer: None,
                told,
            });
        }
        Ok(())
    }

    /// Commits a frame at once, if it is of the source that this ring has and comes next. Returns whether the source
    /// waits for an answer, or `None` if the frame is for [`take`](Ring::take): nothing says so far that it is one.
    pub(crate) fn put(&mut self, frame: &[u8]) -> Option<bool> {
        let head = Head::peek(frame)?;
        let lane = self.lanes.get_mut(head.lane as usize)?;
        let next = Origin::Known { source: head.source, position: head.start };
        let mine = self.source == Some(head.source) && head.sink == self.place.identity && !head.best_effort;
        if !mine || head.checksums != self.shape.checksums || !lane.waiting.is_empty() || lane.producer.origin() != next
        {
            return None;
        }
        let mut records = Records::decode(frame).ok()?;
        // What does not fit is taken later, and what is committed of it is stepped over then.
        let done = fill(&mut lane.producer, self.place.path(), &mut records);
        lane.answer.get_or_insert(Status::Taken);
        matches!(done, Ok(true)).then_some(head.answer)
    }

    /// Takes a frame to commit it when its turn comes, if it is the next one.
    pub(crate) fn take(&mut self, records: Records) -> Result<Option<Event>, Refusal> {
        let head = records.head;
        let path = self.place.path().to_owned();
        let origin = |found| Error::Origin { path: path.clone(), lane: head.lane, found };
        if self.source.is_some_and(|source| source != head.source) {
            return Err(Refusal::Sender(origin("is a copy of another ring")));
        }
        self.take_lanes(&head)?;
        // Another lane may say already whose copy this is.
        let known = |lane: &Lane| match lane.producer.origin() {
            Origin::Known { source, .. } => Some(source),
            _ => None,
        };
        if !self.rebind && self.lanes.iter().filter_map(known).any(|source| source != head.source) {
            return Err(Refusal::Sender(origin("is a copy of another ring")));
        }
        let lane = &mut self.lanes[head.lane as usize];
        lane.source = head.source;
        let lacks = |position| head.released.wrapping_sub(position).cast_signed() > 0;
        let mut event = None;
        let next = match lane.producer.origin() {
            Origin::Known { source, position } if source == head.source && !(self.rebind && lacks(position)) => {
                lane.begin = None;
                if lane.waiting.is_empty() {
                    lane.end = position;
                }
                if lacks(position) {
                    let released = head.released;
                    return Err(Error::Released { path, lane: head.lane, wanted: position, released }.into());
                }
                lane.end
            }
            Origin::Lost if !self.rebind => {
                return Err(origin("was a copy, until another producer had it").into());
            }
            _ => {
                // It begins with the first message that the source still has: nothing else is sure to come whole.
                if records.count() == 0 || head.start != head.released {
                    lane.answer = Some(Status::Gap);
                    lane.begin = Some(head.released);
                    return Ok(None);
                }
                lane.producer.set_origin(head.source, head.start)?;
                lane.end = head.start;
                lane.begin = None;
                event = (head.start > 0).then_some(Event::Begins { lane: head.lane, before: head.start });
                head.start
            }
        };
        self.source = Some(head.source);
        let end = records.end();
        if head.start.wrapping_sub(next).cast_signed() > 0 {
            lane.answer = Some(Status::Gap);
            return Ok(event);
        }
        if lane.answer != Some(Status::Gap) {
            lane.answer = Some(Status::Taken);
        }
        if end.wrapping_sub(next).cast_signed() > 0 {
            lane.end = end;
            lane.bytes += records.size();
            lane.waiting.push_back(records);
        }
        Ok(event)
    }

    /// Commits what there is space for. Returns what memory is free again.
    pub(crate) fn commit(&mut self) -> Result<usize> {
        let mut freed = 0;
        for lane in &mut self.lanes {
            lane.commit(self.place.path(), &mut freed)?;
        }
        Ok(freed)
    }

    /// Messages committed since this was asked last.
    pub(crate) fn count(&mut self) -> u64 {
        let offered: u64 = self.lanes.iter().map(|lane| lane.producer.offered()).sum();
        offered - std::mem::replace(&mut self.counted, offered)
    }

    /// Bytes of the frames that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.bytes).sum()
    }

    /// Whether a lane has no space for what came.
    pub(crate) fn is_full(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.waiting.is_empty())
    }

    /// Sleeps for a moment, or until the first of the full lanes has space for a message.
    pub(crate) fn wait_for_space(&mut self) -> Result<()> {
        let Some(lane) = self.lanes.iter_mut().find(|lane| !lane.waiting.is_empty()) else { return Ok(()) };
        let Some(records) = lane.waiting.front_mut() else { return Ok(()) };
        // What was committed already was stepped over by `commit`.
        let Some((record, _, _)) = records.peek() else { return Ok(()) };
        match lane.producer.put_within(NAP, record.id, record.message_type, record.payload) {
            Ok(()) => {
                records.skip();
                lane.answer.get_or_insert(Status::Taken);
                Ok(())
            }
            Err(aether_ipc::Error::TimedOut { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the other side has to hear.
    pub(crate) fn answers(&mut self) -> Vec<Ack> {
        let mut answers = Vec::new();
        let sink = self.place.identity;
        for (number, lane) in (0..).zip(&mut self.lanes) {
            let now = Instant::now();
            if lane.answer.is_none() && !lane.waiting.is_empty() && now - lane.told >= BETWEEN_WORDS {
                lane.answer = Some(Status::Waiting);
            }
            let Some(mut answer) = lane.answer.take() else { continue };
            if answer == Status::Taken && !lane.waiting.is_empty() {
                answer = Status::Waiting;
            }
            lane.told = now;
            let next = match (lane.begin, lane.producer.origin()) {
                (Some(begin), _) => begin,
                (None, Origin::Known { position, .. }) => position,
                _ => continue,
            };
            answers.push(Ack { status: answer, source: lane.source, sink, lane: number, next, words: String::new() });
        }
        answers
    }

    /// Puts what there is space for, and drops the rest. Returns how many are missing by that, and before these.
    pub(crate) fn take_best_effort(&mut self, mut records: Records) -> Result<u64, Refusal> {
        let head = records.head;
        self.take_lanes(&head)?;
        let lane = &mut self.lanes[head.lane as usize];
        if let Origin::Known { source, .. } = lane.producer.origin()
            && source != ANYBODY
        {
            if !self.rebind {
                let (path, found) = (self.place.path().to_owned(), "is a copy without gaps of a ring");
                return Err(Error::Origin { path, lane: head.lane, found }.into());
            }
            lane.producer.set_origin(ANYBODY, 0)?;
        }
        let Some(missing) = self.gaps.before(&head, records.count()) else { return Ok(0) };
        let mut batch = lane.producer.batch();
        let done = records.each(|record, _, _| match batch.push(record.id, record.message_type, record.payload) {
            Ok(()) => Ok(true),
            Err(aether_ipc::Error::Full) => Ok(false),
            Err(error) => Err(error),
        });
        batch.commit();
        done?;
        Ok(missing + u64::from(records.count()))
    }
}

impl Lane {
    fn commit(&mut self, path: &Path, freed: &mut usize) -> Result<()> {
        while let Some(records) = self.waiting.front_mut() {
            if !fill(&mut self.producer, path, records)? {
                return Ok(());
            }
            *freed += records.size();
            self.bytes -= records.size();
            self.waiting.pop_front();
        }
        Ok(())
    }
}

/// Commits the records that are not in the lane yet, as far as there is space, all with one store. Returns whether there
/// was for all.
fn fill<B: AsRef<[u8]>>(producer: &mut Producer, path: &Path, records: &mut Records<B>) -> Result<bool> {
    let Origin::Known { position, .. } = producer.origin() else { return Ok(false) };
    let lane = producer.lane();
    let mut next = position;
    let mut batch = producer.batch();
    let done = records.each(|record, start, end| {
        if end.wrapping_sub(next).cast_signed() > 0 {
            if start != next {
                return Err(Error::Order { path: path.to_owned(), lane, found: start, expected: next });
            }
            match batch.push(record.id, record.message_type, record.payload) {
                Ok(()) => next = end,
                Err(aether_ipc::Error::Full) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    });
    batch.commit();
    done
}

#[cfg(test)]
mod tests {
    use aether_ipc::Flow;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Writer, record_size};

    const SOURCE: Identity = [7, 7];
    /// Some records before positions wrap.
    const START: u64 = u64::MAX - 1023;

    fn payload(id: i64) -> Vec<u8> {
        vec![id as u8; id as usize * 5 % 40]
    }

    /// The frame with the messages from `first` on, as a source cuts it that released what stands before `released`.
    fn frame(sink: Identity, first: i64, count: i64, released: i64) -> Vec<u8> {
        let position =
            |id: i64| (0..id).fold(START, |at, id| at.wrapping_add(record_size(payload(id).len(), false) as u64));
        let (lane, lanes, checksums, best_effort, answer) = (0, 1, false, false, false);
        let (released, start) = (position(released), position(first));
        let head = Head { source: SOURCE, sink, lane, lanes, checksums, best_effort, answer, released, start };
        let mut writer = Writer::new(head);
        for id in first..first + count {
            writer.push(id, 1, &payload(id));
        }
        writer.finish()
    }

    fn take(ring: &mut Ring, frame: Vec<u8>, at_once: bool) -> Result<(), Refusal> {
        if at_once && ring.put(&frame).is_some() {
            return Ok(());
        }
        ring.take(Records::decode(frame).unwrap())?;
        ring.commit()?;
        Ok(())
    }

    fn ring() -> (tempfile::TempDir, Ring) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ring");
        drop(Buffer::create(&path, 4096).unwrap());
        let ring = Ring::open(&path, false).unwrap();
        (folder, ring)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Frames come late, twice, cut otherwise after a rewind, from an earlier session, or too early; positions wrap.
        #[test]
        fn whatever_comes_in_whatever_order_each_record_is_committed_once_in_order(
            strays in prop::collection::vec((0..60_i64, 1..6_i64, any::<bool>()), 0..200),
        ) {
            let (_folder, mut ring) = ring();
            let sink = ring.place.identity;
            let mut consumer = ring.buffer.consumer().unwrap();
            take(&mut ring, frame(sink, 0, 1, 0), false).ok().unwrap();
            let mut next = 0;
            let mut drain = || {
                consumer.drain(1000, |message| {
                    assert_eq!((message.id(), message.payload()), (next, payload(next).as_slice()));
                    next += 1;
                    Flow::Continue
                }).unwrap();
                next
            };
            let mut strays = strays.into_iter();
            while drain() < 60 {
                // What was released is what the copy has, or less.
                let has = drain();
                if let Some((first, count, at_once)) = strays.next() {
                    take(&mut ring, frame(sink, first, count, has.min(first)), at_once).ok().unwrap();
                } else {
                    take(&mut ring, frame(sink, has, 1, has), true).ok().unwrap();
                }
                let answer = ring.answers().pop();
                prop_assert!(answer.is_none_or(|answer| answer.source == SOURCE && answer.sink == sink));
            }
        }
    }

    #[test]
    fn records_that_do_not_begin_where_the_last_one_ended_end_it_and_are_not_committed() {
        let (_folder, mut ring) = ring();
        let sink = ring.place.identity;
        take(&mut ring, frame(sink, 0, 3, 0), false).ok().unwrap();
        // Right in every respect, but of a source in which other messages stand.
        let mut writer = Writer::new(Head::peek(&frame(sink, 0, 1, 0)).unwrap());
        writer.push(0, 1, &[0; 100]);
        let refused = take(&mut ring, writer.finish(), true);
        assert!(matches!(refused, Err(Refusal::End(Error::Order { .. }))));
        assert_eq!(ring.count(), 3);
    }

    #[test]
    fn what_the_source_released_before_the_copy_had_it_is_told_and_nothing_is_skipped_in_silence() {
        let (_folder, mut ring) = ring();
        let sink = ring.place.identity;
        take(&mut ring, frame(sink, 0, 3, 0), false).ok().unwrap();
        let refused = take(&mut ring, frame(sink, 5, 1, 5), true);
        assert!(matches!(refused, Err(Refusal::End(Error::Released { .. }))));
        assert_eq!(ring.count(), 3);
    }

    #[test]
    fn another_source_is_turned_away_and_the_first_one_goes_on() {
        let (_folder, mut ring) = ring();
        let sink = ring.place.identity;
        take(&mut ring, frame(sink, 0, 3, 0), false).ok().unwrap();
        let head = Head::peek(&frame(sink, 3, 1, 3)).unwrap();
        let mut writer = Writer::new(Head { source: [8, 8], ..head });
        writer.push(3, 1, &payload(3));
        let refused = take(&mut ring, writer.finish(), true);
        assert!(matches!(refused, Err(Refusal::Sender(Error::Origin { .. }))));
        take(&mut ring, frame(sink, 3, 1, 3), true).ok().unwrap();
        assert_eq!(ring.count(), 4);
    }
}
