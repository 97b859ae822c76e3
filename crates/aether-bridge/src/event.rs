//! What happens on the way that ends nothing: for people to read.

use std::fmt;

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
