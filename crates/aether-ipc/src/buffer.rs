//! `Buffer`: create, open, connect; and who may then produce and consume.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::*},
    time::{Duration, Instant},
};

use crate::{
    consumer::Consumer,
    cursor::AWAY,
    error::{Error, Result},
    layout::{
        Layout, MAX_CAPACITY, MAX_CLASSIC_CAPACITY, MAX_CONSUMERS, MAX_PRODUCERS, MIN_CAPACITY, Overflow, cursor_line,
        is_capacity,
    },
    mapping::{Creation, Mapping},
    observer::Observer,
    ownership::{Role, RoleLock},
    producer::Producer,
    slots,
};

/// A ring of messages in a file that processes map and share.
///
/// The handle is cheap to clone and to share between threads. Producers and consumers taken from it keep the file
/// mapped for as long as they live, also after the last `Buffer` was dropped.
///
/// ```
/// use aether_ipc::{Buffer, Flow};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("quotes.aether");
///
/// let buffer = Buffer::create(&path, 1 << 20)?;
/// buffer.producer()?.offer(1, 7, b"hello")?;
///
/// // Usually in another process:
/// let mut consumer = Buffer::open(&path)?.consumer()?;
/// consumer.poll(|message| {
///     assert_eq!((message.id(), message.message_type(), message.payload()), (1, 7, &b"hello"[..]));
///     Flow::Continue
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Buffer {
    mapping: Arc<Mapping>,
}

