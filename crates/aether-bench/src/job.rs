//! What a process of a measurement is told, and what it answers: one line of JSON each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the sides do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// As fast as it goes, one way.
    Throughput,
    /// A message there, the same back, one at a time.
    RoundTrip,
    /// One way, each message at its time, whether or not those before it have arrived: its latency counts from when it
    /// should have been sent, so that a stall is seen by every message that it delays (no coordinated omission).
    Rate { per_second: u64 },
    /// What is neither a rate nor a latency: [`Outcome::facts`].
    Facts,
}

/// Which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sends; in a round trip sends first and takes the time.
    Sender(u8),
    /// Receives; in a round trip sends back.
    Receiver(u8),
    /// All there is to do, in one process.
    Alone,
}

/// The shape of the messages and of what carries them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Bytes of a payload, a multiple of 8.
    pub size: usize,
    /// Bytes of the ring, or of what a transport has instead, where it can be set.
    pub capacity: u64,
    /// So many messages are published together.
    pub batch: usize,
    pub producers: u8,
    pub consumers: u8,
    /// How a ring's sides wait: a name of `aether_ipc::Wait`.
    pub wait: String,
    /// The classic layout of the file.
    pub classic: bool,
    /// The file is written back to its disk all the while.
    pub written_back: bool,
}

impl Setup {
    /// One to one, published singly, spinning, through a ring of 1 MiB or sixteen messages, whichever is larger.
    pub fn of_size(size: usize) -> Setup {
        let capacity = (size as u64 * 16).max(1 << 20).next_power_of_two();
        Setup {
            size,
            capacity,
            batch: 1,
            producers: 1,
            consumers: 1,
            wait: "spin".to_owned(),
            classic: false,
            written_back: false,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Name of the [`Entry`](crate::Entry).
    pub transport: String,
    pub role: Role,
    pub work: Work,
    pub setup: Setup,
    /// The folder where both sides meet.
    pub place: PathBuf,
    /// The processors of the sender and of the receiver.
    pub cpus: [usize; 2],
    /// Nothing is counted before.
    pub warmup_ns: u64,
    pub duration_ns: u64,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Messages between the start and the end of what is counted.
    pub messages: u64,
    pub elapsed_ns: u64,
    /// All messages, also those of the warm-up.
    pub total: u64,
    /// Messages whose bytes, or whose place in the order, were not those that were sent.
    pub wrong: u64,
    /// Values in nanoseconds, and how often each was there.
    pub latencies: Vec<(u64, u64)>,
    /// What else there is to say, by name.
    pub facts: Vec<(String, f64)>,
}
