//! Kills of recorders and of readers of their journal.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use aether_ipc::{Buffer, Observer, Producer};
use aether_journal::{Reader, verify};
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::process::{Process, until};

#[derive(clap::Args)]
pub(crate) struct Kills {
    /// How many processes to kill
    #[arg(long, default_value_t = 400)]
    kills: u64,
    /// What the random choices grow from; the moments themselves are not repeatable
    #[arg(long)]
    seed: Option<u64>,
    /// Where rings and journals are
    #[arg(long, default_value = "/tmp")]
    folder: PathBuf,
}

/// What is gone through: bytes of the ring, consumers, options of `record`.
const RINGS: [(u64, u32, &[&str]); 5] = [
    (16 << 10, 1, &["--compress", "none", "--block", "2KiB", "--roll-size", "64KiB"]),
    (64 << 10, 2, &["--compress", "zstd", "--block", "16KiB", "--roll-size", "256KiB", "--name", "journal"]),
    (1 << 20, 1, &["--compress", "none", "--block", "256KiB", "--roll-interval", "100ms"]),
    (16 << 10, 1, &["--compress", "zstd", "--block", "1KiB", "--sync", "block", "--roll-size", "32KiB"]),
    (4 << 20, 1, &["--compress", "none"]),
];

/// Kills in one ring before the next.
const IN_ONE: u64 = 40;

#[derive(Default)]
struct Figures {
    journals: u64,
    recorders: u64,
    readers: u64,
    torn: u64,
    messages: u64,
    files: u64,
    read: u64,
    repeated: u64,
}

pub(crate) fn run(aether: &Path, args: &Kills) -> Result<()> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} kills, {elapsed} of about {duration}")?;
    let bar = ProgressBar::new(args.kills).with_style(style);
    let start = Instant::now();
    let mut figures = Figures::default();
    for (capacity, consumers, options) in RINGS.into_iter().cycle() {
        let done = figures.recorders + figures.readers;
        if done >= args.kills {
            break;
        }
        let folder = tempfile::Builder::new().prefix("aether-recording-").tempdir_in(&args.folder)?;
        let trial = Trial { aether, folder: folder.path(), options };
        let ring = Buffer::options().capacity(capacity).consumers(consumers);
        let kills = IN_ONE.min(args.kills - done);
        trial.run(&ring, kills, &mut random, &mut figures, &bar).map_err(|error| {
            bar.abandon();
            let kept = folder.keep();
            error.context(format!("seed {seed}, {options:?}, kept in {}", kept.display()))
        })?;
    }
    bar.finish_and_clear();
    let rows = [
        ("journals", figures.journals),
        ("kills of recorders", figures.recorders),
        ("kills of readers with a cursor", figures.readers),
        ("torn blocks cut off", figures.torn),
        ("messages recorded, each once and in order", figures.messages),
        ("files of the journals", figures.files),
        ("messages read, none left out", figures.read),
        ("  of them again after a kill", figures.repeated),
    ];
    let mut out = std::io::stdout().lock();
    for (name, value) in rows {
        writeln!(out, "{name:44} {value:>12}")?;
    }
    writeln!(out, "no promise broken; seed {seed}, {:.1} s", start.elapsed().as_secs_f64())?;
    Ok(())
}

struct Trial<'a> {
    aether: &'a Path,
    folder: &'a Path,
    options: &'a [&'a str],
}

