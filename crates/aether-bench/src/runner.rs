//! Starts the processes of a measurement, and collects what they say.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::job::{Job, Outcome, Role, Setup, Work};
use crate::transports::find;
use crate::{Entry, Kind, work};

/// The longest that anything here waits without asking whether it shall end.
const LOOK: Duration = Duration::from_millis(50);
/// What a measurement may take beyond its time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two times that a file is written back.
const BETWEEN_WRITES: Duration = Duration::from_millis(10);

const READY: &str = "ready";
const GO: &str = "go";

/// Where and for how long.
pub struct Runner<'a> {
    entries: &'a [Entry],
    /// The arguments that make this program call [`child`].
    arguments: Vec<OsString>,
    cpus: [usize; 2],
    interrupted: &'a dyn Fn() -> bool,
}

impl<'a> Runner<'a> {
    pub fn new(
        entries: &'a [Entry],
        arguments: Vec<OsString>,
        cpus: [usize; 2],
        interrupted: &'a dyn Fn() -> bool,
    ) -> Runner<'a> {
        Runner { entries, arguments, cpus, interrupted }
    }

    pub fn cpus(&self) -> [usize; 2] {
        self.cpus
    }

    /// Why a transport can't do this, if it can't.
    ///
    /// # Errors
    ///
    /// If there is no such transport.
    pub fn refuses(&self, transport: &str, work: Work, setup: &Setup) -> Result<Option<String>> {
        Ok((find(self.entries, transport)?.refuses)(work, setup))
    }

    /// One measurement of `duration`, in a folder of its own below `folder`.
    ///
    /// # Errors
    ///
    /// What the sides said; also a message lost, repeated, or changed on its way, and an interruption.
    pub fn run(
        &self,
        transport: &str,
        work: Work,
        setup: &Setup,
        folder: &Path,
        duration: Duration,
    ) -> Result<Outcome> {
        let entry = find(self.entries, transport)?;
        let place = tempfile::Builder::new().prefix("aether-bench-").tempdir_in(folder);
        let place = place.with_context(|| format!("can't make a folder in {}", folder.display()))?;
        let _clean = Clean(entry, place.path());
        work::prepare(entry.prepare, place.path(), work, setup)?;
        let nanoseconds = u64::try_from(duration.as_nanos())?;
        let jobs: Vec<Job> = roles(entry.kind, setup)
            .into_iter()
            .map(|role| Job {
                transport: transport.to_owned(),
                role,
                work,
                setup: setup.clone(),
                place: place.path().to_owned(),
                cpus: self.cpus,
                warmup_ns: nanoseconds / 4,
                duration_ns: nanoseconds,
            })
            .collect();
        let outcomes = {
            let _writing = setup.written_back.then(|| WriteBack::start(place.path().to_owned()));
            self.sides(&jobs, duration).with_context(|| format!("{transport}, {} bytes", setup.size))?
        };
        let outcome = together(work, jobs.iter().map(|job| job.role).zip(outcomes).collect());
        ensure!(
            outcome.wrong == 0,
            "{transport}, {} bytes: {} messages lost, repeated or changed on their way",
            setup.size,
            outcome.wrong
        );
        Ok(outcome)
    }

    fn sides(&self, jobs: &[Job], duration: Duration) -> Result<Vec<Outcome>> {
        let (lines, said) = channel();
        let mut sides = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            sides.push(Side::start(&self.arguments, index, job, lines.clone())?);
        }
        let deadline = Instant::now() + duration * 4 + PATIENCE;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; jobs.len()];
        let mut waiting = jobs.len();
        while outcomes.contains(&None) {
            match said.recv_timeout(LOOK) {
                Ok((index, Some(line))) if line == READY => {
                    ensure!(waiting > 0, "side {index} said {READY:?} twice");
                    waiting -= 1;
                    if waiting == 0 {
                        for side in &mut sides {
                            side.tell(GO)?;
                        }
                    }
                }
                Ok((index, Some(line))) => {
                    let answer: Answer =
                        serde_json::from_str(&line).with_context(|| format!("side {index} said {line:?}"))?;
                    outcomes[index] = Some(answer.map_err(anyhow::Error::msg)?);
                }
                Ok((index, None)) => {
                    ensure!(outcomes[index].is_some(), "side {index} ended too early; what it wrote above says why");
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if (self.interrupted)() {
                return Err(Interrupted.into());
            }
            ensure!(Instant::now() < deadline, "the sides did not end in time");
        }
        Ok(outcomes.into_iter().flatten().collect())
    }
}

