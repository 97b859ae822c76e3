//! The loops of the two sides. They are the same for every transport, which the compiler inlines into them.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::job::{Job, Outcome, Role, Setup, Work};
use crate::payload::{self, END, START};
use crate::{Receiver, Sender, Threads, Transport};

/// The sender's number is above, the message's below.
const SENDER_SHIFT: u32 = 56;

/// Nanoseconds on a clock that all processes share.
#[inline]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(crate) fn pin(cpu: usize) -> Result<()> {
    ensure!(cpu < CpuSet::MAX_CPU, "there is no processor {cpu}");
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("can't run on processor {cpu} alone"))
}

/// Microseconds to nanoseconds to minutes, to three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

/// What one process of a measurement does. `ready` returns when all are.
pub fn side<T: Transport>(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    let there = folder(&job.place, "there");
    let back = folder(&job.place, "back");
    match (job.role, job.work) {
        (Role::Sender(_), Work::RoundTrip) => {
            pin(job.cpus[0])?;
            let (mut sender, mut receiver) = (T::sender(&there, &job.setup)?, T::receiver(&back, &job.setup)?);
            ready()?;
            ask(job, &mut sender, &mut receiver)
        }
        (Role::Receiver(_), Work::RoundTrip) => {
            pin(job.cpus[1])?;
            let (mut receiver, mut sender) = (T::receiver(&there, &job.setup)?, T::sender(&back, &job.setup)?);
            ready()?;
            answer(&mut receiver, &mut sender)
        }
        (Role::Sender(number), _) => {
            pin(job.cpus[0])?;
            let mut sender = T::sender(&there, &job.setup)?;
            ready()?;
            send(job, number, &mut sender)
        }
        (Role::Receiver(_), _) => {
            pin(job.cpus[1])?;
            let mut receiver = T::receiver(&there, &job.setup)?;
            ready()?;
            receive(job, &mut receiver)
        }
        (Role::Alone, _) => bail!("{} is between two processes", job.transport),
    }
}

/// The folder of one direction.
pub(crate) fn folder(place: &Path, direction: &str) -> std::path::PathBuf {
    place.join(direction)
}

pub(crate) fn prepare(make: fn(&Path, &Setup) -> Result<()>, place: &Path, work: Work, setup: &Setup) -> Result<()> {
    let directions: &[&str] = if work == Work::RoundTrip { &["there", "back"] } else { &["there"] };
    for direction in directions {
        let folder = folder(place, direction);
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        make(&folder, setup)?;
    }
    Ok(())
}

/// Both sides as threads of this process.
pub fn both<T: Threads>(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
    let (mut sender, mut receiver) = T::pair(&job.setup)?;
    let echo = if job.work == Work::RoundTrip { Some(T::pair(&job.setup)?) } else { None };
    ready()?;
    let [first, second] = job.cpus;
    let other = job.clone();
    match echo {
        Some((mut back, mut home)) => {
            let answering = thread::spawn(move || {
                pin(second)?;
                answer(&mut receiver, &mut back)
            });
            pin(first)?;
            let outcome = ask(job, &mut sender, &mut home)?;
            joined(answering)?;
            Ok(outcome)
        }
        None => {
            let receiving = thread::spawn(move || {
                pin(second)?;
                receive(&other, &mut receiver)
            });
            pin(first)?;
            let sent = send(job, 0, &mut sender)?;
            let mut outcome = joined(receiving)?;
            outcome.wrong += sent.total.abs_diff(outcome.total);
            Ok(outcome)
        }
    }
}

fn joined(thread: thread::JoinHandle<Result<Outcome>>) -> Result<Outcome> {
    thread.join().unwrap_or_else(|_| bail!("a thread of the measurement panicked"))
}

fn send(job: &Job, number: u8, sender: &mut impl Sender) -> Result<Outcome> {
    match job.work {
        Work::Rate { per_second } => send_at_rate(job, per_second, sender),
        _ => send_at_full_speed(job, number, sender),
    }
}

