//! `aether_consumer`: peek and release of a run of messages.

use std::{ffi::c_void, mem::MaybeUninit};

use aether_ipc::{Consumer, Merge, Message, Wait};

use crate::{
    arguments::{Present, room, timeout},
    library::aether_direct,
    status::{Failure, aether_status, guard},
};

/// Reads messages from a ring and releases them. One thread at a time.
pub struct aether_consumer {
    consumer: Consumer,
}

/// A message in the ring, borrowed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct aether_message {
    /// The application's id.
    pub id: i64,
    /// The bytes, aligned to 8; never null.
    pub payload: *const c_void,
    /// How many.
    pub length: usize,
    /// Where it stands in its lane: in bytes since the ring was made.
    pub position: u64,
    /// The application's type.
    pub message_type: i32,
    /// The lane that it came through.
    pub lane: u32,
}

/// Messages that stand one after the other in memory, as records: a header (see `AETHER_HEADER_SIZE`), the payload, the
/// checksum if the ring has one, and padding.
#[repr(C)]
pub struct aether_run {
    /// Where the first record stands, aligned to 8; null if there is none.
    pub base: *const c_void,
    /// Bytes of all records together.
    pub length: usize,
    /// How many records they are.
    pub count: usize,
    /// The position of the first, in bytes since the ring was made.
    pub position: u64,
    /// The lane that they came through.
    pub lane: u32,
    /// Bytes of the checksum that follows each payload, counted by the record's length: 4 or 0.
    pub trailer: u32,
}

/// How a call waits.
#[repr(C)]
pub enum aether_wait {
    /// Looks again and again: wakes after a cache miss, costs a core.
    Spin = 0,
    /// Looks, and lets others run in between.
    Yield = 1,
    /// Spins, then yields, then sleeps longer and longer, up to a millisecond.
    Backoff = 2,
    /// Spins briefly, then sleeps until the other side wakes it. The default.
    Park = 3,
}

/// The order in which messages of several lanes come. Within a lane it is always the order of commits.
#[repr(C)]
pub enum aether_merge {
    /// Lanes take turns, so that none starves. The default.
    Fair = 0,
    /// The smallest id first: one total order, for lanes whose ids grow. A peek then shows one message.
    ById = 1,
}

/// How a consumer stands; an instant's truth.
#[repr(C)]
pub struct aether_consumer_stats {
    /// Bytes committed in all lanes that were not released.
    pub available_bytes: u64,
    /// What was released of lane 0, in bytes since the ring was made.
    pub position: u64,
    /// Messages released since this consumer was taken.
    pub received: u64,
}

pub(crate) fn wait(number: i32) -> Result<Wait, Failure> {
    const SPIN: i32 = aether_wait::Spin as i32;
    const YIELD: i32 = aether_wait::Yield as i32;
    const BACKOFF: i32 = aether_wait::Backoff as i32;
    const PARK: i32 = aether_wait::Park as i32;
    match number {
        SPIN => Ok(Wait::Spin),
        YIELD => Ok(Wait::Yield),
        BACKOFF => Ok(Wait::Backoff),
        PARK => Ok(Wait::Park),
        _ => Err(Failure::Argument("wait", "is no `aether_wait`")),
    }
}

impl From<Message<'_>> for aether_message {
    #[inline]
    fn from(message: Message<'_>) -> aether_message {
        aether_message {
            id: message.id(),
            payload: message.payload().as_ptr().cast(),
            length: message.payload().len(),
            position: message.position(),
            message_type: message.message_type(),
            lane: message.lane(),
        }
    }
}

impl aether_consumer {
    pub(crate) fn new(consumer: Consumer) -> aether_consumer {
        aether_consumer { consumer }
    }
}

/// Borrows up to `limit` messages of one lane in place and writes them to `messages`, an array of so many; `*count` is
/// how many, 0 if none is there. Their payloads stay as they are until they are released, or until the next peek. What
/// was not released comes again.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn aether_consumer_peek(
    consumer: Option<&mut aether_consumer>,
    messages: *mut aether_message,
    limit: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> aether_status {
    guard(|| {
        let (consumer, count) = (consumer.present("consumer")?, count.present("count")?);
        // SAFETY: the caller's, as the header says.
        let room: &mut [MaybeUninit<aether_message>] = unsafe { room(messages, limit, "messages") }?;
        let mut places = room.iter_mut();
        consumer.consumer.peek(limit, |message| {
            if let Some(place) = places.next() {
                place.write(message.into());
            }
        })?;
        count.write(consumer.consumer.peeked());
        Ok(())
    })
}

/// As `aether_consumer_peek`, for languages in which a call costs more than a message: says where the records stand,
/// and the caller walks over them by itself. All are checked.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_peek_raw(
    consumer: Option<&mut aether_consumer>,
    limit: usize,
    run: Option<&mut MaybeUninit<aether_run>>,
) -> aether_status {
    guard(|| {
        let (consumer, run) = (consumer.present("consumer")?, run.present("run")?);
        let none = aether_run { base: std::ptr::null(), length: 0, count: 0, position: 0, lane: 0, trailer: 0 };
        run.write(consumer.consumer.peek(limit, |_| {})?.map_or(none, |peeked| aether_run {
            base: peeked.base.cast(),
            length: peeked.length,
            count: peeked.count,
            position: peeked.position,
            lane: peeked.lane,
            trailer: peeked.trailer as u32,
        }));
        Ok(())
    })
}

