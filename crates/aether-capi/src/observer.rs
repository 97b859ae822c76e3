//! `aether_observer` and `aether_tail`: a look at a ring that disturbs nobody; and `aether_verify`.

use std::{
    ffi::{CString, c_char},
    mem::MaybeUninit,
};

use aether_ipc::{Flow, Format, Info, Message, Observer, Overflow, Tail, recovery};

use crate::{
    arguments::{Present, give, room, text},
    buffer::aether_overflow,
    consumer::aether_message,
    status::{aether_status, guard},
};

/// Looks at a ring: takes no role, moves no cursor, holds nobody back. One thread at a time.
pub struct aether_observer {
    observer: Observer,
    info: Option<Box<Snapshot>>,
    copies: Copies,
}

/// Follows what passes through a ring without ever holding it back. One thread at a time.
pub struct aether_tail {
    tail: Tail,
    copies: Copies,
}

/// What a ring is and how it stands; an instant's truth.
#[repr(C)]
pub struct aether_info {
    /// The path by which it was opened.
    pub path: *const c_char,
    /// Bytes of each lane's data section.
    pub capacity: u64,
    /// Where the first lane's data starts in the file.
    pub data_offset: u64,
    /// Length of the file in bytes.
    pub file_size: u64,
    /// Bytes that it takes on the disk, where the system says so.
    pub disk_size: u64,
    /// Bytes that wait for the slowest consumer.
    pub available_bytes: u64,
    /// The version in an extended header; 0 in a classic file.
    pub version: u32,
    /// How many consumers the ring has room for.
    pub consumer_slots: u32,
    /// Whether the file has the header of the reference implementation.
    pub classic: bool,
    /// Whether each record carries a checksum.
    pub checksums: bool,
    /// Whether ids are stamped from a sequence shared by all producers.
    pub sequence: bool,
    /// What producers do when the ring is full.
    pub overflow: aether_overflow,
    /// The lanes, one for each producer.
    pub lanes: *const aether_lane,
    /// How many there are.
    pub lane_count: usize,
    /// The consumers that hold producers back or read now.
    pub consumers: *const aether_place,
    /// How many there are.
    pub consumer_count: usize,
}

/// One lane of a ring.
#[repr(C)]
pub struct aether_lane {
    /// Bytes ever committed.
    pub write_cursor: u64,
    /// Records from here on have not been written over; 0 in classic files, which do not say.
    pub oldest: u64,
    /// Whether a producer is there now.
    pub is_held: bool,
    /// Its process id; 0 if it left none.
    pub pid: u32,
}

/// One consumer of a ring.
#[repr(C)]
pub struct aether_place {
    /// The name of a durable consumer among many, else null.
    pub name: *const c_char,
    /// Bytes that wait for it, in all lanes together.
    pub lag: u64,
    /// Bytes ever released, for each lane; `AETHER_AWAY` in a lane that it has not joined.
    pub read_cursors: *const u64,
    /// Its number, from 0.
    pub slot: u32,
    /// Whether its place is kept while it is away.
    pub durable: bool,
    /// Whether it is there now.
    pub is_held: bool,
    /// Its process id; 0 if it left none.
    pub pid: u32,
}

/// What `aether_verify` found.
#[repr(C)]
pub struct aether_report {
    /// Messages that wait and are whole.
    pub messages: u64,
    /// Bytes that they take.
    pub bytes: u64,
    /// Everything that is wrong.
    pub problems: *const aether_problem,
    /// How many that are; 0 for a sound ring.
    pub problem_count: usize,
}

/// One thing that is wrong in a ring.
#[repr(C)]
pub struct aether_problem {
    /// What and where, in words.
    pub text: *const c_char,
    /// The position, in bytes since the ring was made.
    pub position: u64,
    /// The lane.
    pub lane: u32,
    /// The slot of the consumer whose cursor is wrong; -1 if a record is.
    pub consumer: i32,
}

/// An `aether_info` and all that it points to.
struct Snapshot {
    info: aether_info,
    _path: CString,
    _lanes: Vec<aether_lane>,
    _places: Vec<aether_place>,
    _names: Vec<CString>,
    _cursors: Vec<Vec<u64>>,
}

/// An `aether_report` and all that it points to. The report comes first, so that its address is that of the whole.
#[repr(C)]
struct Findings {
    report: aether_report,
    _problems: Vec<aether_problem>,
    _texts: Vec<CString>,
}

