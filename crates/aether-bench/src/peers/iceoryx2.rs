//! `iceoryx2`: publish-subscribe between processes. Samples are loaned, written in place, and read in place; nothing is
//! lost, since the publisher waits for room; both sides spin.

use std::hint::spin_loop;
use std::mem::MaybeUninit;
use std::path::Path;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use aether_bench::job::Setup;
use aether_bench::{Entry, Receiver, Sender, Transport};
use anyhow::{Context, Result, anyhow, ensure};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::names;

pub(crate) const ENTRIES: &[Entry] = &[Entry::processes::<PublishSubscribe>("iceoryx2")];

const PATIENCE: Duration = Duration::from_secs(10);
/// Samples that wait for a subscriber: more make it no faster, as they leave the caches.
const MOST_WAITING: usize = 256;

struct PublishSubscribe;

type Service = iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u8], ()>;

fn failed(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("{error:?}")
}

/// Everything that it makes is below the folder, or has a name of its own in shared memory.
fn config(place: &Path) -> Result<Config> {
    let mut config = Config::default();
    let root = iceoryx2::prelude::Path::new(place.to_str().context("the folder is not UTF-8")?.as_bytes());
    config.global.set_root_path(&root.map_err(failed)?);
    config.global.prefix = FileName::new(format!("{}_", names::short(place)).as_bytes()).map_err(failed)?;
    Ok(config)
}

fn waiting(setup: &Setup) -> usize {
    (setup.capacity as usize / setup.size).clamp(2, MOST_WAITING)
}

fn open(place: &Path, setup: &Setup) -> Result<(Node<ipc::Service>, Service)> {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().config(&config(place)?).create::<ipc::Service>().map_err(failed)?;
    let service = node
        .service_builder(&ServiceName::new("benchmark").map_err(failed)?)
        .publish_subscribe::<[u8]>()
        .payload_alignment(Alignment::new(8).context("no alignment")?)
        .max_publishers(setup.producers.into())
        .max_subscribers(setup.consumers.into())
        .history_size(0)
        .subscriber_max_buffer_size(waiting(setup))
        .subscriber_max_borrowed_samples(1)
        .enable_safe_overflow(false)
        .open_or_create()
        .map_err(failed)?;
    Ok((node, service))
}

fn patiently(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let started = Instant::now();
    while !done() {
        ensure!(started.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

impl Transport for PublishSubscribe {
    type Sender = Publishing;
    type Receiver = Subscribing;

    fn sender(place: &Path, setup: &Setup) -> Result<Publishing> {
        let (node, service) = open(place, setup)?;
        let publisher = service
            .publisher_builder()
            .initial_max_slice_len(setup.size)
            .max_loaned_samples(1)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(failed)?;
        let subscribers = || service.dynamic_config().number_of_subscribers() == usize::from(setup.consumers);
        patiently("the subscriber", subscribers)?;
        Ok(Publishing { publisher, size: setup.size, _node: node, _service: service })
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Subscribing> {
        let (node, service) = open(place, setup)?;
        let subscriber = service.subscriber_builder().buffer_size(waiting(setup)).create().map_err(failed)?;
        let publishers = || service.dynamic_config().number_of_publishers() == usize::from(setup.producers);
        patiently("the publisher", publishers)?;
        // Connects to it now. It would drop what does not fit into the buffer of a subscriber that has not yet.
        ensure!(subscriber.receive().map_err(failed)?.is_none(), "there was a message before the first one");
        Ok(Subscribing { subscriber, _node: node, _service: service })
    }

    fn clean(place: &Path) {
        for direction in ["there", "back"] {
            names::remove_shared_memory(&names::short(&place.join(direction)));
        }
    }
}

struct Publishing {
    publisher: Publisher<ipc::Service, [u8], ()>,
    size: usize,
    _service: Service,
    _node: Node<ipc::Service>,
}

impl Sender for Publishing {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let mut sample = self.publisher.loan_slice_uninit(self.size).map_err(failed)?;
        let payload: &mut [MaybeUninit<u8>] = sample.payload_mut();
        // SAFETY: of these bytes, which are this process's alone until they are sent, `fill` writes each and reads none.
        let bytes = unsafe { slice::from_raw_parts_mut(payload.as_mut_ptr().cast(), payload.len()) };
        fill(bytes);
        // SAFETY: all were just written.
        unsafe { sample.assume_init() }.send().map_err(failed)?;
        Ok(())
    }
}

struct Subscribing {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    _service: Service,
    _node: Node<ipc::Service>,
}

impl Receiver for Subscribing {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mut received = false;
        loop {
            match self.subscriber.receive().map_err(failed)? {
                Some(sample) => {
                    each(sample.payload());
                    received = true;
                }
                None if received => return Ok(()),
                None => spin_loop(),
            }
        }
    }
}
