//! `aether journal read`: a journal's messages on standard output.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    mem::ManuallyDrop,
    path::PathBuf,
    time::{Duration, Instant, UNIX_EPOCH},
};

use aether_journal::Cursor;
use clap::Args;

use super::selection::{Follow, Selected, Selection};
use crate::{
    exit::{Exit, Failure, Result},
    frame::{Line, OutFrame},
    interrupt::Interrupt,
    progress::Progress,
    system,
};

const EXAMPLES: &str = "\
Examples:
  aether journal read quotes.journal --last 10
  aether journal read quotes.journal --from-time 2026-01-31T09:30:00Z --to-time 2026-01-31T09:31:00Z
  aether journal read quotes.journal --last 0 --follow --frame lines
  aether journal read quotes.journal --cursor audit --follow >> audit.log";

/// Print messages, from the first on or from an id, a time, an index or the end, and follow what is recorded
///
/// Any number of processes can read a journal, also while it is recorded; they hold nobody back.
///
/// With --cursor the place is kept in the file FILE.cursor-NAME: the next one with that name goes on behind what standard
/// output has taken, up to 256KiB at a time; a new one starts where the other options say. If it is killed between writing
/// and moving the cursor, messages come again; none is left out, unless its file was removed, which is said then.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Read {
    /// The journal
    file: PathBuf,
    /// How messages are written
    #[arg(long, value_enum, default_value_t = OutFrame::Json)]
    frame: OutFrame,
    /// Go on where the last reader with this cursor was
    #[arg(long, value_name = "NAME")]
    cursor: Option<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    follow: Follow,
}

/// Bytes written before the cursor is moved.
const CHUNK: usize = 256 << 10;

pub(super) fn run(args: &Read) -> Result {
    let interrupt = Interrupt::catch()?;
    let mut selected = args.selection.open(&args.file)?;
    let cursor = args.cursor.as_ref().map(|name| Cursor::open(&args.file, name)).transpose()?;
    if let Some(cursor) = &cursor {
        let removed = cursor.seek(&mut selected.reader)?;
        if removed > 0 {
            eprintln!("aether: {removed} messages were removed from the journal before this cursor came to them");
        }
        selected.moved();
    }
    let output = BufWriter::with_capacity(CHUNK, system::stdout().map_err(Failure::Output)?);
    let mut printer = Printer { frame: args.frame, output: ManuallyDrop::new(output), cursor, printed: 0 };
    let mut progress = Progress::new(&io::stdout(), None);
    let mut last_message = Instant::now();
    loop {
        let before = printer.printed;
        let printed = printer.print(&mut selected, &interrupt, &mut progress);
        // What came before an error is written out all the same.
        printer.flush(&selected)?;
        printed?;
        if printer.printed > before {
            last_message = Instant::now();
        }
        if !selected.wait(&args.follow, last_message, &interrupt)? {
            break;
        }
    }
    if interrupt.is_set() {
        return Err(Failure::Interrupted(format!("{} messages were read", printer.printed)));
    }
    let too_few = args.selection.count().is_some_and(|wanted| printer.printed < wanted);
    let nothing = args.follow.until_idle() && printer.printed == 0;
    Ok(if too_few || nothing { Exit::WouldBlock } else { Exit::Done })
}

struct Printer {
    frame: OutFrame,
    /// Never dropped: what it holds after a failed write will come again, and must not be written after all.
    output: ManuallyDrop<BufWriter<File>>,
    cursor: Option<Cursor>,
    printed: u64,
}

impl Printer {
    /// Up to what is there now.
    fn print(&mut self, selected: &mut Selected, interrupt: &Interrupt, progress: &mut Progress) -> Result<()> {
        let mut bytes = 0;
        while let Some((index, record)) = selected.next()? {
            let time = UNIX_EPOCH + Duration::from_nanos(record.time);
            let line = Line {
                id: record.id,
                message_type: record.message_type,
                lane: record.lane,
                payload: record.payload,
                recorded: Some((index, time)),
            };
            let written = self.frame.write(&line, &mut *self.output).map_err(Failure::Output)?;
            progress.add(1, written as u64);
            self.printed += 1;
            bytes += written;
            if bytes >= CHUNK {
                self.flush(selected)?;
                bytes = 0;
                if interrupt.is_set() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self, selected: &Selected) -> Result<()> {
        self.output.flush().map_err(Failure::Output)?;
        match &mut self.cursor {
            Some(cursor) if cursor.index() != Some(selected.index()) => Ok(cursor.set(selected.index())?),
            _ => Ok(()),
        }
    }
}
