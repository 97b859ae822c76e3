//! Zenoh between two peers over a Unix socket, without routers or scouting. From some kibibytes on, payloads are written
//! in its shared memory; smaller ones go with the message, as its own optimization does. What is lost fails the measurement.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aether_bench::job::Setup;
use aether_bench::{Entry, Receiver, Sender, Transport};
use anyhow::{Result, anyhow, ensure};
use zenoh::handlers::FifoChannelHandler;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::shm::{BlockOn, GarbageCollect, PosixShmProviderBackend, ShmProvider, ShmProviderBuilder};
use zenoh::{Config, Session, Wait};

pub(crate) const ENTRIES: &[Entry] = &[Entry::processes::<PublishSubscribe>("Zenoh, shared memory")];

const PATIENCE: Duration = Duration::from_secs(10);
const KEY: &str = "benchmark";
/// From so many bytes on shared memory is used.
const SHARED: usize = 3 << 10;

struct PublishSubscribe;

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

fn open(place: &Path, role: &str) -> Result<Session> {
    let mut config = Config::default();
    let endpoint = format!("[\"unixsock-stream/{}\"]", place.join("zenoh.sock").display());
    let other = if role == "listen" { "connect" } else { "listen" };
    for (key, value) in [
        (format!("{role}/endpoints"), endpoint.as_str()),
        (format!("{other}/endpoints"), "[]"),
        ("mode".to_owned(), "\"peer\""),
        ("scouting/multicast/enabled".to_owned(), "false"),
        ("scouting/gossip/enabled".to_owned(), "false"),
        ("transport/shared_memory/enabled".to_owned(), "true"),
    ] {
        config.insert_json5(&key, value).map_err(failed)?;
    }
    zenoh::open(config).wait().map_err(failed)
}

impl Transport for PublishSubscribe {
    type Sender = Publishing;
    type Receiver = Subscribing;

    fn sender(place: &Path, setup: &Setup) -> Result<Publishing> {
        let started = Instant::now();
        let session = loop {
            match open(place, "connect") {
                Ok(session) => break session,
                Err(error) => ensure!(started.elapsed() < PATIENCE, "can't connect: {error:#}"),
            }
            thread::sleep(Duration::from_millis(10));
        };
        let publisher =
            session.declare_publisher(KEY).congestion_control(CongestionControl::Block).wait().map_err(failed)?;
        while !publisher.matching_status().wait().map_err(failed)?.matching() {
            ensure!(started.elapsed() < PATIENCE, "no subscriber came");
            thread::sleep(Duration::from_millis(1));
        }
        let room = (setup.capacity as usize).max(4 * setup.size);
        let memory = ShmProviderBuilder::default_backend(room).wait().map_err(failed)?;
        Ok(Publishing { publisher, memory, size: setup.size, _session: session })
    }

    fn receiver(place: &Path, _setup: &Setup) -> Result<Subscribing> {
        let session = open(place, "listen")?;
        let subscriber = session.declare_subscriber(KEY).wait().map_err(failed)?;
        Ok(Subscribing { subscriber, _session: session })
    }
}

struct Publishing {
    publisher: Publisher<'static>,
    memory: ShmProvider<PosixShmProviderBackend>,
    size: usize,
    _session: Session,
}

impl Sender for Publishing {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        if self.size >= SHARED {
            let allocated = self.memory.alloc(self.size).with_policy::<BlockOn<GarbageCollect>>().wait();
            let mut payload = allocated.map_err(|error| anyhow!("{error:?}"))?;
            fill(&mut payload);
            return self.publisher.put(payload).wait().map_err(failed);
        }
        let mut payload = vec![0; self.size];
        fill(&mut payload);
        self.publisher.put(payload).wait().map_err(failed)
    }
}

struct Subscribing {
    subscriber: Subscriber<FifoChannelHandler<Sample>>,
    _session: Session,
}

impl Receiver for Subscribing {
    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        each(&self.subscriber.recv().map_err(failed)?.payload().to_bytes());
        Ok(())
    }
}
