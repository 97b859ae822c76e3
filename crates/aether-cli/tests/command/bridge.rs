//! `aether bridge`: real processes on loopback, through a link that can be cut and held.

mod directory;
mod flow;
mod kills;
mod link;
#[cfg(target_os = "linux")]
mod namespaces;
mod refusals;
mod telemetry;

use std::{
    net::TcpListener,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use aether_ipc::{Buffer, Error, Flow, Options};

use crate::common::{Place, Run, aether};

/// Where a listener may listen.
fn endpoint() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("tcp/127.0.0.1:{port}")
}

/// What a message with this id looks like.
fn payload(id: i64) -> Vec<u8> {
    let length = id.wrapping_mul(7919).rem_euclid(300) as usize;
    (0..length).map(|at| (id as u8).wrapping_mul(31).wrapping_add(at as u8)).collect()
}

fn kind(id: i64) -> i32 {
    (id % 1000) as i32 - 500
}

const NAP: Duration = Duration::from_millis(20);

/// Something that goes on until it is told to end.
struct Worker {
    end: Arc<AtomicBool>,
    /// How far it is.
    count: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(work: impl FnOnce(&AtomicBool, &AtomicU64) + Send + 'static) -> Worker {
        let (end, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (ended, counted) = (end.clone(), count.clone());
        Worker { end, count, thread: thread::spawn(move || work(&ended, &counted)) }
    }

    fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Returns how far it came.
    fn end(self) -> u64 {
        self.end.store(true, Relaxed);
        self.thread.join().unwrap();
        self.count.load(Relaxed)
    }
}

/// Sends messages into a free lane, as fast as there is space for them. Ids count up from 1.
fn produce(buffer: &Buffer) -> Worker {
    let mut producer = buffer.producer().unwrap();
    Worker::start(move |end, count| {
        while !end.load(Relaxed) {
            let id = count.load(Relaxed) as i64 + 1;
            match producer.put_within(NAP, id, kind(id), &payload(id)) {
                Ok(()) => count.store(id as u64, Relaxed),
                Err(Error::TimedOut { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
}

/// Takes everything from all lanes, and is content with nothing but every message once, whole, and in order.
fn consume(buffer: &Buffer, lanes: usize) -> Worker {
    let mut consumer = buffer.consumer().unwrap();
    Worker::start(move |end, count| {
        let mut last = vec![0; lanes];
        while !end.load(Relaxed) {
            match consumer.wait_within(NAP) {
                Ok(()) => {}
                Err(Error::TimedOut { .. }) => continue,
                Err(error) => panic!("{error}"),
            }
            let taken = consumer.drain(1000, |message| {
                let (id, last) = (message.id(), &mut last[message.lane() as usize]);
                assert_eq!(id, *last + 1, "lost, repeated or out of order in lane {}", message.lane());
                assert_eq!(message.message_type(), kind(id));
                assert_eq!(message.payload(), payload(id));
                *last = id;
                Flow::Continue
            });
            count.fetch_add(taken.unwrap() as u64, Relaxed);
        }
    })
}

/// Two rings to be joined.
struct Rings {
    source: Place,
    sink: Place,
    key: &'static str,
}

impl Rings {
    fn new(source: &Options, sink: &Options) -> Rings {
        Rings { source: Place::with(source), sink: Place::with(sink), key: "trading/quotes" }
    }

    fn plain() -> Rings {
        let options = Buffer::options().capacity(64 << 10);
        Rings::new(&options, &options)
    }

    fn out(&self, arguments: &[&str]) -> Command {
        let mut command = aether(["bridge", "out", self.source.name(), "--key", self.key]);
        command.args(arguments);
        command
    }

    fn start_out(&self, arguments: &[&str]) -> Run {
        Run::start(&mut self.out(arguments))
    }

    fn incoming(&self, arguments: &[&str]) -> Command {
        let mut command = aether(["bridge", "in", self.sink.name(), "--key", self.key]);
        command.args(arguments);
        command
    }

    fn start_in(&self, arguments: &[&str]) -> Run {
        Run::start(&mut self.incoming(arguments))
    }
}
