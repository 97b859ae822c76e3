//! What must be true of a ring, by the journals of everyone who used it: the promises of `docs/reliability.md`, checked.

use std::collections::VecDeque;

use thiserror::Error;

use crate::journal::Message;

/// A promise that was broken.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum Violation {
    #[error("lost: consumer {consumer} expected {expected:?} of lane {lane}, and was given the later {found:?}")]
    Lost { consumer: usize, lane: u32, expected: Message, found: Message },
    #[error("repeated or invented: consumer {consumer} expected {expected:?} of lane {lane}, and was given {found:?}")]
    Stray { consumer: usize, lane: u32, expected: Message, found: Message },
    #[error("torn: consumer {consumer} expected {expected:?} of lane {lane}, and was given {found:?}")]
    Torn { consumer: usize, lane: u32, expected: Message, found: Message },
    #[error("consumer {consumer} was given {message:?} of lane {lane} at {found}, and it was written at {expected}")]
    Misplaced { consumer: usize, lane: u32, message: Message, expected: u64, found: u64 },
    #[error("the write cursor of lane {lane} is at {found}, and may only be at one of {allowed:?}")]
    WriteCursor { lane: u32, found: u64, allowed: Vec<u64> },
    #[error(
        "the read cursor of consumer {consumer} in lane {lane} is at {found}, and may only be at one of {allowed:?}"
    )]
    ReadCursor { consumer: usize, lane: u32, found: u64, allowed: [u64; 2] },
    #[error("consumer {consumer} lost {bytes} bytes of lane {lane}, it was told, and no message begins there")]
    Lagged { consumer: usize, lane: u32, bytes: u64 },
    #[error("consumer {consumer} says that it released {said} messages, and it had received {received}")]
    Released { consumer: usize, said: u64, received: u64 },
}

pub(crate) struct Ledger {
    lanes: Vec<Lane>,
    /// By consumer, then lane.
    /// Empty for a passing consumer that is not there.
    places: Vec<Vec<Place>>,
    trailer: u64,
}

/// Every message that one lane has to hold or have held, as far back as a consumer may still ask for it.
struct Lane {
    messages: VecDeque<Written>,
    /// How many messages came before the first of `messages`.
    first: u64,
    /// Everything before this one is committed, the rest is under way.
    committed: u64,
    /// Where the next message goes.
    end: u64,
}

struct Written {
    message: Message,
    position: u64,
    joined: bool,
}

/// How far a consumer is in a lane, in messages.
#[derive(Clone, Default)]
struct Place {
    /// Surely released.
    released: u64,
    /// What is given back, if the consumer gives back what it received; later than `released` after a loss.
    start: u64,
    /// Received, and perhaps released.
    received: u64,
    /// A passing consumer begins anywhere from `released` on; its first message says where.
    anywhere: bool,
}

impl Place {
    fn at(index: u64) -> Place {
        Place { released: index, start: index, received: index, anywhere: false }
    }
}

/// What came of the messages that a dead producer had under way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) survived: u64,
    pub(crate) vanished: u64,
}

impl Ledger {
    /// For a new ring, with consumers that keep their places; the one after them, if any, is passing. A record with
    /// a checksum has a trailer of 4 bytes.
    pub(crate) fn new(lanes: u32, consumers: usize, checksums: bool) -> Ledger {
        let lane = |_| Lane { messages: VecDeque::new(), first: 0, committed: 0, end: 0 };
        let mut places = vec![vec![Place::default(); lanes as usize]; consumers];
        places.push(Vec::new());
        Ledger { lanes: (0..lanes).map(lane).collect(), places, trailer: if checksums { 4 } else { 0 } }
    }

    /// A producer took over a lane: it has to go on where the last one stopped.
    pub(crate) fn resumed(&self, lane: u32, write_cursor: u64) -> Result<(), Violation> {
        let allowed = self.lanes[lane as usize].end;
        if write_cursor == allowed {
            return Ok(());
        }
        Err(Violation::WriteCursor { lane, found: write_cursor, allowed: vec![allowed] })
    }

