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
    use std::{path::Path, process::ExitCode, time::Duration};

    use aether_ipc::{Buffer, Consumer, Error, Flow, Merge, Message, Producer, Wait};
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
                merged_by_id_a_lane_whose_producer_sends_nothing_holds_the_others_back_until_it_goes,
                merged_by_id_consumers_that_came_at_different_times_can_stop_a_ring_for_good,
                merged_by_a_shared_sequence_neither_an_idle_lane_nor_a_late_consumer_stops_the_ring,
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

    fn fill(producer: &mut Producer, first_id: i64) {
        let mut id = first_id;
        while producer.offer(id, 0, &[0; 50]).is_ok() {
            id += 1;
        }
        assert_full(producer);
    }

    fn assert_full(producer: &mut Producer) {
        let error = producer.put_within(Duration::from_millis(20), 0, 0, &[0; 50]).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    }

    fn assert_waits(consumer: &mut Consumer) {
        let error = consumer.wait_within(Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
        assert_eq!(drain(consumer), 0);
    }

    fn drain(consumer: &mut Consumer) -> usize {
        consumer.drain(usize::MAX, |_| Flow::Continue).unwrap()
    }

    fn by_id(bus: &Buffer) -> Consumer {
        let mut consumer = bus.consumer().unwrap();
        consumer.set_merge(Merge::ById);
        consumer
    }

    fn merged_by_id_a_lane_whose_producer_sends_nothing_holds_the_others_back_until_it_goes() {
        let folder = tempdir().unwrap();
        let bus = Buffer::options().capacity(1024).producers(2).create_new(folder.path().join("ring")).unwrap();
        let mut consumer = by_id(&bus);
        let (mut idle, mut busy) = (bus.producer().unwrap(), bus.producer().unwrap());
        fill(&mut busy, 10);
        assert_waits(&mut consumer);
        idle.offer(1, 0, b"").unwrap();
        assert_eq!(drain(&mut consumer), 1, "a smaller id may follow");
        drop(idle);
        assert!(drain(&mut consumer) > 1);
        busy.offer(100, 0, b"").unwrap();
    }

    /// A ring with two lanes and two consumers. The first has not read what is in one lane when the second comes, which
    /// then has nothing to read there; the other lane is filled after that.
    fn come_late(folder: &Path, sequence: bool) -> ([Producer; 2], [Consumer; 2]) {
        let bus = Buffer::options().capacity(1024).producers(2).consumers(2).sequence(sequence);
        let bus = bus.create_new(folder.join("ring")).unwrap();
        let mut first = by_id(&bus);
        let (mut low, mut high) = (bus.producer().unwrap(), bus.producer().unwrap());
        fill(&mut high, 1000);
        let second = by_id(&bus);
        fill(&mut low, 1);
        drain(&mut first);
        ([low, high], [first, second])
    }

    fn merged_by_id_consumers_that_came_at_different_times_can_stop_a_ring_for_good() {
        let folder = tempdir().unwrap();
        let ([mut low, mut high], [mut first, mut second]) = come_late(folder.path(), false);
        // The first waits for the low lane, which waits for the second, which waits for the high lane, which waits for
        // the first.
        assert_waits(&mut first);
        assert_full(&mut low);
        assert_waits(&mut second);
        assert_full(&mut high);
        second.set_merge(Merge::Fair);
        assert!(drain(&mut second) > 0);
        low.offer(100, 0, b"").unwrap();
        assert_eq!(drain(&mut first), 1);
    }

    fn merged_by_a_shared_sequence_neither_an_idle_lane_nor_a_late_consumer_stops_the_ring() {
        let folder = tempdir().unwrap();
        let ([mut low, mut high], [mut first, mut second]) = come_late(folder.path(), true);
        assert!(drain(&mut second) > 0);
        high.offer(0, 0, b"").unwrap();
        low.offer(0, 0, b"").unwrap();
        assert_eq!((drain(&mut first), drain(&mut second)), (2, 2));
        high.offer(0, 0, b"while the other lane is idle").unwrap();
        assert_eq!((drain(&mut first), drain(&mut second)), (1, 1));
    }
}
