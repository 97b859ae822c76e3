//! `aether peek` and `aether tail`: a look at messages that takes none and holds nobody back.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

use aether_ipc::{Error, Flow, Message, Observer};
use clap::Args;

use crate::{
    exit::{Exit, Failure, Result},
    frame::OutFrame,
    interrupt::Interrupt,
    losses::Losses,
    system,
};

const PEEK_EXAMPLES: &str = "\
Examples:
  aether peek quotes --count 3
  aether peek quotes --frame raw | sha256sum";

const TAIL_EXAMPLES: &str = "\
Examples:
  aether tail quotes
  aether tail quotes --from-oldest --count 100 --frame lines";

/// Show the messages that wait, without taking them
///
/// They are those that the slowest consumer has not released, lane by lane. It needs read permission only.
#[derive(Args)]
#[command(after_help = PEEK_EXAMPLES)]
pub(crate) struct Peek {
    /// The ring's file
    path: PathBuf,
    /// How messages are written
    #[arg(long, value_enum, default_value_t = OutFrame::Json)]
    frame: OutFrame,
    /// Show so many at most
    #[arg(long, value_name = "N")]
    count: Option<usize>,
}

/// Watch live traffic, without taking it or holding it back
///
/// Shows what is committed from now on, until it is interrupted. What passes faster than it can be written out is left
/// out, and standard error says how much that was. It needs read permission only.
#[derive(Args)]
#[command(after_help = TAIL_EXAMPLES)]
pub(crate) struct Tail {
    /// The ring's file
    path: PathBuf,
    /// How messages are written
    #[arg(long, value_enum, default_value_t = OutFrame::Json)]
    frame: OutFrame,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Start with the oldest message that is still whole in the ring, released or not
    #[arg(long)]
    from_oldest: bool,
}

/// Nobody rings for an observer, which can't write that it sleeps.
const NAP: Duration = Duration::from_millis(2);

pub(crate) fn peek(args: &Peek) -> Result {
    let observer = Observer::open(&args.path)?;
    let mut show = Show::new(args.frame)?;
    let peeked = observer.peek(args.count.unwrap_or(usize::MAX), |message| show.message(&message));
    show.flush()?;
    peeked?;
    Ok(Exit::Done)
}

pub(crate) fn tail(args: &Tail) -> Result {
    let interrupt = Interrupt::catch()?;
    let observer = Observer::open(&args.path)?;
    let mut tail = if args.from_oldest { observer.tail_from_oldest() } else { observer.tail() };
    let mut show = Show::new(args.frame)?;
    let mut losses = Losses::default();
    let mut left = args.count.unwrap_or(usize::MAX);
    while left > 0 {
        if interrupt.is_set() {
            return Err(Failure::Interrupted("nothing was taken".to_owned()));
        }
        let shown = match tail.poll(left.min(1024), |message| show.message(&message)) {
            Err(Error::Lagged { bytes }) => {
                losses.add(bytes);
                continue;
            }
            other => other,
        };
        show.flush()?;
        let shown = shown?;
        left -= shown;
        if shown == 0 {
            thread::sleep(NAP);
        }
    }
    Ok(Exit::Done)
}

/// Writes messages from within a handler, which can only stop but not fail.
struct Show {
    frame: OutFrame,
    output: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Show {
    fn new(frame: OutFrame) -> Result<Show> {
        let output = BufWriter::with_capacity(64 << 10, system::stdout().map_err(Failure::Output)?);
        Ok(Show { frame, output, failed: None })
    }

    fn message(&mut self, message: &Message<'_>) -> Flow {
        match self.frame.write(&message.into(), &mut self.output) {
            Ok(_) => Flow::Continue,
            Err(error) => {
                self.failed = Some(error);
                Flow::Break
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        let failed = self.failed.take().map_or(Ok(()), Err);
        failed.and_then(|()| self.output.flush()).map_err(Failure::Output)
    }
}
