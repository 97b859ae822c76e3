#![doc = include_str!("lib.md")]
#![deny(missing_docs, rustdoc::broken_intra_doc_links)]

#[cfg(feature = "tokio")]
mod asynchronous;
mod bell;
mod buffer;
mod consumer;
mod cursor;
mod error;
mod events;
mod layout;
mod mapping;
mod observer;
mod origin;
mod ownership;
mod producer;
mod read_ahead;
mod record;
pub mod recovery;
mod sequence;
mod slots;
mod sync;
#[doc(hidden)]
pub mod testing;
mod wait;
mod wait_set;

#[cfg(feature = "tokio")]
#[doc(hidden)]
pub use asynchronous::Registration;
#[cfg(feature = "tokio")]
pub use asynchronous::{MessageSink, MessageStream, OwnedMessage};
#[doc(hidden)]
pub use bell::ASLEEP;
pub use buffer::{Buffer, Options};
#[doc(hidden)]
pub use consumer::Peeked;
pub use consumer::{Batch, BatchIter, Consumer, Flow, Merge, Message, Polled};
pub use error::{Corruption, Error, HeaderFault, Result};
pub use layout::{
    Format, MAX_CAPACITY, MAX_CLASSIC_CAPACITY, MAX_CONSUMERS, MAX_NAME, MAX_PRODUCERS, MIN_CAPACITY, Overflow,
};
#[doc(hidden)]
pub use mapping::Direct;
pub use mapping::guard_bus_errors;
pub use observer::{ConsumerInfo, Info, LaneInfo, Observer, Tail};
pub use origin::Origin;
pub use producer::{Claim, Producer, ProducerBatch};
pub use read_ahead::ReadAhead;
pub use record::{ALIGNMENT, CHECKSUM_SIZE, HEADER_SIZE};
pub use wait::{UnknownWait, Wait};
pub use wait_set::WaitSet;

/// The program in the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The programs in the page on shapes, one of which is async.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../../../docs/shapes.md")]
struct Shapes;