impl Buffer {
    /// Creates a ring of `capacity` bytes with one producer and one consumer, or opens the one that is there. An
    /// existing file of that capacity keeps its cursors and its messages.
    ///
    /// # Errors
    ///
    /// [`Error::Capacity`], [`Error::Mismatch`] if the file has another capacity, [`Error::NotARing`],
    /// [`Error::Truncated`], [`Error::NotAFile`], [`Error::Permission`], [`Error::NoSpace`], [`Error::Io`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let buffer = aether_ipc::Buffer::create(dir.path().join("ring"), 64 << 10)?;
    /// assert_eq!(buffer.capacity(), 65536);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(path: impl AsRef<Path>, capacity: u64) -> Result<Buffer> {
        Buffer::options().capacity(capacity).create(path)
    }

    /// Opens an existing ring.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotARing`], [`Error::Version`], [`Error::Truncated`], [`Error::NotAFile`],
    /// [`Error::Permission`], [`Error::Io`].
    ///
    /// ```
    /// use aether_ipc::{Buffer, Error};
    /// assert!(matches!(Buffer::open("no/such/ring"), Err(Error::NotFound { .. })));
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Buffer> {
        Buffer::options().open(path)
    }

    /// Opens a ring, waiting until the other side has made it.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there is no finished ring after `timeout`; otherwise as [`Buffer::open`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// use aether_ipc::{Buffer, Error};
    /// let late = Buffer::connect("no/such/ring", Duration::from_millis(10));
    /// assert!(matches!(late, Err(Error::TimedOut { .. })));
    /// ```
    pub fn connect(path: impl AsRef<Path>, timeout: Duration) -> Result<Buffer> {
        Buffer::options().connect(path, timeout)
    }

    /// Everything that can be chosen when a ring is made or opened.
    pub fn options() -> Options {
        Options::default()
    }

    /// Takes a producer's role: a free lane, continued where its last producer stopped.
    ///
    /// # Errors
    ///
    /// [`Error::RoleTaken`] if every lane has a producer, naming the processes; [`Error::Corrupt`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use aether_ipc::{Buffer, Error};
    /// let buffer = Buffer::create(dir.path().join("ring"), 4096)?;
    /// let first = buffer.producer()?;
    /// assert!(matches!(buffer.producer(), Err(Error::RoleTaken { .. })));
    /// drop(first);
    /// assert!(buffer.producer().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn producer(&self) -> Result<Producer> {
        Producer::new(&self.mapping)
    }

    /// Takes the producer's role of one lane, to copy messages into it from elsewhere and to know after a restart from
    /// where on: see [`Producer::set_origin`].
    ///
    /// # Errors
    ///
    /// [`Error::RoleTaken`]; [`Error::Mismatch`] if there is no such lane; [`Error::Corrupt`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use aether_ipc::{Buffer, Error};
    /// let buffer = Buffer::options().capacity(4096).producers(2).create(dir.path().join("ring"))?;
    /// let relay = buffer.relay(1)?;
    /// assert!(matches!(buffer.relay(1), Err(Error::RoleTaken { .. })));
    /// assert_eq!(buffer.producer()?.lane(), 0);
    /// assert!(matches!(buffer.relay(2), Err(Error::Mismatch { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn relay(&self, lane: u32) -> Result<Producer> {
        Producer::relay(&self.mapping, lane)
    }

    /// Takes a consumer's role.
    ///
    /// In a ring with one consumer, it goes on where the last one stopped. In a ring with more, it sees every message
    /// committed from now on, of every lane, and holds producers back until it is dropped or dies.
    ///
    /// # Errors
    ///
    /// [`Error::RoleTaken`] if there is no place left, naming the processes; [`Error::Corrupt`].
    pub fn consumer(&self) -> Result<Consumer> {
        Consumer::new(&self.mapping)
    }

    /// Takes the role of the durable consumer called `name`: its place is kept while it is away, and holds producers
    /// back. The first time, it starts with what is committed from now on.
    ///
    /// # Errors
    ///
    /// [`Error::RoleTaken`] if that consumer is there already, or no place is left; [`Error::Name`] if the name is
    /// empty, longer than [`MAX_NAME`](crate::MAX_NAME) bytes or holds control characters, or the ring has only one
    /// consumer (whose place is kept anyway).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use aether_ipc::Buffer;
    /// let bus = Buffer::options().capacity(1 << 16).consumers(8).create(dir.path().join("bus"))?;
    /// drop(bus.consumer_named("audit")?);
    /// bus.producer()?.offer(1, 0, b"while audit was away")?;
    /// assert_eq!(bus.consumer_named("audit")?.drain(10, |_| aether_ipc::Flow::Continue)?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn consumer_named(&self, name: &str) -> Result<Consumer> {
        Consumer::named(&self.mapping, name)
    }

    /// Gives up the place of the durable consumer called `name`, so that it holds nobody back any more.
    ///
    /// # Errors
    ///
    /// [`Error::Name`] if there is no such consumer, [`Error::RoleTaken`] if it is there now.
    pub fn forget(&self, name: &str) -> Result<()> {
        slots::forget(&self.mapping, name)
    }

    /// A read-only look at the ring, which disturbs nobody.
    pub fn observer(&self) -> Observer {
        Observer::new(self.mapping.clone())
    }

    /// Size of the data section in bytes, of each lane.
    pub fn capacity(&self) -> u64 {
        self.mapping.layout().capacity
    }

    /// The path by which the ring was opened.
    pub fn path(&self) -> &Path {
        self.mapping.path()
    }

    /// Where a lane is mapped: its first byte, and how many bytes from there on, which are more than the capacity where
    /// the lane is mapped twice. They stay there as long as this buffer, or anything that was taken from it, lives.
    #[doc(hidden)]
    pub fn memory(&self, lane: u32) -> Option<(*const u8, usize)> {
        let (base, length) = (lane < self.mapping.layout().lanes).then(|| self.mapping.lane_data(lane).memory())?;
        Some((base, length))
    }

    /// The write cursor of the first lane, and the read cursor in it of the consumer that is furthest back, or the write
    /// cursor once more if none is there.
    #[doc(hidden)]
    pub fn cursors(&self) -> (u64, u64) {
        let layout = self.mapping.layout();
        let load = |offset| u64::from_le(self.mapping.word(offset).load(Acquire));
        let before = load(layout.write_line(0));
        let reads = (0..layout.consumers).map(|slot| load(layout.read_line(0, slot))).filter(|&read| read != AWAY);
        // A cursor may have passed what was written before.
        let behind = reads.max_by_key(|&read| before.wrapping_sub(read).cast_signed());
        // Loaded after the read cursors, which are never ahead of it.
        let write = load(layout.write_line(0));
        (write, behind.unwrap_or(write))
    }

    /// Sets the write cursor of a ring with one producer and one consumer, to whatever value: to mend a ring by hand, while
    /// nobody is there. Who takes a role next checks what stands there.
    ///
    /// # Errors
    ///
    /// [`Error::RoleTaken`] if a producer or a consumer is there, [`Error::Options`] if the ring has room for more.
    #[doc(hidden)]
    pub fn set_write_cursor(&self, value: u64) -> Result<()> {
        self.set_cursor(self.mapping.layout().write_line(0), value)
    }

    /// As [`set_write_cursor`](Buffer::set_write_cursor).
    ///
    /// # Errors
    ///
    /// As [`set_write_cursor`](Buffer::set_write_cursor).
    #[doc(hidden)]
    pub fn set_read_cursor(&self, value: u64) -> Result<()> {
        self.set_cursor(self.mapping.layout().read_line(0, 0), value)
    }

    fn set_cursor(&self, offset: usize, value: u64) -> Result<()> {
        let layout = self.mapping.layout();
        if layout.lanes > 1 || layout.broadcast() {
            return Err(Error::Options("cursors are only set by hand in a ring with one producer and one consumer"));
        }
        let Some(_alone) = RoleLock::try_take(&self.mapping, Role::Everything)? else {
            let lines = [layout.write_line(0), layout.read_line(0, 0)];
            let mut holders = slots::holder_pids(&self.mapping, lines.into_iter().map(|line| line + cursor_line::PID));
            holders.sort_unstable();
            holders.dedup();
            if holders.len() > 1 {
                // One that is away.
                holders.retain(|&pid| pid != 0);
            }
            let (path, role) = (self.mapping.path().to_owned(), "producer's or consumer's".to_owned());
            return Err(Error::RoleTaken { path, role, holders });
        };
        self.mapping.word(offset).store(value.to_le(), Release);
        Ok(())
    }

    /// Waits until everything committed so far is on the disk. Nothing else in this crate waits for a disk.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what the system said.
    pub fn sync(&self) -> Result<()> {
        self.mapping.sync()
    }
}

