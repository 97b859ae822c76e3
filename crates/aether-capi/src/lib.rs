//! The C interface: `include/aether.h`, which is generated from the documentation here, and `docs/c.md`.
//!
//! A function takes handles and results as references that may be null, so that only what C alone can promise, the
//! length of an array and the end of a text, needs `unsafe`.

// The names are C's, and what a caller has to keep stands in the header, for all functions together.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod arguments;
pub mod buffer;
pub mod consumer;
pub mod library;
pub mod observer;
pub mod producer;
pub mod status;
