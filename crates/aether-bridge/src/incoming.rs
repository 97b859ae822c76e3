//! From the network into a ring, or into a directory of rings.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
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
    event::{Event, Listener, is_worth_telling},
    frame::{ANYBODY, Ack, Head, Identity, Records, Status},
    network::{Network, acknowledgements, check_key, network},
    outgoing::{MAX_WINDOW, SILENCE},
    ring::Ring,
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
    /// What stands in the way of a ring: [`Error::Origin`], [`Error::Released`], [`Error::Shape`], [`Error::Mode`],
    /// [`Error::Replaced`], [`Error::Order`], [`Error::Ring`]. The other side is told. In a directory, the other rings go
    /// on, and it is [`Event::Failed`]. [`Error::Network`] if the session was closed.
    pub fn run(self, stop: &AtomicBool, listener: &Listener<'_>) -> Result<Totals> {
        match self.kind {
            Kind::Ring(mut sink, _subscriber) => {
                let carried = sink.carry(stop, listener);
                if let Err(error) = &carried {
                    sink.refuse(error, stop, Some(Instant::now() + LAST_WORDS))?;
                }
                carried.map(|()| sink.totals)
            }
            Kind::Directory { sinks, _subscriber } => thread::scope(|scope| {
                let mut threads = Vec::new();
                while !stop.load(Relaxed) {
                    let Ok(mut sink) = sinks.recv_timeout(LOOK) else { continue };
                    threads.push(scope.spawn(move || {
                        if let Err(error) = sink.carry(stop, listener) {
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

/// The end of a queue of frames where Zenoh puts them in. It never waits: what does not fit is sent again.
struct Queue {
    frames: SyncSender<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    fn push(&self, payload: &ZBytes) {
        let length = payload.len();
        let waiting = self.bytes.fetch_add(length, Relaxed);
        let fits = waiting == 0 || waiting.saturating_add(length) <= BYTES;
        if !fits || self.frames.try_send(payload.to_bytes().into_owned()).is_err() {
            self.bytes.fetch_sub(length, Relaxed);
        }
    }
}

/// Rings by their keys, made when the first frame comes.
struct Directory {
    network: Network,
    path: PathBuf,
    options: InOptions,
    queues: Mutex<HashMap<String, Option<Queue>>>,
    sinks: std::sync::mpsc::Sender<Sink>,
}

impl Directory {
    fn push(&self, sample: &zenoh::sample::Sample) {
        let key = sample.key_expr().as_str();
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if !queues.contains_key(key) && queues.len() < self.options.rings {
            let queue = self.add(key);
            queues.insert(key.to_owned(), queue);
        }
        if let Some(Some(queue)) = queues.get(key) {
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
    frames: Receiver<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
    publisher: Publisher<'static>,
    ring: Option<Ring>,
    /// Of the frame that came last.
    last: Option<Head>,
    /// Whose frames were taken, and when.
    source: Option<(Identity, Instant)>,
    malformed: u64,
    told_crowded: bool,
    totals: Totals,
}

impl Sink {
    fn new(network: &Network, key: &str, path: &Path, options: InOptions) -> Result<(Sink, Queue)> {
        let (sender, frames) = sync_channel(FRAMES);
        let bytes = Arc::new(AtomicUsize::new(0));
        let queue = Queue { frames: sender, bytes: bytes.clone() };
        let publisher = network.publisher(&acknowledgements(key))?;
        let sink = Sink {
            key: key.to_owned(),
            path: path.to_owned(),
            options,
            frames,
            bytes,
            publisher,
            ring: None,
            last: None,
            source: None,
            malformed: 0,
            told_crowded: false,
            totals: Totals::default(),
        };
        Ok((sink, queue))
    }

    /// Opens the ring, if it is there or has to be.
    fn open(&mut self) -> Result<()> {
        match Ring::open(&self.path, self.options.rebind) {
            Err(Error::Ring(aether_ipc::Error::NotFound { .. })) if self.options.create.is_some() => Ok(()),
            opened => opened.map(|ring| self.ring = Some(ring)),
        }
    }

    fn carry(&mut self, stop: &AtomicBool, listener: &Listener<'_>) -> Result<()> {
        while !stop.load(Relaxed) {
            let full = self.ring.as_ref().is_some_and(Ring::is_full);
            let first = match full {
                true => self.frames.try_recv().ok(),
                false => match self.frames.recv_timeout(LOOK) {
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(Error::Network { reason: "the session was closed".to_owned() });
                    }
                    received => received.ok(),
                },
            };
            let mut next = first;
            while let Some(frame) = next {
                self.take(frame, listener)?;
                next = self.frames.try_recv().ok();
            }
            let Some(ring) = &mut self.ring else { continue };
            let (messages, freed) = ring.commit()?;
            self.bytes.fetch_sub(freed, Relaxed);
            self.totals.messages += messages;
            if messages == 0 && full {
                self.totals.messages += ring.wait_for_space()?;
            }
            let sink = ring.place.identity;
            let answers = ring.answers();
            ring.place.check()?;
            for (lane, source, status, next) in answers {
                self.answer(Ack { status, source, sink, lane, next, words: String::new() })?;
            }
        }
        Ok(())
    }

    fn answer(&self, ack: Ack) -> Result<()> {
        self.publisher.put(ack.encode()).wait().map_err(network)
    }

    fn take(&mut self, frame: Vec<u8>, listener: &Listener<'_>) -> Result<()> {
        let size = frame.len();
        let records = match Records::decode(frame) {
            Ok(records) => records,
            Err(malformed) => {
                self.bytes.fetch_sub(size, Relaxed);
                self.malformed += 1;
                if is_worth_telling(self.malformed - 1, self.malformed) {
                    listener(&self.key, Event::Malformed { frames: self.malformed, reason: malformed.to_string() });
                }
                return Ok(());
            }
        };
        let waiting = self.waiting_bytes();
        let taken = self.take_records(records, listener);
        // Those that wait are counted until they are committed.
        let kept = self.waiting_bytes() - waiting;
        self.bytes.fetch_sub(size - kept, Relaxed);
        taken
    }

    fn waiting_bytes(&self) -> usize {
        self.ring.as_ref().map_or(0, Ring::waiting_bytes)
    }

    fn take_records(&mut self, records: Records, listener: &Listener<'_>) -> Result<()> {
        let head = records.head;
        let identity = self.ring.as_ref().map(|ring| ring.place.identity);
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
            let words = "another ring sends under this key; each ring needs a key of its own".to_owned();
            let (source, sink) = (head.source, identity.unwrap_or(ANYBODY));
            return self.answer(Ack { status: Status::Refused, source, sink, lane: head.lane, next: 0, words });
        }
        if self.last.is_none() {
            listener(&self.key, Event::Linked);
        }
        self.last = Some(head);
        if head.best_effort != self.options.best_effort {
            let words = |best_effort| if best_effort { "with --best-effort" } else { "without --best-effort" };
            let (here, there) = (words(self.options.best_effort), words(head.best_effort));
            return Err(Error::Mode { path: self.path.clone(), here, there });
        }
        if self.ring.is_none() {
            self.ring = Some(self.make(&head)?);
        }
        let Some(ring) = &mut self.ring else { return Ok(()) };
        let taken = if head.best_effort { ring.take_best_effort(records) } else { ring.take(records) }?;
        self.source = Some((head.source, Instant::now()));
        self.totals.messages += taken.messages;
        let before = self.totals.dropped;
        self.totals.dropped += taken.dropped;
        if is_worth_telling(before, self.totals.dropped) {
            listener(&self.key, Event::Dropped { messages: self.totals.dropped });
        }
        Ok(())
    }

    fn crowd(&mut self, listener: &Listener<'_>) {
        if !std::mem::replace(&mut self.told_crowded, true) {
            listener(&self.key, Event::Crowded);
        }
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
        while !stop.load(Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            if let Some(Head { source, lane, .. }) = self.last.take() {
                let sink = self.ring.as_ref().map_or(ANYBODY, |ring| ring.place.identity);
                self.answer(Ack { status: Status::Refused, source, sink, lane, next: 0, words: words.clone() })?;
            }
            match self.frames.recv_timeout(LOOK) {
                Ok(frame) => {
                    self.bytes.fetch_sub(frame.len(), Relaxed);
                    let identity = self.ring.as_ref().map(|ring| ring.place.identity);
                    let mine = |head: &Head| head.sink == ANYBODY || Some(head.sink) == identity;
                    self.last = Records::decode(frame).ok().map(|records| records.head).filter(mine);
                }
                Err(RecvTimeoutError::Timeout) => {}
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
            let (sender, frames) = sync_channel(FRAMES);
            let queue = Queue { frames: sender, bytes: Arc::default() };
            let frame = ZBytes::from(vec![0; size]);
            for _ in 0..2 * FRAMES {
                queue.push(&frame);
            }
            let held: usize = frames.try_iter().map(|frame| frame.len()).sum();
            assert_eq!(held, (FRAMES * size).min(BYTES));
            assert_eq!(queue.bytes.load(Relaxed), held);
        }
        // One that is larger than all is taken alone.
        let (sender, frames) = sync_channel(FRAMES);
        let queue = Queue { frames: sender, bytes: Arc::default() };
        queue.push(&ZBytes::from(vec![0; BYTES + 1]));
        queue.push(&ZBytes::from(vec![0]));
        assert_eq!(frames.try_iter().count(), 1);
    }

    #[test]
    fn a_key_is_a_place_below_its_directory_or_none() {
        assert_eq!(place_of("trading/quotes").unwrap(), Path::new("trading").join("quotes"));
        for key in ["../etc/passwd", "a/../../b", ".hidden", "a//b", "/a", "a\\b", "c:/b", "a\0b", "", "a/@ack/.."] {
            assert_eq!(place_of(key), None, "{key:?}");
        }
    }
}
