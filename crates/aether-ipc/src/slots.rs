//! Places of producers and consumers in a file: who signs in where, which consumer has which slot, and the sweeping of
//! slots whose consumer died. The locks of [`ownership`](crate::ownership) decide; the words here only follow them.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::*},
    },
    time::{Duration, Instant},
};

use crate::{
    bell,
    cursor::{AWAY, ReadEnd, distance},
    error::{Corruption, Error, Result},
    events::event,
    layout::{Format, MAX_NAME, Overflow, cursor_line, slot},
    mapping::{Mapping, Word, register_for_fences, wake_all},
    ownership::{Role, RoleLock, is_held},
    testing::step,
    wait::TICK,
};

/// Writes down who holds the cursor in `line`, and that sleepers on the other side's bell can rely on it being rung.
pub(crate) fn sign_in(mapping: &Arc<Mapping>, line: usize, bell: &AtomicU32) {
    let waking = if register_for_fences() { cursor_line::RINGS } else { cursor_line::RINGS_NOT };
    mapping.half_word(line + cursor_line::PID).store(std::process::id().to_le(), Relaxed);
    mapping.half_word(line + cursor_line::WAKING).store(waking.to_le(), Release);
    // Whoever sleeps has to look again how long it may.
    ring(bell);
}

/// Wipes what [`sign_in`] wrote.
pub(crate) fn sign_out(mapping: &Arc<Mapping>, line: usize) {
    mapping.half_word(line + cursor_line::PID).store(0, Relaxed);
    mapping.half_word(line + cursor_line::WAKING).store(0, Release);
}

/// Process ids as the holders of roles wrote them down, for people to read.
pub(crate) fn holder_pids(mapping: &Arc<Mapping>, offsets: impl Iterator<Item = usize>) -> Vec<u32> {
    offsets.map(|offset| u32::from_le(mapping.half_word(offset).load(Relaxed))).collect()
}

fn ring(word: &AtomicU32) {
    crate::sync::full_fence();
    if bell::ring(word) {
        wake_all(word);
    }
}

/// How one who waits can be woken.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) bell: Word<AtomicU32>,
    pub(crate) mapping: Arc<Mapping>,
    pub(crate) longest_sleep: fn(&Arc<Mapping>) -> Duration,
    /// Whether it waits for something that no bell tells, and looks at every [`TICK`] itself.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    pub(crate) ticks: bool,
}

/// How long a consumer may sleep: until the next look at who is there, if all producers ring; else briefly.
pub(crate) fn longest_sleep_of_consumers(mapping: &Arc<Mapping>) -> Duration {
    let layout = mapping.layout();
    longest_sleep(mapping, (0..layout.lanes).map(|lane| layout.write_line(lane)))
}

/// How long a producer may sleep, likewise.
pub(crate) fn longest_sleep_of_producers(mapping: &Arc<Mapping>) -> Duration {
    let layout = mapping.layout();
    longest_sleep(mapping, (0..layout.consumers).map(|slot| layout.read_line(0, slot)))
}

fn longest_sleep(mapping: &Arc<Mapping>, mut lines: impl Iterator<Item = usize>) -> Duration {
    // In a classic file nobody may have signed in because the other side is another implementation, which never rings.
    let unsigned_rings = mapping.layout().format == Format::Extended;
    let rings = register_for_fences()
        && lines.all(|line| match u32::from_le(mapping.half_word(line + cursor_line::WAKING).load(Acquire)) {
            cursor_line::RINGS => true,
            0 => unsigned_rings,
            _ => false,
        });
    if rings { TICK } else { Duration::from_millis(1) }
}

/// Whether any producer holds a lane.
pub(crate) fn has_producer(mapping: &Mapping) -> Result<bool> {
    any_held(mapping, (0..mapping.layout().lanes).map(Role::Producer))
}

/// Whether any consumer holds a slot.
pub(crate) fn has_consumer(mapping: &Mapping) -> Result<bool> {
    any_held(mapping, (0..mapping.layout().consumers).map(Role::Consumer))
}

