//! Best effort: from a ring to the network without ever holding the producer back, and what is missing at the other end.

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use aether_ipc::{Consumer, Flow, Info};
use zenoh::{Wait, pubsub::Publisher};

use crate::{
    LOOK, Totals,
    error::{Error, Result},
    event::{Event, Listener, Progress, is_worth_telling},
    frame::{ANYBODY, Head, MAX_PAYLOAD, Writer},
    identity::Place,
    network::network,
};

/// Frames that may wait for the network. What comes then is dropped.
const QUEUE: usize = 64;
/// Messages read before they are given on.
const BATCH: usize = 4096;

pub(crate) struct Broadcast<'a> {
    key: &'a str,
    place: Place,
    consumer: Consumer,
    publisher: &'a Publisher<'static>,
    lanes: u32,
    checksums: bool,
    /// What this run is known by, so that numbers of an earlier one are not compared with its own.
    run: u64,
    /// The number of the next message of each lane.
    numbers: Vec<u64>,
    lagged: u64,
    totals: Totals,
    listener: &'a Listener<'a>,
}

impl<'a> Broadcast<'a> {
    pub(crate) fn new(
        key: &'a str,
        place: Place,
        consumer: Consumer,
        shape: &Info,
        publisher: &'a Publisher<'static>,
        listener: &'a Listener<'a>,
    ) -> Broadcast<'a> {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        Broadcast {
            key,
            place,
            consumer,
            publisher,
            lanes: shape.lanes.len() as u32,
            checksums: shape.checksums,
            run,
            numbers: vec![0; shape.lanes.len()],
            lagged: 0,
            totals: Totals::default(),
            listener,
        }
    }

    /// A thread of its own waits for the network, so that this one never does.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> Result<Totals> {
        let publisher = self.publisher;
        thread::scope(|scope| {
            let (frames, queue) = sync_channel::<Vec<u8>>(QUEUE);
            let sender =
                scope.spawn(move || queue.iter().try_for_each(|frame| publisher.put(frame).wait().map_err(network)));
            let mut progress = Progress::default();
            while !stop.load(Relaxed) && !sender.is_finished() {
                self.step(&frames)?;
                progress.tell(self.key, self.totals, self.listener);
            }
            drop(frames);
            sender.join().unwrap_or_else(|_| Err(Error::Network { reason: "the sender has died".to_owned() }))?;
            Ok(self.totals)
        })
    }

    fn step(&mut self, frames: &SyncSender<Vec<u8>>) -> Result<()> {
        self.place.check()?;
        match self.consumer.wait_within(LOOK) {
            Ok(()) => {}
            Err(aether_ipc::Error::TimedOut { .. }) => return Ok(()),
            Err(error) => return self.lag(error),
        }
        let mut writers: Vec<Option<Writer>> = (0..self.lanes).map(|_| None).collect();
        let mut full = Vec::new();
        let mut too_large = 0;
        let (numbers, head) = (
            &mut self.numbers,
            Head {
                source: self.place.identity,
                sink: ANYBODY,
                lane: 0,
                lanes: self.lanes,
                checksums: self.checksums,
                best_effort: true,
                answer: false,
                released: self.run,
                start: 0,
            },
        );
        let drained = self.consumer.drain(BATCH, |message| {
            let (lane, payload) = (message.lane(), message.payload());
            let start = numbers[lane as usize];
            let fresh = || Writer::new(Head { lane, start, ..head });
            if payload.len() > MAX_PAYLOAD {
                // Its number stays out, and so must not stand inside a frame.
                full.extend(writers[lane as usize].take());
                too_large += 1;
            } else {
                let writer = writers[lane as usize].get_or_insert_with(fresh);
                if !writer.has_room(payload.len()) {
                    full.push(std::mem::replace(writer, fresh()));
                }
                writer.push(message.id(), message.message_type(), payload);
            }
            numbers[lane as usize] += 1;
            Flow::Continue
        });
        let before = self.totals.dropped;
        self.totals.dropped += too_large;
        for writer in full.into_iter().chain(writers.into_iter().flatten()) {
            let count = u64::from(writer.count());
            match frames.try_send(writer.finish()) {
                Ok(()) => self.totals.messages += count,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.totals.dropped += count,
            }
        }
        if is_worth_telling(before, self.totals.dropped) {
            (self.listener)(self.key, Event::Dropped { messages: self.totals.dropped });
        }
        drained.map(drop).or_else(|error| self.lag(error))
    }

    fn lag(&mut self, error: aether_ipc::Error) -> Result<()> {
        let aether_ipc::Error::Lagged { bytes } = error else { return Err(error.into()) };
        let before = self.lagged;
        self.lagged += bytes;
        if is_worth_telling(before, self.lagged) {
            (self.listener)(self.key, Event::Lagged { bytes: self.lagged });
        }
        Ok(())
    }
}

/// What came of which run, to know what did not.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// By lane: the run, and the number of the next message.
    expected: HashMap<u32, (u64, u64)>,
}

impl Gaps {
    /// How many messages are missing before these; `None` if these are late themselves.
    pub(crate) fn before(&mut self, head: &Head, count: u32) -> Option<u64> {
        let next = head.start.wrapping_add(count.into());
        // What was sent before this side listened for the first time was not meant for it.
        let seen = self.expected.insert(head.lane, (head.released, next));
        let (run, expected) = seen.unwrap_or((head.released, head.start));
        if run != head.released {
            return Some(head.start);
        }
        let missing = head.start.wrapping_sub(expected);
        if missing.cast_signed() < 0 {
            self.expected.insert(head.lane, (run, expected));
            return None;
        }
        Some(missing)
    }
}
