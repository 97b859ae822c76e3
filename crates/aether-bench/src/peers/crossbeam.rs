//! `crossbeam`, between two threads: its bounded channel, which sleeps when it has waited in vain, and its bounded queue,
//! which does not wait by itself.

use std::hint::spin_loop;
use std::sync::Arc;

use aether_bench::job::Setup;
use aether_bench::{Entry, Receiver, Sender, Threads};
use anyhow::Result;
use crossbeam::channel;
use crossbeam::queue::ArrayQueue;

use crate::item::{Item, by_small_size, refuses_large, slots};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        refuses: refuses_large,
        ..Entry::alone("crossbeam channel", |job, ready| by_small_size!(both, Channel, job, ready))
    },
    Entry {
        refuses: refuses_large,
        ..Entry::alone("crossbeam queue", |job, ready| by_small_size!(both, Queue, job, ready))
    },
];

struct Channel<const N: usize>;

struct Sending<const N: usize>(channel::Sender<Item<N>>);

struct Receiving<const N: usize>(channel::Receiver<Item<N>>);

impl<const N: usize> Threads for Channel<N> {
    type Sender = Sending<N>;
    type Receiver = Receiving<N>;

    fn pair(setup: &Setup) -> Result<(Sending<N>, Receiving<N>)> {
        let (sender, receiver) = channel::bounded(slots(setup));
        Ok((Sending(sender), Receiving(receiver)))
    }
}

impl<const N: usize> Sender for Sending<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        Ok(self.0.send(Item::filled(fill)).map_err(|_| channel::SendError(()))?)
    }
}

impl<const N: usize> Receiver for Receiving<N> {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        each(&self.0.recv()?.0);
        for item in self.0.try_iter() {
            each(&item.0);
        }
        Ok(())
    }
}

struct Queue<const N: usize>;

struct End<const N: usize>(Arc<ArrayQueue<Item<N>>>);

impl<const N: usize> Threads for Queue<N> {
    type Sender = End<N>;
    type Receiver = End<N>;

    fn pair(setup: &Setup) -> Result<(End<N>, End<N>)> {
        let queue = Arc::new(ArrayQueue::new(slots(setup)));
        Ok((End(Arc::clone(&queue)), End(queue)))
    }
}

impl<const N: usize> Sender for End<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let mut item = Item::filled(fill);
        while let Err(back) = self.0.push(item) {
            item = back;
            spin_loop();
        }
        Ok(())
    }
}

impl<const N: usize> Receiver for End<N> {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut item = loop {
            match self.0.pop() {
                Some(item) => break item,
                None => spin_loop(),
            }
        };
        loop {
            each(&item.0);
            match self.0.pop() {
                Some(next) => item = next,
                None => return Ok(()),
            }
        }
    }
}
