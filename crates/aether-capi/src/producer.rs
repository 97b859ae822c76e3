//! `aether_producer`: offer, put, claim and commit, batches, and records written by address.

use std::{ffi::c_void, mem::MaybeUninit};

use aether_ipc::{Error, Producer};

use crate::{
    arguments::{Present, bytes, slice, timeout},
    consumer::wait,
    library::{AETHER_HEADER_SIZE, aether_direct},
    status::{Failure, aether_status, guard},
};

/// Writes messages into a ring. One thread at a time.
pub struct aether_producer {
    producer: Producer,
    open: Open,
}

/// What the caller may write into now.
enum Open {
    Nothing,
    Claim { base: *mut u8, length: usize },
    Records,
    Window,
}

/// A message to be put into a ring.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct aether_record {
    /// The application's id.
    pub id: i64,
    /// The bytes; may be null if there are none.
    pub payload: *const c_void,
    /// How many.
    pub length: usize,
    /// The application's type.
    pub message_type: i32,
}

/// Space for records that the caller writes and publishes by itself.
#[repr(C)]
pub struct aether_window {
    /// Where it is, aligned to 8.
    pub base: *mut c_void,
    /// How many bytes.
    pub length: usize,
    /// The position that `base` stands for.
    pub position: u64,
}

/// How a producer stands; an instant's truth.
#[repr(C)]
pub struct aether_producer_stats {
    /// Size of the data section in bytes.
    pub capacity: u64,
    /// The largest payload that the empty ring can take, in bytes.
    pub max_payload: u64,
    /// Where the next message goes: bytes committed in this lane since the ring was made.
    pub position: u64,
    /// Bytes that the slowest consumer has not released yet.
    pub lag: u64,
    /// Bytes that are free, headers and padding to be counted.
    pub free_bytes: u64,
    /// Messages committed by this producer since it was taken.
    pub offered: u64,
    /// The lane that it writes; 0 in a ring with one.
    pub lane: u32,
    /// Bytes of the checksum that follows each payload: 4 in a ring with checksums, else 0.
    pub trailer: u32,
}

impl aether_producer {
    pub(crate) fn new(producer: Producer) -> aether_producer {
        aether_producer { producer, open: Open::Nothing }
    }

    /// The producer, to write something else with: that ends what is open, since it may be written over.
    #[inline]
    fn write(&mut self) -> &mut Producer {
        self.open = Open::Nothing;
        &mut self.producer
    }
}

/// Puts one message into the ring if there is space, else `AETHER_STATUS_FULL`. Never waits.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_producer_offer(
    producer: Option<&mut aether_producer>,
    id: i64,
    message_type: i32,
    payload: *const c_void,
    length: usize,
) -> aether_status {
    guard(|| {
        let producer = producer.present("producer")?;
        // SAFETY: the caller's, as the header says.
        let payload = unsafe { bytes(payload, length, "payload") }?;
        Ok(producer.write().offer(id, message_type, payload)?)
    })
}

/// Puts one message into the ring, waiting for space at most `timeout_ns` nanoseconds, or `AETHER_FOREVER`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_producer_put(
    producer: Option<&mut aether_producer>,
    id: i64,
    message_type: i32,
    payload: *const c_void,
    length: usize,
    timeout_ns: u64,
) -> aether_status {
    guard(|| {
        let producer = producer.present("producer")?;
        // SAFETY: the caller's, as the header says.
        let payload = unsafe { bytes(payload, length, "payload") }?;
        match timeout(timeout_ns) {
            None => producer.write().put(id, message_type, payload)?,
            Some(timeout) => producer.write().put_within(timeout, id, message_type, payload)?,
        }
        Ok(())
    })
}

/// Puts as many records of `record_size` bytes each, one after the other in `bytes`, into the ring as there is space
/// for: each a message of its own, with ids counting up from `first_id`, all published at once. `*taken` is how many;
/// 0 if the ring is full.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_producer_offer_array(
    producer: Option<&mut aether_producer>,
    first_id: i64,
    message_type: i32,
    record_size: usize,
    bytes: *const c_void,
    length: usize,
    taken: Option<&mut MaybeUninit<usize>>,
) -> aether_status {
    guard(|| {
        let (producer, taken) = (producer.present("producer")?, taken.present("taken")?);
        // SAFETY: the caller's, as the header says.
        let bytes = unsafe { self::bytes(bytes, length, "bytes") }?;
        taken.write(producer.write().offer_array(first_id, message_type, record_size, bytes)?);
        Ok(())
    })
}

