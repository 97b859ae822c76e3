//! `aether metrics`: rings, for Prometheus and for a browser.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tiny_http::{Header, Method, Request, Response, Server};

use crate::{
    exit::{Exit, Failure, Result},
    interrupt::{Interrupt, LOOK},
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
/// It listens on this machine alone unless told otherwise; there is no password and no encryption. It goes on until
/// SIGINT or SIGTERM.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Metrics {
    /// Files of rings, and folders that have some; without any, the folder where files live in memory
    paths: Vec<PathBuf>,
    /// Where to listen; port 0 takes one that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
}

/// How often rings are looked at, also if nobody asks, so that the age of messages is known.
const EVERY: Duration = Duration::from_secs(1);

const PAGE: &str = include_str!("page.html");

pub(crate) fn run(args: &Metrics) -> Result {
    let interrupt = Interrupt::catch()?;
    let server = Server::http(args.listen)
        .map_err(|error| Failure::Words(format!("can't listen at {}: {error}", args.listen)))?;
    eprintln!("aether: listening at http://{}/", server.server_addr());
    let mut watch = Watch::new(&args.paths);
    let mut next_look = Instant::now();
    while !interrupt.is_set() {
        let request = server
            .recv_timeout(LOOK)
            .map_err(|error| Failure::Words(format!("can't take connections any more: {error}")))?;
        if request.is_some() || Instant::now() >= next_look {
            watch.look();
            next_look = Instant::now() + EVERY;
        }
        if let Some(request) = request {
            answer(request, &watch);
        }
    }
    Ok(Exit::Done)
}

fn answer(request: Request, watch: &Watch) {
    let (status, kind, text) = match (request.method(), request.url()) {
        (Method::Get | Method::Head, "/metrics") => match metrics(watch) {
            Ok(text) => (200, "text/plain; version=0.0.4; charset=utf-8", text),
            Err(error) => (500, "text/plain; charset=utf-8", format!("{error}\n")),
        },
        (Method::Get | Method::Head, "/") => (200, "text/html; charset=utf-8", PAGE.to_owned()),
        (Method::Get | Method::Head, _) => {
            (404, "text/plain; charset=utf-8", "there is / for people and /metrics for Prometheus\n".to_owned())
        }
        _ => (405, "text/plain; charset=utf-8", "only GET and HEAD are answered\n".to_owned()),
    };
    let mut response = Response::from_string(text).with_status_code(status);
    for (name, value) in [
        ("Content-Type", kind),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        (
            "Content-Security-Policy",
            "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'",
        ),
    ] {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    // In a thread of its own, as whoever asked may not read it, or be gone. Without a thread there is no answer.
    let _ = thread::Builder::new().spawn(move || request.respond(response));
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
