//! The operating system's part in memory: files, maps, the double mapping, sleeping on a word. The only room with
//! calls for memory; each system has a file of its own with the same functions.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

mod disturbance;

use std::{
    fs::File,
    io,
    ops::Deref,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

pub use disturbance::guard_bus_errors;
pub(crate) use disturbance::{Epoch, forks};
#[cfg(unix)]
pub(crate) use disturbance::{Slots, Taken, bump_forks};
pub(crate) use system::{check_size_limit, heavy_fence, register_for_fences, reopen, sleep, wake_all};

use crate::{
    bell::Sleep,
    error::{Error, Result},
    events::event,
    layout::{Format, HEADER, HEADER_END, HEADER_SIZE, Layout, Undecodable, VERSION},
};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("aether-ipc maps rings into the address space and needs 64 bits of it");

/// How a file is to be made; see the setters of [`Options`](crate::Options).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Creation {
    pub(crate) layout: Layout,
    #[cfg_attr(windows, expect(dead_code, reason = "files there inherit the rights of their folder"))]
    pub(crate) mode: u32,
}

/// A ring's file, open and mapped.
#[derive(Debug)]
pub(crate) struct Mapping {
    path: PathBuf,
    file: File,
    layout: Layout,
    writable: bool,
    regions: Vec<Region>,
}

/// One stretch of mapped memory, unmapped when dropped. The first holds the control words, and in a classic file the
/// data too; each further one is a lane's data.
#[derive(Debug)]
struct Region {
    base: *mut u8,
    /// Bytes that may be touched from `base` on.
    size: usize,
    disturbance: disturbance::Watch,
}

// SAFETY: a region is an address range that stays mapped until dropped; all access through it is by atomics or by
// functions whose own contracts rule out races.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// A word of the control area, which stays mapped as long as this does.
#[derive(Debug)]
pub(crate) struct Word<T> {
    pointer: NonNull<T>,
    _mapping: Arc<Mapping>,
}

// SAFETY: a shared reference to an atomic, and what keeps it valid.
unsafe impl<T: Sync> Send for Word<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Word<T> {}

impl<T> Clone for Word<T> {
    fn clone(&self) -> Self {
        Word { pointer: self.pointer, _mapping: self._mapping.clone() }
    }
}

impl<T> Deref for Word<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the pointer came from a reference into the mapping that is kept alive beside it.
        unsafe { self.pointer.as_ref() }
    }
}

/// The data section of a lane, which stays mapped as long as this does.
#[derive(Debug, Clone)]
pub(crate) struct LaneData {
    view: View,
    _mapping: Arc<Mapping>,
}

impl Deref for LaneData {
    type Target = View;

    #[inline]
    fn deref(&self) -> &View {
        &self.view
    }
}

/// What stands where, for callers in other languages that write or read records by themselves, and so do what `cursor`
/// does of the protocol's rules: see `Producer::window` and `Consumer::direct`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Direct {
    /// The lane's data, and how many bytes are mapped from there on.
    pub base: *mut u8,
    pub mapped: usize,
    pub capacity: u64,
    /// The lane's write cursor.
    pub write: *mut u64,
    /// To be rung if its lowest bit is set: after a store of the caller's cursor, not before.
    pub bell: *const u32,
    /// Moves when the process was forked, or a mapped file was cut short: the caller leaves the next operation to the
    /// library, which then finds out.
    pub epoch: *const u32,
    /// Where the caller's own cursor stands.
    pub position: u64,
}

impl Direct {
    pub(crate) fn new(data: &LaneData, write: &Word<AtomicU64>, bell: &Word<AtomicU32>, position: u64) -> Direct {
        let (base, mapped) = data.memory();
        let capacity = data._mapping.layout().capacity;
        Direct { base, mapped, capacity, write: write.as_ptr(), bell: bell.as_ptr(), epoch: Epoch::counter(), position }
    }
}

/// Records as addresses: where the bytes of a position stand. Valid as long as the memory that it was made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    base: *mut u8,
    /// Takes off the lowest bits too: a cursor that a peer spoiled must not lead to half a word.
    mask: u64,
    /// A stretch that begins below the mask and ends no later than this is contiguous in memory.
    contiguous: usize,
}

// SAFETY: only an address; those who dereference it say why they may.
unsafe impl Send for View {}

impl View {
    /// A private copy of records, the first of which was at `position`.
    pub(crate) fn of_copy(copy: &mut [u64], position: u64) -> View {
        let base = copy.as_mut_ptr().cast::<u8>().wrapping_sub((position & !7) as usize);
        View { base, mask: !7, contiguous: usize::MAX }
    }

    /// Where the ring begins, and how many bytes are mapped from there on.
    pub(crate) fn memory(&self) -> (*mut u8, usize) {
        (self.base, self.contiguous)
    }

    /// Where `size` bytes at `position` stand, if they stand in one piece.
    #[inline]
    pub(crate) fn contiguous(&self, position: u64, size: usize) -> Option<*mut u8> {
        let offset = (position & self.mask) as usize;
        (offset.saturating_add(size) <= self.contiguous).then(|| self.base.wrapping_add(offset))
    }