/// Puts as many of `count` messages into the ring as there is space for, all published at once. `*taken` is how many;
/// 0 if the ring is full. A message that can never be put there ends the batch before it, and is an error when it comes
/// first.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_producer_offer_batch(
    producer: Option<&mut aether_producer>,
    records: *const aether_record,
    count: usize,
    taken: Option<&mut MaybeUninit<usize>>,
) -> aether_status {
    guard(|| {
        let (producer, taken) = (producer.present("producer")?, taken.present("taken")?);
        // SAFETY: the caller's, as the header says.
        let records = unsafe { slice(records, count, "records") }?;
        let mut batch = producer.write().batch();
        for record in records {
            // SAFETY: the caller's, as the header says. An error here drops the batch: nothing is published.
            let payload = unsafe { bytes(record.payload, record.length, "records[].payload") }?;
            match batch.push(record.id, record.message_type, payload) {
                Ok(()) => {}
                Err(Error::Full) => break,
                Err(error) if batch.is_empty() => return Err(error.into()),
                // What was written is good; the error comes again with the next call.
                Err(_) => break,
            }
        }
        taken.write(batch.commit());
        Ok(())
    })
}

/// Reserves a message of `length` bytes, to be written in place: `*payload` is where, aligned to 8, with whatever stood
/// there before. Nobody sees it before `aether_producer_commit`. Whatever this producer is asked to write in another
/// way ends it.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_claim(
    producer: Option<&mut aether_producer>,
    length: usize,
    payload: Option<&mut MaybeUninit<*mut c_void>>,
) -> aether_status {
    guard(|| {
        let (producer, out) = (producer.present("producer")?, payload.present("payload")?);
        let around = AETHER_HEADER_SIZE + producer.producer.trailer();
        let (base, _) = producer.write().reserve(length.saturating_add(around), 0)?;
        producer.open = Open::Claim { base, length };
        out.write(base.wrapping_add(AETHER_HEADER_SIZE).cast());
        Ok(())
    })
}

/// Commits the message that was claimed.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_commit(
    producer: Option<&mut aether_producer>,
    id: i64,
    message_type: i32,
) -> aether_status {
    guard(|| {
        let producer = producer.present("producer")?;
        let Open::Claim { base, length } = std::mem::replace(&mut producer.open, Open::Nothing) else {
            return Err(Failure::Argument("producer", "has no claim to commit"));
        };
        let length = AETHER_HEADER_SIZE + length + producer.producer.trailer();
        let second = length as u64 | u64::from(message_type.cast_unsigned()) << 32;
        // SAFETY: `reserve` gave at least `length` bytes there, aligned to 8, and whatever was written since by this
        // producer, which has no other handle, would have ended the claim.
        unsafe {
            base.cast::<u64>().write(id.cast_unsigned().to_le());
            base.cast::<u64>().wrapping_add(1).write(second.to_le());
        }
        producer.producer.commit_reserved(length.next_multiple_of(aether_ipc::ALIGNMENT))?;
        Ok(())
    })
}

/// Gives up what was claimed or reserved; nothing to do if that is nothing.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_abort(producer: Option<&mut aether_producer>) -> aether_status {
    guard(|| {
        producer.present("producer")?.open = Open::Nothing;
        Ok(())
    })
}

/// Reserves space for records that the caller writes by itself, for languages in which a call costs more than a
/// message: `*base` is where, aligned to 8, and `*length` how much, at least `least` and at most `most` bytes (both
/// rounded up to whole records). Each record is a header (see `AETHER_HEADER_SIZE`), the payload, the checksum's bytes
/// if the ring has one (`trailer`; this library fills them in, as it does the ids of a shared sequence), and padding.
/// Whatever this producer is asked to write in another way ends the reservation.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_reserve(
    producer: Option<&mut aether_producer>,
    least: usize,
    most: usize,
    base: Option<&mut MaybeUninit<*mut c_void>>,
    length: Option<&mut MaybeUninit<usize>>,
) -> aether_status {
    guard(|| {
        let producer = producer.present("producer")?;
        let (base, length) = (base.present("base")?, length.present("length")?);
        let (place, size) = producer.write().reserve(least, most)?;
        producer.open = Open::Records;
        base.write(place.cast());
        length.write(size);
        Ok(())
    })
}

/// Publishes the records in the first `length` bytes of what was reserved, and gives up the rest. `*count` is how many
/// they are. If these bytes are not whole records, each with its padding, nothing is published, and the status is
/// `AETHER_STATUS_RECORD`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_commit_reserved(
    producer: Option<&mut aether_producer>,
    length: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> aether_status {
    guard(|| {
        let (producer, count) = (producer.present("producer")?, count.present("count")?);
        let Open::Records = std::mem::replace(&mut producer.open, Open::Nothing) else {
            return Err(Failure::Argument("producer", "has nothing reserved to commit"));
        };
        if length > producer.producer.reserved() {
            return Err(Failure::Argument("length", "is more than what was reserved"));
        }
        count.write(producer.producer.commit_reserved(length)?);
        Ok(())
    })
}

