//! The ring that frames are put into: what fits, what comes next, what is committed.

use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, Instant},
};

use aether_ipc::{Buffer, Format, Info, Origin, Producer};

use crate::{
    error::{Error, Result},
    frame::{ANYBODY, Head, Identity, Records, Status},
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
    /// Where the last of those that wait ends in the source, or, before there was any, where it would begin.
    end: u64,
    /// Whether a new source may take the place of the old one, once.
    rebind: bool,
    answer: Option<Status>,
    told: Instant,
}

/// What became of a frame at once, as it does with best effort.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) messages: u64,
    pub(crate) dropped: u64,
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
        let ring = Ring { place, buffer, shape, lanes: Vec::new(), rebind, gaps: Gaps::default() };
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
    fn take_lanes(&mut self, head: &Head) -> Result<()> {
        if self.shape.checksums != head.checksums {
            let words = |checksums| if checksums { "checksums" } else { "no checksums" };
            return Err(self.misfit(words(self.shape.checksums), words(head.checksums)));
        }
        if head.lanes as usize > self.shape.lanes.len() {
            return Err(self.misfit(format!("{} lanes", self.shape.lanes.len()), format!("{} lanes", head.lanes)));
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
                rebind: self.rebind,
                answer: None,
                told,
            });
        }
        Ok(())
    }

    /// Takes a frame to commit it when its turn comes, if it is the next one.
    pub(crate) fn take(&mut self, records: Records) -> Result<Taken> {
        let head = records.head;
        self.take_lanes(&head)?;
        let path = self.place.path();
        let lane = &mut self.lanes[head.lane as usize];
        let origin = |found| Error::Origin { path: path.to_owned(), lane: head.lane, found };
        lane.source = head.source;
        let next = match lane.producer.origin() {
            Origin::Known { source, position } if source == head.source => {
                lane.rebind = false;
                if lane.waiting.is_empty() {
                    lane.end = position;
                }
                if head.released.wrapping_sub(position).cast_signed() > 0 {
                    let released = head.released;
                    return Err(Error::Released { path: path.to_owned(), lane: head.lane, wanted: position, released });
                }
                lane.end
            }
            Origin::Known { .. } if !lane.rebind => return Err(origin("is a copy of another ring")),
            Origin::Lost if !lane.rebind => {
                return Err(origin("was a copy, until another producer had it"));
            }
            _ => {
                // It begins with the first message that the source still has: nothing else is sure to come whole.
                if records.count() == 0 || head.start != head.released {
                    lane.answer = Some(Status::Gap);
                    lane.end = head.released;
                    return Ok(Taken::default());
                }
                lane.producer.set_origin(head.source, head.start)?;
                lane.rebind = false;
                lane.end = head.start;
                head.start
            }
        };
        let end = records.end();
        if head.start.wrapping_sub(next).cast_signed() > 0 {
            lane.answer = Some(Status::Gap);
            return Ok(Taken::default());
        }
        if lane.answer != Some(Status::Gap) {
            lane.answer = Some(Status::Taken);
        }
        if end.wrapping_sub(next).cast_signed() > 0 {
            lane.end = end;
            lane.bytes += records.size();
            lane.waiting.push_back(records);
        }
        Ok(Taken::default())
    }

    /// Commits what there is space for. Returns how many messages that were, and what memory is free again.
    pub(crate) fn commit(&mut self) -> Result<(u64, usize)> {
        let (mut messages, mut freed) = (0, 0);
        for lane in &mut self.lanes {
            let before = lane.producer.offered();
            let committed = lane.commit(self.place.path(), &mut freed);
            messages += lane.producer.offered() - before;
            committed?;
        }
        Ok((messages, freed))
    }

    /// Bytes of the frames that wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.bytes).sum()
    }

    /// Whether a lane has no space for what came.
    pub(crate) fn is_full(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.waiting.is_empty())
    }

    /// Sleeps for a moment, or until the first of the full lanes has space for a message. Returns how many were put.
    pub(crate) fn wait_for_space(&mut self) -> Result<u64> {
        let Some(lane) = self.lanes.iter_mut().find(|lane| !lane.waiting.is_empty()) else { return Ok(0) };
        let Some(records) = lane.waiting.front_mut() else { return Ok(0) };
        // What was committed already is stepped over by `commit`.
        let Some((record, _, _)) = records.peek() else { return Ok(0) };
        match lane.producer.put_within(NAP, record.id, record.message_type, record.payload) {
            Ok(()) => {
                records.skip();
                lane.answer.get_or_insert(Status::Taken);
                Ok(1)
            }
            Err(aether_ipc::Error::TimedOut { .. }) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// What the other side has to hear: by lane, its source, what became of its frames, and where it goes on.
    pub(crate) fn answers(&mut self) -> Vec<(u32, Identity, Status, u64)> {
        let mut answers = Vec::new();
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
            let next = match lane.producer.origin() {
                Origin::Known { source, position } if source == lane.source => position,
                _ => lane.end,
            };
            answers.push((number, lane.source, answer, next));
        }
        answers
    }

    /// Puts what there is space for, and drops the rest.
    pub(crate) fn take_best_effort(&mut self, mut records: Records) -> Result<Taken> {
        let head = records.head;
        self.take_lanes(&head)?;
        let lane = &mut self.lanes[head.lane as usize];
        if let Origin::Known { source, .. } = lane.producer.origin()
            && source != ANYBODY
        {
            if !lane.rebind {
                let (path, found) = (self.place.path().to_owned(), "is a copy without gaps of a ring");
                return Err(Error::Origin { path, lane: head.lane, found });
            }
            lane.producer.set_origin(ANYBODY, 0)?;
        }
        let count = records.count();
        let Some(missing) = self.gaps.before(&head, count) else {
            return Ok(Taken::default());
        };
        let mut messages = 0;
        let mut batch = lane.producer.batch();
        while let Some((record, _, _)) = records.peek() {
            match batch.push(record.id, record.message_type, record.payload) {
                Ok(()) => messages += 1,
                Err(aether_ipc::Error::Full) => break,
                Err(error) => {
                    batch.commit();
                    return Err(error.into());
                }
            }
            records.skip();
        }
        batch.commit();
        Ok(Taken { messages, dropped: missing + u64::from(count) - messages })
    }
}

impl Lane {
    fn commit(&mut self, path: &Path, freed: &mut usize) -> Result<()> {
        while let Some(records) = self.waiting.front_mut() {
            let Origin::Known { position, .. } = self.producer.origin() else { return Ok(()) };
            let lane = self.producer.lane();
            let mut next = position;
            let mut batch = self.producer.batch();
            let outcome = loop {
                let Some((record, start, end)) = records.peek() else { break Ok(true) };
                if end.wrapping_sub(next).cast_signed() > 0 {
                    if start != next {
                        break Err(Error::Order { path: path.to_owned(), lane, found: start, expected: next });
                    }
                    match batch.push(record.id, record.message_type, record.payload) {
                        Ok(()) => next = end,
                        Err(aether_ipc::Error::Full) => break Ok(false),
                        Err(error) => break Err(error.into()),
                    }
                }
                records.skip();
            };
            batch.commit();
            if !outcome? {
                return Ok(());
            }
            *freed += records.size();
            self.bytes -= records.size();
            self.waiting.pop_front();
        }
        Ok(())
    }
}
