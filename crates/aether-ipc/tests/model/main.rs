//! The ring and a plain queue, driven side by side by random steps: whatever is done, both must say the same.

mod handlers;
mod lossy;
mod many;
mod plain;

use std::{cell::RefCell, collections::BTreeMap};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestRunner},
};

/// A message as the model keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    id: i64,
    message_type: i32,
    payload: Vec<u8>,
    /// Where it stands, and where the next one does.
    position: u64,
    end: u64,
}

impl Record {
    #[track_caller]
    fn assert_is(&self, message: &aether_ipc::Message<'_>) {
        assert_eq!(message.id(), self.id);
        assert_eq!(message.message_type(), self.message_type);
        assert_eq!(message.payload(), self.payload);
        assert_eq!(message.position(), self.position);
        assert_eq!(message.payload().as_ptr() as usize % 8, 0, "a payload is aligned to 8");
    }
}

/// Bytes that a record takes.
fn padded(payload: usize, trailer: usize) -> u64 {
    (16 + payload + trailer).next_multiple_of(8) as u64
}

/// A payload that no other message has.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let words = (0..length.div_ceil(8) as u64).map(|index| (seed << 32 | index).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(length);
    bytes
}

/// States that a run came through: a model that never meets them proves nothing.
#[derive(Default)]
struct Seen(RefCell<BTreeMap<&'static str, u32>>);

impl Seen {
    fn note(&self, state: &'static str) {
        *self.0.borrow_mut().entry(state).or_default() += 1;
    }

    fn note_if(&self, condition: bool, state: &'static str) {
        if condition {
            self.note(state);
        }
    }

    #[track_caller]
    fn assert_all(&self, states: &[&str]) {
        let seen = self.0.borrow();
        let missed: Vec<_> = states.iter().filter(|state| !seen.contains_key(**state)).collect();
        assert!(missed.is_empty(), "no run came to {missed:?}; they came to {seen:?}");
    }
}

/// Runs `test` for many values, and shrinks one that fails.
#[track_caller]
fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value))
where
    S::Value: std::fmt::Debug,
{
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        rng_algorithm: RngAlgorithm::XorShift,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
