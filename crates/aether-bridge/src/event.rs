//! What happens on the way that ends nothing: for people to read.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::Totals;

/// Something that a half of a bridge tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The other side has answered, for the first time or after a silence.
    Linked,
    /// Nobody has answered for some seconds. Messages stay in the ring meanwhile.
    Silent,
    /// Frames came that are none, so many by now.
    Malformed {
        /// How many.
        frames: u64,
        /// What is wrong with the last one.
        reason: String,
    },
    /// Another ring takes part under the same key, which can be used by one only.
    Crowded,
    /// A sender was turned away, so many by now. The ring goes on for the one that it is a copy of.
    TurnedAway {
        /// How many frames.
        frames: u64,
        /// Why the last one was.
        reason: String,
    },
    /// A new copy begins, and not with the first message that its source ever had.
    Begins {
        /// The lane.
        lane: u32,
        /// Where in the source, in bytes; what stood before is not in this copy.
        before: u64,
    },
    /// Another copy answers than did before. It gets what the first one had not committed.
    Succeeded,
    /// So much was carried by now. This comes now and then while messages pass.
    Progress(Totals),
    /// Messages were dropped, so many by now: with best effort only.
    Dropped {
        /// How many.
        messages: u64,
    },
    /// A ring that drops the oldest messages did so before they were read, so many bytes by now.
    Lagged {
        /// Headers and padding counted.
        bytes: u64,
    },
    /// A ring of a directory can go on no further.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Event {
    /// A name that stays, for programs: the words are for people, and may change.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Linked => "linked",
            Event::Silent => "silent",
            Event::Malformed { .. } => "malformed",
            Event::Crowded => "crowded",
            Event::TurnedAway { .. } => "turned_away",
            Event::Begins { .. } => "begins",
            Event::Succeeded => "succeeded",
            Event::Progress(_) => "progress",
            Event::Dropped { .. } => "dropped",
            Event::Lagged { .. } => "lagged",
            Event::Failed { .. } => "failed",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Linked => write!(f, "the other side answers"),
            Event::Silent => write!(f, "the other side does not answer; messages wait in the ring"),
            Event::Malformed { frames, reason } => {
                write!(f, "{frames} frames were thrown away; the last one is {reason}")
            }
            Event::Crowded => {
                write!(f, "another ring takes part under this key; it is left out: each ring needs a key of its own")
            }
            Event::TurnedAway { frames, reason } => {
                write!(f, "{frames} frames were turned away, and who sent them was told; the last one: {reason}")
            }
            Event::Begins { lane, before } => write!(
                f,
                "lane {lane} becomes a copy from position {before} of the source on; what the source had released before is not in it"
            ),
            Event::Succeeded => {
                write!(f, "another ring answers from now on; it gets what the one before it had not committed")
            }
            Event::Progress(totals) => write!(f, "{} messages were carried by now", totals.messages),
            Event::Dropped { messages } => write!(f, "{messages} messages were dropped by now"),
            Event::Lagged { bytes } => write!(f, "{bytes} bytes were overwritten before they were read"),
            Event::Failed { reason } => f.write_str(reason),
        }
    }
}

/// Numbers that are worth telling: 1, 2, 4, 8, ...
pub(crate) fn is_worth_telling(before: u64, now: u64) -> bool {
    before.checked_ilog2() != now.checked_ilog2()
}

/// Who is told, and about which key.
pub type Listener<'l> = dyn Fn(&str, Event) + Send + Sync + 'l;

/// Tells how much was carried, now and then.
#[derive(Default)]
pub(crate) struct Progress {
    told: Totals,
    when: Option<Instant>,
}

const BETWEEN_TELLINGS: Duration = Duration::from_secs(1);

impl Progress {
    pub(crate) fn tell(&mut self, key: &str, totals: Totals, listener: &Listener<'_>) {
        if totals != self.told && self.when.is_none_or(|when| when.elapsed() >= BETWEEN_TELLINGS) {
            (self.told, self.when) = (totals, Some(Instant::now()));
            listener(key, Event::Progress(totals));
        }
    }
}
