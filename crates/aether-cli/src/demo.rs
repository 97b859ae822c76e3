//! `aether demo`: two processes, every message checked, beside TCP and a Unix socket on the same machine.

pub(crate) mod peer;

use std::{
    env,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read},
    num::NonZeroU64,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use aether_ipc::{Buffer, Observer, Wait};
use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde::Serialize;

use self::peer::{Medium, Peer, Side, Tally};
use crate::{
    exit::{Exit, Failure, Result},
    frame::size_of_text,
    interrupt::{Interrupt, LOOK},
    output,
    progress::style,
    system,
};

const EXAMPLES: &str = "\
Examples:
  aether demo
  aether demo --seconds 10 --payload 1KiB
  aether demo --rate 50000 --json";

/// See two processes talk through a ring, and measure it beside sockets
///
/// A producer and a consumer, each a process of its own, send through a new ring, then through TCP on the loopback
/// interface, then through a Unix socket. The consumer checks the number and every byte of each message. First they
/// send as fast as they can, where latency is mostly the time spent in the queue, then at an even pace, where latency
/// is that of the way itself. Sockets get 64KiB of messages a write at full speed, and one message a write when paced.
///
/// Exits with 1 if a message was lost, repeated or wrong.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Demo {
    /// Seconds of each of the measurements
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Bytes of each message, at least 16
    #[arg(long, value_name = "SIZE", default_value = "64", value_parser = size_of_text)]
    payload: u64,
    /// Bytes of the ring: a power of two
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = size_of_text)]
    capacity: u64,
    /// Messages a second of the paced measurements; the ones at full speed are then left out
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU64>,
    /// How the processes at the ring wait: spin, yield, backoff or park; those at sockets wait in the kernel
    #[arg(long, default_value_t = Wait::Spin)]
    wait: Wait,
    /// Print one JSON object for each measurement
    #[arg(long)]
    json: bool,
}

/// The pace when none is asked for: slow enough for all three ways.
const EASY_RATE: NonZeroU64 = NonZeroU64::new(20_000).unwrap();

/// One measurement, as it is printed.
#[derive(Serialize)]
struct Row {
    medium: &'static str,
    rate: Option<NonZeroU64>,
    payload: u64,
    sent: u64,
    #[serde(flatten)]
    tally: Tally,
    messages_per_second: f64,
    correct: bool,
}

pub(crate) fn run(args: &Demo) -> Result {
    let payload = usize::try_from(args.payload).ok().filter(|bytes| (16..=1 << 30).contains(bytes));
    let Some(payload) = payload else {
        return Err(Failure::Words(format!("--payload {}: expected from 16 bytes to 1GiB", args.payload)));
    };
    let interrupt = Interrupt::catch()?;
    let folder = tempfile::Builder::new()
        .prefix("aether-demo-")
        .tempdir_in(system::memory_folder())
        .map_err(|error| Failure::Words(format!("can't make a folder for the ring: {error}")))?;
    let max = {
        // Says at once what is wrong with a capacity or a payload.
        let path = folder.path().join("try");
        Buffer::options().capacity(args.capacity).create_new(path)?.producer()?.max_payload()
    };
    if payload > max {
        return Err(aether_ipc::Error::TooLarge { payload, max }.into());
    }
    let rates: &[Option<NonZeroU64>] = if args.rate.is_some() { &[args.rate] } else { &[None, Some(EASY_RATE)] };
    let mut rows = Vec::new();
    for &rate in rates {
        for &medium in Medium::value_variants() {
            if medium == Medium::Unix && !cfg!(unix) {
                continue;
            }
            let name = if rate.is_some() { "paced" } else { "fast" };
            let path = folder.path().join(format!("{}-{name}", medium.name()));
            let peer =
                Peer { side: Side::Consume, medium, path, payload, seconds: args.seconds, rate, wait: args.wait };
            let row = measure(&peer, args.capacity, &interrupt)?;
            if args.json {
                output::json(&row)?;
            }
            rows.push(row);
        }
    }
    if !args.json {
        output::text(&table(&rows))?;
    }
    let correct = rows.iter().all(|row| row.correct);
    if !correct {
        eprintln!("aether: messages were lost, repeated or wrong; the lines above say which");
    }
    Ok(if correct { Exit::Done } else { Exit::Failed })
}

/// A process that ends, at the latest, when it is no longer looked at.
struct Running(Child);

