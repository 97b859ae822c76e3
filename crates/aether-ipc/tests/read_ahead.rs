//! Reading now and releasing later, beside a model of it.

use std::collections::VecDeque;

use aether_ipc::{Buffer, Error, Flow, Overflow, ReadAhead};
use proptest::prelude::*;
use tempfile::tempdir;

#[derive(Debug, Clone)]
enum Step {
    Put {
        lane: usize,
        length: usize,
    },
    Read {
        lane: usize,
        limit: usize,
    },
    /// Up to the end of one of the messages that are not released, or this many bytes beside it.
    Release {
        lane: usize,
        message: usize,
        beside: u64,
    },
    Rewind {
        lane: usize,
    },
    /// Another consumer takes the place.
    Replace,
}

fn step() -> impl Strategy<Value = Step> {
    let lane = 0..2_usize;
    prop_oneof![
        4 => (lane.clone(), 0..200_usize).prop_map(|(lane, length)| Step::Put { lane, length }),
        3 => (lane.clone(), 0..5_usize).prop_map(|(lane, limit)| Step::Read { lane, limit }),
        3 => (lane.clone(), 0..8_usize, prop_oneof![3 => Just(0), 1 => 1..300_u64])
            .prop_map(|(lane, message, beside)| Step::Release { lane, message, beside }),
        1 => lane.prop_map(|lane| Step::Rewind { lane }),
        1 => Just(Step::Replace),
    ]
}

/// One lane: the id and the end of each message that was not released, and how many of them were read.
#[derive(Debug, Default)]
struct Model {
    messages: VecDeque<(i64, u64)>,
    read: usize,
    released: u64,
    end: u64,
}

impl Model {
    fn position(&self) -> u64 {
        if self.read == 0 { self.released } else { self.messages[self.read - 1].1 }
    }
}

const CAPACITY: u64 = 1024;

fn check(checksums: bool, steps: &[Step]) {
    let folder = tempdir().unwrap();
    let options = Buffer::options().capacity(CAPACITY).producers(2).checksums(checksums);
    let buffer = options.create(folder.path().join("ring")).unwrap();
    let mut producers = [buffer.producer().unwrap(), buffer.producer().unwrap()];
    let mut ahead = ReadAhead::new(buffer.consumer().unwrap()).unwrap();
    let mut models = [Model::default(), Model::default()];
    for (id, step) in (0..).zip(steps) {
        match *step {
            Step::Put { lane, length } => {
                let model = &mut models[lane];
                let size = (16 + length as u64 + if checksums { 4 } else { 0 }).next_multiple_of(8);
                let full = model.end + size - model.released > CAPACITY;
                match producers[lane].offer(id, 7, &vec![id as u8; length]) {
                    Ok(()) if !full => {
                        model.end += size;
                        model.messages.push_back((id, model.end));
                    }
                    Err(Error::Full) if full => {}
                    other => panic!("{other:?} where full is {full}"),
                }
            }
            Step::Read { lane, limit } => {
                let model = &mut models[lane];
                let mut seen = Vec::new();
                let count = ahead.read(lane as u32, limit, |message| {
                    assert!(message.payload().iter().all(|&byte| byte == message.id() as u8));
                    seen.push(message.id());
                    Flow::Continue
                });
                let expected: Vec<i64> = model.messages.iter().skip(model.read).take(limit).map(|m| m.0).collect();
                assert_eq!((count.unwrap(), &seen), (expected.len(), &expected));
                model.read += expected.len();
            }
            Step::Release { lane, message, beside } => {
                let model = &mut models[lane];
                let end = message.checked_sub(1).map_or(Some(model.released), |at| Some(model.messages.get(at)?.1));
                let position = end.unwrap_or(model.end + 8) + beside;
                let count = match position {
                    position if position == model.released => Some(0),
                    position => model.messages.iter().position(|m| m.1 == position).map(|at| at + 1),
                };
                assert_eq!(ahead.release_to(lane as u32, position).unwrap(), count);
                let count = count.unwrap_or(0);
                if count > 0 {
                    model.released = position;
                    model.messages.drain(..count);
                    model.read = model.read.saturating_sub(count);
                }
            }
            Step::Rewind { lane } => {
                ahead.rewind(lane as u32);
                models[lane].read = 0;
            }
            Step::Replace => {
                drop(ahead);
                ahead = ReadAhead::new(buffer.consumer().unwrap()).unwrap();
                models.iter_mut().for_each(|model| model.read = 0);
            }
        }
        for (lane, model) in (0..).zip(&models) {
            assert_eq!(ahead.released(lane), model.released);
            assert_eq!(ahead.position(lane), model.position());
            assert_eq!(ahead.committed(lane), model.end);
            assert_eq!(ahead.has_more(lane), model.read < model.messages.len());
        }
    }
}

proptest! {
    #[test]
    fn what_is_read_is_not_released_and_what_is_not_released_can_be_read_again(
        checksums: bool,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        check(checksums, &steps);
    }
}

#[test]
fn a_ring_that_drops_the_oldest_can_not_be_read_ahead() {
    let folder = tempdir().unwrap();
    let options = Buffer::options().capacity(1024).overflow(Overflow::DropOldest);
    let lossy = options.create(folder.path().join("ring")).unwrap();
    assert!(matches!(ReadAhead::new(lossy.consumer().unwrap()), Err(Error::Options(_))));
}

#[test]
fn a_classic_ring_is_no_copy_of_anything() {
    let folder = tempdir().unwrap();
    let classic = Buffer::options().capacity(1024).classic(true).create(folder.path().join("ring")).unwrap();
    let mut relay = classic.relay(0).unwrap();
    assert_eq!(relay.origin(), aether_ipc::Origin::None);
    assert!(matches!(relay.set_origin([1, 2], 0), Err(Error::Options(_))));
}
