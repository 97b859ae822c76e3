//! `disruptor-mp`: rings between processes, in POSIX shared memory as its documentation begins with, publishing and
//! consuming in place, with a busy spin.

use std::fs;
use std::hint::spin_loop;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aether_bench::job::Setup;
use aether_bench::{Entry, Kind, Receiver, Sender, Transport};
use anyhow::{Result, anyhow, ensure};
use disruptor_mp::{
    CoordinationMode, SharedConsumer, SharedProducer, attach_shared_consumer, build_shared_single_producer,
};

use crate::item::{Item, by_size, slots};
use crate::names;

pub(crate) const ENTRIES: &[Entry] = &[Entry {
    name: "disruptor-mp",
    kind: Kind::Processes,
    refuses: |_, _| None,
    prepare: |_, _| Ok(()),
    clean: |place| {
        for direction in ["there", "back"] {
            names::remove_shared_memory(&names::short(&place.join(direction)));
        }
    },
    run: |job, ready| by_size!(side, Ring, job, ready),
}];

const CONSUMERS: &str = "cp";
const CONSUMER: &str = "cp_0";
/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

struct Ring<const N: usize>;

struct Publishing<const N: usize>(SharedProducer<Item<N>>);

struct Consuming<const N: usize>(SharedConsumer<Item<N>>);

/// Two batches at least.
fn size(setup: &Setup) -> usize {
    slots(setup).max(2 * setup.batch).next_power_of_two()
}

impl<const N: usize> Transport for Ring<N> {
    type Sender = Publishing<N>;
    type Receiver = Consuming<N>;

    fn sender(place: &Path, setup: &Setup) -> Result<Publishing<N>> {
        let name = names::short(place);
        let mut producer = build_shared_single_producer::<Item<N>>(&name, size(setup))
            .discover_consumer_with_prefix(1, CONSUMERS)
            .with_coordination(CoordinationMode::Immediate)
            .build_producer(Item::default)
            .map_err(|error| anyhow!("{error}"))?;
        // The consumer attaches to what is whole.
        fs::write(place.join("made"), "")?;
        ensure!(producer.wait_for_consumer_id(CONSUMER, PATIENCE), "no consumer came");
        Ok(Publishing(producer))
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Consuming<N>> {
        let started = Instant::now();
        while !place.join("made").exists() {
            ensure!(started.elapsed() < PATIENCE, "no producer came");
            thread::sleep(Duration::from_millis(1));
        }
        let consumer = attach_shared_consumer::<Item<N>>(&names::short(place), size(setup))
            .with_consumer_id(CONSUMER)
            .build_consumer()
            .map_err(|error| anyhow!("{error}"))?;
        Ok(Consuming(consumer))
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
        while self.0.try_batch_publish(count, |item, index| fill(index, &mut item.0)).is_err() {
            spin_loop();
        }
        Ok(())
    }
}

impl<const N: usize> Receiver for Consuming<N> {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        while self.0.process_available(|item, _| each(&item.0)) == 0 {
            spin_loop();
        }
        Ok(())
    }
}
