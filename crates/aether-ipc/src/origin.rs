//! What a lane is a copy of. A source position is never stored with a message: it follows from the write cursor, and so
//! changes in the very store that commits.

use std::sync::{
    Arc,
    atomic::Ordering::{Acquire, Relaxed, Release},
};

use crate::{
    error::{Error, Result},
    layout::lane_line,
    mapping::Mapping,
};

/// What a lane is a copy of; see [`Producer::set_origin`](crate::Producer::set_origin).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was ever copied into it.
    None,
    /// It was a copy, until a producer that does not relay had it.
    Lost,
    /// It is a copy.
    Known {
        /// The identity of what was copied, as `set_origin` was told.
        source: [u64; 2],
        /// The position in there of the next message to copy.
        position: u64,
    },
}

/// `write` is the lane's write cursor.
pub(crate) fn read(mapping: &Arc<Mapping>, lane: u32, write: u64) -> Origin {
    let Some(line) = mapping.layout().origin(lane) else { return Origin::None };
    let word = |offset, order| u64::from_le(mapping.word(line + offset).load(order));
    // The acquire pairs with the release in `write`: the other words are of a time when they belonged together.
    match word(lane_line::ORIGIN_STATE, Acquire) {
        lane_line::ORIGIN_NONE => Origin::None,
        lane_line::ORIGIN_KNOWN => Origin::Known {
            source: [word(lane_line::ORIGIN_SOURCE, Relaxed), word(lane_line::ORIGIN_SOURCE + 8, Relaxed)],
            position: write.wrapping_add(word(lane_line::ORIGIN_SHIFT, Relaxed)),
        },
        _ => Origin::Lost,
    }
}

pub(crate) fn write(mapping: &Arc<Mapping>, lane: u32, write: u64, source: [u64; 2], position: u64) -> Result<()> {
    let Some(line) = mapping.layout().origin(lane) else {
        return Err(Error::Options("a classic ring has no room to say what it is a copy of"));
    };
    let store = |offset, value: u64, order| mapping.word(line + offset).store(value.to_le(), order);
    // A process that dies in between leaves a lane that is a copy of nothing: true, as nothing of the new source is in it.
    store(lane_line::ORIGIN_STATE, lane_line::ORIGIN_LOST, Release);
    store(lane_line::ORIGIN_SHIFT, position.wrapping_sub(write), Release);
    store(lane_line::ORIGIN_SOURCE, source[0], Release);
    store(lane_line::ORIGIN_SOURCE + 8, source[1], Release);
    store(lane_line::ORIGIN_STATE, lane_line::ORIGIN_KNOWN, Release);
    Ok(())
}

/// A producer that knows nothing of a source has taken the lane.
pub(crate) fn lose(mapping: &Arc<Mapping>, lane: u32) {
    let Some(line) = mapping.layout().origin(lane) else { return };
    let state = mapping.word(line + lane_line::ORIGIN_STATE);
    if state.load(Relaxed) != lane_line::ORIGIN_NONE {
        state.store(lane_line::ORIGIN_LOST.to_le(), Relaxed);
    }
}