impl Trial<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn recorder(&self) -> Result<Process> {
        let mut command = Command::new(self.aether);
        command.arg("record").arg(self.path("ring")).arg("-o").arg(self.path("journal")).args(self.options);
        let errors = File::options().append(true).create(true).open(self.path("errors"))?;
        Process::start(command.stdout(Stdio::null()).stderr(errors))
    }

    /// Reads on where the one before was, into a file of its own.
    fn reader(&self, number: usize) -> Result<Process> {
        let mut command = Command::new(self.aether);
        command
            .args(["journal", "read", "--cursor", "audit", "--follow", "--frame", "lines"])
            .arg(self.path("journal"));
        let output = File::create(self.path(&format!("read-{number}")))?;
        Process::start(command.stdout(output).stderr(Stdio::null()))
    }

    fn run(
        &self,
        ring: &aether_ipc::Options,
        kills: u64,
        random: &mut fastrand::Rng,
        figures: &mut Figures,
        bar: &ProgressBar,
    ) -> Result<()> {
        let buffer = ring.create_new(self.path("ring"))?;
        let producer = buffer.producer()?;
        let observer = Observer::open(self.path("ring"))?;
        // Its place is kept from now on, and its journal is there.
        let mut recorder = Some(self.recorder()?);
        until("the journal", || Ok(fs::metadata(self.path("journal")).is_ok_and(|found| found.len() >= 64)))?;
        let mut reads = 0;
        let mut reader = Some(self.reader(reads)?);
        let stop = AtomicBool::new(false);
        let sent = thread::scope(|scope| -> Result<u64> {
            let producing = scope.spawn(|| produce(producer, &stop));
            let killing = (|| {
                for _ in 0..kills {
                    thread::sleep(Duration::from_micros(random.u64(200..60_000)));
                    // One in four is a reader.
                    let is_reader = random.u8(..4) == 0;
                    if is_reader {
                        reader.take().context("no reader")?.kill()?;
                        figures.readers += 1;
                        reads += 1;
                        reader = Some(self.reader(reads)?);
                    } else {
                        recorder.take().context("no recorder")?.kill()?;
                        figures.recorders += 1;
                        recorder = Some(self.recorder()?);
                    }
                    bar.inc(1);
                }
                Ok(())
            })();
            stop.store(true, Relaxed);
            let sent = producing.join().map_err(|_| anyhow::anyhow!("the producer panicked"))?;
            killing.and(sent)
        })?;
        until("all to be recorded", || Ok(observer.info()?.available_bytes() == 0))?;
        let recorder = recorder.context("no recorder")?;
        recorder.interrupt()?;
        recorder.end(0)?;
        let cursor = self.path("journal.cursor-audit");
        until("all to be read", || Ok(fs::read_to_string(&cursor).is_ok_and(|text| text.trim().parse() == Ok(sent))))?;
        let reader = reader.context("no reader")?;
        reader.interrupt()?;
        reader.end(130)?;
        self.check_journal(sent, figures)?;
        self.check_reads(reads, sent, figures)?;
        figures.journals += 1;
        figures.torn += fs::read_to_string(self.path("errors"))?.matches("torn bytes").count() as u64;
        Ok(())
    }

    fn check_journal(&self, sent: u64, figures: &mut Figures) -> Result<()> {
        let report = verify(self.path("journal"))?;
        ensure!(report.problems.is_empty() && report.gaps == 0, "{report:?}");
        let mut reader = Reader::open(self.path("journal"))?;
        let mut expected = 0;
        while let Some(record) = reader.next()? {
            expected += 1;
            ensure!(
                record.id as u64 == expected && record.payload == text(expected).as_bytes(),
                "message {expected} is {record:?}"
            );
        }
        ensure!(expected == sent, "{expected} of {sent} messages are in the journal");
        figures.messages += sent;
        figures.files += reader.segments().len() as u64;
        Ok(())
    }

    /// Each reader begins with a message that the one before had, or with the next one.
    fn check_reads(&self, last: usize, sent: u64, figures: &mut Figures) -> Result<()> {
        let mut end = 0;
        for number in 0..=last {
            let output = fs::read_to_string(self.path(&format!("read-{number}")))?;
            // What a kill left of a line comes again.
            let whole = output.rfind('\n').map_or("", |at| &output[..=at]);
            let mut next = None;
            for line in whole.lines() {
                let found: u64 =
                    line.split(' ').next().unwrap_or_default().parse().context("a line without a number")?;
                ensure!(line == text(found), "message {found} was read as {line:?}");
                let expected = next.unwrap_or(found);
                ensure!(
                    found == expected && found <= end + 1,
                    "message {found} was read after {end}, by reader {number}"
                );
                figures.read += 1;
                figures.repeated += u64::from(found <= end);
                end = end.max(found);
                next = Some(found + 1);
            }
        }
        ensure!(end == sent, "{end} of {sent} messages were read");
        Ok(())
    }
}

/// What message `n` holds: of many lengths.
fn text(n: u64) -> String {
    format!("{n} {}", "x".repeat((n * 7919 % 97) as usize))
}

fn produce(mut producer: Producer, stop: &AtomicBool) -> Result<u64> {
    let mut sent = 0;
    while !stop.load(Relaxed) {
        sent += 1;
        producer.put(sent as i64, 0, text(sent).as_bytes())?;
    }
    Ok(sent)
}
