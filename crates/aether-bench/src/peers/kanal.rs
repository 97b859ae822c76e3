//! `kanal`: a bounded channel between two threads. The receiver takes all that is there at once, and waits for the first
//! message otherwise, as its documentation advises.

use aether_bench::job::Setup;
use aether_bench::{Entry, Receiver, Sender, Threads};
use anyhow::Result;

use crate::item::{Item, by_small_size, refuses_large, slots};

pub(crate) const ENTRIES: &[Entry] = &[Entry {
    refuses: refuses_large,
    ..Entry::alone("kanal", |job, ready| by_small_size!(both, Channel, job, ready))
}];

struct Channel<const N: usize>;

struct Sending<const N: usize>(kanal::Sender<Item<N>>);

struct Receiving<const N: usize> {
    receiver: kanal::Receiver<Item<N>>,
    items: Vec<Item<N>>,
}

impl<const N: usize> Threads for Channel<N> {
    type Sender = Sending<N>;
    type Receiver = Receiving<N>;

    fn pair(setup: &Setup) -> Result<(Sending<N>, Receiving<N>)> {
        let slots = slots(setup);
        let (sender, receiver) = kanal::bounded(slots);
        Ok((Sending(sender), Receiving { receiver, items: Vec::with_capacity(slots + 1) }))
    }
}

impl<const N: usize> Sender for Sending<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        Ok(self.0.send(Item::filled(fill))?)
    }
}

impl<const N: usize> Receiver for Receiving<N> {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.items.clear();
        if self.receiver.drain_into(&mut self.items)? == 0 {
            self.items.push(self.receiver.recv()?);
        }
        for item in &self.items {
            each(&item.0);
        }
        Ok(())
    }
}
