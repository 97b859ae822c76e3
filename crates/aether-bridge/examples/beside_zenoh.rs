//! What a bridge costs beside plain Zenoh: 64-byte messages over loopback, in rounds, of which it prints the medians.
//!
//! `cargo run --release --package aether-bridge --example beside_zenoh [ROUNDS]`
//!
//! Everybody writes all bytes of each message, and reads and adds up all that arrive; the sum has to be right. All
//! sessions have Zenoh's own settings: reliable, and blocking when the link is busy.

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
/// As many as are in a full frame of the bridge.
const BATCH: u64 = 600;
const CAPACITY: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "bench/messages";

type Message = [u8; SIZE];

/// The first word may be a time; the others follow from the number.
fn message(first: u64, number: u64) -> Message {
    let mut message = [0; SIZE];
    for (at, word) in message.chunks_exact_mut(8).enumerate() {
        let value = if at == 0 { first } else { number ^ (at as u64) << 56 };
        word.copy_from_slice(&value.to_le_bytes());
    }
    message
}

/// All eight words.
fn sum(message: &[u8]) -> u64 {
    let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    message.chunks_exact(8).fold(0, |sum, bytes| sum.wrapping_add(word(bytes)))
}

/// What arrives: how much, the sum of it, and how old.
struct Arrivals {
    started: Instant,
    count: AtomicU64,
    sum: AtomicU64,
    ages: Mutex<Histogram<u64>>,
    /// Messages in a second; without it, as many as can be, and nobody looks at their age.
    pace: Option<u64>,
}

impl Arrivals {
    fn new(pace: Option<u64>) -> Result<Arc<Arrivals>> {
        let ages = Mutex::new(Histogram::new(3)?);
        Ok(Arc::new(Arrivals { started: Instant::now(), count: AtomicU64::new(0), sum: AtomicU64::new(0), ages, pace }))
    }

    /// Returns the sum.
    fn take(&self, payload: &[u8]) -> u64 {
        if self.pace.is_some()
            && let (Some(sent), Ok(mut ages)) = (payload.first_chunk(), self.ages.lock())
        {
            // It grows as needed.
            let _ = ages.record(self.started.elapsed().as_nanos() as u64 - u64::from_le_bytes(*sent));
        }
        sum(payload)
    }

    fn add(&self, count: u64, sum: u64) {
        self.sum.fetch_add(sum, Relaxed);
        self.count.fetch_add(count, Relaxed);
    }

    /// Waits for all. Zenoh may have lost some.
    fn wait(&self, count: u64, sum: u64) -> Result<Duration> {
        while self.count.load(Relaxed) < count {
            if self.started.elapsed() > PATIENCE {
                return Err(format!("{} of {count} messages came", self.count.load(Relaxed)).into());
            }
            thread::sleep(Duration::from_micros(100));
        }
        let time = self.started.elapsed();
        if self.sum.load(Relaxed) != sum {
            return Err("what came is not what was sent".into());
        }
        Ok(time)
    }
}

fn endpoint() -> Result<String> {
    Ok(format!("tcp/127.0.0.1:{}", TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()))
}

/// Sends `count` messages, as fast as can be or at the pace. Returns their sum.
fn send(arrivals: &Arrivals, count: u64, mut put: impl FnMut(u64, Message) -> Result<()>) -> Result<u64> {
    let mut total: u64 = 0;
    for number in 0..count {
        let mut first = number;
        if let Some(pace) = arrivals.pace {
            let due = Duration::from_nanos(1_000_000_000 / pace * number);
            let early = due.saturating_sub(arrivals.started.elapsed());
            if !early.is_zero() {
                thread::sleep(early);
            }
            // The time when it is sent.
            first = arrivals.started.elapsed().as_nanos() as u64;
        }
        let message = message(first, number);
        total = total.wrapping_add(sum(&message));
        put(number, message)?;
    }
    Ok(total)
}

fn through_bridge(count: u64, pace: Option<u64>) -> Result<(Duration, Arc<Arrivals>)> {
    let folder = tempfile::tempdir()?;
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let (source, copy) = (Buffer::create(&here, CAPACITY)?, Buffer::create(&there, CAPACITY)?);
    let endpoint = endpoint()?;
    let near = Network::open(&Endpoints { listen: vec![endpoint.clone()], ..Endpoints::default() })?;
    let far = Network::open(&Endpoints { connect: vec![endpoint], ..Endpoints::default() })?;
    let outgoing = Outgoing::new(&near, KEY, &here, OutOptions::default())?;
    let incoming = Incoming::new(&far, KEY, &there, InOptions::default())?;
    let (mut producer, mut consumer) = (source.producer()?, copy.consumer()?);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let halves = [scope.spawn(|| outgoing.run(&stop, &|_, _| {})), scope.spawn(|| incoming.run(&stop, &|_, _| {}))];
        // One message first, so that both sides know each other.
        producer.put(0, 0, &[0; SIZE])?;
        consumer.wait_within(PATIENCE)?;
        consumer.drain(1, |_| Flow::Continue)?;
        let arrivals = Arrivals::new(pace)?;
        let arriving = arrivals.clone();
        let receiver = scope.spawn(move || -> Result<()> {
            while arriving.count.load(Relaxed) < count {
                consumer.wait_within(PATIENCE)?;
                let mut total: u64 = 0;
                let taken = consumer.drain(BATCH as usize, |message| {
                    total = total.wrapping_add(arriving.take(message.payload()));
                    Flow::Continue
                })?;
                arriving.add(taken as u64, total);
            }
            Ok(())
        });
        let sent = send(&arrivals, count, |number, message| Ok(producer.put(number as i64, 0, &message)?))?;
        let time = arrivals.wait(count, sent);
        receiver.join().map_err(|_| "the receiver has died")??;
        stop.store(true, Relaxed);
        for half in halves {
            half.join().map_err(|_| "a half has died")??;
        }
        Ok((time?, arrivals))
    })
}