/// Messages shown to an observer, kept until it asks for the next ones.
#[derive(Default)]
struct Copies {
    words: Vec<u64>,
    messages: Vec<aether_message>,
}

/// Text for C. Whatever stands in a file may be in it, also a zero.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

impl Copies {
    fn clear(&mut self) {
        self.words.clear();
        self.messages.clear();
    }

    fn keep(&mut self, message: Message<'_>) -> Flow {
        self.messages.push(message.into());
        for chunk in message.payload().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.words.push(u64::from_ne_bytes(word));
        }
        Flow::Continue
    }

    /// Hands the messages out; by now the copies have found their place.
    fn write(&mut self, out: &mut [MaybeUninit<aether_message>]) -> usize {
        let mut start = self.words.as_ptr();
        for (message, place) in self.messages.iter_mut().zip(out) {
            message.payload = start.cast();
            start = start.wrapping_add(message.length.div_ceil(8));
            place.write(*message);
        }
        self.messages.len()
    }
}

impl Snapshot {
    fn new(info: &Info) -> Box<Snapshot> {
        let path = c_string(&info.path.to_string_lossy());
        let lanes: Vec<aether_lane> = info
            .lanes
            .iter()
            .map(|lane| aether_lane {
                write_cursor: lane.write_cursor,
                oldest: lane.oldest,
                is_held: lane.producer.is_some(),
                pid: lane.producer.unwrap_or(0),
            })
            .collect();
        let names: Vec<CString> =
            info.consumers.iter().map(|place| c_string(place.name.as_deref().unwrap_or_default())).collect();
        let cursors: Vec<Vec<u64>> = info.consumers.iter().map(|place| place.read_cursors.clone()).collect();
        let places: Vec<aether_place> = info
            .consumers
            .iter()
            .zip(names.iter().zip(&cursors))
            .map(|(place, (name, cursors))| aether_place {
                name: if place.name.is_some() { name.as_ptr() } else { std::ptr::null() },
                lag: place.lag,
                read_cursors: cursors.as_ptr(),
                slot: place.slot,
                durable: place.durable,
                is_held: place.holder.is_some(),
                pid: place.holder.unwrap_or(0),
            })
            .collect();
        let info = aether_info {
            path: path.as_ptr(),
            capacity: info.capacity,
            data_offset: info.data_offset,
            file_size: info.file_size,
            disk_size: info.disk_size,
            available_bytes: info.available_bytes(),
            version: info.version,
            consumer_slots: info.consumer_slots,
            classic: info.format == Format::Classic,
            checksums: info.checksums,
            sequence: info.sequence,
            overflow: match info.overflow {
                Overflow::DropOldest => aether_overflow::DropOldest,
                _ => aether_overflow::Wait,
            },
            lanes: lanes.as_ptr(),
            lane_count: lanes.len(),
            consumers: places.as_ptr(),
            consumer_count: places.len(),
        };
        Box::new(Snapshot { info, _path: path, _lanes: lanes, _places: places, _names: names, _cursors: cursors })
    }
}

impl aether_observer {
    pub(crate) fn new(observer: Observer) -> aether_observer {
        aether_observer { observer, info: None, copies: Copies::default() }
    }
}

/// Opens a ring for looking on. Needs permission to read the file, no more.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_observer_open(
    path: *const c_char,
    observer: Option<&mut MaybeUninit<*mut aether_observer>>,
) -> aether_status {
    guard(|| {
        let out = observer.present("observer")?;
        // SAFETY: the caller's, as the header says.
        let path = unsafe { text(path, "path") }?;
        give(out, aether_observer::new(Observer::open(path)?));
        Ok(())
    })
}

/// What the ring is and how it stands. It is the observer's own, and lives until this is called again or the observer
/// is freed.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_observer_info(
    observer: Option<&mut aether_observer>,
    info: Option<&mut MaybeUninit<*const aether_info>>,
) -> aether_status {
    guard(|| {
        let (observer, out) = (observer.present("observer")?, info.present("info")?);
        let snapshot = Snapshot::new(&observer.observer.info()?);
        out.write(&raw const observer.info.insert(snapshot).info);
        Ok(())
    })
}

