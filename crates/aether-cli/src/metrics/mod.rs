//! `aether metrics`: rings, for Prometheus and for a browser.

mod server;

use std::{
    cell::RefCell,
    fmt,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    rc::Rc,
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use clap::Args;
use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{task::LocalSet, time::sleep};

use self::server::{Answer, serve};
use crate::{
    exit::{Exit, Failure, Result},
    interrupt::{Interrupt, LOOK},
    system,
    watch::{Standing, Watch},
};

const EXAMPLES: &str = "\
Examples:
  aether metrics
  aether metrics --listen 127.0.0.1:9464 /dev/shm /srv/rings
  curl -s http://127.0.0.1:9464/metrics";

/// Serve the state of rings to Prometheus, and to browsers
///
/// /metrics is for Prometheus, and / is a page that shows the same live. Rings that are made in a folder appear, and
/// those that are removed disappear. It only looks on: rings are opened for reading, and nobody is held back.
///
/// There is no password and no encryption: it listens at an address that other machines can reach only with
/// --allow-remote. It goes on until SIGINT or SIGTERM.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Metrics {
    /// Files of rings, and folders that have some; without any, the folder where files live in memory
    paths: Vec<PathBuf>,
    /// Where to listen; port 0 takes one that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// Let other machines in, if --listen is an address that they can reach
    #[arg(long)]
    allow_remote: bool,
}

/// How often rings are looked at, also if nobody asks, so that the age of messages is known.
const EVERY: Duration = Duration::from_secs(1);

const PAGE: &str = include_str!("page.html");

pub(crate) fn run(args: &Metrics) -> Result {
    if !args.listen.ip().is_loopback() && !args.allow_remote {
        return Err(Failure::Usage(format!(
            "{}: other machines could reach this address, and there is no password: use one such as 127.0.0.1, with a \
             proxy in front that asks for a password, or add --allow-remote",
            args.listen
        )));
    }
    let interrupt = Interrupt::catch()?;
    system::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Words(format!("can't serve: {error}")))?;
    let refused = |error| Failure::Words(format!("can't listen at {}: {error}", args.listen));
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(args.listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(refused)?;
        eprintln!("aether: listening at http://{}/", listener.local_addr().map_err(refused)?);
        let watch = Rc::new(RefCell::new(Watch::new(&args.paths)));
        let asked = watch.clone();
        tokio::task::spawn_local(serve(listener, Rc::new(move |path: &str| answer(path, &asked))));
        let mut next_look = Instant::now();
        while !interrupt.is_set() {
            if Instant::now() >= next_look {
                watch.borrow_mut().look();
                next_look = Instant::now() + EVERY;
            }
            sleep(LOOK).await;
        }
        Ok(Exit::Done)
    })
}

fn answer(path: &str, watch: &RefCell<Watch>) -> Answer {
    const TEXT: &str = "text/plain; charset=utf-8";
    match path {
        "/metrics" => {
            let mut watch = watch.borrow_mut();
            watch.look();
            match metrics(&watch) {
                Ok(text) => Answer { status: 200, kind: "text/plain; version=0.0.4; charset=utf-8", text },
                Err(error) => Answer { status: 500, kind: TEXT, text: format!("{error}\n") },
            }
        }
        "/" => Answer { status: 200, kind: "text/html; charset=utf-8", text: PAGE.to_owned() },
        _ => Answer { status: 404, kind: TEXT, text: "there is / for people and /metrics for Prometheus\n".to_owned() },
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRing {
    ring: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLane {
    ring: String,
    lane: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfConsumer {
    ring: String,
    slot: u32,
    name: String,
}

type Values<Labels> = Family<Labels, Gauge<f64, AtomicU64>>;

/// All metrics; made anew for each answer, so that what is gone is not in it.
#[derive(Default)]
struct Families {
    up: Values<OfRing>,
    capacity: Values<OfRing>,
    fill: Values<OfRing>,
    oldest: Values<OfRing>,
    written: Family<OfLane, Counter>,
    producer: Values<OfLane>,
    released: Family<OfConsumer, Counter>,
    lag: Values<OfConsumer>,
    consumer: Values<OfConsumer>,
}

impl Families {
    fn register(&self, registry: &mut Registry) {
        registry.register("aether_ring_up", "Whether the ring can be looked at", self.up.clone());
        registry.register("aether_ring_capacity_bytes", "Bytes of each lane", self.capacity.clone());
        let help = "The part of the fullest lane that waits for its slowest consumer, from 0 to 1";
        registry.register("aether_ring_fill_ratio", help, self.fill.clone());
        let help = "The oldest message that waits is at least so old; 0 if none waits";
        registry.register("aether_ring_oldest_message_age_seconds", help, self.oldest.clone());
        // The library adds `_total` to the name of a counter.
        registry.register("aether_ring_written_bytes", "Bytes committed in a lane", self.written.clone());
        let help = "Whether a lane has a producer now";
        registry.register("aether_ring_producer_present", help, self.producer.clone());
        let help = "Bytes that a consumer has released in all lanes";
        registry.register("aether_ring_released_bytes", help, self.released.clone());
        let help = "Bytes that wait for a consumer in all lanes";
        registry.register("aether_ring_consumer_lag_bytes", help, self.lag.clone());
        let help = "Whether a consumer that has a place is there now";
        registry.register("aether_ring_consumer_present", help, self.consumer.clone());
    }

    fn add(&self, path: &Path, standing: Result<&Standing, &str>) {
        let ring = path.display().to_string();
        let of_ring = OfRing { ring: ring.clone() };
        set(&self.up, &of_ring, if standing.is_ok() { 1.0 } else { 0.0 });
        let Ok(standing) = standing else { return };
        set(&self.capacity, &of_ring, standing.info.capacity as f64);
        set(&self.fill, &of_ring, standing.fill);
        set(&self.oldest, &of_ring, standing.oldest_age.map_or(0.0, |age| age.as_secs_f64()));
        for lane in &standing.info.lanes {
            let of_lane = OfLane { ring: ring.clone(), lane: lane.lane };
            self.written.get_or_create(&of_lane).inc_by(lane.write_cursor);
            set(&self.producer, &of_lane, presence(lane.producer));
        }
        for consumer in &standing.info.consumers {
            let name = consumer.name.clone().unwrap_or_default();
            let of_consumer = OfConsumer { ring: ring.clone(), slot: consumer.slot, name };
            let released = standing.written().wrapping_sub(consumer.lag);
            self.released.get_or_create(&of_consumer).inc_by(released);
            set(&self.lag, &of_consumer, consumer.lag as f64);
            set(&self.consumer, &of_consumer, presence(consumer.holder));
        }
    }
}

fn set<Labels: Clone + Eq + std::hash::Hash>(family: &Values<Labels>, labels: &Labels, value: f64) {
    family.get_or_create(labels).set(value);
}

fn presence(pid: Option<u32>) -> f64 {
    if pid.is_some() { 1.0 } else { 0.0 }
}

fn metrics(watch: &Watch) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let families = Families::default();
    families.register(&mut registry);
    for (path, standing) in watch.rings() {
        families.add(path, standing);
    }
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
