//! One of the two processes of a measurement.
//!
//! The consumer prints a line when it is ready, then a [`Tally`] as JSON several times a second and at the end. The
//! producer prints how many messages it sent. Both end when the process that started them is gone.

use std::{
    ffi::OsString,
    io::{self, BufReader, BufWriter, Read, Write},
    net::{TcpListener, TcpStream},
    num::NonZeroU64,
    path::PathBuf,
    process, thread,
    time::Duration,
};

use aether_ipc::{Buffer, Flow, Wait};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    exit::{Exit, Failure, Result},
    output, system,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    Produce,
    Consume,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Medium {
    Ring,
    Tcp,
    Unix,
}

impl Medium {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Medium::Ring => "ring",
            Medium::Tcp => "tcp",
            Medium::Unix => "unix",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Medium::Ring => "ring",
            Medium::Tcp => "TCP loopback",
            Medium::Unix => "Unix socket",
        }
    }
}

/// What one process does.
#[derive(Args, Clone)]
pub(crate) struct Peer {
    pub(crate) side: Side,
    pub(crate) medium: Medium,
    /// The ring or the socket; for a producer through TCP the address
    pub(crate) path: PathBuf,
    #[arg(long)]
    pub(crate) payload: usize,
    #[arg(long)]
    pub(crate) seconds: u64,
    #[arg(long)]
    pub(crate) rate: Option<NonZeroU64>,
    #[arg(long)]
    pub(crate) wait: Wait,
}

impl Peer {
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let side = match self.side {
            Side::Produce => "produce",
            Side::Consume => "consume",
        };
        let mut arguments: Vec<OsString> = vec![side.into(), self.medium.name().into(), self.path.clone().into()];
        for (name, value) in [("--payload", self.payload as u64), ("--seconds", self.seconds)] {
            arguments.extend([name.into(), value.to_string().into()]);
        }
        arguments.extend(["--wait".into(), self.wait.to_string().into()]);
        if let Some(rate) = self.rate {
            arguments.extend(["--rate".into(), rate.to_string().into()]);
        }
        arguments
    }
}

/// What the consumer has seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Messages that were the next one, each byte as it was sent.
    pub(crate) received: u64,
    /// Messages that were not.
    pub(crate) wrong: u64,
    /// From the first message to the last.
    pub(crate) elapsed_ns: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
    /// The producer's last message has arrived.
    pub(crate) done: bool,
}

impl Tally {
    pub(crate) fn messages_per_second(&self) -> f64 {
        match self.elapsed_ns {
            0 => 0.0,
            elapsed => self.received as f64 * 1e9 / elapsed as f64,
        }
    }
}

const DATA: i32 = 1;
const END: i32 = 2;
/// At full speed, so many messages share one look at the clock, which costs more than a message.
const STAMPED: u64 = 64;
const HEADER: usize = 16;
const SOCKET_BUFFER: usize = 64 << 10;

fn broken(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Words(format!("{what}: {error}"))
}

pub(crate) fn run(peer: &Peer) -> Result {
    // Standard input is a pipe from the process that started this one. Its end is that process's end.
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        process::exit(Exit::Interrupted as i32);
    });
    match peer.side {
        Side::Produce => produce(peer),
        Side::Consume => consume(peer),
    }
}

fn produce(peer: &Peer) -> Result {
    let sent = match peer.medium {
        Medium::Ring => {
            let mut producer = Buffer::open(&peer.path)?.producer()?;
            producer.set_wait(peer.wait);
            send_all(peer, |id, message_type, payload| Ok(producer.put(id, message_type, payload)?))?
        }
        Medium::Tcp => {
            let socket = TcpStream::connect(peer.path.display().to_string()).map_err(broken("TCP"))?;
            socket.set_nodelay(true).map_err(broken("TCP"))?;
            send_through(peer, socket)?
        }
        #[cfg(unix)]
        Medium::Unix => {
            let socket = std::os::unix::net::UnixStream::connect(&peer.path).map_err(broken("Unix socket"))?;
            send_through(peer, socket)?
        }
        #[cfg(not(unix))]
        Medium::Unix => return Err(Failure::Words("no Unix sockets on this system".to_owned())),
    };
    output::text(&format!("{sent}\n"))?;
    Ok(Exit::Done)
}

fn send_through(peer: &Peer, socket: impl Write) -> Result<u64> {
    let mut socket = BufWriter::with_capacity(SOCKET_BUFFER, socket);
    send_all(peer, |id, message_type, payload| {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[4..8].copy_from_slice(&message_type.to_le_bytes());
        header[8..].copy_from_slice(&id.to_le_bytes());
        let mut write = || {
            socket.write_all(&header)?;
            socket.write_all(payload)?;
            if peer.rate.is_some() || message_type == END { socket.flush() } else { Ok(()) }
        };
        write().map_err(broken("socket"))
    })
}

/// Sends until the time is over, then a last message that says so. Returns how many there were before that.
fn send_all(peer: &Peer, mut send: impl FnMut(i64, i32, &[u8]) -> Result<()>) -> Result<u64> {
    let mut payload = vec![0; peer.payload];
    let started = system::now();
    let end = started + peer.seconds * 1_000_000_000;
    let mut number = 0;
    loop {
        let mut stamp = 0;
        if let Some(rate) = peer.rate {
            let due = started + (u128::from(number) * 1_000_000_000 / u128::from(rate.get())) as u64;
            if due >= end {
                break;
            }
            while system::now() < due {
                std::hint::spin_loop();
            }
            // Of when it was to be sent, so that a delay of one message counts for those behind it too.
            stamp = due;
        } else if number % STAMPED == 0 {
            stamp = system::now();
            if stamp >= end {
                break;
            }
        }
        fill(&mut payload, number, stamp);
        send(number as i64, DATA, &payload)?;
        number += 1;
    }
    send(number as i64, END, &[])?;
    Ok(number)
}