fn send_at_full_speed(job: &Job, number: u8, sender: &mut impl Sender) -> Result<Outcome> {
    let batch = job.setup.batch;
    // So many messages for a look at the clock, which costs more than a small one.
    let chunk = ((1 << 20) / job.setup.size).clamp(1, 256) / batch;
    let mut word = (u64::from(number) << SENDER_SHIFT) + 1;
    let mut total = 0;
    for (duration, mark) in [(job.warmup_ns, START), (job.duration_ns, END)] {
        let started = now();
        while now() - started < duration {
            for _ in 0..chunk.max(1) {
                if batch == 1 {
                    sender.send(|payload| payload::fill(payload, word))?;
                } else {
                    sender.send_run(batch, |index, payload| payload::fill(payload, word + index as u64))?;
                }
                word += batch as u64;
                total += batch as u64;
            }
        }
        sender.send(|payload| payload::fill(payload, mark))?;
    }
    Ok(Outcome { total, ..Outcome::default() })
}

fn send_at_rate(job: &Job, per_second: u64, sender: &mut impl Sender) -> Result<Outcome> {
    let interval = (1_000_000_000 / per_second.max(1)).max(1);
    let mut due = now();
    let mut total = 0;
    for (duration, mark) in [(job.warmup_ns, START), (job.duration_ns, END)] {
        let end = due + duration;
        while due < end {
            while now() < due {
                std::hint::spin_loop();
            }
            sender.send(|payload| payload::fill(payload, due))?;
            total += 1;
            due += interval;
        }
        sender.send(|payload| payload::fill(payload, mark))?;
    }
    Ok(Outcome { total, ..Outcome::default() })
}

/// Bytes of a run that needs no pause before the next look.
const RUN: usize = 16 << 10;
/// Looks away, of some ten nanoseconds each, after a shorter one: one for so many bytes of the ring, which has to have room
/// for what comes meanwhile.
const PAUSE_PER: u64 = 4 << 10;
const LONGEST_PAUSE: u64 = 256;

fn receive<R: Receiver>(job: &Job, receiver: &mut R) -> Result<Outcome> {
    let rate = matches!(job.work, Work::Rate { .. });
    let mut latencies = histogram()?;
    let mut outcome = Outcome::default();
    let mut expected: [u64; 256] = std::array::from_fn(|number| ((number as u64) << SENDER_SHIFT) + 1);
    let (mut started, mut ended, mut before) = (0, 0, 0);
    let (mut starts, mut ends) = (0, 0);
    let mut last_due = 0;
    let mut received = 0u64;
    let pause = (job.setup.capacity / PAUSE_PER).min(LONGEST_PAUSE);
    while ends < job.setup.producers {
        let already = received;
        receiver.receive(|payload| {
            let Some(word) = payload::read(payload) else {
                outcome.wrong += 1;
                return;
            };
            if word >= START {
                let time = now();
                if word == START {
                    starts += 1;
                    if starts == 1 {
                        (started, before) = (time, received);
                    }
                } else {
                    ends += 1;
                    ended = time;
                }
                return;
            }
            received += 1;
            if rate {
                outcome.wrong += u64::from(word <= last_due);
                last_due = word;
                if starts > 0 {
                    latencies.saturating_record(now().saturating_sub(word));
                }
            } else {
                let next = &mut expected[(word >> SENDER_SHIFT) as usize];
                outcome.wrong += u64::from(word != *next);
                *next = word + 1;
            }
        })?;
        // A receiver that looks as often as it can takes the line of the cursor away from a sender that is about as fast,
        // every time; then both are several times slower, or not, as chance will have it.
        if R::SPINS && job.work == Work::Throughput && (received - already) as usize * job.setup.size < RUN {
            for _ in 0..pause {
                std::hint::spin_loop();
            }
        }
    }
    outcome.total = received;
    outcome.messages = received - before;
    outcome.elapsed_ns = ended - started;
    outcome.latencies = values(&latencies);
    Ok(outcome)
}

fn ask(job: &Job, sender: &mut impl Sender, receiver: &mut impl Receiver) -> Result<Outcome> {
    let clock = quanta::Clock::new();
    let mut latencies = histogram()?;
    let mut outcome = Outcome::default();
    let mut word = 1;
    for (duration, counts) in [(job.warmup_ns, false), (job.duration_ns, true)] {
        let first = clock.raw();
        let mut before = first;
        loop {
            sender.send(|payload| payload::fill(payload, word))?;
            let mut answered = false;
            while !answered {
                receiver.receive(|payload| {
                    outcome.wrong += u64::from(payload::read(payload) != Some(word));
                    answered = true;
                })?;
            }
            word += 1;
            // The end of one is the start of the next: one look at the clock each.
            let after = clock.raw();
            if counts {
                latencies.saturating_record(clock.delta_as_nanos(before, after));
                outcome.messages += 1;
            }
            before = after;
            if clock.delta_as_nanos(first, after) >= duration {
                break;
            }
        }
        outcome.elapsed_ns = clock.delta_as_nanos(first, before);
    }
    sender.send(|payload| payload::fill(payload, END))?;
    outcome.total = word - 1;
    outcome.latencies = values(&latencies);
    Ok(outcome)
}

