//! What several tests need: other processes that end with their test, and waits that end.

// Each test compiles its own copy and uses a part of it.
#![allow(dead_code)]

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Trial};

/// Nothing here takes a tenth of it; a test that waits so long has hung.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// The tests named, under their functions' names.
#[macro_export]
macro_rules! trials {
    ($($name:ident),+ $(,)?) => {
        vec![$(libtest_mimic::Trial::test(stringify!($name), || { $name(); Ok(()) })),+]
    };
}

/// Something that this test binary does as another process. Its arguments are those given to [`Peer::start`].
pub(crate) type Part = fn(&[String]);

/// `main` of a test that starts itself again: plays the part asked for, or runs the tests.
pub(crate) fn main(parts: &[(&str, Part)], trials: Vec<Trial>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name, rest @ ..] = arguments.as_slice()
        && flag == "--part"
    {
        let (_, part) = parts.iter().find(|(part, _)| part == name).expect("a part of this test");
        part(rest);
        return ExitCode::SUCCESS;
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// This test binary as another process. It is killed when this is dropped, and its input ends when this process does.
pub(crate) struct Peer {
    process: Option<Child>,
    pid: u32,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Peer {
    pub(crate) fn start<A: AsRef<OsStr>>(part: &str, arguments: &[A]) -> Peer {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--part").arg(part).args(arguments);
        Peer::of(&mut command)
    }

    /// Any program, held in the same way.
    pub(crate) fn of(command: &mut Command) -> Peer {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Peer { pid: process.id(), input: process.stdin.take(), process: Some(process), lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line that it prints.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.lines.recv_timeout(WATCHDOG) {
            Ok(line) => line,
            Err(error) => panic!("no line from the other process: {error}"),
        }
    }

    /// The next line, if it has printed one already.
    pub(crate) fn line_now(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    #[track_caller]
    pub(crate) fn expect_line(&self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// Lets it go on; see [`await_go`].
    pub(crate) fn go(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// `kill -9`, and the certainty that it is over. Children that it has go on until this is dropped.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Waits for it to end by itself. Lines that were not read are returned.
    #[track_caller]
    pub(crate) fn finish(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.end();
        (status, self.lines.iter().collect())
    }

    #[track_caller]
    pub(crate) fn succeed(self) -> Vec<String> {
        let (status, lines) = self.finish();
        assert!(status.success(), "the other process ended with {status}; it printed {lines:?}");
        lines
    }

    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        self.input = None;
        let mut process = self.process.take().unwrap();
        let pid = self.pid;
        let (ended, watch) = mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let hangs = watch.recv_timeout(WATCHDOG) == Err(RecvTimeoutError::Timeout);
            if hangs {
                // SAFETY: sends a signal. The process was not waited for yet, so the id is still its own.
                unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
            }
            hangs
        });
        let status = process.wait().unwrap();
        drop(ended);
        assert!(!watchdog.join().unwrap(), "the other process does not end");
        status
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// In the other process: tells the test something.
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// In the other process: waits for [`Peer::go`]; ends the process if the test is gone.
pub(crate) fn await_go() {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap() == 0 {
        std::process::exit(1);
    }
}

/// Looks until there is something.
#[track_caller]
pub(crate) fn eventually<T>(awaited: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < WATCHDOG, "waited in vain for {awaited}");
        std::thread::yield_now();
    }
}

/// Runs what may hang in a thread of its own, so that the test fails instead.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(what: &str, action: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(action()).unwrap());
    match receiver.recv_timeout(WATCHDOG) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        Err(RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().unwrap_err()),
    }
}

/// From here on, every system call of this thread goes through `program`.
#[cfg(target_os = "linux")]
pub(crate) fn filter_system_calls<const N: usize>(mut program: [libc::sock_filter; N]) {
    let program = libc::sock_fprog { len: N as u16, filter: program.as_mut_ptr() };
    // SAFETY: a program of that length, which the system copies.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}
