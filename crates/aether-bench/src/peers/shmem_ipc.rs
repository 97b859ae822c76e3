//! `shmem-ipc`: its ring buffer in shared memory. Both sides spin, so that its signals, which are system calls, are not
//! needed; the ring is written and read in place.

use std::fs::OpenOptions;
use std::hint::spin_loop;
use std::path::Path;
use std::slice;

use aether_bench::job::Setup;
use aether_bench::{Entry, Receiver, Sender, Transport};
use anyhow::{Context, Result};
use memmap2::MmapRaw;
use shmem_ipc::ringbuf;

pub(crate) const ENTRIES: &[Entry] = &[Entry::processes::<Ring>("shmem-ipc")];

struct Ring;

/// A message is so many words; the ring holds whole messages, which therefore never wrap.
fn words(setup: &Setup) -> usize {
    setup.size / size_of::<u64>()
}

fn open(place: &Path) -> Result<MmapRaw> {
    let file = OpenOptions::new().read(true).write(true).open(place.join("ring"))?;
    let map = MmapRaw::map_raw(&file)?;
    map.advise(memmap2::Advice::PopulateWrite).context("can't have the ring in memory")?;
    Ok(map)
}

impl Transport for Ring {
    type Sender = Writing;
    type Receiver = Reading;

    fn prepare(place: &Path, setup: &Setup) -> Result<()> {
        let messages = (setup.capacity as usize / setup.size).max(2);
        let bytes = ringbuf::channel_bufsize::<u64>(messages * words(setup));
        let file = OpenOptions::new().write(true).create_new(true).open(place.join("ring"))?;
        Ok(file.set_len(bytes as u64)?)
    }

    fn sender(place: &Path, setup: &Setup) -> Result<Writing> {
        let map = open(place)?;
        // SAFETY: the memory is mapped, of that length, as long as `map` is, which is kept beside the ring; it began as
        // zeros, which are an empty ring.
        let ring = unsafe { ringbuf::Sender::attach(map.as_mut_ptr(), map.len()) }?;
        Ok(Writing { ring, words: words(setup), _map: map })
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Reading> {
        let map = open(place)?;
        // SAFETY: as above.
        let ring = unsafe { ringbuf::Receiver::attach(map.as_mut_ptr(), map.len()) }?;
        Ok(Reading { ring, words: words(setup), _map: map })
    }
}

struct Writing {
    ring: ringbuf::Sender<u64>,
    words: usize,
    _map: MmapRaw,
}

impl Sender for Writing {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let fill = std::cell::Cell::new(Some(fill));
        self.send_run(1, |_, payload| {
            if let Some(fill) = fill.take() {
                fill(payload);
            }
        })
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        let mut sent = 0;
        while sent < count {
            let before = sent;
            self.ring.send(|room, available| {
                let messages = (available / self.words).min(count - sent);
                let size = self.words * size_of::<u64>();
                for message in 0..messages {
                    // SAFETY: the ring gives `available` words from `room` on to the sender, and this is within them; the
                    // receiver looks at them only when they are counted, after this.
                    let payload = unsafe { slice::from_raw_parts_mut(room.add(message * self.words).cast(), size) };
                    fill(sent, payload);
                    sent += 1;
                }
                messages * self.words
            })?;
            if sent == before {
                spin_loop();
            }
        }
        Ok(())
    }
}

struct Reading {
    ring: ringbuf::Receiver<u64>,
    words: usize,
    _map: MmapRaw,
}

impl Receiver for Reading {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let size = self.words * size_of::<u64>();
        let mut taken = 0;
        while taken == 0 {
            self.ring.recv(|there, available| {
                // SAFETY: the ring gives `available` words from `there` on to the receiver; the sender writes to them only
                // when they are no longer counted, after this.
                let bytes: &[u8] = unsafe { slice::from_raw_parts(there.cast(), available * size_of::<u64>()) };
                for payload in bytes.chunks_exact(size) {
                    each(payload);
                }
                taken = available / self.words * self.words;
                taken
            })?;
            if taken == 0 {
                spin_loop();
            }
        }
        Ok(())
    }
}
