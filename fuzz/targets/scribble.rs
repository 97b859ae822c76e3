//! A peer that writes what it likes, at the worst instants: between two calls, and in the middle of one, while the
//! handler looks at a message that was checked.

use std::cell::RefCell;

use aether_ipc::{Buffer, Flow, Merge, Message, Observer};

use super::{Input, Memory, shape, touch};

struct Scribbler<'a> {
    memory: &'a Memory,
    input: RefCell<Input<'a>>,
    data: u64,
}

impl Scribbler<'_> {
    fn scribble(&self) {
        let mut input = self.input.borrow_mut();
        for _ in 0..input.byte() % 4 {
            let at = match input.byte() % 8 {
                0 => 0x000,
                1 => 0x080,
                2 => 0x380,
                3 => 0x400,
                4 => 8 * u64::from(input.byte()),
                5 => self.data + (64 << 10) + 8 * u64::from(input.byte()),
                _ => self.data + 8 * u64::from(input.byte()),
            };
            let value = input.spite();
            // The header is read once, when the ring is opened.
            if !(0x100..0x180).contains(&at) {
                self.memory.word(at, value);
            }
        }
    }

    fn byte(&self) -> u8 {
        self.input.borrow_mut().byte()
    }

    /// Looks at a message, has the peer write, and looks again. What was copied stays as it is.
    fn see(&self, message: Message<'_>, copied: bool) -> Flow {
        if copied {
            let before = (message.id(), message.payload().to_vec());
            self.scribble();
            assert_eq!((message.id(), message.payload()), (before.0, &before.1[..]), "a copy changed");
        } else {
            // In place only the bounds are certain, and they were taken before.
            let length = message.payload().len();
            self.scribble();
            assert_eq!(message.payload().len(), length);
        }
        touch(&message);
        match self.byte() % 8 {
            0 => Flow::Keep,
            1 => Flow::Break,
            2 => Flow::Commit,
            _ => Flow::Continue,
        }
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let memory = Memory::ring(&shape(choice));
    let (buffer, observer) = (Buffer::open(memory.path()).unwrap(), Observer::open(memory.path()).unwrap());
    let info = observer.info().unwrap();
    let dropping = info.overflow == aether_ipc::Overflow::DropOldest;
    let peer = Scribbler { memory: &memory, input: RefCell::new(input), data: info.data_offset };
    let mut producer = buffer.producer().unwrap();
    let mut consumer = buffer.consumer().unwrap();
    let mut tail = observer.tail();
    let mut untrusted = false;
    while !peer.input.borrow().is_empty() {
        let call = peer.byte();
        let length = usize::from(peer.byte());
        match call % 12 {
            0..=3 => drop(producer.offer(i64::from(length as u8), 1, &[call; 256][..length])),
            4 => {
                if let Ok(mut claim) = producer.claim(length) {
                    claim.payload_mut().fill(call);
                    peer.scribble();
                    claim.payload_mut().fill(call);
                    claim.commit(1, 1);
                }
            }
            5 => {
                let mut batch = producer.batch();
                while batch.push(2, 2, &[call; 256][..length]).is_ok() && batch.len() < 64 {
                    peer.scribble();
                }
                batch.commit();
            }
            6 => drop(consumer.poll(|message| peer.see(message, untrusted || dropping))),
            7 => drop(consumer.drain(length, |message| peer.see(message, untrusted || dropping))),
            8 => {
                if let Ok(batch) = consumer.batch(length) {
                    for message in batch.iter().chain(&batch) {
                        let _ = peer.see(message, untrusted || dropping);
                    }
                }
            }
            9 => {
                untrusted = call & 0x80 != 0;
                consumer.set_untrusted(untrusted);
                consumer.set_merge(if call & 0x40 == 0 { Merge::Fair } else { Merge::ById });
            }
            10 => {
                let _ = observer.peek(length, |message| peer.see(message, true));
                let _ = tail.poll(length, |message| peer.see(message, true));
            }
            _ => {
                drop((producer, consumer));
                // A place that can't be taken for what stands in the file is one that nobody can go on with.
                (producer, consumer) = match (buffer.producer(), buffer.consumer()) {
                    (Ok(producer), Ok(consumer)) => (producer, consumer),
                    _ => return,
                };
                consumer.set_untrusted(untrusted);
            }
        }
        peer.scribble();
        let _ = (producer.lag(), producer.free_bytes(), consumer.available_bytes(), observer.info());
    }
}
