//! Redis, over its Unix socket, without anything kept on the disk: a list that one side appends to and the other takes
//! from; batches are pipelined. The server is started for a measurement and ended with it; it may run on any processor.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use aether_bench::job::{Setup, Work};
use aether_bench::{Entry, Receiver, Sender, Transport};
use anyhow::{Context, Result, ensure};
use redis::{Client, Connection};

pub(crate) const ENTRIES: &[Entry] = &[Entry::processes::<List>("Redis")];

const PROGRAM: &str = "redis-server";
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages that are taken together at most.
const MOST_TAKEN: usize = 256;

/// Those that run, by the folder of their measurement.
static SERVERS: Mutex<Vec<(PathBuf, Child)>> = Mutex::new(Vec::new());

/// What `redis-server --version` says.
pub(crate) fn version() -> Option<String> {
    let output = Command::new(PROGRAM).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split_whitespace().find_map(|word| word.strip_prefix("v="))?.to_owned())
}

struct List;

/// One server serves both directions.
fn socket(place: &Path) -> PathBuf {
    place.parent().unwrap_or(place).join("redis.sock")
}

fn connect(place: &Path) -> Result<Connection> {
    let client = Client::open(format!("redis+unix://{}", socket(place).display()))?;
    Ok(client.get_connection()?)
}

/// The list of one direction.
fn key(place: &Path) -> String {
    place.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn start(folder: &Path) -> Result<Child> {
    let mut command = Command::new(PROGRAM);
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocket"]);
    command.arg(folder.join("redis.sock")).arg("--dir").arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: between fork and exec nothing is called but one system call.
    unsafe {
        command.pre_exec(|| {
            // It ends with who started it, however that ends.
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
    command.spawn().with_context(|| format!("can't start {PROGRAM}"))
}

impl Transport for List {
    type Sender = Pushing;
    type Receiver = Popping;

    fn refuses(_: Work, _: &Setup) -> Option<String> {
        version().is_none().then(|| format!("there is no {PROGRAM} here: install the package of that name"))
    }

    fn prepare(place: &Path, _setup: &Setup) -> Result<()> {
        let folder = place.parent().context("no folder")?.to_owned();
        let mut servers = SERVERS.lock().map_err(|_| anyhow::anyhow!("another measurement panicked"))?;
        if servers.iter().any(|(running, _)| *running == folder) {
            return Ok(());
        }
        let server = start(&folder)?;
        servers.push((folder, server));
        let started = Instant::now();
        while let Err(error) = connect(place) {
            ensure!(started.elapsed() < PATIENCE, "{PROGRAM} can't be reached: {error:#}");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn sender(place: &Path, setup: &Setup) -> Result<Pushing> {
        let most = (setup.capacity as usize / setup.size).max(2 * setup.batch);
        let connection = connect(place)?;
        Ok(Pushing { connection, key: key(place), payloads: vec![0; setup.size * setup.batch], size: setup.size, most })
    }

    fn receiver(place: &Path, _setup: &Setup) -> Result<Popping> {
        Ok(Popping { connection: connect(place)?, key: key(place) })
    }

    fn clean(place: &Path) {
        let Ok(mut servers) = SERVERS.lock() else { return };
        for (_, server) in servers.iter_mut().filter(|(folder, _)| folder == place) {
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
        servers.retain(|(folder, _)| folder != place);
    }
}

struct Pushing {
    connection: Connection,
    key: String,
    payloads: Vec<u8>,
    size: usize,
    /// Messages that wait at most.
    most: usize,
}

impl Pushing {
    fn wait_for_room(&mut self, mut length: usize) -> Result<()> {
        while length > self.most {
            length = redis::cmd("LLEN").arg(&self.key).query(&mut self.connection)?;
        }
        Ok(())
    }
}

impl Sender for Pushing {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let payload = &mut self.payloads[..self.size];
        fill(payload);
        let length = redis::cmd("RPUSH").arg(&self.key).arg(&*payload).query(&mut self.connection)?;
        self.wait_for_room(length)
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        let payloads = &mut self.payloads[..count * self.size];
        // One command takes many: better than as many commands in a pipeline.
        let mut command = redis::cmd("RPUSH");
        command.arg(&self.key);
        for (index, payload) in payloads.chunks_exact_mut(self.size).enumerate() {
            fill(index, payload);
            command.arg(&*payload);
        }
        let length = command.query(&mut self.connection)?;
        self.wait_for_room(length)
    }
}

struct Popping {
    connection: Connection,
    key: String,
}

impl Receiver for Popping {
    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        // Waits in the server for the first one, and takes those behind it too.
        let mut command = redis::cmd("BLMPOP");
        command.arg(0).arg(1).arg(&self.key).arg("LEFT").arg("COUNT").arg(MOST_TAKEN);
        let (_, taken): (Vec<u8>, Vec<Vec<u8>>) = command.query(&mut self.connection)?;
        taken.iter().for_each(|payload| each(payload));
        Ok(())
    }
}