/// How a ring is made or opened.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use aether_ipc::{Buffer, Overflow};
///
/// let bus = Buffer::options()
///     .capacity(1 << 20)
///     .producers(4)
///     .consumers(8)
///     .mode(0o660)
///     .create_new(dir.path().join("bus"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    capacity: Option<u64>,
    classic: bool,
    mode: u32,
    prefault: bool,
    checksums: bool,
    sequence: bool,
    producers: u32,
    consumers: u32,
    overflow: Overflow,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            capacity: None,
            classic: false,
            mode: 0o600,
            prefault: false,
            checksums: false,
            sequence: false,
            producers: 1,
            consumers: 1,
            overflow: Overflow::Wait,
        }
    }
}

impl Options {
    /// Size of the data section in bytes: a power of two, at least 1 KiB. Each lane has one of its own.
    pub fn capacity(mut self, bytes: u64) -> Options {
        self.capacity = Some(bytes);
        self
    }

    /// Makes a file that the reference implementation can open: up to 1 GiB, one producer, one consumer, no checksums.
    /// Messages over the end of the data section are copied there.
    pub fn classic(mut self, classic: bool) -> Options {
        self.classic = classic;
        self
    }

    /// Access rights of a new file, 0600 unless told otherwise; the process's umask does not change them. Ignored on
    /// Windows.
    pub fn mode(mut self, mode: u32) -> Options {
        self.mode = mode;
        self
    }

    /// Brings every page into memory when opening, so that no message waits for it.
    pub fn prefault(mut self, prefault: bool) -> Options {
        self.prefault = prefault;
        self
    }

    /// A CRC-32C for each record of a new ring, over its position, header and payload, checked by whoever reads it.
    pub fn checksums(mut self, checksums: bool) -> Options {
        self.checksums = checksums;
        self
    }

    /// A sequence shared by all producers of a new ring: it stamps the ids, in the order of arrival across lanes, and
    /// the ids given to `offer` are not used. Costs an atomic addition per message or batch.
    pub fn sequence(mut self, sequence: bool) -> Options {
        self.sequence = sequence;
        self
    }

    /// How many producers a new ring has room for, each with a lane of its own: 1 to [`MAX_PRODUCERS`].
    pub fn producers(mut self, producers: u32) -> Options {
        self.producers = producers;
        self
    }

    /// How many consumers a new ring has room for, 1 to [`MAX_CONSUMERS`]. With one, its place is always kept. With
    /// more, each sees every message from when it joined, and only named ones are waited for while they are away.
    pub fn consumers(mut self, consumers: u32) -> Options {
        self.consumers = consumers;
        self
    }

    /// What producers of a new ring do when it is full.
    pub fn overflow(mut self, overflow: Overflow) -> Options {
        self.overflow = overflow;
        self
    }

