//! The ways that `aether bench` measures itself; peers bring their own.

mod aether;
mod bare;
mod kernel;

use crate::{Entry, claiming, opening};
use kernel::{Polling, Sleeping};

/// All of them.
pub const OWN: &[Entry] = &[
    Entry::by_size::<aether::Offers>("aether"),
    Entry::by_size::<aether::Claims>("aether in place"),
    Entry::by_size::<aether::Batches>("aether batch"),
    Entry::by_size::<aether::Arrays>("aether array"),
    Entry::processes::<bare::Atomics>("bare atomics"),
    Entry::by_size::<bare::Rings>("bare ring"),
    Entry::by_size::<bare::Copies>("bare ring, copied"),
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
