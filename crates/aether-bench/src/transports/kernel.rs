//! Through the kernel. Both sides know the size of a message, so that nothing frames it; a batch is one write.

use std::fs::{self, File, OpenOptions};
use std::hint::spin_loop;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::job::Setup;
use crate::{Receiver, Sender, Transport};

/// How long one side waits for the other to be there.
const PATIENCE: Duration = Duration::from_secs(10);
const READ_AHEAD: usize = 64 << 10;

/// How a side waits for the kernel.
pub(crate) trait Waits {
    const POLLS: bool;
}

/// In the kernel, until there is something.
pub(crate) struct Sleeping;

impl Waits for Sleeping {
    const POLLS: bool = false;
}

/// Asks the kernel again and again.
pub(crate) struct Polling;

impl Waits for Polling {
    const POLLS: bool = true;
}

pub(crate) struct Writing<S> {
    stream: S,
    size: usize,
    bytes: Vec<u8>,
}

impl<S> Writing<S> {
    fn new(stream: S, setup: &Setup) -> Writing<S> {
        Writing { stream, size: setup.size, bytes: vec![0; setup.size * setup.batch] }
    }
}

impl<S: Write> Sender for Writing<S> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let message = &mut self.bytes[..self.size];
        fill(message);
        write_all(&mut self.stream, message)
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        let messages = &mut self.bytes[..count * self.size];
        for (index, message) in messages.chunks_exact_mut(self.size).enumerate() {
            fill(index, message);
        }
        write_all(&mut self.stream, messages)
    }
}

fn write_all(stream: &mut impl Write, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if again(&error) => spin_loop(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Nothing is there, or no room, for one that polls.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

pub(crate) struct Reading<S> {
    stream: S,
    size: usize,
    bytes: Vec<u8>,
    filled: usize,
}

impl<S> Reading<S> {
    fn new(stream: S, setup: &Setup) -> Reading<S> {
        let room = setup.size.max(READ_AHEAD / setup.size * setup.size);
        Reading { stream, size: setup.size, bytes: vec![0; room], filled: 0 }
    }
}

impl<S: Read> Receiver for Reading<S> {
    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        while self.filled < self.size {
            match self.stream.read(&mut self.bytes[self.filled..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => self.filled += count,
                Err(error) if again(&error) => spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
        let whole = self.filled / self.size * self.size;
        for message in self.bytes[..whole].chunks_exact(self.size) {
            each(message);
        }
        self.bytes.copy_within(whole..self.filled, 0);
        self.filled -= whole;
        Ok(())
    }
}

/// Until the other side listens.
fn patiently<S>(what: &str, mut connect: impl FnMut() -> io::Result<S>) -> Result<S> {
    let started = Instant::now();
    loop {
        match connect() {
            Ok(stream) => return Ok(stream),
            Err(error) if started.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("nobody listens at the {what}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

pub(crate) struct Pipe;

impl Transport for Pipe {
    type Sender = Writing<File>;
    type Receiver = Reading<File>;

    fn prepare(place: &Path, _setup: &Setup) -> Result<()> {
        Ok(mknodat(CWD, place.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?)
    }

    fn sender(place: &Path, setup: &Setup) -> Result<Self::Sender> {
        // Opening waits for the other side.
        Ok(Writing::new(OpenOptions::new().write(true).open(place.join("pipe"))?, setup))
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Self::Receiver> {
        Ok(Reading::new(File::open(place.join("pipe"))?, setup))
    }
}

pub(crate) struct Unix<W>(PhantomData<W>);

impl<W: Waits> Transport for Unix<W> {
    type Sender = Writing<UnixStream>;
    type Receiver = Reading<UnixStream>;

    fn sender(place: &Path, setup: &Setup) -> Result<Self::Sender> {
        let stream = patiently("Unix socket", || UnixStream::connect(place.join("socket")))?;
        stream.set_nonblocking(W::POLLS)?;
        Ok(Writing::new(stream, setup))
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Self::Receiver> {
        let (stream, _) = UnixListener::bind(place.join("socket"))?.accept()?;
        stream.set_nonblocking(W::POLLS)?;
        Ok(Reading::new(stream, setup))
    }
}

pub(crate) struct Tcp<W>(PhantomData<W>);

impl<W: Waits> Transport for Tcp<W> {
    type Sender = Writing<TcpStream>;
    type Receiver = Reading<TcpStream>;

    fn sender(place: &Path, setup: &Setup) -> Result<Self::Sender> {
        let stream = patiently("TCP port", || {
            let address = fs::read_to_string(place.join("address"))?;
            TcpStream::connect(&address)
        })?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(W::POLLS)?;
        Ok(Writing::new(stream, setup))
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Self::Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (new, address) = (place.join("address.new"), place.join("address"));
        // Renamed, so that it is never seen half written.
        fs::write(&new, listener.local_addr()?.to_string())?;
        fs::rename(&new, &address)?;
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(W::POLLS)?;
        Ok(Reading::new(stream, setup))
    }
}