/// What a side says in the end.
type Answer = Result<Outcome, String>;

/// Has a transport clean up when a measurement is over.
struct Clean<'a>(&'a Entry, &'a Path);

impl Drop for Clean<'_> {
    fn drop(&mut self) {
        (self.0.clean)(self.1);
    }
}

/// Writes all that is in the folders of a measurement back to the disk, again and again, as the kernel does every few
/// seconds.
struct WriteBack {
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl WriteBack {
    fn start(place: PathBuf) -> WriteBack {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            while !told.load(Relaxed) {
                let folders = std::fs::read_dir(&place).into_iter().flatten().flatten();
                let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
                for file in files {
                    // It may be gone again.
                    let _ = File::open(file.path()).and_then(|file| file.sync_data());
                }
                thread::sleep(BETWEEN_WRITES);
            }
        });
        WriteBack { ended, thread: Some(thread) }
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// The user has seen enough.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

fn roles(kind: Kind, setup: &Setup) -> Vec<Role> {
    match kind {
        Kind::Threads => vec![Role::Alone],
        // Those that listen start first.
        Kind::Processes => {
            (0..setup.consumers).map(Role::Receiver).chain((0..setup.producers).map(Role::Sender)).collect()
        }
    }
}

/// What one process measured, or what many did: the time until the last receiver had everything.
fn together(work: Work, outcomes: Vec<(Role, Outcome)>) -> Outcome {
    if work == Work::RoundTrip {
        // The first that is not a receiver asked.
        let asked = outcomes.into_iter().find(|(role, _)| !matches!(role, Role::Receiver(_)));
        return asked.map(|(_, outcome)| outcome).unwrap_or_default();
    }
    let mut sent = 0;
    let mut all: Option<Outcome> = None;
    let mut totals = Vec::new();
    for (role, outcome) in outcomes {
        match role {
            Role::Alone => return outcome,
            Role::Sender(_) => sent += outcome.total,
            Role::Receiver(_) => {
                totals.push(outcome.total);
                all = Some(match all {
                    None => outcome,
                    Some(mut all) => {
                        all.messages = all.messages.min(outcome.messages);
                        all.elapsed_ns = all.elapsed_ns.max(outcome.elapsed_ns);
                        all.wrong += outcome.wrong;
                        all.latencies.extend(outcome.latencies);
                        all
                    }
                });
            }
        }
    }
    let mut all = all.unwrap_or_default();
    all.wrong += totals.into_iter().map(|total| total.abs_diff(sent)).sum::<u64>();
    all
}

/// A process that ends, at the latest, when it is dropped.
struct Side(Child);

impl Side {
    fn start(arguments: &[OsString], index: usize, job: &Job, lines: Sender<(usize, Option<String>)>) -> Result<Side> {
        let program: PathBuf = env::current_exe().context("can't find this program")?;
        let child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        let mut side = Side(child);
        let output = side.0.stdout.take().context("a new process has no output")?;
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(io::Result::ok) {
                if lines.send((index, Some(line))).is_err() {
                    return;
                }
            }
            // Nobody listens any more when the measurement is over.
            let _ = lines.send((index, None));
        });
        side.tell(&serde_json::to_string(job)?)?;
        Ok(side)
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.0.stdin.as_mut().context("a new process has no input")?;
        writeln!(input, "{line}").context("a side ended before it began; what it wrote above says why")
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It may have ended, which is no failure.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One side: reads its [`Job`] from standard input, and writes its [`Outcome`] to standard output. Ends with the
/// process that started it.
pub fn child(entries: &[Entry]) -> Result<()> {
    // What a library prints goes to standard error, so that it can't be taken for an answer.
    let mut output = File::from(rustix::io::dup(io::stdout()).context("can't keep standard output")?);
    rustix::stdio::dup2_stdout(io::stderr()).context("can't turn standard output away")?;
    let (lines, told) = channel();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(io::Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
        process::exit(1);
    });
    let job: Job = serde_json::from_str(&told.recv()?).context("this is no job")?;
    let entry = find(entries, &job.transport)?;
    let outcome = (entry.run)(&job, &mut || {
        writeln!(output, "{READY}").context("nobody listens")?;
        let line = told.recv()?;
        ensure!(line == GO, "expected {GO:?}, found {line:?}");
        Ok(())
    });
    let answer: Answer = outcome.map_err(|error| format!("{error:#}"));
    writeln!(output, "{}", serde_json::to_string(&answer)?).context("nobody listens")
}
