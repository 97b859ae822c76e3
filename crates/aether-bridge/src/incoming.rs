//! From the network into a ring, or into a directory of rings.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Relaxed, Release},
        },
        mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use aether_ipc::{MAX_CAPACITY, MIN_CAPACITY};
use zenoh::{Wait, bytes::ZBytes, pubsub::Publisher, pubsub::Subscriber};

use crate::{
    LOOK, Totals,
    error::{Error, Result},
    event::{Event, Listener, Progress, is_worth_telling},
    frame::{ANYBODY, Ack, Head, Identity, Records},
    network::{Network, acknowledgements, check_key, network},
    outgoing::{MAX_WINDOW, SILENCE},
    ring::{Refusal, Ring},
};

/// How messages arrive.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InOptions {
    /// Make a ring that is not there, with so many bytes in each lane, and lanes and checksums as the source has them.
    pub create: Option<u64>,
    /// Where the ring is a copy of another source, or was one and is none any more, begin anew with what comes.
    pub rebind: bool,
    /// Take what may have gaps, and drop what finds the ring full.
    pub best_effort: bool,
    /// The most rings in a directory.
    pub rings: usize,
}

impl Default for InOptions {
    fn default() -> InOptions {
        InOptions { create: None, rebind: false, best_effort: false, rings: 64 }
    }
}

/// The half that subscribes and puts into a ring.
pub struct Incoming {
    key: String,
    kind: Kind,
}

enum Kind {
    Ring(Box<Sink>, Subscriber<()>),
    Directory { sinks: Receiver<Sink>, _subscriber: Subscriber<()> },
}

/// Frames that may wait for a ring, whatever their size.
const FRAMES: usize = 4096;
/// Bytes that they may have together: what an honest source sends at most, and what is under way twice after it was
/// sent again.
const BYTES: usize = 2 * MAX_WINDOW as usize;
/// Most of them that are looked at before what waits is committed and answered.
const TURN: usize = 16;
/// How long a ring that can't go on answers why.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Incoming {
    /// Subscribes. A key with wildcards, such as `trading/**`, is for a directory: what comes under `trading/quotes`
    /// goes into the ring `trading/quotes` in there.
    ///
    /// # Errors
    ///
    /// [`Error::Ring`], [`Error::Shape`], [`Error::Identity`] if the ring can't be opened; [`Error::Place`] if a directory
    /// is no directory; [`Error::Key`], [`Error::Network`].
    pub fn new(network: &Network, key: &str, path: &Path, options: InOptions) -> Result<Incoming> {
        let (key, wild) = check_key(key)?;
        if let Some(capacity) = options.create
            && !(capacity.is_power_of_two() && (MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity))
        {
            return Err(aether_ipc::Error::Capacity { capacity, min: MIN_CAPACITY, max: MAX_CAPACITY }.into());
        }
        if !wild {
            let (mut sink, queue) = Sink::new(network, &key, path, options)?;
            sink.open()?;
            let subscriber = network.subscriber(&key, move |sample| queue.push(sample.payload()))?;
            return Ok(Incoming { key, kind: Kind::Ring(Box::new(sink), subscriber) });
        }
        if !path.is_dir() {
            let reason = "no directory; a key with wildcards needs one for its rings".to_owned();
            return Err(Error::Place { path: path.to_owned(), reason });
        }
        let (sender, sinks) = channel();
        let directory = Directory {
            network: network.clone(),
            path: path.to_owned(),
            options,
            queues: Mutex::default(),
            sinks: sender,
        };
        let subscriber = network.subscriber(&key, move |sample| directory.push(&sample))?;
        Ok(Incoming { key, kind: Kind::Directory { sinks, _subscriber: subscriber } })
    }

    /// The key that it subscribes to, as Zenoh writes it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Carries messages until `stop` is set.
    ///
    /// # Errors
    ///
    /// What stands in the way of a ring: [`Error::Origin`], [`Error::Released`], [`Error::Shape`], [`Error::Replaced`],
    /// [`Error::Order`], [`Error::Ring`]. The other side is told. In a directory, the other rings go on, and it is
    /// [`Event::Failed`]. [`Error::Network`] if the session was closed.
    ///
    /// What is wrong with a sender alone, such as another ring than the one that this is a copy of, ends nothing: it is
    /// told, and it is [`Event::TurnedAway`].
    pub fn run(self, stop: &AtomicBool, listener: &Listener<'_>) -> Result<Totals> {
        match self.kind {
            Kind::Ring(mut sink, _subscriber) => {
                let carried = sink.carry(stop, listener);
                match &carried {
                    Ok(()) => sink.close()?,
                    Err(error) => sink.refuse(error, stop, Some(Instant::now() + LAST_WORDS))?,
                }
                carried.map(|()| sink.totals)
            }
            Kind::Directory { sinks, _subscriber } => thread::scope(|scope| {
                let mut threads = Vec::new();
                while !stop.load(Relaxed) {
                    let Ok(mut sink) = sinks.recv_timeout(LOOK) else { continue };
                    threads.push(scope.spawn(move || {
                        if let Err(error) = sink.carry(stop, listener).and_then(|()| sink.close()) {
                            listener(&sink.key, Event::Failed { reason: error.to_string() });
                            // Its key is not served anew: what was wrong would be so again.
                            let _ = sink.refuse(&error, stop, None);
                        }
                        sink.totals
                    }));
                }
                let mut totals = Totals::default();
                for thread in threads {
                    let sink = thread.join().unwrap_or_default();
                    totals.messages += sink.messages;
                    totals.dropped += sink.dropped;
                }
                Ok(totals)
            }),
        }
    }
}

