//! What the hardware allows: as little as can move a message, without any check, claim or lock. They are limits to
//! measure against, and nothing to use: a peer that misbehaves, or dies, is not survived.

use std::fs::OpenOptions;
use std::hint::spin_loop;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Release},
};

use anyhow::{Context, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::futex;

use crate::job::Setup;
use crate::payload::WORD;
use crate::size::{BySize, Size};
use crate::{Receiver, Sender, Transport};

/// Where the write cursor is, the read cursor, and the data: lines far enough apart that none fetches another.
const WRITE: usize = 0;
const READ: usize = 512;
/// Changes when there is a message, for those that sleep.
const COUNTER: usize = 64;
const DATA: usize = 4096;
/// As much in front of each payload as a ring has there: an id, a type and a length.
const HEADER: usize = 16;
/// How often a full ring is released while it is read.
pub(crate) const RELEASES: usize = 32;

struct Region {
    base: *mut u8,
    length: usize,
}

// SAFETY: it is memory of the whole process; what is done with it is between atomics.
unsafe impl Send for Region {}

impl Region {
    fn path(place: &Path) -> std::path::PathBuf {
        place.join("region")
    }

    fn make(place: &Path, data: usize) -> Result<()> {
        let path = Region::path(place);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let made = file.and_then(|file| file.set_len((DATA + data) as u64));
        made.with_context(|| format!("can't make {}", path.display()))
    }

    fn open(place: &Path) -> Result<Region> {
        let path = Region::path(place);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.with_context(|| format!("can't open {}", path.display()))?;
        let length = usize::try_from(file.metadata()?.len())?;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping, at an address that the system chooses; it is gone only when the region is dropped.
        let base = unsafe { mmap(ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags, &file, 0) }?;
        Ok(Region { base: base.cast(), length })
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: `offset` is one of the constants, within the first page, which every region has, and a multiple of 8;
        // all sides use the word as an atomic alone.
        unsafe { &*self.base.add(offset).cast() }
    }

    fn counter(&self) -> &AtomicU32 {
        // SAFETY: as in `word`; nobody uses these four bytes as anything else.
        unsafe { &*self.base.add(COUNTER).cast() }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length, and nothing borrows from it any more. That it
        // could not be removed is no harm.
        let _ = unsafe { munmap(self.base.cast(), self.length) };
    }
}

/// Slots of equal size and two cursors that count messages.
pub(crate) struct Slots<const N: usize> {
    region: Region,
    size: Size<N>,
    slots: u64,
    position: u64,
    /// Of the slot at `position`.
    offset: usize,
    /// The sender's: it may write up to here.
    limit: u64,
    /// The receiver's: so many messages are released together at most.
    released: u64,
}

impl<const N: usize> Slots<N> {
    fn make(place: &Path, setup: &Setup) -> Result<()> {
        Region::make(place, usize::try_from(setup.capacity)?)
    }

    fn open(place: &Path, setup: &Setup) -> Result<Slots<N>> {
        let region = Region::open(place)?;
        let stride = HEADER + setup.size;
        let slots = (region.length - DATA) / stride;
        anyhow::ensure!(
            slots > 0,
            "a ring of {} bytes has no room for a payload of {} bytes",
            setup.capacity,
            setup.size
        );
        let slots = slots as u64;
        Ok(Slots {
            region,
            size: Size::new(setup.size),
            slots,
            position: 0,
            offset: DATA,
            limit: slots,
            released: slots.div_ceil(RELEASES as u64),
        })
    }

    /// Where the slot after the one at `offset` is: again at the start, where no whole one is left.
    #[inline]
    fn after(&self, offset: usize) -> usize {
        let stride = HEADER + self.size.get();
        if offset + 2 * stride > self.region.length { DATA } else { offset + stride }
    }

    #[inline]
    fn write(&mut self, fill: impl FnOnce(&mut [u8])) {
        if self.position == self.limit {
            self.publish();
            loop {
                self.limit = self.region.word(READ).load(Acquire) + self.slots;
                if self.position != self.limit {
                    break;
                }
                spin_loop();
            }
        }
        // SAFETY: the slot lies within the region (see `after`), at a multiple of 8; the other side has released it
        // and looks at it only when the write cursor, which is stored after this, has passed it.
        let payload = unsafe {
            let header = self.region.base.add(self.offset);
            header.cast::<u64>().write(self.position);
            header.add(WORD).cast::<u64>().write(self.size.get() as u64);
            std::slice::from_raw_parts_mut(header.add(HEADER), self.size.get())
        };
        fill(payload);
        self.position += 1;
        self.offset = self.after(self.offset);
    }

    #[inline]
    fn publish(&self) {
        self.region.word(WRITE).store(self.position, Release);
    }
}

impl<const N: usize> Receiver for Slots<N> {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let end = loop {
            let end = self.region.word(WRITE).load(Acquire);
            if end != self.position {
                break end;
            }
            spin_loop();
        };
        let (mut position, mut offset) = (self.position, self.offset);
        while position != end {
            // The sender need not wait for the end of a long run.
            let part = end.min(position + self.released);
            while position != part {
                // SAFETY: the slot lies within the region (see `after`); the sender has published it and writes to it
                // again only when the read cursor, which is stored after this, has passed it.
                let payload =
                    unsafe { std::slice::from_raw_parts(self.region.base.add(offset + HEADER), self.size.get()) };
                each(payload);
                position += 1;
                offset = self.after(offset);
            }
            self.region.word(READ).store(position, Release);
        }
        (self.position, self.offset) = (position, offset);
        Ok(())
    }
}