    pub(crate) fn intended(&mut self, lane: u32, message: Message, joined: bool) {
        let size = (16 + u64::from(message.len) + self.trailer).next_multiple_of(8);
        let lane = &mut self.lanes[lane as usize];
        lane.messages.push_back(Written { message, position: lane.end, joined });
        lane.end += size;
    }

    pub(crate) fn committed(&mut self, lane: u32, write_cursor: u64) -> Result<(), Violation> {
        self.resumed(lane, write_cursor)?;
        let lane = &mut self.lanes[lane as usize];
        lane.committed = lane.len();
        Ok(())
    }

    /// The lane's producer is dead. What it had committed is there; what was under way is there up to a point that
    /// is no place within one publication; nothing else is.
    pub(crate) fn producer_died(&mut self, lane: u32, write_cursor: u64) -> Result<Cut, Violation> {
        let number = lane;
        let lane = &mut self.lanes[lane as usize];
        let before = lane.committed;
        let cuts = || (before..=lane.len()).filter(|&index| !lane.is_joined(index));
        let Some(cut) = cuts().find(|&index| lane.position(index) == write_cursor) else {
            let allowed = cuts().map(|index| lane.position(index)).collect();
            return Err(Violation::WriteCursor { lane: number, found: write_cursor, allowed });
        };
        let result = Cut { survived: cut - before, vanished: lane.len() - cut };
        lane.messages.truncate((cut - lane.first) as usize);
        lane.committed = cut;
        lane.end = write_cursor;
        Ok(result)
    }

    /// A passing consumer comes: it is held to everything from its first message on.
    pub(crate) fn joins(&mut self, consumer: usize) {
        let passing = |lane| Place { anywhere: true, ..Place::at(self.slowest(lane)) };
        self.places[consumer] = (0..self.lanes.len()).map(passing).collect();
    }

    /// A passing consumer is gone, and nothing is kept for it.
    pub(crate) fn left(&mut self, consumer: usize) {
        self.places[consumer].clear();
        self.forget();
    }

    /// A consumer took over its place: it has to go on where the last one stopped.
    pub(crate) fn taken_over(&self, consumer: usize, read_cursor: u64) -> Result<(), Violation> {
        let place = &self.places[consumer][0];
        let allowed = self.lanes[0].position(place.released);
        if place.anywhere || read_cursor == allowed {
            return Ok(());
        }
        Err(Violation::ReadCursor { consumer, lane: 0, found: read_cursor, allowed: [allowed; 2] })
    }

    /// Checks a message that a consumer was given. `None`: no journal that was read so far tells of it.
    pub(crate) fn received(
        &mut self,
        consumer: usize,
        lane: u32,
        position: u64,
        found: Message,
        kept: bool,
    ) -> Result<Option<()>, Violation> {
        let written = &mut self.lanes[lane as usize];
        let place = &mut self.places[consumer][lane as usize];
        if place.anywhere {
            match (place.released..written.len()).find(|&index| written.position(index) == position) {
                Some(index) => *place = Place::at(index),
                None => return Ok(None),
            }
        }
        let Some(expected) = written.get(place.received) else { return Ok(None) };
        let message = expected.message;
        if message != found {
            let later = (place.received + 1..written.len()).filter_map(|index| written.get(index));
            return Err(if message.id == found.id {
                Violation::Torn { consumer, lane, expected: message, found }
            } else if later.into_iter().any(|later| later.message.id == found.id) {
                Violation::Lost { consumer, lane, expected: message, found }
            } else {
                Violation::Stray { consumer, lane, expected: message, found }
            });
        }
        if expected.position != position {
            return Err(Violation::Misplaced { consumer, lane, message, expected: expected.position, found: position });
        }
        // Only what is committed can be received, whether its producer came to say so or not.
        written.committed = written.committed.max(place.received + 1);
        if !kept {
            place.received += 1;
        }
        Ok(Some(()))
    }