/// The number is in every word, so that a part of another message shows.
fn word(number: u64, index: usize) -> u64 {
    (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(2 * index as u64 + 3)
}

fn fill(payload: &mut [u8], number: u64, stamp: u64) {
    let (words, rest) = payload.as_chunks_mut();
    for (index, bytes) in words.iter_mut().enumerate() {
        *bytes = if index == 0 { stamp } else { word(number, index) }.to_le_bytes();
    }
    let last = word(number, words.len()).to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
}

fn is_filled(payload: &[u8], number: u64) -> bool {
    let (words, rest) = payload.as_chunks();
    // All of them, without a branch for each: a wrong one is rare.
    let difference = words
        .iter()
        .enumerate()
        .skip(1)
        .fold(0, |difference, (index, &bytes)| difference | (u64::from_le_bytes(bytes) ^ word(number, index)));
    difference == 0 && *rest == word(number, words.len()).to_le_bytes()[..rest.len()]
}

struct Checker {
    payload: usize,
    tally: Tally,
    latencies: Histogram<u64>,
    started: u64,
    next_report: u64,
}

const BETWEEN_REPORTS: Duration = Duration::from_millis(200);

impl Checker {
    fn new(payload: usize) -> Result<Checker> {
        let latencies =
            Histogram::new_with_bounds(1, 3_600_000_000_000, 3).map_err(|error| Failure::Words(error.to_string()))?;
        Ok(Checker { payload, tally: Tally::default(), latencies, started: 0, next_report: 0 })
    }

    #[inline]
    fn check(&mut self, id: i64, message_type: i32, payload: &[u8]) -> Result<()> {
        let expected = self.tally.received;
        if message_type == END {
            self.tally.wrong += u64::from(id as u64 != expected);
            self.tally.done = true;
            return self.report(system::now());
        }
        let right = id as u64 == expected
            && message_type == DATA
            && payload.len() == self.payload
            && is_filled(payload, expected);
        if !right {
            self.tally.wrong += 1;
            return Ok(());
        }
        self.tally.received += 1;
        match payload.first_chunk() {
            Some(stamp) if *stamp != [0; 8] => self.stamped(u64::from_le_bytes(*stamp)),
            _ => Ok(()),
        }
    }

    fn stamped(&mut self, stamp: u64) -> Result<()> {
        let now = system::now();
        if self.started == 0 {
            self.started = now;
            self.next_report = now;
        }
        self.latencies.saturating_record(now.saturating_sub(stamp));
        if now < self.next_report {
            return Ok(());
        }
        self.next_report = now + BETWEEN_REPORTS.as_nanos() as u64;
        self.report(now)
    }

    fn report(&mut self, now: u64) -> Result<()> {
        self.tally.elapsed_ns = now.saturating_sub(self.started);
        self.tally.p50_ns = self.latencies.value_at_quantile(0.5);
        self.tally.p99_ns = self.latencies.value_at_quantile(0.99);
        self.tally.p999_ns = self.latencies.value_at_quantile(0.999);
        self.tally.max_ns = self.latencies.max();
        output::json(&self.tally)
    }
}

fn consume(peer: &Peer) -> Result {
    let mut checker = Checker::new(peer.payload)?;
    match peer.medium {
        Medium::Ring => {
            let mut consumer = Buffer::open(&peer.path)?.consumer()?;
            consumer.set_wait(peer.wait);
            output::text("ready\n")?;
            let mut result = Ok(());
            while !checker.tally.done {
                consumer.wait()?;
                consumer.drain(256, |message| {
                    result = checker.check(message.id(), message.message_type(), message.payload());
                    if result.is_ok() { Flow::Continue } else { Flow::Break }
                })?;
                if result.is_err() {
                    break;
                }
            }
            result?;
        }
        Medium::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(broken("TCP"))?;
            let address = listener.local_addr().map_err(broken("TCP"))?;
            output::text(&format!("{address}\n"))?;
            let (socket, _) = listener.accept().map_err(broken("TCP"))?;
            receive(&mut checker, socket)?;
        }
        #[cfg(unix)]
        Medium::Unix => {
            let listener = std::os::unix::net::UnixListener::bind(&peer.path).map_err(broken("Unix socket"))?;
            output::text("ready\n")?;
            let (socket, _) = listener.accept().map_err(broken("Unix socket"))?;
            receive(&mut checker, socket)?;
        }
        #[cfg(not(unix))]
        Medium::Unix => return Err(Failure::Words("no Unix sockets on this system".to_owned())),
    }
    Ok(Exit::Done)
}

fn receive(checker: &mut Checker, socket: impl Read) -> Result<()> {
    let mut socket = BufReader::with_capacity(SOCKET_BUFFER, socket);
    let mut payload = vec![0; checker.payload];
    while !checker.tally.done {
        let mut header = [0; HEADER];
        socket.read_exact(&mut header).map_err(broken("socket"))?;
        let [a, b, c, d, e, f, g, h, id @ ..] = header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some(payload) = payload.get_mut(..length) else {
            return Err(Failure::Words(format!("socket: a message of {length} bytes")));
        };
        socket.read_exact(payload).map_err(broken("socket"))?;
        checker.check(i64::from_le_bytes(id), i32::from_le_bytes([e, f, g, h]), payload)?;
    }
    Ok(())
}
