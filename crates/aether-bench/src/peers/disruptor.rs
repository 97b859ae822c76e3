//! `disruptor`: a ring between two threads, with a busy spin, an event poller, and batches published together. Events are
//! written and read in place.

use std::hint::spin_loop;

use aether_bench::job::Setup;
use aether_bench::{Entry, Receiver, Sender, Threads};
use anyhow::{Result, bail};
use disruptor::{
    BusySpin, EventPoller, Polling, Producer, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier,
    build_single_producer,
};

use crate::item::{Item, by_small_size, refuses_large, slots};

pub(crate) const ENTRIES: &[Entry] = &[Entry {
    refuses: refuses_large,
    ..Entry::alone("disruptor", |job, ready| by_small_size!(both, Ring, job, ready))
}];

struct Ring<const N: usize>;

struct Publishing<const N: usize>(SingleProducer<Item<N>, SingleConsumerBarrier>);

struct Polled<const N: usize>(EventPoller<Item<N>, SingleProducerBarrier>);

impl<const N: usize> Threads for Ring<N> {
    type Sender = Publishing<N>;
    type Receiver = Polled<N>;

    fn pair(setup: &Setup) -> Result<(Publishing<N>, Polled<N>)> {
        let builder = build_single_producer(slots(setup).next_power_of_two(), Item::default, BusySpin);
        let (poller, builder) = builder.new_event_poller();
        Ok((Publishing(builder.build()), Polled(poller)))
    }
}

impl<const N: usize> Sender for Publishing<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        self.0.publish(|item| fill(&mut item.0));
        Ok(())
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        self.0.batch_publish(count, |items| {
            for (index, item) in items.enumerate() {
                fill(index, &mut item.0);
            }
        });
        Ok(())
    }
}

impl<const N: usize> Receiver for Polled<N> {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        loop {
            match self.0.poll() {
                Ok(mut events) => {
                    for item in &mut events {
                        each(&item.0);
                    }
                    return Ok(());
                }
                Err(Polling::NoEvents) => spin_loop(),
                Err(Polling::Shutdown) => bail!("the ring was shut down"),
            }
        }
    }
}