    pub(crate) fn released(&mut self, consumer: usize, said: u64) -> Result<(), Violation> {
        let places = &mut self.places[consumer];
        let received = places.iter().map(|place| place.received - place.start).sum();
        if said != received {
            return Err(Violation::Released { consumer, said, received });
        }
        for place in places.iter_mut().filter(|place| !place.anywhere) {
            *place = Place::at(place.received);
        }
        self.forget();
        Ok(())
    }

    pub(crate) fn kept(&mut self, consumer: usize) {
        for place in &mut self.places[consumer] {
            place.received = place.start;
        }
    }

    /// A consumer was told that it lost bytes of a lane: that is allowed where the oldest are overwritten, and then
    /// has to be true to the byte. `None`: no journal that was read so far tells of as many.
    pub(crate) fn lagged(&mut self, consumer: usize, lane: u32, bytes: u64) -> Result<Option<u64>, Violation> {
        let written = &self.lanes[lane as usize];
        let place = &mut self.places[consumer][lane as usize];
        let position = written.position(place.received) + bytes;
        if place.received != place.start || bytes == 0 {
            return Err(Violation::Lagged { consumer, lane, bytes });
        }
        if position > written.end {
            return Ok(None);
        }
        match (place.received..=written.len()).find(|&index| written.position(index) == position) {
            Some(index) => {
                let lost = index - place.received;
                (place.start, place.received) = (index, index);
                Ok(Some(lost))
            }
            None => Err(Violation::Lagged { consumer, lane, bytes }),
        }
    }

    /// The consumer is dead, with one of its read cursors for each lane. What it had released stays released, and
    /// nothing else, unless it died in the very act: then all of that or nothing. Returns how many messages its
    /// successor is given again.
    pub(crate) fn consumer_died(&mut self, consumer: usize, read_cursors: &[u64]) -> Result<u64, Violation> {
        let mut again = 0;
        for (number, (lane, &found)) in self.lanes.iter().zip(read_cursors).enumerate() {
            let place = &mut self.places[consumer][number];
            let allowed = [lane.position(place.released), lane.position(place.received)];
            *place = if found == allowed[1] {
                Place::at(place.received)
            } else if found == allowed[0] {
                again += place.received - place.start;
                Place::at(place.released)
            } else {
                return Err(Violation::ReadCursor { consumer, lane: number as u32, found, allowed });
            };
        }
        self.forget();
        Ok(again)
    }

    /// Messages that are committed and that the slowest consumer of their lane has not released.
    pub(crate) fn waiting(&self) -> u64 {
        let waiting = |(number, lane): (usize, &Lane)| lane.committed - self.slowest(number);
        self.lanes.iter().enumerate().map(waiting).sum()
    }

    /// How many messages were committed, ever.
    pub(crate) fn total(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.committed).sum()
    }

    /// How many bytes went through, ever.
    pub(crate) fn bytes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.end).sum()
    }

    fn slowest(&self, lane: usize) -> u64 {
        self.places.iter().filter_map(|places| places.get(lane)).map(|place| place.released).min().unwrap_or(0)
    }

    fn forget(&mut self) {
        for number in 0..self.lanes.len() {
            let slowest = self.slowest(number);
            let lane = &mut self.lanes[number];
            while lane.first < slowest {
                lane.messages.pop_front();
                lane.first += 1;
            }
        }
    }
}