fn any_held(mapping: &Mapping, roles: impl Iterator<Item = Role>) -> Result<bool> {
    for role in roles {
        if is_held(mapping, role)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A consumer's place, held.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) slot: u32,
    pub(crate) durable: bool,
    pub(crate) lock: RoleLock,
    /// Where it starts in each lane.
    pub(crate) ends: Vec<ReadEnd>,
}

/// Takes the one place of a ring with one consumer, or a free one among many.
pub(crate) fn take(mapping: &Arc<Mapping>) -> Result<Place> {
    if mapping.layout().broadcast() {
        let _registry = lock_registry(mapping)?;
        return take_free(mapping);
    }
    match RoleLock::try_take(mapping, Role::Consumer(0))? {
        Some(lock) => Ok(Place { slot: 0, durable: true, lock, ends: resume(mapping, 0)? }),
        None => Err(taken(mapping, "consumer".to_owned(), 0..1)),
    }
}

/// Takes the place called `name`, or gives that name to a free one.
pub(crate) fn take_named(mapping: &Arc<Mapping>, name: &str) -> Result<Place> {
    check_name(mapping, name)?;
    let _registry = lock_registry(mapping)?;
    check_slots(mapping)?;
    if let Some(slot) = find(mapping, name) {
        return match RoleLock::try_take(mapping, Role::Consumer(slot))? {
            Some(lock) => Ok(Place { slot, durable: true, lock, ends: resume(mapping, slot)? }),
            None => Err(taken(mapping, format!("consumer {name:?}"), slot..slot + 1)),
        };
    }
    let mut place = take_free(mapping)?;
    let cell = mapping.layout().slot_cell(place.slot);
    for index in 0..MAX_NAME / 8 {
        let mut word = [0; 8];
        let rest = name.as_bytes().get(8 * index..).unwrap_or_default();
        let length = rest.len().min(8);
        word[..length].copy_from_slice(&rest[..length]);
        mapping.word(cell + slot::NAME + 8 * index).store(u64::from_ne_bytes(word), Relaxed);
    }
    mapping.half_word(cell + slot::NAME_LENGTH).store((name.len() as u32).to_le(), Relaxed);
    step("naming");
    mapping.half_word(cell + slot::STATE).store(slot::DURABLE.to_le(), Release);
    place.durable = true;
    Ok(place)
}

/// Gives up the place called `name`.
pub(crate) fn forget(mapping: &Arc<Mapping>, name: &str) -> Result<()> {
    check_name(mapping, name)?;
    let _registry = lock_registry(mapping)?;
    check_slots(mapping)?;
    let Some(slot) = find(mapping, name) else {
        return Err(Error::Name {
            name: name.to_owned(),
            reason: "no consumer of that name; `aether consumers` lists them",
        });
    };
    match RoleLock::try_take(mapping, Role::Consumer(slot))? {
        Some(_lock) => {
            vacate(mapping, slot);
            event!(info, path = %mapping.path().display(), slot, name, "gave up the place of a consumer");
            Ok(())
        }
        None => Err(taken(mapping, format!("consumer {name:?}"), slot..slot + 1)),
    }
}

/// The name in a slot, if it is a durable one, for people to read.
pub(crate) fn name(mapping: &Arc<Mapping>, slot: u32) -> Option<String> {
    name_bytes(mapping, slot).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn name_bytes(mapping: &Arc<Mapping>, slot: u32) -> Option<Vec<u8>> {
    if state(mapping, slot) != slot::DURABLE {
        return None;
    }
    let cell = mapping.layout().slot_cell(slot);
    let length = u32::from_le(mapping.half_word(cell + slot::NAME_LENGTH).load(Relaxed)) as usize;
    let bytes = (0..MAX_NAME / 8)
        .flat_map(|index| mapping.word(cell + slot::NAME + 8 * index).load(Relaxed).to_ne_bytes())
        // One more than there are, so that a length that is too great shows.
        .chain([0])
        .take(length);
    Some(bytes.collect())
}

pub(crate) fn state(mapping: &Arc<Mapping>, slot: u32) -> u32 {
    u32::from_le(mapping.half_word(mapping.layout().slot_cell(slot) + slot::STATE).load(Acquire))
}

/// The slots of which nobody can tell for whom they are kept.
pub(crate) fn faults(mapping: &Arc<Mapping>) -> Vec<(u32, Corruption)> {
    let mut faults = look_for_faults(mapping);
    if !faults.is_empty() {
        // One that changed hands while it was looked at is no fault.
        let again = look_for_faults(mapping);
        faults.retain(|fault| again.contains(fault));
    }
    faults
}

fn look_for_faults(mapping: &Arc<Mapping>) -> Vec<(u32, Corruption)> {
    let mut faults = Vec::new();
    let mut names = HashSet::new();
    let layout = mapping.layout();
    for slot in (0..layout.consumers).filter(|_| layout.broadcast()) {
        let state = state(mapping, slot);
        if ![slot::FREE, slot::ANONYMOUS, slot::DURABLE].contains(&state) {
            faults.push((slot, Corruption::SlotState { slot, state }));
        }
        let Some(name) = name_bytes(mapping, slot) else { continue };
        let is_name = str::from_utf8(&name).is_ok_and(|name| name_fault(name).is_none());
        if !is_name || !names.insert(name) {
            faults.push((slot, Corruption::SlotName { slot }));
        }
    }
    faults
}

fn check_slots(mapping: &Arc<Mapping>) -> Result<()> {
    match faults(mapping).first() {
        // It has no position.
        Some(&(_, reason)) => Err(Error::Corrupt { lane: 0, position: 0, reason }),
        None => Ok(()),
    }
}

/// Lets go of the slots whose consumer died without a durable place, so that nobody waits for them.
pub(crate) fn sweep(mapping: &Arc<Mapping>) -> Result<()> {
    let layout = mapping.layout();
    // Taken for the first dead one only: as long as all live, nothing needs a descriptor.
    let mut registry = None;
    for slot in 0..layout.consumers {
        let holds = (0..layout.lanes).any(|lane| cursor(mapping, lane, slot) != AWAY);
        if !holds || !is_anybodys(mapping, slot) || is_held(mapping, Role::Consumer(slot))? {
            continue;
        }
        if registry.is_none() {
            registry = RoleLock::try_take(mapping, Role::Registry)?;
        }
        if registry.is_none() {
            // A consumer that joins must not take a slot being swept for one that is taken. Whoever holds the registry lets go
            // of it soon, and a producer that still has no space looks again.
            return Ok(());
        }
        if let Some(_lock) = RoleLock::try_take(mapping, Role::Consumer(slot))? {
            step("sweeping");
            // Under the lock: it may have become durable, or have been vacated, before we had it.
            if is_anybodys(mapping, slot) {
                vacate(mapping, slot);
                event!(info, path = %mapping.path().display(), slot, "freed the place of a consumer that died");
            }
        }
    }
    Ok(())
}

/// Whether the cursors of durable consumers can be believed. Others were swept, or may be joining: their cursor is far
/// behind for an instant then.
pub(crate) fn check_durable(mapping: &Arc<Mapping>, lane: u32, write: u64) -> Result<(), Corruption> {
    let layout = mapping.layout();
    for slot in 0..layout.consumers {
        match (state(mapping, slot), cursor(mapping, lane, slot)) {
            (_, AWAY) | (slot::FREE | slot::ANONYMOUS, _) => {}
            (slot::DURABLE, read) => drop(distance(write, read, layout.capacity)?),
            (state, _) => return Err(Corruption::SlotState { slot, state }),
        }
    }
    Ok(())
}

/// Frees a slot. The caller holds its lock.
pub(crate) fn vacate(mapping: &Arc<Mapping>, slot: u32) {
    let layout = mapping.layout();
    // Should this process die in between, the place is one that anybody sweeps.
    mapping.half_word(layout.slot_cell(slot) + slot::STATE).store(slot::ANONYMOUS.to_le(), Release);
    for lane in 0..layout.lanes {
        ReadEnd::leave(&mapping.word(layout.read_line(lane, slot)));
    }
    sign_out(mapping, layout.read_line(0, slot));
    mapping.half_word(layout.slot_cell(slot) + slot::STATE).store(slot::FREE, Release);
    ring(&mapping.half_word(layout.space_bell()));
}

/// The caller holds the registry's lock, so that a slot whose lock is held is one that has a consumer.
fn take_free(mapping: &Arc<Mapping>) -> Result<Place> {
    check_slots(mapping)?;
    let layout = mapping.layout();
    // Free ones first, then those of the dead.
    let mut candidates: Vec<u32> = (0..layout.consumers).filter(|&slot| is_anybodys(mapping, slot)).collect();
    candidates.sort_by_key(|&slot| state(mapping, slot) != slot::FREE);
    for slot in candidates {
        let Some(lock) = RoleLock::try_take(mapping, Role::Consumer(slot))? else { continue };
        if !is_anybodys(mapping, slot) {
            continue;
        }
        mapping.half_word(layout.slot_cell(slot) + slot::STATE).store(slot::ANONYMOUS.to_le(), Release);
        step("joining");
        let ends = (0..layout.lanes)
            .map(|lane| {
                let read = mapping.word(layout.read_line(lane, slot));
                let write = mapping.word(layout.write_line(lane));
                ReadEnd::join(&read, &write, layout.capacity).map_err(|reason| Error::Corrupt {
                    lane,
                    position: u64::from_le(write.load(Relaxed)),
                    reason,
                })
            })
            .collect::<Result<Vec<_>>>();
        step("joined");
        return match ends {
            Ok(ends) => Ok(Place { slot, durable: false, lock, ends }),
            Err(error) => {
                vacate(mapping, slot);
                Err(error)
            }
        };
    }
    Err(taken(mapping, "consumer".to_owned(), 0..layout.consumers))
}

fn resume(mapping: &Arc<Mapping>, slot: u32) -> Result<Vec<ReadEnd>> {
    let layout = mapping.layout();
    (0..layout.lanes)
        .map(|lane| {
            let read = mapping.word(layout.read_line(lane, slot));
            let write = mapping.word(layout.write_line(lane));
            let end = match layout.overflow {
                Overflow::Wait => ReadEnd::resume(&read, &write, layout.capacity),
                Overflow::DropOldest => ReadEnd::resume_lossy(&read, layout.capacity),
            };
            end.map_err(|reason| Error::Corrupt { lane, position: u64::from_le(read.load(Relaxed)), reason })
        })
        .collect()
}

fn cursor(mapping: &Arc<Mapping>, lane: u32, slot: u32) -> u64 {
    u64::from_le(mapping.word(mapping.layout().read_line(lane, slot)).load(Acquire))
}

/// Whether a slot is kept for nobody: free, or taken without a name.
fn is_anybodys(mapping: &Arc<Mapping>, slot: u32) -> bool {
    [slot::FREE, slot::ANONYMOUS].contains(&state(mapping, slot))
}

fn find(mapping: &Arc<Mapping>, wanted: &str) -> Option<u32> {
    (0..mapping.layout().consumers).find(|&slot| name_bytes(mapping, slot).as_deref() == Some(wanted.as_bytes()))
}

fn check_name(mapping: &Mapping, name: &str) -> Result<()> {
    let reason = if !mapping.layout().broadcast() {
        Some("this ring has one consumer, whose place is kept without a name")
    } else {
        name_fault(name)
    };
    reason.map_or(Ok(()), |reason| Err(Error::Name { name: name.to_owned(), reason }))
}

fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("a name can't be empty")
    } else if name.len() > MAX_NAME {
        Some("a name has at most 64 bytes")
    } else if name.chars().any(char::is_control) {
        Some("a name can't hold control characters")
    } else {
        None
    }
}

