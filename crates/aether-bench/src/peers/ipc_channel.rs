//! `ipc-channel`: its channel of bytes, and its shared memory for large payloads. It sleeps in the kernel.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aether_bench::job::{Setup, Work};
use aether_bench::{Entry, Receiver, Sender, Transport};
use anyhow::{Context, Result};
use ipc_channel::ipc::{
    self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) const ENTRIES: &[Entry] =
    &[Entry::processes::<Bytes>("ipc-channel"), Entry::processes::<Shared>("ipc-channel, shared memory")];

const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for a sender, which brings the receiving end.
fn meet<R: Serialize + DeserializeOwned>(place: &Path) -> Result<R> {
    let (server, name) = IpcOneShotServer::<R>::new()?;
    let new = place.join("server.new");
    fs::write(&new, name)?;
    fs::rename(&new, place.join("server"))?;
    let (_, receiver) = server.accept()?;
    Ok(receiver)
}

/// Brings the receiving end to who waits for it.
fn bring<R: Serialize + DeserializeOwned>(place: &Path, receiver: R) -> Result<()> {
    let started = Instant::now();
    let name = loop {
        match fs::read_to_string(place.join("server")) {
            Ok(name) => break name,
            Err(error) if started.elapsed() > PATIENCE => return Err(error).context("no receiver came"),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    Ok(IpcSender::connect(name)?.send(receiver)?)
}

struct Bytes;

impl Transport for Bytes {
    type Sender = SendingBytes;
    type Receiver = ReceivingBytes;

    fn sender(place: &Path, setup: &Setup) -> Result<SendingBytes> {
        let (sender, receiver) = ipc::bytes_channel()?;
        bring::<IpcBytesReceiver>(place, receiver)?;
        Ok(SendingBytes { sender, payload: vec![0; setup.size] })
    }

    fn receiver(place: &Path, _setup: &Setup) -> Result<ReceivingBytes> {
        Ok(ReceivingBytes(meet(place)?))
    }
}

struct SendingBytes {
    sender: IpcBytesSender,
    payload: Vec<u8>,
}

impl Sender for SendingBytes {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        fill(&mut self.payload);
        Ok(self.sender.send(&self.payload)?)
    }
}

struct ReceivingBytes(IpcBytesReceiver);

impl Receiver for ReceivingBytes {
    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        each(&self.0.recv()?);
        Ok(())
    }
}

struct Shared;

/// A file in memory for each message is meant for large ones.
const SMALLEST_SHARED: usize = 4 << 10;

impl Transport for Shared {
    type Sender = SendingShared;
    type Receiver = ReceivingShared;

    fn refuses(_: Work, setup: &Setup) -> Option<String> {
        let small = setup.size < SMALLEST_SHARED;
        small.then(|| format!("makes a file in memory for each message, which pays from {SMALLEST_SHARED} bytes on"))
    }

    fn sender(place: &Path, setup: &Setup) -> Result<SendingShared> {
        let (sender, receiver) = ipc::channel()?;
        bring::<IpcReceiver<IpcSharedMemory>>(place, receiver)?;
        Ok(SendingShared { sender, payload: vec![0; setup.size] })
    }

    fn receiver(place: &Path, _setup: &Setup) -> Result<ReceivingShared> {
        Ok(ReceivingShared(meet(place)?))
    }
}

struct SendingShared {
    sender: IpcSender<IpcSharedMemory>,
    payload: Vec<u8>,
}

impl Sender for SendingShared {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        fill(&mut self.payload);
        Ok(self.sender.send(IpcSharedMemory::from_bytes(&self.payload))?)
    }
}

struct ReceivingShared(IpcReceiver<IpcSharedMemory>);

impl Receiver for ReceivingShared {
    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        each(&self.0.recv()?);
        Ok(())
    }
}