/// What Zenoh's threads and the one of a ring have in common.
#[derive(Default)]
struct Shared {
    ring: Mutex<Option<Ring>>,
    /// Whether frames wait for space in the ring: those that come wait behind them.
    full: AtomicBool,
    /// Whether the thread of the ring was called, and has not looked yet.
    called: AtomicBool,
    /// Bytes of frames that wait.
    bytes: AtomicUsize,
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Option<Ring>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the thread of a ring hears of.
enum Arrival {
    Frame(Vec<u8>),
    /// Something was committed, and the other side waits to hear of it.
    Committed,
}

/// Where Zenoh puts frames. It never waits: what does not fit is sent again.
struct Queue {
    arrivals: SyncSender<Arrival>,
    shared: Arc<Shared>,
}

impl Queue {
    fn push(&self, payload: &ZBytes) {
        let bytes = payload.to_bytes();
        // Mostly it is what comes next, and there is space: then it is copied once, from Zenoh's memory into the ring.
        if !self.shared.full.load(Relaxed)
            && let Some(answer) = self.shared.ring().as_mut().and_then(|ring| ring.put(&bytes))
        {
            if answer && !self.shared.called.swap(true, AcqRel) {
                // A queue that is full will be looked at soon.
                let _ = self.arrivals.try_send(Arrival::Committed);
            }
            return;
        }
        let length = bytes.len();
        let waiting = self.shared.bytes.fetch_add(length, Relaxed);
        let fits = waiting == 0 || waiting.saturating_add(length) <= BYTES;
        if !fits || self.arrivals.try_send(Arrival::Frame(bytes.into_owned())).is_err() {
            self.shared.bytes.fetch_sub(length, Relaxed);
        }
    }
}

/// Rings by their keys, made when the first frame comes.
struct Directory {
    network: Network,
    path: PathBuf,
    options: InOptions,
    queues: Mutex<HashMap<String, Option<Arc<Queue>>>>,
    sinks: std::sync::mpsc::Sender<Sink>,
}

impl Directory {
    fn push(&self, sample: &zenoh::sample::Sample) {
        let key = sample.key_expr().as_str();
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if !queues.contains_key(key) && queues.len() < self.options.rings {
            let queue = self.add(key).map(Arc::new);
            queues.insert(key.to_owned(), queue);
        }
        let queue = queues.get(key).cloned().flatten();
        // The others need not wait for this ring.
        drop(queues);
        if let Some(queue) = queue {
            queue.push(sample.payload());
        }
    }

    fn add(&self, key: &str) -> Option<Queue> {
        let path = self.path.join(place_of(key)?);
        let (sink, queue) = Sink::new(&self.network, key, &path, self.options.clone()).ok()?;
        self.sinks.send(sink).ok()?;
        Some(queue)
    }
}

/// Where the ring of a key is in its directory; nowhere if the key would lead out of it, or can't be a path.
fn place_of(key: &str) -> Option<PathBuf> {
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['\\', ':', '\0']);
    key.split('/').all(is_name).then(|| key.split('/').collect())
}

/// One ring, and the frames for it.
struct Sink {
    key: String,
    path: PathBuf,
    options: InOptions,
    arrivals: Receiver<Arrival>,
    shared: Arc<Shared>,
    publisher: Publisher<'static>,
    /// Of the frame that came last.
    last: Option<Head>,
    /// With best effort: whose frames were taken, and when.
    source: Option<(Identity, Instant)>,
    malformed: u64,
    turned_away: u64,
    told_crowded: bool,
    totals: Totals,
    progress: Progress,
}

