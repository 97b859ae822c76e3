//! `aether record`: a ring's messages into a journal.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use aether_ipc::{
    Buffer, CHECKSUM_SIZE, Consumer, Error, Flow, HEADER_SIZE, Info, Message, Observer, Overflow, ReadAhead, Tail,
};
use aether_journal::{Compression, Keep, Options, Reader, Record as Entry, Source, Sync, Writer, prune};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{nanoseconds, prune::Kept};
use crate::{
    exit::{Exit, Failure, Result},
    frame::size_of_text,
    interrupt::{Interrupt, LOOK},
    losses::Losses,
    output,
    progress::Progress,
    system,
};

const EXAMPLES: &str = "\
Examples:
  aether record quotes -o quotes.journal
  aether record bus --name journal -o bus.journal --roll-size 1GiB --keep-size 100GiB --sync block
  aether record bus --tail -o bus.journal --compress none";

/// Record a ring's messages in a journal, with the time of each
///
/// They leave the ring when the journal has them, and not before: a recorder that is killed goes on where it was, and
/// the journal has each message once, in the order of its lane. A block that a kill has torn is cut off when recording
/// goes on.
///
/// In a ring for one consumer, `record` is that consumer. In a ring for many it needs a --name, so that its place is
/// kept while it is away. With --tail it looks on instead: it holds nobody back, needs to read the ring only, and leaves
/// out what passes faster than it can be recorded; so it always is with a ring that drops the oldest.
///
/// It goes on until SIGINT or SIGTERM, which is its proper end, or until --until-idle. Then it writes what it has, and
/// an index.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Record {
    /// The ring's file
    path: PathBuf,
    /// The journal: a new one, or one of the same ring, which is continued
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Be the durable consumer of this name, in a ring for many
    #[arg(long)]
    name: Option<String>,
    /// Look on instead of consuming
    #[arg(long, conflicts_with = "name")]
    tail: bool,
    /// How blocks are compressed: none, zstd, or zstd:LEVEL
    #[arg(long, value_name = "HOW", default_value = "zstd", value_parser = compression_of_text)]
    compress: Compression,
    /// What a message waits for before it leaves the ring
    #[arg(long, value_enum, default_value_t = When::Never)]
    sync: When,
    /// Begin a new file when the one at hand has reached this size
    #[arg(long, value_name = "SIZE", value_parser = size_of_text)]
    roll_size: Option<u64>,
    /// Begin a new file when the one at hand began so long ago
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    roll_interval: Option<Duration>,
    #[command(flatten)]
    kept: Kept,
    /// Bytes of a block before it is compressed
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size_of_text)]
    block: u64,
    /// Write a block that is not full when its first message has waited so long
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    linger: Duration,
    /// End when no message came for so long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    until_idle: Option<Duration>,
    /// Print how many were recorded, as a JSON object at the end
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum When {
    /// For the system to have it: it survives a kill of the recorder, but maybe not a crash of the machine
    Never,
    /// For the disk to have it: it survives a crash of the machine too
    Block,
}

fn compression_of_text(text: &str) -> Result<Compression, String> {
    match text {
        "none" => Ok(Compression::None),
        "zstd" => Ok(Compression::Zstd(1)),
        _ => text
            .strip_prefix("zstd:")
            .and_then(|level| level.parse().ok())
            .filter(|level| (1..=19).contains(level))
            .map(Compression::Zstd)
            .ok_or_else(|| "expected none, zstd, or zstd:LEVEL with a level from 1 to 19".to_owned()),
    }
}

/// Most messages that get the same time.
const STEP: usize = 256;

pub(crate) fn run(args: &Record) -> Result {
    let keep = args.kept.limits();
    if keep.is_some() && args.roll_size.is_none() && args.roll_interval.is_none() {
        return Err(Failure::Usage(
            "--keep-size and --keep-for remove whole files: add --roll-size or --roll-interval".to_owned(),
        ));
    }
    let interrupt = Interrupt::catch()?;
    let info = Observer::open(&args.path)?.info()?;
    let mut ring = Ring::open(args, &info)?;
    let mut options = Options::default();
    options.compression = args.compress;
    options.block_size = usize::try_from(args.block).unwrap_or(usize::MAX);
    options.roll_size = args.roll_size;
    options.roll_interval = args.roll_interval;
    options.sync = match args.sync {
        When::Never => Sync::Never,
        When::Block => Sync::Block,
    };
    let source = source(&args.path, &info)?;
    let writer = Writer::open(&args.output, source, options)?;
    if writer.cut() > 0 {
        eprintln!("aether: {}: cut off {} torn bytes at its end", args.output.display(), writer.cut());
    }
    ring.resume(&writer, &args.output)?;
    let mut recorder = Recorder {
        begun: writer.file().to_owned(),
        writer,
        journal: args.output.clone(),
        keep,
        first_pending: None,
        losses: Losses::default(),
        failed: None,
    };
    let before = recorder.writer.messages();
    let end = recorder.record(&mut ring, args, &interrupt);
    // Also after a failure: what was read before may be all that is left of it, if it is the ring that failed.
    let written = recorder.writer.write_block();
    let messages = recorder.writer.messages();
    end?;
    written?;
    recorder.writer.finish()?;
    let recorded = messages - before;
    match args.json {
        true => output::json(&json!({ "recorded": recorded, "messages": messages }))?,
        false => eprintln!("aether: recorded {recorded} messages; the journal has {messages}"),
    }
    Ok(Exit::Done)
}

