//! Side by side, on the same two processors, in one run: what `aether bench` prints.
//!
//! Absolute figures drift on a shared machine, so everything is a ratio to what the hardware allows, measured in turns:
//! one round takes each way once, and ratios are formed within a round. Each way does the same work between two real
//! processes: the sender writes every byte of every payload, the receiver reads every byte and checks it.
//!
//! [`Transport`] is a way from one process to another; [`job`] what the processes are told to do, [`work`] the loops
//! that they run, [`runner`] starts them and collects what they say, [`suite`] lists what is measured, and [`report`]
//! and [`html`] show it.

pub mod claiming;
pub mod distance;
pub mod html;
pub mod job;
pub mod machine;
mod opening;
pub mod page;
pub mod payload;
pub mod report;
pub mod runner;
mod size;
pub mod suite;
mod targets;
mod transport;
pub mod transports;
pub mod work;

pub use transport::{Entry, Kind, Receiver, Sender, Threads, Transport};
