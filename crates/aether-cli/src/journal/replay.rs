//! `aether replay`: a journal's messages into a ring.

use std::{
    io,
    path::PathBuf,
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use aether_ipc::{Error, Producer};
use aether_journal::Record;
use clap::Args;
use serde_json::json;

use super::selection::{Follow, Selected, Selection};
use crate::{
    exit::{Exit, Failure, Result},
    frame::size_of_text,
    interrupt::{Interrupt, LOOK},
    output,
    progress::Progress,
    send,
};

const EXAMPLES: &str = "\
Examples:
  aether replay quotes.journal /dev/shm/again --create 16MiB
  aether replay quotes.journal again --speed max --from 1000000
  aether replay quotes.journal again --speed 2x --from-time 2026-01-31T09:30:00Z
  aether replay quotes.journal again --last 0 --follow";

/// Send the messages of a journal into a ring again
///
/// Ids, types and payloads are those that were recorded, in the order in which they were recorded; all go through one
/// lane. They are sent at the pace at which they were recorded, or a multiple of it, or as fast as the ring takes them.
/// When the ring is full, `replay` waits until a consumer has made space.
///
/// Where ids do not grow, --from starts with the first message whose id is at least that, in the order of the journal.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Replay {
    /// The journal
    file: PathBuf,
    /// The ring's file
    path: PathBuf,
    /// Make the ring if it is not there, with so many bytes of data: a power of two
    #[arg(long, value_name = "SIZE", value_parser = size_of_text)]
    create: Option<u64>,
    /// How fast: 1x, 2x, 0.5x and so on, or max
    #[arg(long, default_value = "1x")]
    speed: Speed,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    follow: Follow,
    /// Print how many were sent, as a JSON object at the end
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    Max,
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        let factor = text.strip_suffix('x').and_then(|number| number.parse().ok());
        factor
            .filter(|factor: &f64| (0.001..=1e6).contains(factor))
            .map(Speed::Times)
            .ok_or_else(|| "expected max, or a multiple such as 1x, 10x or 0.5x, from 0.001x to 1000000x".to_owned())
    }
}

/// Most messages published together.
const BATCH: usize = 256;

pub(crate) fn run(args: &Replay) -> Result {
    let interrupt = Interrupt::catch()?;
    let mut selected = args.selection.open(&args.file)?;
    let producer = send::open(&args.path, args.create)?.producer()?;
    let mut player = Player { producer, interrupt, sent: 0 };
    let played = player.play_all(&mut selected, args);
    selected.say_skipped();
    played?;
    match args.json {
        true => output::json(&json!({ "sent": player.sent }))?,
        false => eprintln!("aether: {} messages were sent", player.sent),
    }
    Ok(Exit::Done)
}

struct Player {
    producer: Producer,
    interrupt: Interrupt,
    sent: u64,
}

/// When the first message was sent, and when it was recorded.
type Pace = Option<(Instant, u64)>;

impl Player {
    fn play_all(&mut self, selected: &mut Selected, args: &Replay) -> Result<()> {
        let mut progress = Progress::new(&io::stdout(), None);
        let mut pace = None;
        let mut last_message = Instant::now();
        loop {
            let before = self.sent;
            self.play(selected, args.speed, &mut pace, &mut progress)?;
            if self.sent > before {
                last_message = Instant::now();
            }
            if !selected.wait(&args.follow, last_message, &self.interrupt)? {
                break;
            }
        }
        match self.interrupt.is_set() {
            true => Err(Failure::Interrupted(format!("{} messages were sent", self.sent))),
            false => Ok(()),
        }
    }

    /// Up to what is there now.
    fn play(&mut self, selected: &mut Selected, speed: Speed, pace: &mut Pace, progress: &mut Progress) -> Result<()> {
        let mut batch = self.producer.batch();
        let end = loop {
            let record = match selected.next() {
                Ok(Some((_, record))) => record,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            if self.interrupt.is_set() {
                break Err(interrupted(self.sent + batch.len() as u64, &record));
            }
            progress.add(1, record.payload.len() as u64);
            if let Speed::Times(factor) = speed {
                let (started, first) = *pace.get_or_insert((Instant::now(), record.time));
                let offset = Duration::from_nanos(record.time.saturating_sub(first)).as_secs_f64() / factor;
                // Further than an `Instant` reaches is after the end of the process anyway.
                let due = Duration::try_from_secs_f64(offset).unwrap_or(Duration::MAX);
                if due > started.elapsed() {
                    self.sent += batch.commit() as u64;
                    while let Some(rest) = due.checked_sub(started.elapsed()).filter(|rest| !rest.is_zero()) {
                        if self.interrupt.is_set() {
                            return Err(interrupted(self.sent, &record));
                        }
                        thread::sleep(rest.min(LOOK));
                    }
                    batch = self.producer.batch();
                }
            }
            match batch.push(record.id, record.message_type, record.payload) {
                Ok(()) if batch.len() < BATCH => continue,
                Ok(()) => self.sent += batch.commit() as u64,
                Err(Error::Full) => {
                    self.sent += batch.commit() as u64;
                    self.put(&record)?;
                }
                Err(error) => break Err(error.into()),
            }
            batch = self.producer.batch();
        };
        self.sent += batch.commit() as u64;
        end
    }

    fn put(&mut self, record: &Record<'_>) -> Result<()> {
        loop {
            match self.producer.put_within(LOOK, record.id, record.message_type, record.payload) {
                Ok(()) => break,
                Err(Error::TimedOut { .. }) if self.interrupt.is_set() => return Err(interrupted(self.sent, record)),
                Err(Error::TimedOut { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.sent += 1;
        Ok(())
    }
}

#[cold]
fn interrupted(sent: u64, next: &Record<'_>) -> Failure {
    Failure::Interrupted(format!("{sent} messages were sent; the next one has id {}", next.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_multiples_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("1x".parse(), Ok(Speed::Times(1.0)));
        assert_eq!("0.5x".parse(), Ok(Speed::Times(0.5)));
        for wrong in ["", "x", "1", "0x", "-1x", "infx", "NaNx", "1e9x", "fast"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }
}