    /// Creates the ring, or opens the one that is there if it has the shape asked for.
    ///
    /// # Errors
    ///
    /// As [`Buffer::create`], and [`Error::Options`] for what does not go together.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Buffer> {
        let path = path.as_ref();
        loop {
            if let Some(buffer) = self.try_create(path)? {
                return Ok(buffer);
            }
            match Mapping::open(path, true) {
                Ok(mapping) => return self.expect_shape(mapping),
                // Removed by somebody between the two steps: make it after all.
                Err(Error::NotFound { .. }) if path.symlink_metadata().is_err() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates the ring; an error if there is a file already.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`]; otherwise as [`Options::create`].
    pub fn create_new(&self, path: impl AsRef<Path>) -> Result<Buffer> {
        let path = path.as_ref();
        self.try_create(path)?.ok_or_else(|| Error::AlreadyExists { path: path.to_owned() })
    }

    /// Opens an existing ring. Of the options, a capacity must agree, and `prefault` is done; the file says the rest.
    ///
    /// # Errors
    ///
    /// As [`Buffer::open`], and [`Error::Mismatch`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Buffer> {
        let mapping = Mapping::open(path.as_ref(), true)?;
        if let Some(capacity) = self.capacity {
            expect(&mapping, "capacity", mapping.layout().capacity, capacity)?;
        }
        self.finish(mapping)
    }

    /// Opens a ring, waiting until the other side has made it.
    ///
    /// # Errors
    ///
    /// As [`Buffer::connect`], and [`Error::Mismatch`].
    pub fn connect(&self, path: impl AsRef<Path>, timeout: Duration) -> Result<Buffer> {
        let path = path.as_ref();
        let started = Instant::now();
        loop {
            let unfinished = match self.open(path) {
                Err(Error::NotFound { .. }) => "the ring to be made",
                // Other implementations make the file first and store the capacity last.
                Err(Error::NotARing { reason, .. }) if reason.is_unfinished() => "the ring's header to be finished",
                Err(Error::Truncated { .. }) => "the ring's file to have its full size",
                other => return other,
            };
            let waited = started.elapsed();
            if waited >= timeout {
                return Err(Error::TimedOut { waited, awaited: unfinished });
            }
            std::thread::sleep(Duration::from_millis(1).min(timeout - waited));
        }
    }

    fn try_create(&self, path: &Path) -> Result<Option<Buffer>> {
        let creation = Creation { layout: self.layout()?, mode: self.mode };
        Mapping::create(path, creation)?.map(|mapping| self.finish(mapping)).transpose()
    }

    fn finish(&self, mapping: Mapping) -> Result<Buffer> {
        if self.prefault {
            mapping.prefault()?;
        }
        Ok(Buffer { mapping: Arc::new(mapping) })
    }

    fn expect_shape(&self, mapping: Mapping) -> Result<Buffer> {
        let (wanted, found) = (self.layout()?, *mapping.layout());
        expect(&mapping, "capacity", found.capacity, wanted.capacity)?;
        // A plain request is content with either format; anything special must be there.
        if wanted != Layout::extended(wanted.capacity, 1, 1) {
            expect(&mapping, "format (0 classic, 1 extended)", found.format as u64, wanted.format as u64)?;
        }
        expect(&mapping, "producers", found.lanes.into(), wanted.lanes.into())?;
        expect(&mapping, "consumers", found.consumers.into(), wanted.consumers.into())?;
        expect(&mapping, "checksums", found.checksums.into(), wanted.checksums.into())?;
        expect(&mapping, "sequence", found.sequence.into(), wanted.sequence.into())?;
        expect(&mapping, "overflow (0 wait, 1 drop oldest)", found.overflow as u64, wanted.overflow as u64)?;
        self.finish(mapping)
    }

    fn layout(&self) -> Result<Layout> {
        let max = if self.classic { MAX_CLASSIC_CAPACITY } else { MAX_CAPACITY };
        let capacity = self.capacity.ok_or(Error::Options("a new ring needs a capacity; set one with `capacity`"))?;
        if !is_capacity(capacity, max) {
            return Err(Error::Capacity { capacity, min: MIN_CAPACITY, max });
        }
        if !(1..=MAX_PRODUCERS).contains(&self.producers) {
            return Err(Error::Options("a ring has 1 to 256 producers"));
        }
        if !(1..=MAX_CONSUMERS).contains(&self.consumers) {
            return Err(Error::Options("a ring has 1 to 1024 consumers"));
        }
        if !self.classic {
            let mut layout = Layout::extended(capacity, self.producers, self.consumers);
            layout.checksums = self.checksums;
            layout.sequence = self.sequence;
            layout.overflow = self.overflow;
            return Ok(layout);
        }
        if self.producers > 1 || self.consumers > 1 {
            return Err(Error::Options("a classic ring has one producer and one consumer"));
        }
        if self.checksums || self.sequence || self.overflow != Overflow::Wait {
            return Err(Error::Options(
                "a classic ring has neither checksums, nor a shared sequence, nor drops messages",
            ));
        }
        Ok(Layout::classic(capacity))
    }
}

fn expect(mapping: &Mapping, field: &'static str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Mismatch { path: mapping.path().to_owned(), field, found, expected })
}
