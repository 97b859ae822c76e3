//! Which messages of a journal a subcommand wants, and waiting for those that come.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use aether_journal::{Reader, Record};
use clap::Args;

use super::{in_words, nanoseconds};
use crate::{
    exit::Result,
    interrupt::{Interrupt, LOOK},
};

/// Where to start and to end, and what to do about damage.
#[derive(Args)]
pub(super) struct Selection {
    /// Start with the first message whose id is at least this
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    from: Option<i64>,
    /// Start with the first message recorded at this time or later, such as 2026-01-31T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak, conflicts_with = "from")]
    from_time: Option<SystemTime>,
    /// Start with the message of this index: so many were recorded before it
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "from_time"])]
    from_index: Option<u64>,
    /// Start with the last N messages; with 0, behind them all
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "from_time", "from_index"])]
    last: Option<u64>,
    /// End before the first message recorded later than this
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    to_time: Option<SystemTime>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Leave out blocks that can't be believed, and say where they are, instead of ending there
    #[arg(long)]
    skip_damaged: bool,
}

/// Whether to wait for more at the end.
#[derive(Args)]
pub(super) struct Follow {
    /// Go on with what is recorded from now on, also in new files
    #[arg(long)]
    follow: bool,
    /// End when no message came for so long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "follow")]
    until_idle: Option<Duration>,
}

/// The messages that were asked for.
pub(super) struct Selected {
    pub(super) reader: Reader,
    /// The index of the next one.
    index: u64,
    left: u64,
    to: u64,
    is_done: bool,
    said: usize,
}

impl Selection {
    /// The journal, at the first message that was asked for.
    pub(super) fn open(&self, file: &Path) -> Result<Selected> {
        let mut reader = Reader::open(file)?;
        reader.skip_damaged(self.skip_damaged);
        if let Some(id) = self.from {
            reader.seek_id(id)?;
        } else if let Some(time) = self.from_time {
            reader.seek_time(nanoseconds(time))?;
        } else if let Some(index) = self.from_index {
            reader.seek_index(index)?;
        } else if let Some(count) = self.last {
            reader.seek_index(reader.end().saturating_sub(count))?;
        }
        let left = self.count.unwrap_or(u64::MAX);
        let to = self.to_time.map_or(u64::MAX, nanoseconds);
        Ok(Selected { index: reader.index(), reader, left, to, is_done: left == 0, said: 0 })
    }

    /// How many were asked for, at most.
    pub(super) fn count(&self) -> Option<u64> {
        self.count
    }
}

impl Selected {
    /// The next message and its index; `None` if there is none now.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u64, Record<'_>)>> {
        if self.is_done {
            return Ok(None);
        }
        let index = self.reader.index();
        let Some(record) = self.reader.next()? else { return Ok(None) };
        if record.time > self.to {
            self.is_done = true;
            return Ok(None);
        }
        self.left -= 1;
        self.is_done = self.left == 0;
        self.index = index + 1;
        Ok(Some((index, record)))
    }

    /// Behind the last message that came.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// After a change of the reader's place.
    pub(super) fn moved(&mut self) {
        self.index = self.reader.index();
    }

    /// Waits for more, if that is wanted. Whether to go on. `since` is when the last one came.
    pub(super) fn wait(&mut self, follow: &Follow, since: Instant, interrupt: &Interrupt) -> Result<bool> {
        /// Nobody rings when a journal grows.
        const NAP: Duration = Duration::from_millis(10);
        self.say_skipped();
        while follow.follow && !self.is_done && !interrupt.is_set() {
            if self.reader.refresh()? {
                return Ok(true);
            }
            let left = follow.until_idle.map_or(LOOK, |patience| patience.saturating_sub(since.elapsed()));
            if left.is_zero() {
                break;
            }
            thread::sleep(NAP.min(left));
        }
        Ok(false)
    }

    /// Says what was left out since the last time.
    pub(super) fn say_skipped(&mut self) {
        for problem in &self.reader.skipped()[self.said..] {
            eprintln!("aether: left out: {}", in_words(problem));
        }
        self.said = self.reader.skipped().len();
    }
}

impl Follow {
    pub(super) fn until_idle(&self) -> bool {
        self.until_idle.is_some()
    }
}
