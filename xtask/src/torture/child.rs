//! The processes that are killed: a producer and a consumer, each of which does everything that its side of the
//! library can do, in random order, for ever.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use aether_ipc::{Buffer, Consumer, Error, Flow, Merge, Overflow, Polled, Producer, Wait};
use anyhow::Result;
use clap::{Args, ValueEnum};
use fastrand::Rng;

use crate::journal::{AT_ONCE, Entry, Journal, Message};

/// A ring, and how it was made.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ring {
    #[arg(long)]
    pub(crate) path: PathBuf,
    #[arg(long)]
    pub(crate) capacity: u64,
    #[arg(long)]
    pub(crate) producers: u32,
    #[arg(long)]
    pub(crate) consumers: u32,
    #[arg(long)]
    pub(crate) kind: Kind,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Classic,
    Extended,
    Checksums,
    /// Ids are stamped by the ring, in one order over all lanes.
    Sequence,
    /// The oldest messages are overwritten when there is no space.
    Lossy,
}

impl Ring {
    pub(crate) fn create(&self) -> aether_ipc::Result<Buffer> {
        let overflow = if self.kind == Kind::Lossy { Overflow::DropOldest } else { Overflow::Wait };
        Buffer::options()
            .capacity(self.capacity)
            .producers(self.producers)
            .consumers(self.consumers)
            .classic(self.kind == Kind::Classic)
            .checksums(self.kind == Kind::Checksums)
            .sequence(self.kind == Kind::Sequence)
            .overflow(overflow)
            .create(&self.path)
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        let kind = self.kind.to_possible_value().map(|kind| kind.get_name().to_owned());
        vec![
            format!("--path={}", self.path.display()),
            format!("--capacity={}", self.capacity),
            format!("--producers={}", self.producers),
            format!("--consumers={}", self.consumers),
            format!("--kind={}", kind.unwrap_or_default()),
        ]
    }
}

#[derive(Args, Debug)]
pub(crate) struct Child {
    #[command(flatten)]
    pub(crate) ring: Ring,
    /// Unique in one run: what the message ids of this process begin with, and what its random numbers grow from.
    #[arg(long)]
    pub(crate) serial: u32,
    #[arg(long)]
    pub(crate) seed: u64,
    #[arg(long)]
    pub(crate) payload_max: u64,
    /// The name of a durable consumer.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Whether a consumer merges lanes by id.
    #[arg(long)]
    pub(crate) by_id: bool,
    /// Sleep wherever there is something to wait for.
    #[arg(long)]
    pub(crate) park: bool,
}

impl Child {
    fn rng(&self) -> Rng {
        Rng::with_seed(self.seed ^ u64::from(self.serial) << 32)
    }

    fn wait(&self, rng: &mut Rng) -> Wait {
        let any = rng.choice([Wait::Spin, Wait::Yield, Wait::Backoff, Wait::Park]).unwrap_or_default();
        if self.park { Wait::Park } else { any }
    }
}

/// Ends this process as soon as its parent, which holds the other end of standard input, is gone.
fn follow_the_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
}

/// Standard output without the buffer that the library puts in front of it: an entry is written when it is written.
fn journal() -> Result<Journal<File>> {
    Ok(Journal::new(File::from(std::io::stdout().as_fd().try_clone_to_owned()?)))
}

pub(crate) fn produce(child: &Child) -> Result<()> {
    follow_the_parent();
    let mut rng = child.rng();
    let mut producer = child.ring.create()?.producer()?;
    producer.set_wait(child.wait(&mut rng));
    let mut journal = journal()?;
    journal.write(&[Entry::Ready { lane: producer.lane(), position: producer.position() }]);
    let mut drafts = Drafts {
        payload_max: producer.max_payload().min(child.payload_max as usize),
        capacity: child.ring.capacity as usize,
        next: i64::from(child.serial) << 32,
        rng,
    };
    loop {
        match drafts.rng.u8(..9) {
            0 | 1 => {
                let draft = drafts.one();
                journal.write(&[draft.intended(false)]);
                while !accepted(producer.offer(draft.id, draft.message_type, &draft.payload))? {}
            }
            2 => {
                let draft = drafts.one();
                journal.write(&[draft.intended(false)]);
                producer.put(draft.id, draft.message_type, &draft.payload)?;
            }
            3 => {
                let draft = drafts.one();
                journal.write(&[draft.intended(false)]);
                let patience = Duration::from_millis(1);
                while !accepted(producer.put_within(patience, draft.id, draft.message_type, &draft.payload))? {}
            }
            4 => {
                let draft = drafts.one();
                journal.write(&[draft.intended(false)]);
                while !claim(&mut producer, &draft, true)? {}
            }
            5 => {
                let draft = drafts.one();
                claim(&mut producer, &draft, false)?;
                continue;
            }
            6 => {
                let many = drafts.many();
                let entries: Vec<Entry> = (0..).zip(&many).map(|(i, draft)| draft.intended(i > 0)).collect();
                journal.write(&entries);
                while !batch(&mut producer, &many, true)? {}
            }
            7 => {
                batch(&mut producer, &drafts.many(), false)?;
                continue;
            }
            // Nothing but the ring between the publications: most of the time goes into its own instructions.
            _ => {
                let many = drafts.many();
                journal.write(&many.iter().map(|draft| draft.intended(false)).collect::<Vec<_>>());
                for draft in &many {
                    while !accepted(producer.offer(draft.id, draft.message_type, &draft.payload))? {}
                }
            }
        }
        journal.write(&[Entry::Committed { position: producer.position() }]);
    }
}