/// What tells this ring from another one that was made at the same path.
fn source(path: &Path, info: &Info) -> Result<Source> {
    let identity = system::identity(path).map_err(|error| Failure::Words(format!("{}: {error}", path.display())))?;
    let overhead = HEADER_SIZE + if info.checksums { CHECKSUM_SIZE } else { 0 };
    Ok(Source { identity, overhead: overhead as u32 })
}

/// Where messages come from.
enum Ring {
    /// They stay in the ring until the journal has them.
    Consumed { ahead: ReadAhead, half: u64 },
    /// Nobody waits.
    Watched { observer: Observer, tail: Tail },
}

impl Ring {
    fn open(args: &Record, info: &Info) -> Result<Ring> {
        let waits = info.overflow == Overflow::Wait;
        if !waits && args.name.is_some() {
            let path = args.path.display();
            return Err(Failure::Usage(format!(
                "{path}: a ring that drops the oldest keeps nothing for --name; leave that out"
            )));
        }
        if args.tail || !waits {
            let observer = Observer::open(&args.path)?;
            let tail = observer.tail();
            return Ok(Ring::Watched { observer, tail });
        }
        let consumer = consumer(args, info)?;
        Ok(Ring::Consumed { ahead: ReadAhead::new(consumer)?, half: info.capacity / 2 })
    }

    /// Goes on behind what the journal has.
    fn resume(&mut self, writer: &Writer, journal: &Path) -> Result<()> {
        match self {
            Ring::Consumed { ahead, .. } => {
                if !is_same(ahead, journal)? {
                    return Err(another_ring(journal));
                }
                for lane in 0..ahead.lanes() {
                    let Some(end) = writer.end_of(lane) else { continue };
                    // If the ring is further on than the journal, somebody else took messages: a gap.
                    let is_ahead = end.wrapping_sub(ahead.released(lane)).cast_signed() > 0;
                    if is_ahead && ahead.release_to(lane, end)?.is_none() {
                        return Err(another_ring(journal));
                    }
                }
            }
            // What is still in the ring may have passed while nobody recorded. What the journal has, it leaves out.
            Ring::Watched { observer, tail } if writer.messages() > 0 => *tail = observer.tail_from_oldest(),
            Ring::Watched { .. } => {}
        }
        Ok(())
    }
}

