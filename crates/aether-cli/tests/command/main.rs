//! The command as people run it: real processes, real files and pipes, real signals.

#![cfg(unix)]

#[cfg(target_os = "linux")]
mod bench;
#[cfg(feature = "bridge")]
mod bridge;
mod common;
mod crashes;
mod demo;
#[cfg(feature = "operations")]
mod journal;
mod looking;
#[cfg(feature = "operations")]
mod metrics;
#[cfg(feature = "operations")]
mod operations;
mod receiving;
mod repair;
mod sending;
mod streams;
#[cfg(feature = "operations")]
mod top;
mod usage;