impl Lane {
    fn len(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    fn get(&self, index: u64) -> Option<&Written> {
        self.messages.get(index.checked_sub(self.first)? as usize)
    }

    fn position(&self, index: u64) -> u64 {
        self.get(index).map_or(self.end, |written| written.position)
    }

    fn is_joined(&self, index: u64) -> bool {
        self.get(index).is_some_and(|written| written.joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 24;

    fn message(id: i64) -> Message {
        Message::new(id, 1, &id.to_le_bytes())
    }

    /// A lane with messages 0 to `count`, all committed.
    fn ledger(count: i64) -> Ledger {
        let mut ledger = Ledger::new(1, 1, false);
        for id in 0..count {
            ledger.intended(0, message(id), false);
        }
        ledger.committed(0, count as u64 * SIZE).unwrap();
        ledger
    }

    fn receive(ledger: &mut Ledger, id: i64) -> Result<Option<()>, Violation> {
        ledger.received(0, 0, id as u64 * SIZE, message(id), false)
    }

    #[test]
    fn a_faultless_life_is_accepted() {
        let mut ledger = ledger(3);
        receive(&mut ledger, 0).unwrap().unwrap();
        ledger.released(0, 1).unwrap();
        ledger.received(0, 0, SIZE, message(1), true).unwrap().unwrap();
        receive(&mut ledger, 1).unwrap().unwrap();
        receive(&mut ledger, 2).unwrap().unwrap();
        assert_eq!(ledger.consumer_died(0, &[SIZE]), Ok(2));
        receive(&mut ledger, 1).unwrap().unwrap();
        receive(&mut ledger, 2).unwrap().unwrap();
        assert_eq!(ledger.consumer_died(0, &[3 * SIZE]), Ok(0));
        assert_eq!(receive(&mut ledger, 3), Ok(None), "nobody has offered it yet");
        assert_eq!((ledger.total(), ledger.waiting()), (3, 0));
    }

    #[test]
    fn a_lost_message_is_noticed() {
        assert!(matches!(receive(&mut ledger(2), 1), Err(Violation::Lost { .. })));
    }

    #[test]
    fn a_repeated_message_is_noticed() {
        let mut ledger = ledger(2);
        receive(&mut ledger, 0).unwrap().unwrap();
        assert!(matches!(receive(&mut ledger, 0), Err(Violation::Stray { .. })));
    }

    #[test]
    fn an_invented_message_is_noticed() {
        assert!(matches!(receive(&mut ledger(2), 5), Err(Violation::Stray { .. })));
    }

    #[test]
    fn a_torn_message_is_noticed() {
        let torn = Message { digest: 0, ..message(0) };
        assert!(matches!(ledger(2).received(0, 0, 0, torn, false), Err(Violation::Torn { .. })));
    }

    #[test]
    fn a_message_at_the_wrong_place_is_noticed() {
        assert!(matches!(ledger(2).received(0, 0, 8, message(0), false), Err(Violation::Misplaced { .. })));
    }

    #[test]
    fn a_released_message_that_comes_again_is_noticed() {
        let mut ledger = ledger(3);
        receive(&mut ledger, 0).unwrap().unwrap();
        ledger.released(0, 1).unwrap();
        assert!(matches!(ledger.consumer_died(0, &[0]), Err(Violation::ReadCursor { .. })));
    }

    #[test]
    fn a_message_released_before_it_was_received_is_noticed() {
        let mut ledger = ledger(3);
        receive(&mut ledger, 0).unwrap().unwrap();
        assert!(matches!(ledger.consumer_died(0, &[2 * SIZE]), Err(Violation::ReadCursor { .. })));
    }

    #[test]
    fn half_a_release_is_noticed() {
        let mut ledger = ledger(3);
        receive(&mut ledger, 0).unwrap().unwrap();
        receive(&mut ledger, 1).unwrap().unwrap();
        assert!(matches!(ledger.consumer_died(0, &[SIZE]), Err(Violation::ReadCursor { .. })));
    }

    #[test]
    fn a_wrong_count_of_released_messages_is_noticed() {
        let mut ledger = ledger(3);
        receive(&mut ledger, 0).unwrap().unwrap();
        assert!(matches!(ledger.released(0, 2), Err(Violation::Released { .. })));
    }

    #[test]
    fn what_a_dead_producer_had_under_way_may_exist_or_not() {
        for survived in 0..=2 {
            let mut ledger = ledger(1);
            ledger.intended(0, message(1), false);
            ledger.intended(0, message(2), false);
            let cursor = (1 + survived) * SIZE;
            assert_eq!(ledger.producer_died(0, cursor), Ok(Cut { survived, vanished: 2 - survived }));
            ledger.resumed(0, cursor).unwrap();
            assert_eq!(ledger.total(), 1 + survived);
        }
    }

    #[test]
    fn half_a_message_or_half_a_batch_is_noticed() {
        for (cursor, allowed) in [(SIZE, true), (SIZE + 8, false), (2 * SIZE, false), (3 * SIZE, true)] {
            let mut ledger = ledger(1);
            ledger.intended(0, message(1), false);
            ledger.intended(0, message(2), true);
            assert_eq!(ledger.producer_died(0, cursor).is_ok(), allowed, "{cursor}");
        }
    }

    #[test]
    fn half_a_batch_is_noticed_even_if_that_half_was_received() {
        let mut ledger = ledger(1);
        ledger.intended(0, message(1), false);
        ledger.intended(0, message(2), true);
        receive(&mut ledger, 0).unwrap().unwrap();
        receive(&mut ledger, 1).unwrap().unwrap();
        assert!(matches!(ledger.producer_died(0, 2 * SIZE), Err(Violation::WriteCursor { .. })));
    }

    #[test]
    fn a_committed_message_that_is_gone_is_noticed() {
        assert!(matches!(ledger(2).producer_died(0, SIZE), Err(Violation::WriteCursor { .. })));
    }

    #[test]
    fn a_message_received_and_then_not_there_is_noticed() {
        let mut ledger = ledger(1);
        ledger.intended(0, message(1), false);
        receive(&mut ledger, 0).unwrap().unwrap();
        receive(&mut ledger, 1).unwrap().unwrap();
        assert!(matches!(ledger.producer_died(0, SIZE), Err(Violation::WriteCursor { .. })));
    }

    #[test]
    fn a_loss_is_accepted_if_it_was_told_to_the_byte() {
        let mut ledger = ledger(4);
        receive(&mut ledger, 0).unwrap().unwrap();
        ledger.released(0, 1).unwrap();
        assert!(matches!(ledger.lagged(0, 0, SIZE - 8), Err(Violation::Lagged { .. })));
        assert_eq!(ledger.lagged(0, 0, 2 * SIZE), Ok(Some(2)));
        receive(&mut ledger, 3).unwrap().unwrap();
        ledger.kept(0);
        receive(&mut ledger, 3).unwrap().unwrap();
        ledger.released(0, 1).unwrap();
        assert_eq!(ledger.consumer_died(0, &[4 * SIZE]), Ok(0));
    }

    #[test]
    fn a_passing_consumer_may_begin_anywhere_and_then_skip_nothing() {
        let mut ledger = ledger(4);
        ledger.joins(0);
        receive(&mut ledger, 2).unwrap().unwrap();
        assert!(matches!(receive(&mut ledger, 2), Err(Violation::Stray { .. })));
        receive(&mut ledger, 3).unwrap().unwrap();
        ledger.left(0);
    }

    #[test]
    fn a_successor_at_the_wrong_place_is_noticed() {
        let mut ledger = ledger(2);
        receive(&mut ledger, 0).unwrap().unwrap();
        ledger.released(0, 1).unwrap();
        assert_eq!(ledger.taken_over(0, SIZE), Ok(()));
        assert!(matches!(ledger.taken_over(0, 0), Err(Violation::ReadCursor { .. })));
    }

    #[test]
    fn every_consumer_is_held_to_every_message() {
        let mut ledger = Ledger::new(1, 2, true);
        ledger.intended(0, Message::new(0, 0, &[]), false);
        ledger.intended(0, Message::new(1, 0, &[]), false);
        ledger.committed(0, 48).unwrap();
        for id in 0..2 {
            ledger.received(0, 0, id as u64 * 24, Message::new(id, 0, &[]), false).unwrap().unwrap();
        }
        ledger.released(0, 2).unwrap();
        assert_eq!(ledger.waiting(), 2, "the slowest counts");
        let skipped = ledger.received(1, 0, 24, Message::new(1, 0, &[]), false);
        assert!(matches!(skipped, Err(Violation::Lost { .. })));
    }
}
