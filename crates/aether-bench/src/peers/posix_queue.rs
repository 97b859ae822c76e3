//! POSIX message queues, as large as the system allows without asking its administrator.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use aether_bench::job::{Setup, Work};
use aether_bench::{Entry, Receiver, Sender, Transport};
use anyhow::{Context, Result, ensure};

use crate::names;

pub(crate) const ENTRIES: &[Entry] = &[Entry::processes::<Queue>("POSIX message queue")];

struct Queue;

fn limit(name: &str) -> Result<usize> {
    let path = format!("/proc/sys/fs/mqueue/{name}");
    let text = fs::read_to_string(&path).with_context(|| format!("can't read {path}"))?;
    Ok(text.trim().parse()?)
}

fn name(place: &Path) -> Result<CString> {
    Ok(CString::new(format!("/{}", names::short(place)))?)
}

/// An open queue.
struct Open(libc::mqd_t);

impl Open {
    fn with(place: &Path, flags: libc::c_int, attributes: *const libc::mq_attr) -> Result<Open> {
        // SAFETY: the name ends with a zero; the attributes are null or valid during the call; the mode is an integer, as
        // the variadic call wants it.
        let queue = unsafe { libc::mq_open(name(place)?.as_ptr(), flags, 0o600 as libc::c_uint, attributes) };
        ensure!(queue >= 0, "can't open a message queue: {}", io::Error::last_os_error());
        Ok(Open(queue))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: it is open, and closed here alone. That it can't be closed is no harm.
        let _ = unsafe { libc::mq_close(self.0) };
    }
}

impl Transport for Queue {
    type Sender = Sending;
    type Receiver = Receiving;

    fn refuses(_: Work, setup: &Setup) -> Option<String> {
        match limit("msgsize_max") {
            Ok(most) => {
                (setup.size > most).then(|| format!("takes no more than {most} bytes in a message (msgsize_max)"))
            }
            Err(error) => Some(format!("there are none here: {error:#}")),
        }
    }

    fn prepare(place: &Path, setup: &Setup) -> Result<()> {
        // SAFETY: all zero is a valid value.
        let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
        attributes.mq_maxmsg = limit("msg_max")? as libc::c_long;
        attributes.mq_msgsize = setup.size as libc::c_long;
        Open::with(place, libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, &raw const attributes)?;
        Ok(())
    }

    fn sender(place: &Path, setup: &Setup) -> Result<Sending> {
        let queue = Open::with(place, libc::O_WRONLY, std::ptr::null())?;
        Ok(Sending { queue, payload: vec![0; setup.size] })
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Receiving> {
        let queue = Open::with(place, libc::O_RDONLY, std::ptr::null())?;
        Ok(Receiving { queue, payload: vec![0; setup.size] })
    }

    fn clean(place: &Path) {
        for direction in ["there", "back"] {
            if let Ok(name) = name(&place.join(direction)) {
                // SAFETY: the name ends with a zero. That there is none is no harm.
                let _ = unsafe { libc::mq_unlink(name.as_ptr()) };
            }
        }
    }
}

struct Sending {
    queue: Open,
    payload: Vec<u8>,
}

impl Sender for Sending {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        fill(&mut self.payload);
        // SAFETY: pointer and length are those of the payload, which is only read.
        let sent = unsafe { libc::mq_send(self.queue.0, self.payload.as_ptr().cast(), self.payload.len(), 0) };
        ensure!(sent == 0, "can't send: {}", io::Error::last_os_error());
        Ok(())
    }
}

struct Receiving {
    queue: Open,
    payload: Vec<u8>,
}

impl Receiver for Receiving {
    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let payload = &mut self.payload;
        // SAFETY: pointer and length are those of the payload, and no priority is wanted.
        let received =
            unsafe { libc::mq_receive(self.queue.0, payload.as_mut_ptr().cast(), payload.len(), std::ptr::null_mut()) };
        ensure!(received >= 0, "can't receive: {}", io::Error::last_os_error());
        each(&payload[..received as usize]);
        Ok(())
    }
}