impl Sink {
    fn new(network: &Network, key: &str, path: &Path, options: InOptions) -> Result<(Sink, Queue)> {
        let (sender, arrivals) = sync_channel(FRAMES);
        let shared = Arc::<Shared>::default();
        let queue = Queue { arrivals: sender, shared: shared.clone() };
        let publisher = network.publisher(&acknowledgements(key))?;
        let sink = Sink {
            key: key.to_owned(),
            path: path.to_owned(),
            options,
            arrivals,
            shared,
            publisher,
            last: None,
            source: None,
            malformed: 0,
            turned_away: 0,
            told_crowded: false,
            totals: Totals::default(),
            progress: Progress::default(),
        };
        Ok((sink, queue))
    }

    /// Opens the ring, if it is there or has to be.
    fn open(&mut self) -> Result<()> {
        match Ring::open(&self.path, self.options.rebind) {
            Err(Error::Ring(aether_ipc::Error::NotFound { .. })) if self.options.create.is_some() => Ok(()),
            opened => opened.map(|ring| *self.shared.ring() = Some(ring)),
        }
    }

    fn carry(&mut self, stop: &AtomicBool, listener: &Listener<'_>) -> Result<()> {
        while !stop.load(Relaxed) {
            let full = self.shared.full.load(Relaxed);
            let first = match full {
                true => self.arrivals.try_recv().ok(),
                false => match self.arrivals.recv_timeout(LOOK) {
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(Error::Network { reason: "the session was closed".to_owned() });
                    }
                    received => received.ok(),
                },
            };
            // Before the look: what is committed later calls again.
            self.shared.called.store(false, Release);
            let (mut next, mut turn) = (first, 0);
            while let Some(arrival) = next {
                if let Arrival::Frame(frame) = arrival {
                    self.take(frame, listener)?;
                }
                turn += 1;
                next = if turn < TURN { self.arrivals.try_recv().ok() } else { None };
            }
            self.step(full)?;
            self.progress.tell(&self.key, self.totals, listener);
        }
        Ok(())
    }

    /// Commits what waits, and answers.
    fn step(&mut self, was_full: bool) -> Result<()> {
        let mut guard = self.shared.ring();
        let Some(ring) = guard.as_mut() else { return Ok(()) };
        let committed = ring.commit().and_then(|freed| {
            self.shared.bytes.fetch_sub(freed, Relaxed);
            let full = ring.is_full();
            self.shared.full.store(full, Relaxed);
            if was_full && full { ring.wait_for_space() } else { Ok(()) }
        });
        self.totals.messages += ring.count();
        let checked = committed.and_then(|()| ring.place.check());
        let answers = ring.answers();
        drop(guard);
        checked?;
        answers.into_iter().try_for_each(|answer| self.answer(answer))
    }

    fn answer(&self, ack: Ack) -> Result<()> {
        self.publisher.put(ack.encode()).wait().map_err(network)
    }

    /// Lets go of the ring, and tells the other side how far it came.
    fn close(&mut self) -> Result<()> {
        let Some(mut ring) = self.shared.ring().take() else { return Ok(()) };
        self.totals.messages += ring.count();
        let answers = ring.answers();
        drop(ring);
        answers.into_iter().try_for_each(|answer| self.answer(answer))
    }

    fn take(&mut self, frame: Vec<u8>, listener: &Listener<'_>) -> Result<()> {
        let size = frame.len();
        let waiting = self.waiting_bytes();
        let taken = match Records::decode(frame) {
            Ok(records) => self.take_records(records, listener),
            Err(malformed) => {
                self.malformed += 1;
                if is_worth_telling(self.malformed - 1, self.malformed) {
                    listener(&self.key, Event::Malformed { frames: self.malformed, reason: malformed.to_string() });
                }
                Ok(())
            }
        };
        // Those that wait are counted until they are committed.
        let kept = self.waiting_bytes() - waiting;
        self.shared.bytes.fetch_sub(size - kept, Relaxed);
        taken
    }

    fn waiting_bytes(&self) -> usize {
        self.shared.ring().as_ref().map_or(0, Ring::waiting_bytes)
    }

    fn take_records(&mut self, records: Records, listener: &Listener<'_>) -> Result<()> {
        let head = records.head;
        let identity = self.shared.ring().as_ref().map(|ring| ring.place.identity);
        if head.sink != ANYBODY && Some(head.sink) != identity {
            self.crowd(listener);
            return Ok(());
        }
        if let Some((source, heard)) = self.source
            && source != head.source
            && heard.elapsed() < SILENCE
        {
            // The ring goes on with the one that it has.
            self.crowd(listener);
            return Ok(());
        }
        if self.last.is_none() {
            listener(&self.key, Event::Linked);
        }
        self.last = Some(head);
        if head.best_effort != self.options.best_effort {
            let words = |best_effort| if best_effort { "with --best-effort" } else { "without --best-effort" };
            let (here, there) = (words(self.options.best_effort), words(head.best_effort));
            return self.turn_away(&head, &Error::Mode { path: self.path.clone(), here, there }, listener);
        }
        if identity.is_none() {
            let ring = self.make(&head)?;
            *self.shared.ring() = Some(ring);
        }
        let taken = {
            let mut guard = self.shared.ring();
            let Some(ring) = guard.as_mut() else { return Ok(()) };
            match head.best_effort {
                true => ring.take_best_effort(records).map(|dropped| {
                    self.source = Some((head.source, Instant::now()));
                    let before = self.totals.dropped;
                    self.totals.dropped += dropped;
                    let messages = self.totals.dropped;
                    is_worth_telling(before, messages).then_some(Event::Dropped { messages })
                }),
                false => ring.take(records),
            }
        };
        match taken {
            Ok(event) => {
                event.into_iter().for_each(|event| listener(&self.key, event));
                Ok(())
            }
            Err(Refusal::Sender(error)) => self.turn_away(&head, &error, listener),
            Err(Refusal::End(error)) => Err(error),
        }
    }

    fn crowd(&mut self, listener: &Listener<'_>) {
        if !std::mem::replace(&mut self.told_crowded, true) {
            listener(&self.key, Event::Crowded);
        }
    }

    /// Tells a sender why, and goes on: whose copy this is may still come.
    fn turn_away(&mut self, head: &Head, error: &Error, listener: &Listener<'_>) -> Result<()> {
        self.turned_away += 1;
        if is_worth_telling(self.turned_away - 1, self.turned_away) {
            listener(&self.key, Event::TurnedAway { frames: self.turned_away, reason: error.to_string() });
        }
        let sink = self.shared.ring().as_ref().map_or(ANYBODY, |ring| ring.place.identity);
        self.answer(Ack::refusal(head, sink, error.to_string()))
    }

    fn make(&self, head: &Head) -> Result<Ring> {
        let Some(capacity) = self.options.create else { return Ring::open(&self.path, self.options.rebind) };
        if let Some(parent) = self.path.parent() {
            let place = |error: std::io::Error| Error::Place { path: parent.to_owned(), reason: error.to_string() };
            fs::create_dir_all(parent).map_err(place)?;
        }
        Ring::create(&self.path, capacity, head, self.options.rebind)
    }

    /// Says why nothing more is taken, to whoever sends.
    fn refuse(&mut self, error: &Error, stop: &AtomicBool, until: Option<Instant>) -> Result<()> {
        let words = error.to_string();
        let identity = self.shared.ring().take().map(|ring| ring.place.identity);
        while !stop.load(Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            if let Some(head) = self.last.take() {
                self.answer(Ack::refusal(&head, identity.unwrap_or(ANYBODY), words.clone()))?;
            }
            match self.arrivals.recv_timeout(LOOK) {
                Ok(Arrival::Frame(frame)) => {
                    self.shared.bytes.fetch_sub(frame.len(), Relaxed);
                    let mine = |head: &Head| head.sink == ANYBODY || Some(head.sink) == identity;
                    self.last = Records::decode(frame).ok().map(|records| records.head).filter(mine);
                }
                Ok(Arrival::Committed) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_nobody_takes_are_held_up_to_a_limit() {
        for size in [1, 1 << 20] {
            let (sender, arrivals) = sync_channel(FRAMES);
            let queue = Queue { arrivals: sender, shared: Arc::default() };
            let frame = ZBytes::from(vec![0; size]);
            for _ in 0..2 * FRAMES {
                queue.push(&frame);
            }
            let length = |arrival| match arrival {
                Arrival::Frame(frame) => frame.len(),
                Arrival::Committed => 0,
            };
            let held: usize = arrivals.try_iter().map(length).sum();
            assert_eq!(held, (FRAMES * size).min(BYTES));
            assert_eq!(queue.shared.bytes.load(Relaxed), held);
        }
        // One that is larger than all is taken alone.
        let (sender, arrivals) = sync_channel(FRAMES);
        let queue = Queue { arrivals: sender, shared: Arc::default() };
        queue.push(&ZBytes::from(vec![0; BYTES + 1]));
        queue.push(&ZBytes::from(vec![0]));
        assert_eq!(arrivals.try_iter().count(), 1);
    }

    #[test]
    fn a_key_is_a_place_below_its_directory_or_none() {
        assert_eq!(place_of("trading/quotes").unwrap(), Path::new("trading").join("quotes"));
        for key in ["../etc/passwd", "a/../../b", ".hidden", "a//b", "/a", "a\\b", "c:/b", "a\0b", "", "a/@ack/.."] {
            assert_eq!(place_of(key), None, "{key:?}");
        }
    }
}
