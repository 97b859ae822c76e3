#![doc = include_str!("lib.md")]
#![deny(missing_docs, rustdoc::broken_intra_doc_links)]

mod error;
mod event;
mod frame;
#[cfg(test)]
mod hostile;
mod identity;
mod incoming;
mod network;
mod outgoing;
mod ring;
mod telemetry;

pub use error::{Error, Result};
pub use event::{Event, Listener};
pub use incoming::{InOptions, Incoming};
pub use network::{Endpoints, LOOPBACK, Network};
pub use outgoing::{MAX_WINDOW, MIN_WINDOW, OutOptions, Outgoing};

/// What went through a half of a bridge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages that the other side has committed, or that this side has.
    pub messages: u64,
    /// Messages that were dropped: with best effort only.
    pub dropped: u64,
}

/// How long anything waits without a look at whether it is to stop.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);
