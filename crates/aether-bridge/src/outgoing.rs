//! From a ring to the network.

use std::{
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use aether_ipc::{Buffer, Consumer, Flow, Info, ReadAhead};
use zenoh::{Wait, pubsub::Publisher, pubsub::Subscriber};

use crate::{
    LOOK, Totals,
    error::{Error, Result},
    event::{Event, Listener, Progress, is_worth_telling},
    frame::{ANYBODY, Ack, Head, Identity, MAX_PAYLOAD, Malformed, Status, Writer},
    identity::Place,
    network::{Network, acknowledgements, check_key, network},
    telemetry,
};

/// The least [`OutOptions::window`], in bytes.
pub const MIN_WINDOW: u64 = 4 << 10;
/// The largest [`OutOptions::window`], in bytes: what the incoming side holds in memory while its ring is full.
pub const MAX_WINDOW: u64 = 64 << 20;

/// How messages leave.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OutOptions {
    /// Bytes of each lane that may be under way before the other side has committed them, from [`MIN_WINDOW`] to
    /// [`MAX_WINDOW`], which is also the most for all lanes together. No more go through in a round trip.
    pub window: u64,
    /// The name of the consumer in a ring for many: `bridge` if there is none here. Its place is kept while it is away.
    pub name: Option<String>,
    /// Never hold the producer back; drop what the network does not take.
    pub best_effort: bool,
}

impl Default for OutOptions {
    fn default() -> OutOptions {
        OutOptions { window: 8 << 20, name: None, best_effort: false }
    }
}

/// The half that takes from a ring and publishes.
pub struct Outgoing {
    key: String,
    options: OutOptions,
    place: Place,
    consumer: Consumer,
    shape: Info,
    publisher: Publisher<'static>,
    acks: Receiver<Result<Ack, Malformed>>,
    _subscriber: Subscriber<()>,
}

/// Acknowledgements that may wait. What does not fit is lost, and the next one says the same and more.
const ACKS: usize = 1024;

impl Outgoing {
    /// Opens the ring and takes a consumer's role.
    ///
    /// # Errors
    ///
    /// [`Error::Ring`], [`Error::Key`] for one with wildcards, [`Error::Identity`], [`Error::Network`].
    pub fn new(network: &Network, key: &str, path: &Path, options: OutOptions) -> Result<Outgoing> {
        let (key, wild) = check_key(key)?;
        if wild {
            return Err(Error::Key { key, reason: "a ring goes out under one key, without wildcards".to_owned() });
        }
        let (place, buffer) = Place::open(path, |path| Buffer::open(path))?;
        let shape = buffer.observer().info()?;
        let consumer = match (&options.name, shape.consumer_slots) {
            (None, 1) => buffer.consumer()?,
            (name, _) => buffer.consumer_named(name.as_deref().unwrap_or("bridge"))?,
        };
        let (sender, acks) = sync_channel(ACKS);
        let subscriber = network.subscriber(&acknowledgements(&key), move |sample| {
            let _ = sender.try_send(Ack::decode(&sample.payload().to_bytes()));
        })?;
        let publisher = network.publisher(&key)?;
        let mut options = options;
        options.window = options.window.clamp(MIN_WINDOW, MIN_WINDOW.max(MAX_WINDOW / shape.lanes.len().max(1) as u64));
        Ok(Outgoing { key, options, place, consumer, shape, publisher, acks, _subscriber: subscriber })
    }