/// Names change rarely and for an instant; whoever is stopped in that instant is waited for a while, then reported.
fn lock_registry(mapping: &Mapping) -> Result<RoleLock> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let started = Instant::now();
    loop {
        if let Some(lock) = RoleLock::try_take(mapping, Role::Registry)? {
            return Ok(lock);
        }
        let waited = started.elapsed();
        if waited >= PATIENCE {
            return Err(Error::TimedOut { waited, awaited: "another process to finish changing the consumers' names" });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn taken(mapping: &Arc<Mapping>, role: String, slots: std::ops::Range<u32>) -> Error {
    let layout = mapping.layout();
    // The lock is asked: a consumer that was killed leaves its process id behind.
    let holders = slots
        .filter_map(|slot| holder(mapping, Role::Consumer(slot), layout.read_line(0, slot)).transpose())
        .collect::<Result<_>>();
    match holders {
        Ok(holders) => Error::RoleTaken { path: mapping.path().to_owned(), role, holders },
        Err(error) => error,
    }
}

/// The holder of a role, if any does now.
pub(crate) fn holder(mapping: &Arc<Mapping>, role: Role, line: usize) -> Result<Option<u32>> {
    let held = is_held(mapping, role)?;
    let pid: &AtomicU32 = &mapping.half_word(line + cursor_line::PID);
    Ok(held.then(|| u32::from_le(pid.load(Relaxed))))
}
