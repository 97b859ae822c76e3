//! Processes that end with their test, waits that end, and rings in folders of their own.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Seek, Write},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aether_ipc::{Buffer, Observer, Options};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::Value;
use tempfile::{TempDir, tempdir, tempfile};

/// Nothing here takes a tenth of it; a test that waits so long has hung.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// The command, without input, and with outputs that [`Run`] collects.
pub(crate) fn aether<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aether"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A file that holds `bytes`, as an input.
pub(crate) fn input(bytes: impl AsRef<[u8]>) -> Stdio {
    let mut file = tempfile().unwrap();
    file.write_all(bytes.as_ref()).unwrap();
    file.rewind().unwrap();
    file.into()
}

/// Runs to the end.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Ended {
    Run::start(command).end()
}

/// A process under way. It is killed when this is dropped.
pub(crate) struct Run {
    child: Option<Child>,
    output: Option<JoinHandle<Vec<u8>>>,
    errors: Option<JoinHandle<Vec<u8>>>,
}

impl Run {
    pub(crate) fn start(command: &mut Command) -> Run {
        let mut run = Run::with_unread_output(command);
        run.output = run.child.as_mut().unwrap().stdout.take().map(collect);
        run
    }

    /// Its output stays in the pipe, which is full some time, until [`Run::output`] takes the other end.
    pub(crate) fn with_unread_output(command: &mut Command) -> Run {
        let mut child = command.spawn().unwrap();
        let errors = child.stderr.take().map(collect);
        Run { child: Some(child), output: None, errors }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    pub(crate) fn pid(&mut self) -> u32 {
        self.child().id()
    }

    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child().stdin.take().unwrap()
    }

    pub(crate) fn output(&mut self) -> ChildStdout {
        self.child().stdout.take().unwrap()
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(self.child()), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child().try_wait().unwrap().is_some()
    }

    /// `kill -9`, and the certainty that it is over.
    pub(crate) fn kill(mut self) -> Ended {
        self.signal(Signal::KILL);
        self.end()
    }

    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let mut child = self.child.take().unwrap();
        let pid = Pid::from_child(&child);
        let (ended, watch) = channel::<()>();
        let watchdog = thread::spawn(move || {
            let hangs = watch.recv_timeout(WATCHDOG) == Err(RecvTimeoutError::Timeout);
            if hangs {
                // It was not waited for yet, so the id is still its own.
                let _ = kill_process(pid, Signal::KILL);
            }
            hangs
        });
        let status = child.wait().unwrap();
        drop(ended);
        let text = |thread: Option<JoinHandle<Vec<u8>>>| thread.map_or(Vec::new(), |thread| thread.join().unwrap());
        let output = text(self.output.take());
        let errors = String::from_utf8(text(self.errors.take())).unwrap();
        assert!(!watchdog.join().unwrap(), "the process does not end; it said {errors:?}");
        Ended { status, output, errors }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// What is left of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    status: ExitStatus,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
}

impl Ended {
    /// Its exit code must be this one.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Ended {
        let output = String::from_utf8_lossy(&self.output[..self.output.len().min(2000)]);
        assert_eq!(self.status.code(), Some(code), "{}; it printed {output:?}, and said {}", self.status, self.errors);
        self
    }

    #[track_caller]
    pub(crate) fn killed(self) -> Ended {
        assert_eq!(self.status.signal(), Some(9), "{} before it was killed; it said {}", self.status, self.errors);
        self
    }

    /// Standard error must hold each of these.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Ended {
        for word in words {
            assert!(self.errors.contains(word), "{word:?} is not in {:?}", self.errors);
        }
        self
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.output).unwrap()
    }

    /// An object from each line.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        json_lines(&self.output)
    }
}

/// Objects from whole lines; what comes after the last newline is left out.
#[track_caller]
pub(crate) fn json_lines(bytes: &[u8]) -> Vec<Value> {
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let lines = str::from_utf8(&bytes[..whole]).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"))).collect()
}

#[track_caller]
pub(crate) fn ids(messages: &[Value]) -> Vec<i64> {
    messages.iter().map(|message| message["id"].as_i64().unwrap()).collect()
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn eventually(awaited: &str, mut look: impl FnMut() -> bool) {
    let started = Instant::now();
    while !look() {
        assert!(started.elapsed() < WATCHDOG, "waited in vain for {awaited}");
        thread::yield_now();
    }
}

/// A path for a ring, in a folder that is removed with this.
pub(crate) struct Place {
    folder: TempDir,
    pub(crate) ring: PathBuf,
}

impl Place {
    /// Without a ring.
    pub(crate) fn new() -> Place {
        let folder = tempdir().unwrap();
        Place { ring: folder.path().join("ring"), folder }
    }

    pub(crate) fn with(options: &Options) -> Place {
        let place = Place::new();
        options.create_new(&place.ring).unwrap();
        place
    }

    pub(crate) fn with_capacity(capacity: u64) -> Place {
        Place::with(&Buffer::options().capacity(capacity))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn name(&self) -> &str {
        self.ring.to_str().unwrap()
    }

    /// The command on this ring.
    pub(crate) fn aether(&self, subcommand: &str, arguments: &[&str]) -> Command {
        let mut command = aether([subcommand, self.name()]);
        command.args(arguments);
        command
    }

    /// Sends what fits, as lines.
    #[track_caller]
    pub(crate) fn send(&self, lines: impl AsRef<[u8]>) {
        run(self.aether("send", &[]).stdin(input(lines))).with(0);
    }

    /// Takes what is there, each message as an object.
    #[track_caller]
    pub(crate) fn take(&self) -> Vec<Value> {
        run(&mut self.aether("recv", &["--json", "--until-idle", "0s"])).with(0).json()
    }

    pub(crate) fn waiting(&self) -> u64 {
        Observer::open(&self.ring).unwrap().count_messages().unwrap()
    }

    pub(crate) fn info(&self) -> Value {
        run(&mut self.aether("info", &["--json"])).with(0).json().remove(0)
    }

    /// A file for an output, and where it is.
    pub(crate) fn file(&self, name: &str) -> (File, PathBuf) {
        let path = self.path(name);
        (File::create(&path).unwrap(), path)
    }
}

pub(crate) fn size(path: &PathBuf) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// The lines `1` to `count`.
pub(crate) fn numbers(count: u64) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

/// A new terminal.
pub(crate) struct Terminal {
    /// For the process that runs on it.
    pub(crate) user: File,
    /// What is written here is typed there.
    #[cfg_attr(not(feature = "operations"), expect(dead_code))]
    pub(crate) keyboard: File,
    /// What was written to it, also after the process that wrote it has ended.
    pub(crate) screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub(crate) fn new() -> Terminal {
        let owner = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&owner).unwrap();
        unlockpt(&owner).unwrap();
        let name = ptsname(&owner, Vec::new()).unwrap();
        let user = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let seen = screen.clone();
        let mut owner = File::from(owner);
        let keyboard = owner.try_clone().unwrap();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error when nobody has the terminal open any more.
            while let Ok(length @ 1..) = owner.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
        Terminal { user, keyboard, screen }
    }
}

pub(crate) fn holds(screen: &Mutex<Vec<u8>>, text: &str) -> bool {
    String::from_utf8_lossy(&screen.lock().unwrap()).contains(text)
}