/// Whether the ring took it; not to have space is no error.
fn accepted<T>(result: aether_ipc::Result<T>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(Error::Full) => {
            std::thread::yield_now();
            Ok(false)
        }
        Err(Error::TimedOut { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn claim(producer: &mut Producer, draft: &Draft, commit: bool) -> Result<bool> {
    let claim = producer.claim(draft.payload.len()).map(|mut claim| {
        claim.payload_mut().copy_from_slice(&draft.payload);
        if commit {
            claim.commit(draft.id, draft.message_type);
        }
    });
    accepted(claim)
}

fn batch(producer: &mut Producer, drafts: &[Draft], commit: bool) -> Result<bool> {
    let mut batch = producer.batch();
    for draft in drafts {
        if !accepted(batch.push(draft.id, draft.message_type, &draft.payload))? {
            return Ok(false);
        }
    }
    if commit {
        batch.commit();
    }
    Ok(true)
}

/// Makes messages that nobody made before.
struct Drafts {
    rng: Rng,
    next: i64,
    payload_max: usize,
    capacity: usize,
}

struct Draft {
    id: i64,
    message_type: i32,
    payload: Vec<u8>,
}

/// Every payload begins with the id, for rings that stamp one of their own.
const ID_SIZE: usize = 8;

impl Drafts {
    fn one(&mut self) -> Draft {
        self.up_to(self.payload_max)
    }

    /// As many as one journal entry takes, and as an empty ring takes at once.
    fn many(&mut self) -> Vec<Draft> {
        let fits = (self.capacity / 64).clamp(1, AT_ONCE);
        let count = self.rng.usize(1..=fits);
        let max = self.payload_max.min(self.capacity / count - 32);
        (0..count).map(|_| self.up_to(max)).collect()
    }

    fn up_to(&mut self, max: usize) -> Draft {
        let max = if self.rng.bool() { max.min(64) } else { max };
        let mut payload = vec![0; self.rng.usize(ID_SIZE..=max)];
        self.rng.fill(&mut payload);
        let id = self.next;
        payload[..ID_SIZE].copy_from_slice(&id.to_le_bytes());
        self.next += 1;
        Draft { id, message_type: self.rng.i32(..), payload }
    }
}

impl Draft {
    fn intended(&self, joined: bool) -> Entry {
        Entry::Intended { message: Message::new(self.id, self.message_type, &self.payload), joined }
    }
}

pub(crate) fn consume(child: &Child) -> Result<()> {
    follow_the_parent();
    let mut rng = child.rng();
    let buffer = child.ring.create()?;
    let mut consumer = match &child.name {
        Some(name) => buffer.consumer_named(name)?,
        None => buffer.consumer()?,
    };
    consumer.set_wait(child.wait(&mut rng));
    consumer.set_untrusted(rng.bool());
    consumer.set_merge(if child.by_id { Merge::ById } else { Merge::Fair });
    let none = vec![-1; child.ring.producers as usize];
    let stamps = Stamps { by_id: child.by_id, received: none.clone(), released: none };
    let mut receiver =
        Receiver { journal: journal()?, rng, stamps: (child.ring.kind == Kind::Sequence).then_some(stamps) };
    receiver.journal.write(&[Entry::Ready { lane: 0, position: consumer.position() }]);
    loop {
        if !receiver.take(&mut consumer)? {
            match consumer.wait_within(Duration::from_millis(20)) {
                Ok(()) | Err(Error::TimedOut { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

struct Receiver {
    journal: Journal<File>,
    rng: Rng,
    stamps: Option<Stamps>,
}

impl Receiver {
    /// Whether there was anything.
    fn take(&mut self, consumer: &mut Consumer) -> Result<bool> {
        let taken = match self.rng.u8(..3) {
            0 => self.poll(consumer),
            1 => self.drain(consumer),
            _ => self.batch(consumer),
        };
        match taken {
            Err(Error::Lagged { bytes }) => {
                self.journal.write(&[Entry::Lagged { bytes }]);
                Ok(true)
            }
            taken => Ok(taken?),
        }
    }

    fn poll(&mut self, consumer: &mut Consumer) -> aether_ipc::Result<bool> {
        let kept = self.rng.u8(..8) == 0;
        let polled = consumer.poll(|message| {
            let entry = self.received(&message, kept);
            self.journal.write(&[entry]);
            if kept { Flow::Keep } else { Flow::Continue }
        })?;
        if polled == Polled::Released {
            self.released(1);
        }
        Ok(polled != Polled::Empty)
    }

    fn drain(&mut self, consumer: &mut Consumer) -> aether_ipc::Result<bool> {
        let limit = self.rng.usize(1..=AT_ONCE);
        let (mut any, mut committing, mut earlier, mut count) = (false, false, 0, 0);
        let drained = consumer.drain(limit, |message| {
            any = true;
            if committing {
                self.released(count);
                earlier += count;
                count = 0;
            }
            let flow = match self.rng.u8(..16) {
                0 => Flow::Keep,
                1 => Flow::Break,
                2 => Flow::Commit,
                _ => Flow::Continue,
            };
            let kept = flow == Flow::Keep;
            let entry = self.received(&message, kept);
            self.journal.write(&[entry]);
            count += u64::from(!kept);
            committing = flow == Flow::Commit;
            flow
        })?;
        // What the call says, less what is in the journal: the parent compares it with what was received.
        self.released((drained as u64).wrapping_sub(earlier));
        Ok(any)
    }

    /// Writes its journal at once, so that most of the time goes into the library's own instructions.
    fn batch(&mut self, consumer: &mut Consumer) -> aether_ipc::Result<bool> {
        let limit = self.rng.usize(1..=AT_ONCE);
        let wanted = self.rng.usize(1..=limit);
        let keep = self.rng.u8(..8) == 0;
        let batch = consumer.batch(limit)?;
        let entries: Vec<Entry> = batch.iter().take(wanted).map(|message| self.received(&message, false)).collect();
        self.journal.write(&entries);
        if keep {
            batch.keep();
            self.journal.write(&[Entry::Kept]);
            if let Some(stamps) = &mut self.stamps {
                stamps.received.clone_from(&stamps.released);
            }
        } else {
            drop(batch);
            // A batch of which nothing was looked at releases nothing.
            if !entries.is_empty() {
                self.released(entries.len() as u64);
            }
        }
        Ok(!entries.is_empty())
    }

    fn received(&mut self, message: &aether_ipc::Message<'_>, kept: bool) -> Entry {
        let mut id = message.id();
        if let Some(stamps) = &mut self.stamps {
            stamps.check(message, kept);
            id = message.payload().first_chunk().map_or(-1, |&own| i64::from_le_bytes(own));
        }
        Entry::Received {
            lane: message.lane(),
            position: message.position(),
            message: Message::new(id, message.message_type(), message.payload()),
            kept,
        }
    }

    fn released(&mut self, count: u64) {
        self.journal.write(&[Entry::Released { count }]);
        if let Some(stamps) = &mut self.stamps {
            stamps.released.clone_from(&stamps.received);
        }
    }
}

/// The last ids that a ring with a shared sequence has stamped: they grow, in each lane, and over all lanes where the
/// consumer asked for that order.
struct Stamps {
    by_id: bool,
    /// By lane.
    received: Vec<i64>,
    /// What `received` was when messages were last released: those after come again when they are kept.
    released: Vec<i64>,
}

impl Stamps {
    fn check(&mut self, message: &aether_ipc::Message<'_>, kept: bool) {
        let last = if self.by_id { self.received.iter().max() } else { self.received.get(message.lane() as usize) };
        if last.is_none_or(|&last| message.id() <= last) {
            // The parent sees that this process ended by itself.
            eprintln!("out of sequence: {message:?} came after id {last:?}");
            std::process::exit(1);
        }
        if !kept {
            self.received[message.lane() as usize] = message.id();
        }
    }
}
