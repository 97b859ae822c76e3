//! What a bridge costs beside plain Zenoh: 64-byte messages over loopback.
//!
//! `cargo run --release --package aether-bridge --example beside_zenoh [MESSAGES]`

use std::{
    error::Error,
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use aether_bridge::{Endpoints, InOptions, Incoming, Network, OutOptions, Outgoing};
use aether_ipc::{Buffer, Flow};
use hdrhistogram::Histogram;
use zenoh::{Config, Session, Wait, qos::CongestionControl};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const SIZE: usize = 64;
/// As many as are in a frame of the bridge.
const BATCH: u64 = 600;
const CAPACITY: u64 = 8 << 20;
/// Messages a second where latency is measured.
const PACE: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

type Message = [u8; SIZE];

/// What arrives: how much, and how old.
struct Arrivals {
    started: Instant,
    count: AtomicU64,
    ages: Mutex<Histogram<u64>>,
    /// Else only how many.
    timed: bool,
}

impl Arrivals {
    fn new(timed: bool) -> Result<Arc<Arrivals>> {
        let ages = Mutex::new(Histogram::new(3)?);
        Ok(Arc::new(Arrivals { started: Instant::now(), count: AtomicU64::new(0), ages, timed }))
    }

    fn take(&self, payload: &[u8]) {
        if self.timed
            && let (Some(sent), Ok(mut ages)) = (payload.first_chunk(), self.ages.lock())
        {
            // It grows as needed.
            let _ = ages.record(self.started.elapsed().as_nanos() as u64 - u64::from_le_bytes(*sent));
        }
    }

    fn add(&self, count: u64) {
        self.count.fetch_add(count, Relaxed);
    }

    /// Waits for all. Zenoh may have lost some.
    fn wait(&self, count: u64) -> Result<Duration> {
        while self.count.load(Relaxed) < count {
            if self.started.elapsed() > PATIENCE {
                return Err(format!("{} of {count} messages came", self.count.load(Relaxed)).into());
            }
            thread::sleep(Duration::from_micros(100));
        }
        Ok(self.started.elapsed())
    }
}

fn endpoint() -> Result<String> {
    Ok(format!("tcp/127.0.0.1:{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()))
}

/// Sends `count` messages, as fast as can be or at the pace.
fn send(arrivals: &Arrivals, count: u64, mut put: impl FnMut(u64, Message) -> Result<()>) -> Result<()> {
    let mut message = [0; SIZE];
    for number in 0..count {
        if arrivals.timed {
            let due = Duration::from_nanos(1_000_000_000 / PACE * number);
            thread::sleep(due.saturating_sub(arrivals.started.elapsed()));
            // The time when it is sent.
            message[..8].copy_from_slice(&(arrivals.started.elapsed().as_nanos() as u64).to_le_bytes());
        }
        put(number, message)?;
    }
    Ok(())
}

fn through_bridge(count: u64, timed: bool) -> Result<(Duration, Arc<Arrivals>)> {
    let folder = tempfile::tempdir()?;
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let (source, copy) = (Buffer::create(&here, CAPACITY)?, Buffer::create(&there, CAPACITY)?);
    let endpoint = endpoint()?;
    let near = Network::open(&Endpoints { listen: vec![endpoint.clone()], ..Endpoints::default() })?;
    let far = Network::open(&Endpoints { connect: vec![endpoint], ..Endpoints::default() })?;
    let outgoing = Outgoing::new(&near, "bench/messages", &here, OutOptions::default())?;
    let incoming = Incoming::new(&far, "bench/messages", &there, InOptions::default())?;
    let (mut producer, mut consumer) = (source.producer()?, copy.consumer()?);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let halves = [scope.spawn(|| outgoing.run(&stop, &|_, _| {})), scope.spawn(|| incoming.run(&stop, &|_, _| {}))];
        // One message first, so that both sides know each other.
        producer.put(0, 0, &[0; SIZE])?;
        consumer.wait_within(PATIENCE)?;
        consumer.drain(1, |_| Flow::Continue)?;
        let arrivals = Arrivals::new(timed)?;
        let arriving = arrivals.clone();
        let receiver = scope.spawn(move || -> Result<()> {
            while arriving.count.load(Relaxed) < count {
                consumer.wait_within(PATIENCE)?;
                let taken = consumer.drain(BATCH as usize, |message| {
                    arriving.take(message.payload());
                    Flow::Continue
                })?;
                arriving.add(taken as u64);
            }
            Ok(())
        });
        send(&arrivals, count, |number, message| Ok(producer.put(number as i64, 0, &message)?))?;
        let time = arrivals.wait(count);
        receiver.join().map_err(|_| "the receiver has died")??;
        stop.store(true, Relaxed);
        for half in halves {
            half.join().map_err(|_| "a half has died")??;
        }
        Ok((time?, arrivals))
    })
}

fn through_zenoh(count: u64, batch: u64, timed: bool) -> Result<(Duration, Arc<Arrivals>)> {
    let endpoint = endpoint()?;
    let open = |role: &str| -> Result<Session> {
        let mut config = Config::default();
        config.insert_json5("scouting/multicast/enabled", "false")?;
        config.insert_json5("listen/endpoints", "[]")?;
        config.insert_json5(role, &format!("[{endpoint:?}]"))?;
        zenoh::open(config).wait()
    };
    let near = open("listen/endpoints")?;
    let far = open("connect/endpoints")?;
    let current = Arc::new(Mutex::new(Arrivals::new(timed)?));
    let arriving = current.clone();
    let callback = move |sample: zenoh::sample::Sample| {
        let Ok(arrivals) = arriving.lock() else { return };
        let mut messages = 0;
        for message in sample.payload().to_bytes().chunks_exact(SIZE) {
            arrivals.take(message);
            messages += 1;
        }
        arrivals.add(messages);
    };
    let _subscriber = far.declare_subscriber("bench/messages").callback(callback).wait()?;
    let publisher = near.declare_publisher("bench/messages").congestion_control(CongestionControl::Block).wait()?;
    // Until both sides know each other, what is sent is nobody's.
    let started = Instant::now();
    while current.lock().map_err(|_| "the receiver has died")?.count.load(Relaxed) == 0 {
        if started.elapsed() > PATIENCE {
            return Err("no link".into());
        }
        publisher.put(vec![0; SIZE]).wait()?;
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(100));
    let arrivals = Arrivals::new(timed)?;
    *current.lock().map_err(|_| "the receiver has died")? = arrivals.clone();
    let mut waiting = Vec::new();
    send(&arrivals, count, |number, message| {
        waiting.extend_from_slice(&message);
        if waiting.len() as u64 >= batch * SIZE as u64 || number + 1 == count {
            publisher.put(std::mem::take(&mut waiting)).wait()?;
            waiting.reserve(batch as usize * SIZE);
        }
        Ok(())
    })?;
    Ok((arrivals.wait(count)?, arrivals))
}

fn main() -> Result<()> {
    let count = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None if cfg!(debug_assertions) => 50_000,
        None => 5_000_000,
    };
    println!("{count} messages of {SIZE} bytes over loopback");
    let rate =
        |name: &str, time: Duration| println!("{name:32} {:>12.0} messages/s", count as f64 / time.as_secs_f64());
    rate("ring, bridge, ring", through_bridge(count, false)?.0);
    rate(&format!("Zenoh, {BATCH} in a batch"), through_zenoh(count, BATCH, false)?.0);
    rate("Zenoh, one by one", through_zenoh(count, 1, false)?.0);
    let timed = if cfg!(debug_assertions) { 200 } else { 5 * PACE };
    println!("{PACE} messages a second");
    for (name, (_, arrivals)) in
        [("ring, bridge, ring", through_bridge(timed, true)?), ("Zenoh, one by one", through_zenoh(timed, 1, true)?)]
    {
        let ages = arrivals.ages.lock().map_err(|_| "the receiver has died")?;
        let at = |quantile| ages.value_at_quantile(quantile) / 1000;
        println!("{name:32} {:>8} us p50 {:>8} us p99", at(0.5), at(0.99));
    }
    Ok(())
}
