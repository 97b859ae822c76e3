//! `aether recv`: a ring onto standard output.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aether_ipc::{Buffer, Consumer, Error, Flow};
use clap::Args;

use crate::{
    exit::{Exit, Failure, Result},
    frame::OutFrame,
    interrupt::{Interrupt, LOOK},
    losses::Losses,
    progress::Progress,
    system,
};

const EXAMPLES: &str = "\
Examples:
  aether recv quotes > quotes.csv
  aether recv quotes --wait 5s --frame json | jq .id
  aether recv bus --name audit --follow >> audit.log
  aether recv jobs --count 1 --until-idle 0s";

/// Receive a ring's messages on standard output
///
/// As with a named pipe, `recv` waits for a first message or producer if there is none, and ends when the ring is empty
/// and no process produces any more. `--follow` goes on for ever, `--until-idle` ends when nothing came for a while:
/// `--until-idle 0s` takes what is there.
///
/// Messages leave the ring when standard output has taken them, up to 256KiB at a time. If that fails, because the
/// disk is full or the reader went away, they stay in the ring, and so come again if a part of them was written. A
/// reader that goes away is no error. SIGINT and SIGTERM end it between two writes, a second one at once.
///
/// In a ring for many consumers, `recv` gets what is sent from when it joined; with `--name`, its place is kept while
/// it is away. In one for a single consumer the place is always kept.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Recv {
    /// The ring's file
    path: PathBuf,
    /// How messages are written
    #[arg(long, value_enum, default_value_t = OutFrame::Lines)]
    frame: OutFrame,
    /// The same as --frame json
    #[arg(long, conflicts_with = "frame")]
    json: bool,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Go on when the ring is empty and nobody produces
    #[arg(long)]
    follow: bool,
    /// End when no message came for so long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "follow")]
    until_idle: Option<Duration>,
    /// Wait so long for the ring to be made
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Be the durable consumer of this name, in a ring for many
    #[arg(long)]
    name: Option<String>,
}

/// Bytes written before what they came from is released.
const CHUNK: usize = 256 << 10;

pub(crate) fn run(args: &Recv) -> Result {
    let interrupt = Interrupt::catch()?;
    let buffer = match args.wait {
        Some(patience) => connect(&args.path, patience, &interrupt)?,
        None => Buffer::open(&args.path)?,
    };
    let consumer = match &args.name {
        Some(name) => buffer.consumer_named(name)?,
        None => buffer.consumer()?,
    };
    let mut receiver = Receiver {
        consumer,
        interrupt,
        output: ManuallyDrop::new(BufWriter::with_capacity(CHUNK, system::stdout().map_err(Failure::Output)?)),
        frame: if args.json { OutFrame::Json } else { args.frame },
        losses: Losses::default(),
        received: 0,
    };
    receiver.receive(args)
}

fn connect(path: &Path, patience: Duration, interrupt: &Interrupt) -> Result<Buffer> {
    let started = Instant::now();
    loop {
        let left = patience.saturating_sub(started.elapsed());
        match Buffer::connect(path, left.min(LOOK)) {
            Err(Error::TimedOut { .. }) if started.elapsed() >= patience => {
                return Err(Failure::NotMade { path: path.to_owned(), patience });
            }
            Err(Error::TimedOut { .. }) if interrupt.is_set() => {
                return Err(Failure::Interrupted("there is no ring yet".to_owned()));
            }
            Err(Error::TimedOut { .. }) => {}
            opened => return Ok(opened?),
        }
    }
}

struct Receiver {
    consumer: Consumer,
    interrupt: Interrupt,
    /// Never dropped: what it holds after a failed write is still in the ring, and must not be written after all.
    output: ManuallyDrop<BufWriter<File>>,
    frame: OutFrame,
    losses: Losses,
    received: usize,
}

impl Receiver {
    fn receive(&mut self, args: &Recv) -> Result {
        let mut progress = Progress::new(&io::stdout(), None);
        let wanted = args.count.unwrap_or(usize::MAX);
        let mut last_message = Instant::now();
        let mut expects_end = false;
        while self.received < wanted {
            if self.interrupt.is_set() {
                return Err(Failure::Interrupted(format!("{} messages were received", self.received)));
            }
            let (messages, bytes) = self.pass_on(wanted - self.received)?;
            progress.add(messages as u64, bytes as u64);
            if messages > 0 {
                self.received += messages;
                last_message = Instant::now();
                continue;
            }
            if !expects_end && !args.follow && args.until_idle.is_none() {
                expects_end = self.received > 0 || self.consumer.has_producer()?;
                self.consumer.require_producer(expects_end);
            }
            let patience = args.until_idle.map(|patience| patience.saturating_sub(last_message.elapsed()));
            match self.consumer.wait_within(patience.unwrap_or(LOOK).min(LOOK)) {
                Ok(()) => {}
                Err(Error::Closed) => break,
                Err(Error::TimedOut { .. }) if patience.is_some_and(|patience| patience.is_zero()) => break,
                Err(Error::TimedOut { .. }) => {}
                Err(Error::Lagged { bytes }) => self.losses.add(bytes),
                Err(error) => return Err(error.into()),
            }
        }
        let too_few = args.count.is_some_and(|wanted| self.received < wanted);
        let nothing = args.until_idle.is_some() && self.received == 0 && wanted > 0;
        Ok(if too_few || nothing { Exit::WouldBlock } else { Exit::Done })
    }

    /// Writes what is there, and releases it when it is written. Returns how many messages and bytes that were.
    fn pass_on(&mut self, limit: usize) -> Result<(usize, usize)> {
        let batch = match self.consumer.batch(limit) {
            Ok(batch) => batch,
            Err(Error::Lagged { bytes }) => {
                self.losses.add(bytes);
                return Ok((0, 0));
            }
            Err(error) => return Err(error.into()),
        };
        let mut messages = 0;
        let mut bytes = 0;
        let mut write = || {
            for message in &batch {
                bytes += self.frame.write(&(&message).into(), &mut *self.output)?;
                messages += 1;
                if bytes >= CHUNK {
                    break;
                }
            }
            self.output.flush()
        };
        if let Err(error) = write() {
            batch.keep();
            return Err(Failure::Output(error));
        }
        if messages == 0 && !batch.is_empty() {
            drop(batch);
            // The batch ended before a bad record; this says what is wrong with it.
            self.consumer.poll(|_| Flow::Keep)?;
        }
        Ok((messages, bytes))
    }
}