/// Writes copies of up to `limit` messages that wait for the slowest consumer to `messages`, an array of so many, lane
/// by lane, without taking them; `*count` is how many. They live until the next peek or until the observer is freed.
/// If a record can't be believed, the messages before it are shown, and the status is `AETHER_STATUS_CORRUPT`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_observer_peek(
    observer: Option<&mut aether_observer>,
    messages: *mut aether_message,
    limit: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> aether_status {
    guard(|| {
        let (observer, count) = (observer.present("observer")?, count.present("count")?);
        // SAFETY: the caller's, as the header says.
        let room = unsafe { room(messages, limit, "messages") }?;
        let copies = &mut observer.copies;
        copies.clear();
        let outcome = observer.observer.peek(limit, |message| copies.keep(message));
        count.write(copies.write(room));
        outcome?;
        Ok(())
    })
}

/// Counts the messages that wait for the slowest consumer, by walking over them.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_observer_count_messages(
    observer: Option<&aether_observer>,
    count: Option<&mut MaybeUninit<u64>>,
) -> aether_status {
    guard(|| {
        let observer = observer.present("observer")?;
        count.present("count")?.write(observer.observer.count_messages()?);
        Ok(())
    })
}

/// Follows what is committed from now on, in every lane; with `from_oldest`, what is still whole in the ring too.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_observer_tail(
    observer: Option<&aether_observer>,
    from_oldest: bool,
    tail: Option<&mut MaybeUninit<*mut aether_tail>>,
) -> aether_status {
    guard(|| {
        let (observer, out) = (&observer.present("observer")?.observer, tail.present("tail")?);
        let tail = if from_oldest { observer.tail_from_oldest() } else { observer.tail() };
        give(out, aether_tail { tail, copies: Copies::default() });
        Ok(())
    })
}

/// Frees the handle; null is nothing to do.
#[unsafe(no_mangle)]
pub extern "C" fn aether_observer_free(observer: Option<Box<aether_observer>>) -> aether_status {
    guard(|| {
        drop(observer);
        Ok(())
    })
}

/// Writes copies of up to `limit` messages that were committed since the last call to `messages`, an array of so many;
/// `*count` is how many. They live until the next poll or until the tail is freed. `AETHER_STATUS_LAGGED` if messages
/// were written over before they were shown; the next call goes on with the oldest that is whole.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_tail_poll(
    tail: Option<&mut aether_tail>,
    messages: *mut aether_message,
    limit: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> aether_status {
    guard(|| {
        let (tail, count) = (tail.present("tail")?, count.present("count")?);
        // SAFETY: the caller's, as the header says.
        let room = unsafe { room(messages, limit, "messages") }?;
        let copies = &mut tail.copies;
        copies.clear();
        tail.tail.poll(limit, |message| copies.keep(message))?;
        count.write(copies.write(room));
        Ok(())
    })
}

/// Frees the handle; null is nothing to do.
#[unsafe(no_mangle)]
pub extern "C" fn aether_tail_free(tail: Option<Box<aether_tail>>) -> aether_status {
    guard(|| {
        drop(tail);
        Ok(())
    })
}

/// Looks at every record that waits, and at all cursors. Takes no role. A broken ring is no error here but a report
/// with problems, which `aether recover` repairs.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_verify(
    path: *const c_char,
    report: Option<&mut MaybeUninit<*mut aether_report>>,
) -> aether_status {
    guard(|| {
        let out = report.present("report")?;
        // SAFETY: the caller's, as the header says.
        let found = recovery::verify(unsafe { text(path, "path") }?)?;
        let texts: Vec<CString> = found.problems.iter().map(|problem| c_string(&problem.to_string())).collect();
        let problems: Vec<aether_problem> = found
            .problems
            .iter()
            .zip(&texts)
            .map(|(problem, text)| aether_problem {
                text: text.as_ptr(),
                position: problem.position,
                lane: problem.lane,
                consumer: problem.consumer.map_or(-1, |slot| slot as i32),
            })
            .collect();
        let report = aether_report {
            messages: found.messages,
            bytes: found.bytes,
            problems: problems.as_ptr(),
            problem_count: problems.len(),
        };
        let findings = Box::new(Findings { report, _problems: problems, _texts: texts });
        out.write(Box::into_raw(findings).cast());
        Ok(())
    })
}

/// Frees the report; null is nothing to do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aether_report_free(report: *mut aether_report) -> aether_status {
    guard(|| {
        if !report.is_null() {
            // SAFETY: it came from `aether_verify`, which made it as a part of this.
            drop(unsafe { Box::from_raw(report.cast::<Findings>()) });
        }
        Ok(())
    })
}
