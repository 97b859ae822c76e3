//! A way from one process, or thread, to another.

use std::path::Path;

use anyhow::Result;

use crate::job::{Job, Outcome, Setup, Work};
use crate::size::{self, BySize};
use crate::work;

/// The sending end. Every payload has the size that both sides agreed on.
pub trait Sender {
    /// Sends a message whose payload `fill` writes; waits for room.
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()>;

    /// Sends `count` messages, published together where the transport can; `fill` gets the index of each.
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        for index in 0..count {
            self.send(|payload| fill(index, payload))?;
        }
        Ok(())
    }
}

/// The receiving end.
pub trait Receiver {
    /// It waits by looking at memory that the sender writes to.
    const SPINS: bool = false;

    /// Waits for a message, and hands this one and those that are there already to `each`.
    fn receive(&mut self, each: impl FnMut(&[u8])) -> Result<()>;
}

/// Between processes that meet at a path.
pub trait Transport {
    type Sender: Sender;
    type Receiver: Receiver;

    /// Why this can't be done, if it can't.
    fn refuses(_work: Work, _setup: &Setup) -> Option<String> {
        None
    }

    /// Makes what has to be there before either side starts.
    fn prepare(_place: &Path, _setup: &Setup) -> Result<()> {
        Ok(())
    }

    fn sender(place: &Path, setup: &Setup) -> Result<Self::Sender>;

    fn receiver(place: &Path, setup: &Setup) -> Result<Self::Receiver>;

    /// Removes what is not in the folder, also after sides that were killed.
    fn clean(_place: &Path) {}
}

/// Between two threads, for what can't leave a process.
pub trait Threads {
    type Sender: Sender + Send + 'static;
    type Receiver: Receiver + Send + 'static;

    /// Why this can't be done, if it can't.
    fn refuses(_work: Work, _setup: &Setup) -> Option<String> {
        None
    }

    fn pair(setup: &Setup) -> Result<(Self::Sender, Self::Receiver)>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Processes,
    Threads,
}

/// A transport by its name.
#[derive(Clone, Copy)]
pub struct Entry {
    pub name: &'static str,
    pub kind: Kind,
    pub refuses: fn(Work, &Setup) -> Option<String>,
    pub prepare: fn(&Path, &Setup) -> Result<()>,
    pub clean: fn(&Path),
    pub run: fn(&Job, &mut dyn FnMut() -> Result<()>) -> Result<Outcome>,
}

impl Entry {
    pub const fn processes<T: Transport>(name: &'static str) -> Entry {
        Entry {
            name,
            kind: Kind::Processes,
            refuses: T::refuses,
            prepare: T::prepare,
            clean: T::clean,
            run: work::side::<T>,
        }
    }

    /// Its code is made for some sizes.
    pub(crate) const fn by_size<W: BySize>(name: &'static str) -> Entry {
        Entry { run: size::side::<W>, ..Entry::processes::<W::Of<0>>(name) }
    }

    pub const fn threads<T: Threads>(name: &'static str) -> Entry {
        Entry { refuses: T::refuses, ..Entry::alone(name, work::both::<T>) }
    }

    /// Something that one process does by itself.
    pub const fn alone(name: &'static str, run: fn(&Job, &mut dyn FnMut() -> Result<()>) -> Result<Outcome>) -> Entry {
        Entry { name, kind: Kind::Threads, refuses: |_, _| None, prepare: |_, _| Ok(()), clean: |_| (), run }
    }
}