    /// The key that it publishes under, as Zenoh writes it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Carries messages until `stop` is set. What the other side has not committed by then stays in the ring.
    ///
    /// # Errors
    ///
    /// [`Error::Ring`], [`Error::Replaced`], [`Error::Ahead`], [`Error::TooLarge`], [`Error::Refused`], and
    /// [`Error::Network`] if the session was closed.
    pub fn run(self, stop: &AtomicBool, listener: &Listener<'_>) -> Result<Totals> {
        if self.options.best_effort {
            let Outgoing { key, place, consumer, shape, publisher, .. } = self;
            return telemetry::Broadcast::new(&key, place, consumer, &shape, &publisher, listener).run(stop);
        }
        let reader = ReadAhead::new(self.consumer)?;
        let now = Instant::now();
        let lanes = (0..reader.lanes()).map(|_| Lane::new(now)).collect();
        let mut sender = Sender {
            key: &self.key,
            window: self.options.window,
            capacity: self.shape.capacity,
            checksums: self.shape.checksums,
            place: self.place,
            reader,
            publisher: self.publisher,
            acks: self.acks,
            lanes,
            sink: None,
            heard: None,
            started: now,
            told_silent: false,
            told_crowded: false,
            malformed: 0,
            totals: Totals::default(),
            progress: Progress::default(),
            listener,
        };
        while !stop.load(Relaxed) {
            sender.step()?;
            sender.progress.tell(sender.key, sender.totals, listener);
        }
        Ok(sender.totals)
    }
}

/// The first time to wait for an answer, and the least.
const PATIENCE: Duration = Duration::from_millis(200);
/// The longest time between two questions that nobody answers.
const MAX_PATIENCE: Duration = Duration::from_secs(1);
/// The longest round trip that is waited for.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(5);
/// Without a word for so long, the other side may be replaced by another one, and people are told.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
/// How often the processor is given away before a sleep.
const YIELDS: u32 = 8;
/// How late an acknowledgement may be seen while messages may come.
const TICK: Duration = Duration::from_millis(1);

/// One lane, on its way. What is between `released` and `position` of the reader is under way.
struct Lane {
    /// Whether the other side has to say first where it goes on.
    asking: bool,
    /// When to ask.
    deadline: Instant,
    patience: Duration,
    /// How long an answer takes.
    round_trip: Duration,
    /// The position whose acknowledgement is timed, and when it was sent.
    timed: Option<(u64, Instant)>,
    /// Where it was gone back to for a gap; once is enough.
    rewound: Option<u64>,
    /// Up to where, and when, an answer was asked for.
    asked: (u64, Instant),
}

impl Lane {
    fn new(now: Instant) -> Lane {
        let (patience, round_trip) = (PATIENCE, PATIENCE);
        Lane { asking: true, deadline: now, patience, round_trip, timed: None, rewound: None, asked: (0, now) }
    }

    fn ask(&mut self, now: Instant) {
        self.asking = true;
        self.deadline = now;
        self.timed = None;
        self.rewound = None;
    }
}

struct Sender<'a> {
    key: &'a str,
    window: u64,
    capacity: u64,
    checksums: bool,
    place: Place,
    reader: ReadAhead,
    publisher: Publisher<'static>,
    acks: Receiver<Result<Ack, Malformed>>,
    lanes: Vec<Lane>,
    /// The ring on the other side.
    sink: Option<Identity>,
    heard: Option<Instant>,
    started: Instant,
    told_silent: bool,
    told_crowded: bool,
    malformed: u64,
    totals: Totals,
    progress: Progress,
    listener: &'a Listener<'a>,
}