/// Whether messages that both the ring and the journal's last block have are the same.
fn is_same(ahead: &mut ReadAhead, journal: &Path) -> Result<bool> {
    let mut reader = Reader::open(journal)?;
    reader.seek_last_block()?;
    while let Some(record) = reader.next()? {
        let lane = record.lane;
        if lane >= ahead.lanes() {
            return Ok(false);
        }
        if record.position.wrapping_sub(ahead.released(lane)).cast_signed() < 0 {
            continue;
        }
        let mut is_same = false;
        ahead.read(lane, usize::MAX, |message| {
            if message.position().wrapping_sub(record.position).cast_signed() < 0 {
                return Flow::Continue;
            }
            is_same = (message.position(), message.id(), message.message_type(), message.payload())
                == (record.position, record.id, record.message_type, record.payload);
            Flow::Break
        })?;
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn another_ring(journal: &Path) -> Failure {
    Failure::Words(format!(
        "{}: its last messages are not those that stand at the same positions in the ring: it is the journal of another \
         ring, or the ring was restored from a copy; record into another file",
        journal.display()
    ))
}

fn consumer(args: &Record, info: &Info) -> Result<Consumer> {
    let buffer = Buffer::open(&args.path)?;
    match &args.name {
        Some(name) => Ok(buffer.consumer_named(name)?),
        None if info.consumer_slots == 1 => Ok(buffer.consumer()?),
        None => Err(Failure::Usage(format!(
            "{}: in a ring for many consumers a recorder needs a --name, by which its place is kept while it is away \
             (or --tail, to look on only)",
            args.path.display()
        ))),
    }
}

struct Recorder {
    writer: Writer,
    journal: PathBuf,
    keep: Option<Keep>,
    /// The file that was written when it was last looked which ones to keep.
    begun: PathBuf,
    /// Since when the block at hand has waited to be written.
    first_pending: Option<Instant>,
    losses: Losses,
    failed: Option<aether_journal::Error>,
}

impl Recorder {
    fn record(&mut self, ring: &mut Ring, args: &Record, interrupt: &Interrupt) -> Result<()> {
        let mut progress = Progress::new(&io::stdout(), None);
        let mut last_message = Instant::now();
        while !interrupt.is_set() {
            let (messages, bytes) = self.read(ring)?;
            if messages > 0 {
                last_message = Instant::now();
                progress.add(messages as u64, bytes);
            }
            let waited = self.first_pending.map(|since| since.elapsed());
            if self.writer.is_full() || is_pressed(ring) || waited.is_some_and(|waited| waited >= args.linger) {
                self.write(ring)?;
            } else if messages == 0 {
                let idle = last_message.elapsed();
                if args.until_idle.is_some_and(|patience| idle >= patience) {
                    break;
                }
                let until_idle = args.until_idle.map_or(LOOK, |patience| patience - idle);
                let until_write = waited.map_or(LOOK, |waited| args.linger - waited);
                self.wait(ring, LOOK.min(until_idle).min(until_write))?;
            }
        }
        self.write(ring)
    }

    /// Takes what there is, up to the end of the block, into the block at hand. Returns how many messages and bytes.
    fn read(&mut self, ring: &mut Ring) -> Result<(usize, u64)> {
        let (mut messages, mut bytes) = (0, 0);
        match ring {
            Ring::Consumed { ahead, .. } => {
                for lane in 0..ahead.lanes() {
                    let time = nanoseconds(SystemTime::now());
                    let read = ahead.read(lane, STEP, |message| self.take(&message, time, &mut bytes));
                    self.failed.take().map_or(Ok(()), Err)?;
                    messages += read?;
                }
            }
            Ring::Watched { tail, .. } => {
                let time = nanoseconds(SystemTime::now());
                let read = tail.poll(STEP, |message| self.take(&message, time, &mut bytes));
                self.failed.take().map_or(Ok(()), Err)?;
                match read {
                    Err(Error::Lagged { bytes }) => self.losses.add(bytes),
                    read => messages += read?,
                }
            }
        }
        Ok((messages, bytes))
    }

    #[inline]
    fn take(&mut self, message: &Message<'_>, time: u64, bytes: &mut u64) -> Flow {
        if self.writer.is_full() {
            return Flow::Keep;
        }
        let entry = Entry {
            time,
            id: message.id(),
            message_type: message.message_type(),
            lane: message.lane(),
            position: message.position(),
            payload: message.payload(),
        };
        match self.writer.append(&entry) {
            Ok(added) => {
                if added {
                    self.first_pending.get_or_insert_with(Instant::now);
                    *bytes += message.payload().len() as u64;
                }
                Flow::Continue
            }
            Err(error) => {
                self.failed = Some(error);
                Flow::Keep
            }
        }
    }

    /// Writes the block, and releases what it holds when it is written.
    fn write(&mut self, ring: &mut Ring) -> Result<()> {
        self.writer.write_block()?;
        self.first_pending = None;
        if let Ring::Consumed { ahead, .. } = ring {
            for lane in 0..ahead.lanes() {
                ahead.release_to(lane, ahead.position(lane))?;
            }
        }
        self.prune();
        Ok(())
    }

    /// Removes old files when a new one was begun. What can't be removed is no reason to lose what comes.
    fn prune(&mut self) {
        let Some(keep) = &self.keep else { return };
        if self.begun == self.writer.file() {
            return;
        }
        self.begun = self.writer.file().to_owned();
        if let Err(error) = prune(&self.journal, keep, self.writer.last_time()) {
            eprintln!("aether: old files are not removed: {error}");
        }
    }

    fn wait(&mut self, ring: &mut Ring, patience: Duration) -> Result<()> {
        /// Nobody rings for an observer.
        const NAP: Duration = Duration::from_millis(2);
        match ring {
            Ring::Consumed { ahead, .. } => match ahead.wait_within(patience) {
                Ok(()) | Err(Error::TimedOut { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Ring::Watched { .. } => {
                thread::sleep(NAP.min(patience));
                Ok(())
            }
        }
    }
}

/// Whether so much of a lane waits for the block to be written that its producer may soon wait too.
fn is_pressed(ring: &Ring) -> bool {
    match ring {
        Ring::Consumed { ahead, half } => {
            (0..ahead.lanes()).any(|lane| ahead.position(lane).wrapping_sub(ahead.released(lane)) >= *half)
        }
        Ring::Watched { .. } => false,
    }
}