/// Releases the first `count` of the messages that the last peek showed and that were not released yet: their space
/// goes back to the producer. Those that remain may be released by further calls.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_release(consumer: Option<&mut aether_consumer>, count: usize) -> aether_status {
    guard(|| {
        let consumer = consumer.present("consumer")?;
        if count > consumer.consumer.peeked() {
            return Err(Failure::Argument("count", "is more than the messages that were peeked and not released"));
        }
        Ok(consumer.consumer.release_peeked(count)?)
    })
}

/// What stands where, for a caller that reads records and moves the read cursor by itself: those from its position to
/// what an acquire load of the write cursor finds, which may be no more than the capacity further; a record ends no later
/// than that, and is no shorter than its header. If any of that does not hold, the next call reports what is wrong. Before
/// this consumer is asked anything else, `aether_consumer_settle` has to be told. To be asked for anew after
/// `aether_consumer_set_untrusted`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_direct(
    consumer: Option<&aether_consumer>,
    direct: Option<&mut MaybeUninit<aether_direct>>,
) -> aether_status {
    guard(|| {
        let (consumer, direct) = (consumer.present("consumer")?, direct.present("direct")?);
        direct.write(aether_direct::new(consumer.consumer.direct()));
        Ok(())
    })
}

/// Takes note that the caller has read `count` messages by itself and released them, up to `position`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_settle(
    consumer: Option<&mut aether_consumer>,
    position: u64,
    count: u64,
) -> aether_status {
    guard(|| {
        let consumer = &mut consumer.present("consumer")?.consumer;
        if consumer.direct().is_none() {
            return Err(Failure::Argument("consumer", "reads a ring whose records the library checks or copies"));
        }
        if !position.is_multiple_of(aether_ipc::ALIGNMENT as u64) {
            return Err(Failure::Argument("position", "is not that of a record"));
        }
        Ok(consumer.settle(position, count)?)
    })
}

/// Wakes producers that sleep: to be called when the bell says so after the read cursor was moved.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_ring(consumer: Option<&aether_consumer>) -> aether_status {
    guard(|| {
        consumer.present("consumer")?.consumer.ring();
        Ok(())
    })
}

/// Waits until a message is there, at most `timeout_ns` nanoseconds, or `AETHER_FOREVER`.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_wait(consumer: Option<&mut aether_consumer>, timeout_ns: u64) -> aether_status {
    guard(|| {
        let consumer = consumer.present("consumer")?;
        match timeout(timeout_ns) {
            None => consumer.consumer.wait()?,
            Some(timeout) => consumer.consumer.wait_within(timeout)?,
        }
        Ok(())
    })
}

/// How `aether_consumer_wait` waits, an `aether_wait`: `AETHER_WAIT_PARK` unless set.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_set_wait(consumer: Option<&mut aether_consumer>, wait: i32) -> aether_status {
    guard(|| {
        consumer.present("consumer")?.consumer.set_wait(self::wait(wait)?);
        Ok(())
    })
}

/// Whether waiting at an empty ring that no producer holds ends with `AETHER_STATUS_CLOSED`. Off unless set: a producer
/// may come later.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_require_producer(
    consumer: Option<&mut aether_consumer>,
    required: bool,
) -> aether_status {
    guard(|| {
        consumer.present("consumer")?.consumer.require_producer(required);
        Ok(())
    })
}

/// The order in which messages of several lanes come, an `aether_merge`: `AETHER_MERGE_FAIR` unless set.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_set_merge(consumer: Option<&mut aether_consumer>, merge: i32) -> aether_status {
    const FAIR: i32 = aether_merge::Fair as i32;
    const BY_ID: i32 = aether_merge::ById as i32;
    guard(|| {
        let merge = match merge {
            FAIR => Merge::Fair,
            BY_ID => Merge::ById,
            _ => return Err(Failure::Argument("merge", "is no `aether_merge`")),
        };
        consumer.present("consumer")?.consumer.set_merge(merge);
        Ok(())
    })
}

/// Reads by copying first and checking then, for producers that may mean harm: whatever they write into the ring
/// meanwhile, a payload does not change while it is looked at. Costs the copy. Off unless set, except in rings that
/// drop messages, which are always read so.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_set_untrusted(
    consumer: Option<&mut aether_consumer>,
    untrusted: bool,
) -> aether_status {
    guard(|| {
        consumer.present("consumer")?.consumer.set_untrusted(untrusted);
        Ok(())
    })
}

/// Whether any process produces now. Asks the system.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_has_producer(
    consumer: Option<&aether_consumer>,
    has_producer: Option<&mut MaybeUninit<bool>>,
) -> aether_status {
    guard(|| {
        let consumer = consumer.present("consumer")?;
        has_producer.present("has_producer")?.write(consumer.consumer.has_producer()?);
        Ok(())
    })
}

/// How the consumer stands.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn aether_consumer_read_stats(
    consumer: Option<&aether_consumer>,
    stats: Option<&mut MaybeUninit<aether_consumer_stats>>,
) -> aether_status {
    guard(|| {
        let consumer = &consumer.present("consumer")?.consumer;
        stats.present("stats")?.write(aether_consumer_stats {
            available_bytes: consumer.available_bytes(),
            position: consumer.position(),
            received: consumer.received(),
        });
        Ok(())
    })
}

/// Frees the role; null is nothing to do. What was not released comes again to the next consumer, and payloads that
/// were borrowed are gone.
#[unsafe(no_mangle)]
pub extern "C" fn aether_consumer_free(consumer: Option<Box<aether_consumer>>) -> aether_status {
    guard(|| {
        drop(consumer);
        Ok(())
    })
}
