//! Every shape of a ring, between real processes: one, two and eight producers, one, two and eight consumers, and each
//! message accounted for at each consumer.

#[cfg(target_os = "linux")]
mod support;

// Only there can a process that waits be woken by another.
#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{path::Path, process::ExitCode};

    use aether_ipc::{Buffer, Flow, Merge, Message, Wait};
    use tempfile::tempdir;

    use crate::{
        support::{self, Peer, WATCHDOG, await_go, say},
        trials,
    };

    pub(crate) fn main() -> ExitCode {
        support::main(
            &[("produce", produce), ("consume", consume)],
            trials![
                each_message_of_each_producer_reaches_each_consumer_once_whole_and_in_order,
                with_a_shared_sequence_all_consumers_see_all_messages_in_one_order,
            ],
        )
    }

    const MESSAGES: u64 = 4_000;
    /// A fraction of what goes through it: every producer waits for space again and again.
    const CAPACITY: u64 = 4096;

    /// Length and bytes follow from the producer and the number.
    fn payload(producer: u32, number: u64) -> Vec<u8> {
        let length = 12 + (number * 37 + u64::from(producer) * 11) % 90;
        let mut bytes: Vec<u8> = (0..length).map(|index| (number * 7 + u64::from(producer) + index) as u8).collect();
        bytes[..4].copy_from_slice(&producer.to_le_bytes());
        bytes[4..12].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// The arguments: path, producers, `fair` or `sequence`, and the producer's number.
    fn produce(arguments: &[String]) {
        let mut producer = Buffer::open(&arguments[0]).unwrap().producer().unwrap();
        producer.set_wait(Wait::Park);
        let me: u32 = arguments[3].parse().unwrap();
        say("ready");
        await_go();
        for number in 0..MESSAGES {
            producer.put_within(WATCHDOG, number.cast_signed(), me.cast_signed(), &payload(me, number)).unwrap();
        }
    }

    /// What one consumer has seen.
    struct Account {
        /// The next number of each producer.
        next: Vec<u64>,
        /// The lane of each, once it is known.
        lanes: Vec<Option<u32>>,
        total: u64,
        sequence: bool,
        digest: u64,
    }

    impl Account {
        fn enter(&mut self, message: &Message<'_>) {
            let producer = message.message_type().cast_unsigned();
            let index = producer as usize;
            let number = self.next[index];
            assert!(number < MESSAGES, "one more message than producer {producer} sent");
            assert!(
                message.payload() == payload(producer, number),
                "not message {number} of producer {producer}: {message:?}"
            );
            assert_eq!(*self.lanes[index].get_or_insert(message.lane()), message.lane(), "a producer has one lane");
            let id = if self.sequence { self.total } else { number };
            assert_eq!(message.id(), id.cast_signed());
            self.next[index] += 1;
            self.total += 1;
            self.digest = (self.digest ^ u64::from(producer)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn consume(arguments: &[String]) {
        let producers: usize = arguments[1].parse().unwrap();
        let sequence = arguments[2] == "sequence";
        let mut consumer = Buffer::open(&arguments[0]).unwrap().consumer().unwrap();
        consumer.set_wait(Wait::Park);
        if sequence {
            consumer.set_merge(Merge::ById);
        }
        say("ready");
        let mut account =
            Account { next: vec![0; producers], lanes: vec![None; producers], total: 0, sequence, digest: 0 };
        while account.total < producers as u64 * MESSAGES {
            consumer.wait_within(WATCHDOG).unwrap();
            consumer
                .drain(100, |message| {
                    account.enter(&message);
                    Flow::Continue
                })
                .unwrap();
        }
        // When all producers have ended, so that nothing can come behind what was counted.
        await_go();
        assert_eq!(consumer.available_bytes(), 0, "something is left that nobody sent");
        say(account.digest);
    }

    /// Runs one shape, and returns what its consumers say about the order.
    fn run(path: &Path, producers: u32, consumers: u32, order: &str) -> Vec<String> {
        let path = path.to_str().unwrap();
        Buffer::options()
            .capacity(CAPACITY)
            .producers(producers)
            .consumers(consumers)
            .sequence(order == "sequence")
            .create_new(path)
            .unwrap();
        let start = |part: &str, number: u32| {
            let peer = Peer::start(part, &[path, &producers.to_string(), order, &number.to_string()]);
            peer.expect_line("ready");
            peer
        };
        // Consumers first: each sees what is committed from when it came.
        let mut receiving: Vec<Peer> = (0..consumers).map(|number| start("consume", number)).collect();
        let mut sending: Vec<Peer> = (0..producers).map(|number| start("produce", number)).collect();
        sending.iter_mut().for_each(Peer::go);
        for peer in sending {
            peer.succeed();
        }
        receiving.iter_mut().for_each(Peer::go);
        receiving.into_iter().flat_map(Peer::succeed).collect()
    }

    fn each_message_of_each_producer_reaches_each_consumer_once_whole_and_in_order() {
        let folder = tempdir().unwrap();
        for producers in [1, 2, 8] {
            for consumers in [1, 2, 8] {
                let path = folder.path().join(format!("{producers}-{consumers}"));
                assert_eq!(run(&path, producers, consumers, "fair").len(), consumers as usize);
            }
        }
    }

    fn with_a_shared_sequence_all_consumers_see_all_messages_in_one_order() {
        let folder = tempdir().unwrap();
        for (producers, consumers) in [(2, 2), (8, 8)] {
            let path = folder.path().join(format!("{producers}-{consumers}"));
            let digests = run(&path, producers, consumers, "sequence");
            assert_eq!(digests, vec![digests[0].clone(); consumers as usize]);
        }
    }
}