impl Sender<'_> {
    fn step(&mut self) -> Result<()> {
        while let Ok(ack) = self.acks.try_recv() {
            self.hear(ack)?;
        }
        let mut sent = false;
        for lane in 0..self.reader.lanes() {
            sent |= self.send(lane)?;
        }
        self.place.check()?;
        if !sent {
            self.look_for_silence();
            self.wait()?;
        }
        Ok(())
    }

    /// Sends what may be sent of a lane. Whether that was anything that others may follow.
    fn send(&mut self, lane: u32) -> Result<bool> {
        let now = Instant::now();
        let state = &mut self.lanes[lane as usize];
        let start = self.reader.position(lane);
        let unacknowledged = start.wrapping_sub(self.reader.released(lane));
        if !state.asking && unacknowledged > 0 && now >= state.deadline {
            // Something was lost: from now on nothing more is sent than the question where to go on.
            self.reader.rewind(lane);
            state.ask(now);
        }
        if state.asking {
            if now >= state.deadline {
                state.deadline = now + state.patience;
                state.patience = (2 * state.patience).min(MAX_PATIENCE.max(2 * state.round_trip));
                let sink = self.sink_if_alive();
                let mut question = Writer::new(self.head(lane, self.reader.released(lane), sink.unwrap_or(ANYBODY)));
                question.ask();
                self.publish(question)?;
            }
            return Ok(false);
        }
        if unacknowledged >= self.window || !self.reader.has_more(lane) {
            return Ok(false);
        }
        let mut writer = Writer::new(self.head(lane, start, self.sink.unwrap_or(ANYBODY)));
        let mut too_large = None;
        self.reader.read(lane, usize::MAX, |message| {
            let payload = message.payload();
            if payload.len() > MAX_PAYLOAD {
                too_large = Some((message.id(), payload.len()));
                return Flow::Keep;
            }
            if !writer.has_room(payload.len()) {
                return Flow::Keep;
            }
            writer.push(message.id(), message.message_type(), payload);
            Flow::Continue
        })?;
        if writer.count() == 0 {
            return match too_large {
                Some((id, payload)) => {
                    Err(Error::TooLarge { path: self.place.path().to_owned(), id, payload, max: MAX_PAYLOAD })
                }
                None => Ok(false),
            };
        }
        // Often enough that neither the window nor the source fills up meanwhile, and now and then when nothing follows. If
        // nobody asks, the other side still answers before patience is at its end.
        let often = self.window.min(self.capacity) / 4;
        let end = self.reader.position(lane);
        let is_last = !self.reader.has_more(lane);
        let state = &mut self.lanes[lane as usize];
        if unacknowledged == 0 {
            state.deadline = now + state.patience;
        }
        let (asked, when) = state.asked;
        if is_last && now - when >= TICK || end.wrapping_sub(asked) >= often {
            writer.ask();
            state.asked = (end, now);
            state.timed.get_or_insert((end, now));
        }
        self.publish(writer)?;
        Ok(true)
    }

    fn head(&self, lane: u32, start: u64, sink: Identity) -> Head {
        Head {
            source: self.place.identity,
            sink,
            lane,
            lanes: self.reader.lanes(),
            checksums: self.checksums,
            best_effort: false,
            answer: false,
            released: self.reader.released(lane),
            start,
        }
    }

    fn publish(&self, writer: Writer) -> Result<()> {
        self.publisher.put(writer.finish()).wait().map_err(network)
    }

    /// One that has not been heard of for long may be another one by now.
    fn sink_if_alive(&self) -> Option<Identity> {
        self.sink.filter(|_| self.heard.is_some_and(|heard| heard.elapsed() < SILENCE))
    }

    fn hear(&mut self, ack: Result<Ack, Malformed>) -> Result<()> {
        match ack {
            Ok(ack) => self.take(&ack),
            Err(malformed) => {
                self.malformed += 1;
                if is_worth_telling(self.malformed - 1, self.malformed) {
                    let event = Event::Malformed { frames: self.malformed, reason: malformed.to_string() };
                    (self.listener)(self.key, event);
                }
                Ok(())
            }
        }
    }

    fn take(&mut self, ack: &Ack) -> Result<()> {
        // Of another ring, or made by somebody who does not know.
        if ack.source != self.place.identity || ack.lane >= self.reader.lanes() {
            return Ok(());
        }
        if self.sink_if_alive().is_some_and(|sink| sink != ack.sink) {
            if !std::mem::replace(&mut self.told_crowded, true) {
                (self.listener)(self.key, Event::Crowded);
            }
            return Ok(());
        }
        if ack.status == Status::Refused {
            return Err(Error::Refused { key: self.key.to_owned(), reason: ack.words.clone() });
        }
        let now = Instant::now();
        if self.heard.is_none() || self.told_silent {
            (self.listener)(self.key, Event::Linked);
        }
        self.told_silent = false;
        self.heard = Some(now);
        if self.sink != Some(ack.sink) {
            if self.sink.replace(ack.sink).is_some() {
                (self.listener)(self.key, Event::Succeeded);
            }
            // What another one was asked, or had in its hands, says nothing about this one.
            for (lane, state) in (0..).zip(&mut self.lanes) {
                self.reader.rewind(lane);
                state.ask(now);
            }
        }
        let released = self.reader.released(ack.lane);
        if ack.next.wrapping_sub(released).cast_signed() < 0 {
            // It was overtaken by a later one. (A sink that really is behind refuses.)
            return Ok(());
        }
        let Some(messages) = self.reader.release_to(ack.lane, ack.next)? else {
            return Err(self.ahead(ack));
        };
        self.totals.messages += messages as u64;
        let state = &mut self.lanes[ack.lane as usize];
        if state.asking {
            state.asking = false;
            state.patience = PATIENCE.max(2 * state.round_trip);
        }
        if let Some((position, sent)) = state.timed
            && ack.next.wrapping_sub(position).cast_signed() >= 0
        {
            state.round_trip = ((7 * state.round_trip + (now - sent)) / 8).min(MAX_ROUND_TRIP);
            state.patience = PATIENCE.max(2 * state.round_trip);
            state.timed = None;
        }
        if messages > 0 || ack.status == Status::Waiting {
            state.deadline = now + state.patience;
        }
        if messages > 0 {
            state.rewound = None;
        }
        if ack.status == Status::Waiting {
            // How long the ring is full says nothing about the way.
            state.timed = None;
        }
        if ack.status == Status::Gap && state.rewound != Some(ack.next) && self.reader.position(ack.lane) != ack.next {
            state.rewound = Some(ack.next);
            state.timed = None;
            self.reader.rewind(ack.lane);
        }
        Ok(())
    }

    #[cold]
    fn ahead(&self, ack: &Ack) -> Error {
        let committed = self.reader.committed(ack.lane);
        Error::Ahead { path: self.place.path().to_owned(), lane: ack.lane, wanted: ack.next, committed }
    }

    fn look_for_silence(&mut self) {
        let waits = self.lanes.iter().any(|lane| lane.asking);
        if waits && !self.told_silent && self.heard.unwrap_or(self.started).elapsed() >= SILENCE {
            self.told_silent = true;
            (self.listener)(self.key, Event::Silent);
        }
    }

    /// Waits for messages or for acknowledgements, whichever there is more to hope for.
    fn wait(&mut self) -> Result<()> {
        let lanes = || (0..self.reader.lanes()).zip(&self.lanes);
        let under_way = |lane| self.reader.position(lane).wrapping_sub(self.reader.released(lane));
        let open = lanes().any(|(lane, state)| !state.asking && under_way(lane) < self.window);
        let waits = lanes().any(|(lane, _)| under_way(lane) > 0);
        // Either there is more than may be sent, or the producer may be waiting for space.
        let stuck = lanes().any(|(lane, _)| self.reader.has_more(lane) || under_way(lane) >= self.capacity / 2);
        if open && !stuck {
            let yields = if waits { YIELDS } else { 0 };
            // Messages that follow one another closely are not slept for: whoever writes them may need the processor.
            for _ in 0..yields {
                thread::yield_now();
                if lanes().any(|(lane, _)| self.reader.has_more(lane)) {
                    return Ok(());
                }
            }
            return match self.reader.wait_within(if waits { TICK } else { LOOK }) {
                Ok(()) | Err(aether_ipc::Error::TimedOut { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        let due = lanes().filter(|(lane, state)| state.asking || under_way(*lane) > 0).map(|(_, state)| state.deadline);
        let due = due.min().map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
        match self.acks.recv_timeout(due.min(if open { TICK } else { LOOK })) {
            Ok(ack) => self.hear(ack),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Network { reason: "the session was closed".to_owned() }),
        }
    }
}
