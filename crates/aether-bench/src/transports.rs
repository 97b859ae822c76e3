//! The ways that `aether bench` measures itself; peers bring their own.

mod aether;
mod bare;
mod kernel;

use crate::{Entry, claiming, opening};
use kernel::{Polling, Sleeping};

/// All of them.
pub const OWN: &[Entry] = &[
    Entry::processes::<aether::Ring<aether::Offer>>("aether"),
    Entry::processes::<aether::Ring<aether::InPlace>>("aether in place"),
    Entry::processes::<aether::Ring<aether::Batch>>("aether batch"),
    Entry::processes::<aether::Ring<aether::Array>>("aether array"),
    Entry::processes::<bare::Atomics>("bare atomics"),
    Entry::processes::<bare::Ring>("bare ring"),
    Entry::processes::<bare::Copying>("bare ring, copied"),
    Entry::processes::<bare::Futex>("bare futex"),
    Entry::processes::<kernel::Pipe>("pipe"),
    Entry::processes::<kernel::Unix<Sleeping>>("Unix socket"),
    Entry::processes::<kernel::Unix<Polling>>("Unix socket, polled"),
    Entry::processes::<kernel::Tcp<Sleeping>>("TCP loopback"),
    Entry::processes::<kernel::Tcp<Polling>>("TCP loopback, polled"),
    opening::ENTRY,
    claiming::ENTRY,
];

pub fn find<'e>(entries: &'e [Entry], name: &str) -> anyhow::Result<&'e Entry> {
    entries.iter().find(|entry| entry.name == name).ok_or_else(|| anyhow::anyhow!("no transport is called {name:?}"))
}
