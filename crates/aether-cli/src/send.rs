//! `aether send`: standard input into a ring.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
};

use aether_ipc::{Buffer, Error, Producer};
use clap::Args;
use serde_json::json;

use crate::{
    exit::{Exit, Failure, Result},
    frame::{InFrame, Splitter, size_of_text},
    interrupt::{Interrupt, LOOK},
    output,
    progress::Progress,
    system,
};

const EXAMPLES: &str = "\
Examples:
  aether send quotes < quotes.csv
  tail -f app.log | aether send log --create 16MiB
  aether send files --frame whole < photo.jpg
  sensor | aether send samples --frame fixed:16 --no-wait";

/// Send standard input into a ring
///
/// What is complete is published as soon as it was read. When the ring is full, `send` waits until a consumer has made
/// space, however long that takes.
///
/// Framing: `lines` sends each line without its newline, which `recv --frame lines` puts back; a last line without one
/// gets one there. `length` reads records of 4 bytes of length, little-endian, and as many bytes. `fixed:N` makes
/// records of N bytes, and a last one of what is left. `whole` sends the whole input as one message or, where it is
/// larger than the ring can take, as pieces that `recv --frame raw` puts together. All but `lines` keep every byte.
///
/// SIGINT and SIGTERM end it between two messages, and it says how many were sent.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Send {
    /// The ring's file
    path: PathBuf,
    /// Make the ring if it is not there, with so many bytes of data: a power of two
    #[arg(long, value_name = "SIZE", value_parser = size_of_text)]
    create: Option<u64>,
    /// How the input is cut into messages: lines, length, fixed:N or whole
    #[arg(long, default_value = "lines")]
    frame: InFrame,
    /// The type of each message
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    r#type: i32,
    /// The id of the first message; the next ones count up
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    first_id: i64,
    /// Drop messages that find the ring full, and count them, instead of waiting; their ids are left out
    #[arg(long)]
    no_wait: bool,
    /// Print how many were sent and dropped, and the next id, as a JSON object at the end
    #[arg(long)]
    json: bool,
}

/// Most messages published together; fewer if the input has no more at the moment.
const BATCH: usize = 256;
const CHUNK: usize = 256 << 10;

pub(crate) fn run(args: &Send) -> Result {
    let interrupt = Interrupt::catch()?;
    let producer = open(&args.path, args.create)?.producer()?;
    let mut splitter = Splitter::new(args.frame, producer.max_payload())?;
    let mut sender = Sender {
        producer,
        interrupt,
        message_type: args.r#type,
        next_id: args.first_id,
        no_wait: args.no_wait,
        sent: 0,
        dropped: 0,
    };
    sender.send_input(&mut splitter)?;
    if splitter.ended_within_line() {
        eprintln!(
            "aether: the last line has no newline; `recv --frame lines` gives it one (`--frame whole` keeps every byte)"
        );
    }
    if args.json {
        output::json(&json!({ "sent": sender.sent, "dropped": sender.dropped, "next_id": sender.next_id }))?;
    } else if sender.dropped > 0 {
        eprintln!("aether: dropped {} of {} messages: the ring was full", sender.dropped, sender.dropped + sender.sent);
    }
    Ok(if sender.dropped > 0 { Exit::WouldBlock } else { Exit::Done })
}

/// A ring that is there is taken as it is, if it has the capacity asked for.
pub(crate) fn open(path: &Path, create: Option<u64>) -> Result<Buffer> {
    let Some(capacity) = create else { return Ok(Buffer::open(path)?) };
    let options = Buffer::options().capacity(capacity);
    match options.open(path) {
        Err(Error::NotFound { .. }) => Ok(options.create(path)?),
        opened => Ok(opened?),
    }
}

struct Sender {
    producer: Producer,
    interrupt: Interrupt,
    message_type: i32,
    next_id: i64,
    no_wait: bool,
    sent: u64,
    dropped: u64,
}

impl Sender {
    fn send_input(&mut self, splitter: &mut Splitter) -> Result<()> {
        let mut progress = Progress::new(&io::stdin(), system::size_of_stdin());
        let (chunks, input) = sync_channel(2);
        let (spare, spares) = sync_channel(4);
        // A thread of its own, since a read of a quiet input can't be interrupted on every system.
        thread::spawn(move || read_input(&chunks, &spares));
        loop {
            match input.recv_timeout(LOOK) {
                Ok(read) => {
                    let (chunk, length) = read.map_err(Failure::Input)?;
                    splitter.push(&chunk[..length]);
                    let before = self.sent;
                    self.send_complete(splitter)?;
                    progress.add(self.sent - before, length as u64);
                    // Full or closed: then that buffer is not needed any more.
                    let _ = spare.try_send(chunk);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    splitter.end();
                    return self.send_complete(splitter);
                }
            }
            if self.interrupt.is_set() {
                return Err(self.interrupted(splitter.rest()));
            }
        }
    }

    /// Sends every message that has been read in full.
    fn send_complete(&mut self, splitter: &mut Splitter) -> Result<()> {
        let mut batch = self.producer.batch();
        loop {
            let message = match splitter.next() {
                Ok(Some(message)) => message,
                end => {
                    self.sent += batch.commit() as u64;
                    return end.map(drop);
                }
            };
            match batch.push(self.next_id, self.message_type, message) {
                Ok(()) => {
                    self.next_id = self.next_id.wrapping_add(1);
                    if batch.len() < BATCH {
                        continue;
                    }
                    self.sent += batch.commit() as u64;
                }
                Err(Error::Full) => {
                    self.sent += batch.commit() as u64;
                    self.send_one(message)?;
                }
                Err(error) => {
                    self.sent += batch.commit() as u64;
                    return Err(error.into());
                }
            }
            batch = self.producer.batch();
        }
    }

    fn send_one(&mut self, message: &[u8]) -> Result<()> {
        loop {
            let put = match self.no_wait {
                true => self.producer.offer(self.next_id, self.message_type, message),
                false => self.producer.put_within(LOOK, self.next_id, self.message_type, message),
            };
            match put {
                Ok(()) => self.sent += 1,
                Err(Error::Full) => self.dropped += 1,
                Err(Error::TimedOut { .. }) if self.interrupt.is_set() => return Err(self.interrupted(message.len())),
                Err(Error::TimedOut { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            self.next_id = self.next_id.wrapping_add(1);
            return Ok(());
        }
    }

    #[cold]
    fn interrupted(&self, rest: usize) -> Failure {
        let unsent = if rest == 0 { String::new() } else { format!(", and at least {rest} bytes read were not") };
        Failure::Interrupted(format!("{} messages were sent{unsent}; the next id is {}", self.sent, self.next_id))
    }
}

fn read_input(chunks: &SyncSender<io::Result<(Vec<u8>, usize)>>, spares: &Receiver<Vec<u8>>) {
    let mut input = io::stdin().lock();
    loop {
        let mut chunk = spares.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
        let read = match input.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => Ok((chunk, length)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        // An error means that nobody wants more.
        if chunks.send(read).is_err() || failed {
            return;
        }
    }
}