impl Running {
    fn start(peer: &Peer) -> Result<(Running, BufReader<ChildStdout>)> {
        let failed = |error: io::Error| Failure::Words(format!("can't start a second process: {error}"));
        let program = env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg("demo-peer")
            .args(peer.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let Some(output) = child.stdout.take() else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        Ok((Running(child), BufReader::new(output)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, which is no failure.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(consumer: &Peer, capacity: u64, interrupt: &Interrupt) -> Result<Row> {
    let observer: Option<Observer> = match consumer.medium {
        Medium::Ring => {
            Some(Buffer::options().capacity(capacity).prefault(true).create_new(&consumer.path)?.observer())
        }
        _ => None,
    };
    let (_consuming, mut reports) = Running::start(consumer)?;
    let mut first = String::new();
    // The consumer says that it is ready, so that what follows is no start of a process.
    reports.read_line(&mut first).map_err(Failure::Input)?;
    let mut producer = consumer.clone();
    producer.side = Side::Produce;
    if consumer.medium == Medium::Tcp {
        producer.path = first.trim().into();
    }
    let (_producing, mut sent) = Running::start(&producer)?;

    let (lines, received) = channel();
    thread::spawn(move || {
        for line in reports.lines().map_while(io::Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let bar = ProgressBar::new_spinner().with_style(style("{spinner} {prefix}: {msg}"));
    bar.set_prefix(consumer.medium.title());
    let started = Instant::now();
    let patience = Duration::from_secs(consumer.seconds + 30);
    let mut last = Tally::default();
    loop {
        match received.recv_timeout(LOOK) {
            Ok(line) => {
                last = serde_json::from_str(&line)
                    .map_err(|error| Failure::Words(format!("the consumer said {line:?}: {error}")))?;
                let lag = match &observer {
                    Some(observer) => format!(", lag {}", HumanBytes(observer.info()?.available_bytes())),
                    None => String::new(),
                };
                bar.set_message(format!(
                    "{} messages, {}/s, p50 {}, p99 {}{lag}",
                    HumanCount(last.received),
                    HumanCount(last.messages_per_second() as u64),
                    time(last.p50_ns),
                    time(last.p99_ns),
                ));
                bar.tick();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if interrupt.is_set() {
            return Err(Failure::Interrupted("the demo was not finished".to_owned()));
        }
        if started.elapsed() > patience {
            return Err(Failure::Words(format!(
                "{}: no end after {} seconds, {} messages arrived",
                consumer.medium.title(),
                patience.as_secs(),
                last.received
            )));
        }
    }
    bar.finish_and_clear();
    if !last.done {
        // The producer may wait for it, and would do so for ever.
        return Err(Failure::Words(format!(
            "{}: the consumer ended after {} messages, before the last one",
            consumer.medium.title(),
            last.received
        )));
    }
    let mut text = String::new();
    sent.read_to_string(&mut text).map_err(Failure::Input)?;
    let sent: u64 = text.trim().parse().map_err(|_| {
        Failure::Words(format!("{}: the producer ended before it had sent everything", consumer.medium.title()))
    })?;
    Ok(Row {
        medium: consumer.medium.name(),
        rate: consumer.rate,
        payload: consumer.payload as u64,
        sent,
        messages_per_second: last.messages_per_second(),
        correct: last.received == sent && last.wrong == 0 && sent > 0,
        tally: last,
    })
}

fn time(nanoseconds: u64) -> String {
    match nanoseconds {
        0..10_000 => format!("{nanoseconds}ns"),
        10_000..10_000_000 => format!("{}us", nanoseconds / 1_000),
        _ => format!("{}ms", nanoseconds / 1_000_000),
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<6} {:<10} {:>13} {:>14} {:>9} {:>9} {:>9} {:>9}  {}\n",
        "way", "pace", "messages", "messages/s", "p50", "p99", "p99.9", "max", "lost, repeated, wrong"
    );
    for row in rows {
        let pace = row.rate.map_or("full speed".to_owned(), |rate| format!("{rate}/s"));
        let missing = row.sent.saturating_sub(row.tally.received);
        let verdict = match (row.correct, missing, row.tally.wrong) {
            (true, ..) => "none".to_owned(),
            (false, missing, wrong) => format!("{missing} missing, {wrong} wrong of {}", row.sent),
        };
        // Writing into a string can't fail.
        let _ = writeln!(
            text,
            "{:<6} {pace:<10} {:>13} {:>14} {:>9} {:>9} {:>9} {:>9}  {verdict}",
            row.medium,
            HumanCount(row.tally.received).to_string(),
            HumanCount(row.messages_per_second as u64).to_string(),
            time(row.tally.p50_ns),
            time(row.tally.p99_ns),
            time(row.tally.p999_ns),
            time(row.tally.max_ns),
        );
    }
    text
}