fn through_zenoh(count: u64, batch: u64, head: usize, pace: Option<u64>) -> Result<(Duration, Arc<Arrivals>)> {
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
    let current = Arc::new(Mutex::new(Arrivals::new(pace)?));
    let arriving = current.clone();
    let callback = move |sample: zenoh::sample::Sample| {
        let Ok(arrivals) = arriving.lock() else { return };
        let (mut messages, mut total): (u64, u64) = (0, 0);
        for message in sample.payload().to_bytes().chunks_exact(head + SIZE) {
            total = total.wrapping_add(arrivals.take(&message[head..]));
            messages += 1;
        }
        arrivals.add(messages, total);
    };
    let _subscriber = far.declare_subscriber(KEY).callback(callback).wait()?;
    let publisher = near.declare_publisher(KEY).congestion_control(CongestionControl::Block).wait()?;
    // Until both sides know each other, what is sent is nobody's.
    let started = Instant::now();
    while current.lock().map_err(|_| "the receiver has died")?.count.load(Relaxed) == 0 {
        if started.elapsed() > PATIENCE {
            return Err("no link".into());
        }
        publisher.put(vec![0; head + SIZE]).wait()?;
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(100));
    let arrivals = Arrivals::new(pace)?;
    *current.lock().map_err(|_| "the receiver has died")? = arrivals.clone();
    let full = batch as usize * (head + SIZE);
    let mut waiting = Vec::with_capacity(full);
    let sent = send(&arrivals, count, |number, message| {
        if head > 0 {
            waiting.extend_from_slice(&(u128::from(number) << 64 | SIZE as u128).to_le_bytes());
        }
        waiting.extend_from_slice(&message);
        if waiting.len() >= full || number + 1 == count {
            publisher.put(std::mem::take(&mut waiting)).wait()?;
            waiting.reserve_exact(full);
        }
        Ok(())
    })?;
    Ok((arrivals.wait(count, sent)?, arrivals))
}

/// Through Zenoh alone, with so many messages in a batch, and so many bytes before each.
#[derive(Clone, Copy)]
struct Plain {
    batch: u64,
    head: usize,
}

/// Id, type and length of each message travel in as many bytes as in a ring, or the payloads alone.
const HEAD: usize = 16;

const WAYS: [(&str, Option<Plain>); 4] = [
    ("ring, bridge, ring", None),
    ("Zenoh, batches of 600, bare payloads", Some(Plain { batch: BATCH, head: 0 })),
    ("Zenoh, batches of 600, with id and type", Some(Plain { batch: BATCH, head: HEAD })),
    ("Zenoh, one by one", Some(Plain { batch: 1, head: 0 })),
];

fn through(way: Option<Plain>, count: u64, pace: Option<u64>) -> Result<(Duration, Arc<Arrivals>)> {
    match way {
        None => through_bridge(count, pace),
        Some(Plain { batch, head }) => through_zenoh(count, batch, head, pace),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn throughput(rounds: usize, count: u64) -> Result<()> {
    let mut rates = [const { Vec::<f64>::new() }; WAYS.len()];
    for _ in 0..rounds {
        for ((_, way), rates) in WAYS.iter().zip(&mut rates) {
            // One by one takes longer.
            let count = if way.is_some_and(|plain| plain.batch == 1) { count / 4 } else { count };
            rates.push(count as f64 / through(*way, count, None)?.0.as_secs_f64());
        }
    }
    println!("as many as can be, {rounds} rounds of {count} messages");
    let bridge = rates[0].clone();
    for ((name, _), rates) in WAYS.iter().zip(rates) {
        // Of the same round: the machine may be slower in another.
        let ratio = median(rates.iter().zip(&bridge).map(|(rate, bridge)| bridge / rate).collect());
        println!("{name:40} {:>12.0} messages/s; the bridge carries {ratio:.2} of that", median(rates));
    }
    Ok(())
}

fn latency(rounds: usize, pace: u64, count: u64) -> Result<()> {
    let mut ages = Vec::new();
    for _ in WAYS {
        ages.push(Histogram::<u64>::new(3)?);
    }
    for _ in 0..rounds {
        for ((_, way), ages) in WAYS.iter().zip(&mut ages) {
            let (_, arrivals) = through(*way, count, Some(pace))?;
            ages.add(&*arrivals.ages.lock().map_err(|_| "the receiver has died")?)?;
        }
    }
    println!("{pace} messages a second, {rounds} rounds of {count} messages, microseconds from one end to the other");
    for ((name, _), ages) in WAYS.iter().zip(ages) {
        let at = |quantile| ages.value_at_quantile(quantile) / 1000;
        println!("{name:40} {:>8} p50 {:>8} p90 {:>8} p99", at(0.5), at(0.9), at(0.99));
    }
    Ok(())
}

fn main() -> Result<()> {
    // What is built without optimisation shows that it works, and measures nothing.
    let small = cfg!(debug_assertions);
    let rounds = std::env::args().nth(1).map_or(Ok(if small { 1 } else { 7 }), |text| text.parse())?;
    println!("messages of {SIZE} bytes over loopback");
    throughput(rounds, if small { 50_000 } else { 4_000_000 })?;
    latency(rounds, 1_000, if small { 100 } else { 1_000 })?;
    latency(rounds, 100_000, if small { 2_000 } else { 50_000 })
}