/// What stands where, to publish what is written into an `aether_producer_window`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_direct(
    producer: Option<&aether_producer>,
    direct: Option<&mut MaybeUninit<aether_direct>>,
) -> aether_status {
    guard(|| {
        let (producer, direct) = (producer.present("producer")?, direct.present("direct")?);
        direct.write(aether_direct::new(producer.producer.direct().map(|direct| (direct, std::ptr::null_mut()))));
        Ok(())
    })
}

/// As `aether_producer_reserve`, but the caller also publishes the records, one or more at a time: by storing the
/// position behind them into the write cursor. The window has room for a message of `least` bytes, or its length is 0 if
/// there such a message would not stand in one piece: it has to be offered. Before this producer is asked anything else,
/// `aether_producer_settle` has to be told what was published. Only where `aether_producer_direct` gives what that needs.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_window(
    producer: Option<&mut aether_producer>,
    least: usize,
    window: Option<&mut MaybeUninit<aether_window>>,
) -> aether_status {
    guard(|| {
        let (producer, window) = (producer.present("producer")?, window.present("window")?);
        if producer.producer.direct().is_none() {
            return Err(Failure::Argument("producer", "writes a ring whose records the library completes"));
        }
        let (base, length) = producer.write().window(least)?;
        producer.open = Open::Window;
        window.write(aether_window { base: base.cast(), length, position: producer.producer.position() });
        Ok(())
    })
}

/// Ends an `aether_producer_window`, of which the caller has published the first `length` bytes, `count` messages.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_settle(
    producer: Option<&mut aether_producer>,
    length: usize,
    count: u64,
) -> aether_status {
    guard(|| {
        let producer = producer.present("producer")?;
        let Open::Window = std::mem::replace(&mut producer.open, Open::Nothing) else {
            return Err(Failure::Argument("producer", "has no window to settle"));
        };
        if length > producer.producer.reserved() || !length.is_multiple_of(aether_ipc::ALIGNMENT) {
            return Err(Failure::Argument("length", "is not that of whole records in the window"));
        }
        producer.producer.settle(length, count);
        Ok(())
    })
}

/// Wakes consumers that sleep: to be called when the bell says so after the write cursor was moved.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_ring(producer: Option<&aether_producer>) -> aether_status {
    guard(|| {
        producer.present("producer")?.producer.ring();
        Ok(())
    })
}

/// Waits until a message of `length` bytes has space, at most `timeout_ns` nanoseconds, or `AETHER_FOREVER`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_wait_for_space(
    producer: Option<&mut aether_producer>,
    length: usize,
    timeout_ns: u64,
) -> aether_status {
    guard(|| Ok(producer.present("producer")?.producer.wait_for_space(length, timeout(timeout_ns))?))
}

/// How waiting calls wait, an `aether_wait`: `AETHER_WAIT_PARK` unless set.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_set_wait(producer: Option<&mut aether_producer>, wait: i32) -> aether_status {
    guard(|| {
        producer.present("producer")?.producer.set_wait(self::wait(wait)?);
        Ok(())
    })
}

/// Whether a full ring without any consumer is reported as `AETHER_STATUS_NO_CONSUMER`, also while waiting. Off unless
/// set: a consumer may come later.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_require_consumer(
    producer: Option<&mut aether_producer>,
    required: bool,
) -> aether_status {
    guard(|| {
        producer.present("producer")?.producer.require_consumer(required);
        Ok(())
    })
}

/// Whether any process consumes now. Asks the system.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_has_consumer(
    producer: Option<&aether_producer>,
    has_consumer: Option<&mut MaybeUninit<bool>>,
) -> aether_status {
    guard(|| {
        let producer = producer.present("producer")?;
        has_consumer.present("has_consumer")?.write(producer.producer.has_consumer()?);
        Ok(())
    })
}

/// How the producer stands.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_producer_read_stats(
    producer: Option<&aether_producer>,
    stats: Option<&mut MaybeUninit<aether_producer_stats>>,
) -> aether_status {
    guard(|| {
        let producer = &producer.present("producer")?.producer;
        stats.present("stats")?.write(aether_producer_stats {
            capacity: producer.capacity(),
            max_payload: producer.max_payload() as u64,
            position: producer.position(),
            lag: producer.lag(),
            free_bytes: producer.free_bytes(),
            offered: producer.offered(),
            lane: producer.lane(),
            trailer: producer.trailer() as u32,
        });
        Ok(())
    })
}

/// Frees the lane for the next producer; null is nothing to do. What was claimed is aborted.
#[unsafe(no_mangle)]
pub extern "C" fn aether_producer_free(producer: Option<Box<aether_producer>>) -> aether_status {
    guard(|| {
        drop(producer);
        Ok(())
    })
}
