//! `rtrb`: a ring between two threads. Singly with `push` and `pop`; together with chunks, written and read in place.

use std::hint::spin_loop;

use aether_bench::job::Setup;
use aether_bench::{Entry, Receiver, Sender, Threads};
use anyhow::Result;
use rtrb::chunks::ChunkError;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::item::{Item, by_small_size, refuses_large, slots};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry { refuses: refuses_large, ..Entry::alone("rtrb", |job, ready| by_small_size!(both, Singly, job, ready)) },
    Entry {
        refuses: refuses_large,
        ..Entry::alone("rtrb, chunks", |job, ready| by_small_size!(both, Chunks, job, ready))
    },
];

struct Singly<const N: usize>;

struct Pushing<const N: usize>(Producer<Item<N>>);

struct Popping<const N: usize>(Consumer<Item<N>>);

impl<const N: usize> Threads for Singly<N> {
    type Sender = Pushing<N>;
    type Receiver = Popping<N>;

    fn pair(setup: &Setup) -> Result<(Pushing<N>, Popping<N>)> {
        let (producer, consumer) = RingBuffer::new(slots(setup));
        Ok((Pushing(producer), Popping(consumer)))
    }
}

impl<const N: usize> Sender for Pushing<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let mut item = Item::filled(fill);
        while let Err(rtrb::PushError::Full(back)) = self.0.push(item) {
            item = back;
            spin_loop();
        }
        Ok(())
    }
}

impl<const N: usize> Receiver for Popping<N> {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut item = loop {
            match self.0.pop() {
                Ok(item) => break item,
                Err(_) => spin_loop(),
            }
        };
        loop {
            each(&item.0);
            match self.0.pop() {
                Ok(next) => item = next,
                Err(_) => return Ok(()),
            }
        }
    }
}

struct Chunks<const N: usize>;

struct Writing<const N: usize>(Producer<Item<N>>);

struct Reading<const N: usize>(Consumer<Item<N>>);

impl<const N: usize> Threads for Chunks<N> {
    type Sender = Writing<N>;
    type Receiver = Reading<N>;

    fn pair(setup: &Setup) -> Result<(Writing<N>, Reading<N>)> {
        let (producer, consumer) = RingBuffer::new(slots(setup));
        Ok((Writing(producer), Reading(consumer)))
    }
}

impl<const N: usize> Sender for Writing<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let fill = std::cell::Cell::new(Some(fill));
        self.send_run(1, |_, payload| {
            if let Some(fill) = fill.take() {
                fill(payload);
            }
        })
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        let chunk = loop {
            match self.0.write_chunk_uninit(count) {
                Ok(chunk) => break chunk,
                Err(ChunkError::TooFewSlots(_)) => spin_loop(),
            }
        };
        // An iterator, as its documentation has it: no slot is initialized twice, and nothing is unsafe.
        chunk.fill_from_iter((0..count).map(|index| Item::filled(|payload| fill(index, payload))));
        Ok(())
    }
}

impl<const N: usize> Receiver for Reading<N> {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let there = loop {
            match self.0.slots() {
                0 => spin_loop(),
                there => break there,
            }
        };
        let chunk = self.0.read_chunk(there)?;
        let (first, second) = chunk.as_slices();
        for item in first.iter().chain(second) {
            each(&item.0);
        }
        chunk.commit_all();
        Ok(())
    }
}