    /// Where the bytes from `position` on stand, and how many of them in one piece; in a private copy no fewer than there
    /// are, if they end below 2^64.
    #[inline]
    pub(crate) fn from(&self, position: u64) -> (*mut u8, usize) {
        // The mask leaves an offset that is no more than what is contiguous.
        let offset = (position & self.mask) as usize;
        (self.base.wrapping_add(offset), self.contiguous - offset)
    }

    /// Where the byte at `position` stands.
    #[inline]
    pub(crate) fn place(&self, position: u64) -> *mut u8 {
        self.base.wrapping_add((position & self.mask) as usize)
    }

    /// The word in which `position` lies. Records are aligned, so it begins there, unless a peer spoiled the cursor.
    ///
    /// # Safety
    ///
    /// The memory is there, and in a private copy the position lies within it.
    #[inline]
    pub(crate) unsafe fn word(&self, position: u64) -> &AtomicU64 {
        // SAFETY: in a ring, the mask leaves an offset below the capacity and a multiple of 8, as capacity and base are, so
        // the word is aligned and in bounds whatever the position; in a copy, by this function's contract. Words are accessed as atomics or,
        // by the side that owns them under the cursor protocol, plainly.
        unsafe { &*self.place(position).cast::<AtomicU64>() }
    }

    /// Copies whole words out, with a load that may race with a writer; the caller decides what the copy is worth.
    ///
    /// # Safety
    ///
    /// As for [`word`](Self::word), for each of the words.
    pub(crate) unsafe fn copy_out(&self, position: u64, target: &mut [u64]) {
        for (index, word) in target.iter_mut().enumerate() {
            // SAFETY: by this function's contract.
            *word = unsafe { self.word(position.wrapping_add(8 * index as u64)) }.load(Ordering::Relaxed);
        }
    }

    /// Copies `bytes` in at `position`, word by word with atomic stores, going on at the first byte of the ring behind
    /// its last. The rest of the last word becomes zero.
    ///
    /// # Safety
    ///
    /// As for [`word`](Self::word); and the bytes are this side's to write under the cursor protocol.
    pub(crate) unsafe fn copy_in(&self, position: u64, bytes: &[u8]) {
        for (index, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            // SAFETY: by this function's contract.
            unsafe { self.word(position.wrapping_add(8 * index as u64)) }
                .store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
    }
}

impl Mapping {
    /// Makes the file whole under no name, gives it its space on disk, then links it into place. `None` if there is
    /// one already.
    pub(crate) fn create(path: &Path, creation: Creation) -> Result<Option<Mapping>> {
        match system::create(path, creation)? {
            Some(file) => {
                let mapping = Mapping::new(path, file, creation.layout, true)?;
                event!(debug, path = %path.display(), capacity = creation.layout.capacity, "ring created");
                Ok(Some(mapping))
            }
            None => Ok(None),
        }
    }

    /// Opens an existing file, believing nothing in it.
    pub(crate) fn open(path: &Path, writable: bool) -> Result<Mapping> {
        let file = system::open(path, writable)?;
        let layout = read_layout(&file, path)?;
        let mapping = Mapping::new(path, file, layout, writable)?;
        event!(debug, path = %path.display(), capacity = layout.capacity, writable, "ring opened");
        Ok(mapping)
    }