fn answer(receiver: &mut impl Receiver, sender: &mut impl Sender) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    loop {
        let mut word = None;
        receiver.receive(|payload| word = payload::read(payload))?;
        match word {
            Some(END) => return Ok(outcome),
            Some(word) => {
                outcome.total += 1;
                sender.send(|payload| payload::fill(payload, word))?;
            }
            None => bail!("message {} did not arrive as it was sent", outcome.total + 1),
        }
    }
}

fn values(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::machine::Machine;

    /// What a faulty way does to its 100th message.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        None,
        Lose,
        Repeat,
        Change,
        Swap,
    }

    const FAULTS: [Fault; 5] = [Fault::None, Fault::Lose, Fault::Repeat, Fault::Change, Fault::Swap];

    struct Faulty<const FAULT: usize>;

    struct Sending {
        messages: mpsc::SyncSender<Vec<u8>>,
        fault: Fault,
        sent: u64,
        held: Option<Vec<u8>>,
        size: usize,
    }

    impl Sender for Sending {
        fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
            let mut payload = vec![0; self.size];
            fill(&mut payload);
            self.sent += 1;
            if self.sent == 100 {
                match self.fault {
                    Fault::None => {}
                    Fault::Lose => return Ok(()),
                    Fault::Repeat => self.messages.send(payload.clone())?,
                    Fault::Change => payload[self.size - 1] ^= 1,
                    Fault::Swap => {
                        self.held = Some(payload);
                        return Ok(());
                    }
                }
            }
            self.messages.send(payload)?;
            if let Some(held) = self.held.take() {
                self.messages.send(held)?;
            }
            Ok(())
        }
    }

    impl Receiver for mpsc::Receiver<Vec<u8>> {
        fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
            each(&self.recv()?);
            Ok(())
        }
    }

    impl<const FAULT: usize> Threads for Faulty<FAULT> {
        type Sender = Sending;
        type Receiver = mpsc::Receiver<Vec<u8>>;

        fn pair(setup: &Setup) -> Result<(Sending, mpsc::Receiver<Vec<u8>>)> {
            let (messages, receiver) = mpsc::sync_channel(64);
            let sending = Sending { messages, fault: FAULTS[FAULT], sent: 0, held: None, size: setup.size };
            Ok((sending, receiver))
        }
    }

    fn wrong<const FAULT: usize>(cpus: [usize; 2], work: Work) -> u64 {
        let job = Job {
            transport: "faulty".to_owned(),
            role: Role::Alone,
            work,
            setup: Setup::of_size(64),
            place: std::path::PathBuf::new(),
            cpus,
            warmup_ns: 1_000_000,
            duration_ns: 2_000_000,
        };
        let outcome = both::<Faulty<FAULT>>(&job, &mut || Ok(())).unwrap();
        assert!(outcome.total > 0, "{outcome:?}");
        outcome.wrong
    }

    #[test]
    fn a_message_that_is_lost_repeated_changed_or_out_of_order_is_noticed() {
        // Asked once: a side binds its thread, which is this one, to a single processor.
        let cpus = Machine::look(None).unwrap().cpus;
        for work in [Work::Throughput, Work::Rate { per_second: 1_000_000 }] {
            assert_eq!(wrong::<0>(cpus, work), 0, "{work:?}");
            assert!(wrong::<1>(cpus, work) > 0, "lost: {work:?}");
            assert!(wrong::<2>(cpus, work) > 0, "repeated: {work:?}");
            assert!(wrong::<3>(cpus, work) > 0, "changed: {work:?}");
            assert!(wrong::<4>(cpus, work) > 0, "out of order: {work:?}");
        }
        assert_eq!(wrong::<0>(cpus, Work::RoundTrip), 0);
    }
}