/// Written and read in place.
pub(crate) struct Ring<const N: usize>;

impl<const N: usize> Transport for Ring<N> {
    type Sender = Slots<N>;
    type Receiver = Slots<N>;

    fn prepare(place: &Path, setup: &Setup) -> Result<()> {
        Slots::<N>::make(place, setup)
    }

    fn sender(place: &Path, setup: &Setup) -> Result<Slots<N>> {
        Slots::open(place, setup)
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Slots<N>> {
        Slots::open(place, setup)
    }
}

impl<const N: usize> Sender for Slots<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        self.write(fill);
        self.publish();
        Ok(())
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        for index in 0..count {
            self.write(|payload| fill(index, payload));
        }
        self.publish();
        Ok(())
    }
}

/// The limit of what copies from a buffer of the sender's: `memcpy` through the same ring.
pub(crate) struct Copying<const N: usize>;

pub(crate) struct Copied<const N: usize> {
    slots: Slots<N>,
    payload: Vec<u8>,
}

impl<const N: usize> Transport for Copying<N> {
    type Sender = Copied<N>;
    type Receiver = Slots<N>;

    fn prepare(place: &Path, setup: &Setup) -> Result<()> {
        Slots::<N>::make(place, setup)
    }

    fn sender(place: &Path, setup: &Setup) -> Result<Copied<N>> {
        Ok(Copied { slots: Slots::open(place, setup)?, payload: vec![0; setup.size] })
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Slots<N>> {
        Slots::open(place, setup)
    }
}

impl<const N: usize> Sender for Copied<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let size = self.slots.size.get();
        fill(&mut self.payload[..size]);
        self.slots.write(|slot| slot.copy_from_slice(&self.payload[..size]));
        self.slots.publish();
        Ok(())
    }
}

/// [`Ring`] by size.
pub(crate) struct Rings;

impl BySize for Rings {
    type Of<const N: usize> = Ring<N>;
}

/// [`Copying`] by size.
pub(crate) struct Copies;

impl BySize for Copies {
    type Of<const N: usize> = Copying<N>;
}

/// One word that is stored by one side and watched by the other: the time of a cache line to and fro.
pub(crate) struct Atomics;

pub(crate) struct Word {
    region: Region,
    last: u64,
}

impl Word {
    fn open(place: &Path) -> Result<Word> {
        Ok(Word { region: Region::open(place)?, last: 0 })
    }
}

impl Transport for Atomics {
    type Sender = Word;
    type Receiver = Word;

    fn prepare(place: &Path, _setup: &Setup) -> Result<()> {
        Region::make(place, 0)
    }

    fn sender(place: &Path, _setup: &Setup) -> Result<Word> {
        Word::open(place)
    }

    fn receiver(place: &Path, _setup: &Setup) -> Result<Word> {
        Word::open(place)
    }
}

impl Sender for Word {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let mut bytes = [0; WORD];
        fill(&mut bytes);
        self.region.word(WRITE).store(u64::from_le_bytes(bytes), Release);
        Ok(())
    }
}

impl Receiver for Word {
    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        loop {
            let word = self.region.word(WRITE).load(Acquire);
            if word != self.last {
                self.last = word;
                each(&word.to_le_bytes());
                return Ok(());
            }
            spin_loop();
        }
    }
}

/// The bare ring with a counter on which its receiver sleeps in the kernel, always: the time of a wake-up.
pub(crate) struct Futex;

pub(crate) struct Sleeping(Slots<0>);

impl Transport for Futex {
    type Sender = Sleeping;
    type Receiver = Sleeping;

    fn prepare(place: &Path, setup: &Setup) -> Result<()> {
        Slots::<0>::make(place, setup)
    }

    fn sender(place: &Path, setup: &Setup) -> Result<Sleeping> {
        Ok(Sleeping(Slots::open(place, setup)?))
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Sleeping> {
        Ok(Sleeping(Slots::open(place, setup)?))
    }
}

impl Sender for Sleeping {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        self.0.send(fill)?;
        let counter = self.0.region.counter();
        counter.fetch_add(1, Release);
        futex::wake(counter, futex::Flags::empty(), 1)?;
        Ok(())
    }
}

impl Receiver for Sleeping {
    #[inline]
    fn receive(&mut self, each: impl FnMut(&[u8])) -> Result<()> {
        loop {
            let counter = self.0.region.counter().load(Acquire);
            if self.0.region.word(WRITE).load(Acquire) != self.0.position {
                return self.0.receive(each);
            }
            match futex::wait(self.0.region.counter(), futex::Flags::empty(), counter, None) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