    fn new(path: &Path, file: File, layout: Layout, writable: bool) -> Result<Mapping> {
        let io = |operation| move |source| Error::Io { path: path.to_owned(), operation, source };
        let mut regions = Vec::with_capacity(1 + layout.lanes as usize);
        let control = match layout.format {
            Format::Classic => layout.file_size(),
            Format::Extended => layout.data_offset,
        };
        regions.push(Region::new(system::map(&file, 0, control as usize, 1, writable).map_err(io("map"))?, control));
        if layout.format == Format::Extended {
            for lane in 0..layout.lanes {
                let copies = if layout.capacity.is_multiple_of(system::page_size()) { 2 } else { 1 };
                let base = system::map(&file, layout.data(lane), layout.capacity as usize, copies, writable)
                    .map_err(io("map"))?;
                regions.push(Region::new(base, layout.capacity * copies as u64));
            }
        }
        if writable {
            register_for_fences();
        }
        Ok(Mapping { path: path.to_owned(), file, layout, writable, regions })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A 64-bit word of the control area; `offset` comes from [`Layout`].
    pub(crate) fn word(self: &Arc<Self>, offset: usize) -> Word<AtomicU64> {
        self.control(offset)
    }

    /// A 32-bit word of the control area.
    pub(crate) fn half_word(self: &Arc<Self>, offset: usize) -> Word<AtomicU32> {
        self.control(offset)
    }

    /// `T` is one of the two atomics.
    fn control<T>(self: &Arc<Self>, offset: usize) -> Word<T> {
        assert!(offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.regions[0].size);
        // SAFETY: within the region, as just checked, so not null; aligned, as the region starts on a page; control words
        // are accessed as atomics by everybody.
        let pointer = unsafe { NonNull::new_unchecked(self.regions[0].base.add(offset)) }.cast();
        Word { pointer, _mapping: self.clone() }
    }

    pub(crate) fn lane_data(self: &Arc<Self>, lane: u32) -> LaneData {
        let capacity = self.layout.capacity;
        let (region, offset) = match self.layout.format {
            Format::Classic => (&self.regions[0], self.layout.data_offset as usize),
            Format::Extended => (&self.regions[1 + lane as usize], 0),
        };
        assert!(offset + capacity as usize <= region.size);
        // SAFETY: within the region, as just checked.
        let base = unsafe { region.base.add(offset) };
        let view = View { base, mask: (capacity - 1) & !7, contiguous: region.size - offset };
        LaneData { view, _mapping: self.clone() }
    }

    /// Brings every page into memory, so that no message waits for it.
    pub(crate) fn prefault(&self) -> Result<()> {
        for region in &self.regions {
            system::prefault(region.base, region.size, self.writable).map_err(|source| Error::Io {
                path: self.path.clone(),
                operation: "prefault",
                source,
            })?;
        }
        Ok(())
    }

    /// Waits until everything committed so far is on the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        system::sync(&self.file, &self.regions.iter().map(|region| (region.base, region.size)).collect::<Vec<_>>())
            .map_err(|source| Error::Io { path: self.path.clone(), operation: "sync", source })
    }

    /// An error if a part of the file went away under the map (seen only with [`guard_bus_errors`]).
    pub(crate) fn check_whole(&self) -> Result<()> {
        if self.regions.iter().all(|region| !region.disturbance.struck()) {
            return Ok(());
        }
        let found = self.file.metadata().map_or(0, |metadata| metadata.len());
        let expected = self.layout.file_size();
        event!(warn, path = %self.path.display(), found, expected, "ring cut short");
        Err(Error::Truncated { path: self.path.clone(), found, expected })
    }
}

impl Region {
    fn new(base: *mut u8, size: u64) -> Region {
        Region { base, size: size as usize, disturbance: disturbance::Watch::new(base as usize, size as usize) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // The bus error handler must not look at an address that may be another mapping's in a moment.
        self.disturbance.end();
        // SAFETY: the region was mapped with this base and size, and whoever held pointers into it also held the
        // `Mapping` that is going away.
        unsafe { system::unmap(self.base, self.size) };
    }
}

/// Reads and checks the fixed header through the file, not through a map: a short file is then an error.
fn read_layout(file: &File, path: &Path) -> Result<Layout> {
    let io = |operation| move |source| Error::Io { path: path.to_owned(), operation, source };
    let size = file.metadata().map_err(io("read its size"))?.len();
    if size < HEADER_END as u64 {
        let reason = crate::error::HeaderFault::TooSmall { size, header: HEADER_END as u64 };
        return Err(Error::NotARing { path: path.to_owned(), reason });
    }
    let mut header = [0; HEADER_SIZE];
    system::read_exact_at(file, &mut header, HEADER as u64).map_err(io("read its header"))?;
    let layout = Layout::decode(&header).map_err(|undecodable| match undecodable {
        Undecodable::Fault(reason) => Error::NotARing { path: path.to_owned(), reason },
        Undecodable::Version(found) => Error::Version { path: path.to_owned(), found, known: VERSION },
    })?;
    let expected = layout.file_size();
    if size < expected {
        return Err(Error::Truncated { path: path.to_owned(), found: size, expected });
    }
    Ok(layout)
}

/// A short sleep, bounded whatever the other side does: where the system can't sleep on the words themselves.
fn nap(sleeps: &[Sleep<'_>], timeout: Duration) {
    if sleeps.iter().all(|sleep| sleep.bell.load(Ordering::Relaxed) == sleep.value) {
        std::thread::sleep(timeout.min(Duration::from_millis(1)));
    }
}

/// Writes the parts of a new file that are not zero.
fn write_new(file: &File, layout: &Layout) -> io::Result<()> {
    if layout.broadcast() {
        for lane in 0..layout.lanes {
            for slot in 0..layout.consumers {
                system::write_all_at(file, &crate::cursor::AWAY.to_le_bytes(), layout.read_line(lane, slot) as u64)?;
            }
        }
    }
    system::write_all_at(file, &layout.encode(), HEADER as u64)
}

/// The error that the system's answer to opening `path` means.
fn open_error(path: &Path, operation: &'static str, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::Permission { path, operation },
        io::ErrorKind::IsADirectory => Error::NotAFile { path, found: "a directory" },
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path },
        _ => Error::Io { path, operation, source },
    }
}

/// The error that the system's answer to asking for space means.
fn space_error(path: &Path, size: u64, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::NoSpace { path, size, source }
        }
        _ => Error::Io { path, operation: "allocate its space", source },
    }
}
