//! Waiting, between real processes: sets of consumers, wake-ups that must not get lost, peers that die meanwhile.

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
    use std::{
        fs::File,
        os::unix::fs::FileExt,
        path::{Path, PathBuf},
        process::ExitCode,
        time::{Duration, Instant},
    };

    use aether_ipc::{Buffer, Consumer, Error, Flow, Producer, Wait, WaitSet};
    use tempfile::{TempDir, tempdir};

    use crate::{
        support::{self, Peer, WATCHDOG, await_go, eventually, filter_system_calls, say},
        trials,
    };

    pub(crate) fn main() -> ExitCode {
        support::main(
            &[
                ("echo", echo),
                ("echo_unaided", echo_unaided),
                ("hold", hold),
                ("hold_consumer", hold_consumer),
                ("receive_two", receive_two),
                ("send_one", send_one),
            ],
            trials![
                no_wake_up_is_lost_between_a_set_and_a_set,
                a_set_finds_messages_where_the_system_can_not_sleep_on_many_words,
                a_set_of_more_rings_than_one_system_call_takes_finds_messages_too,
                each_strategy_of_a_set_finds_messages_and_times_out,
                a_ring_that_always_has_messages_hides_no_other,
                an_error_of_one_consumer_leaves_the_others_to_be_waited_for,
                a_set_without_consumers_is_closed,
                a_set_that_requires_producers_notices_while_it_sleeps_that_one_was_killed,
                a_consumer_that_requires_no_producer_sleeps_on_when_it_dies_and_is_woken_by_its_successor,
                a_producer_that_requires_no_consumer_sleeps_on_when_it_dies_and_is_woken_by_its_successor,
            ],
        )
    }

    /// Pairs of rings, one for each direction.
    struct Rings {
        folder: TempDir,
        count: usize,
    }

    impl Rings {
        fn new(count: usize) -> Rings {
            let folder = tempdir().unwrap();
            for path in paths(folder.path(), "to", count).chain(paths(folder.path(), "from", count)) {
                Buffer::create(path, 1024).unwrap();
            }
            Rings { folder, count }
        }

        fn start(&self, part: &str) -> Peer {
            let peer = Peer::start(part, &[self.folder.path().to_str().unwrap(), &self.count.to_string()]);
            peer.expect_line("ready");
            peer
        }

        fn ends(&self) -> (Vec<Producer>, WaitSet) {
            (
                paths(self.folder.path(), "to", self.count)
                    .map(|path| Buffer::open(path).unwrap().producer().unwrap())
                    .collect(),
                paths(self.folder.path(), "from", self.count)
                    .map(|path| Buffer::open(path).unwrap().consumer().unwrap())
                    .collect(),
            )
        }
    }

    fn paths(folder: &Path, name: &'static str, count: usize) -> impl Iterator<Item = PathBuf> {
        (0..count).map(move |index| folder.join(format!("{name}-{index}")))
    }

    /// Answers in the same ring in which it was asked, until it gets an id below zero.
    fn echo(arguments: &[String]) {
        let count = arguments[1].parse().unwrap();
        let folder = Path::new(&arguments[0]);
        let mut producers: Vec<Producer> =
            paths(folder, "from", count).map(|path| Buffer::open(path).unwrap().producer().unwrap()).collect();
        let mut set: WaitSet =
            paths(folder, "to", count).map(|path| Buffer::open(path).unwrap().consumer().unwrap()).collect();
        say("ready");
        loop {
            let (index, consumer) = set.wait_within(WATCHDOG).unwrap();
            let mut ids = Vec::new();
            consumer.unwrap().drain(10, |message| keep(&mut ids, message.id())).unwrap();
            for id in ids {
                if id < 0 {
                    return;
                }
                producers[index].put_within(WATCHDOG, id, 0, b"").unwrap();
            }
        }
    }

    /// As [`echo`], on a system without `futex_waitv`.
    fn echo_unaided(arguments: &[String]) {
        without_futex_waitv();
        echo(arguments);
    }

    fn without_futex_waitv() {
        let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let equal =
            |k: u32| libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: 1, k };
        filter_system_calls([
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
            equal(libc::SYS_futex_waitv as u32),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ]);
    }

    fn keep(ids: &mut Vec<i64>, id: i64) -> Flow {
        ids.push(id);
        Flow::Continue
    }

    /// Asks in one ring after the other, and awaits each answer. Returns how many came so late that no wake-up can have
    /// ended the sleep, but only the look that follows after a fifth of a second.
    fn ask(producers: &mut [Producer], set: &mut WaitSet, rounds: u32) -> u32 {
        let mut late = 0;
        // Steps through the rings in no simple order.
        let mut at = 0;
        for round in 0..rounds {
            at = (at + 7 * round as usize + 3) % producers.len();
            let started = Instant::now();
            producers[at].put_within(WATCHDOG, round.into(), 0, b"").unwrap();
            let (index, consumer) = set.wait_within(WATCHDOG).unwrap();
            late += u32::from(started.elapsed() > Duration::from_millis(150));
            let mut ids = Vec::new();
            consumer.unwrap().drain(10, |message| keep(&mut ids, message.id())).unwrap();
            assert_eq!((index, ids), (at, vec![round.into()]));
        }
        producers[0].put_within(WATCHDOG, -1, 0, b"").unwrap();
        late
    }

    /// For a long soak: `AETHER_SOAK_ROUNDS=10000000 cargo test --release --package aether-ipc --test waiting soak`.
    fn rounds() -> u32 {
        std::env::var("AETHER_SOAK_ROUNDS").map_or(20_000, |rounds| rounds.parse().unwrap())
    }

    fn no_wake_up_is_lost_between_a_set_and_a_set() {
        let rings = Rings::new(8);
        let peer = rings.start("echo");
        let (mut producers, mut set) = rings.ends();
        let rounds = rounds();
        let late = ask(&mut producers, &mut set, rounds);
        peer.succeed();
        // A machine can stall for as long, but not often.
        assert!(late < 5 + rounds / 100_000, "{late} wake-ups in {rounds} rounds were lost");
        let rung: u32 = paths(rings.folder.path(), "to", 8).map(|path| bell(&path, DATA_BELL) >> 1).sum();
        assert!(rung > 0, "the other side never slept");
    }

    fn a_set_finds_messages_where_the_system_can_not_sleep_on_many_words() {
        let rings = Rings::new(8);
        let peer = rings.start("echo_unaided");
        let (mut producers, mut set) = rings.ends();
        let late = ask(&mut producers, &mut set, 200);
        peer.succeed();
        assert!(late < 5, "without the call, sleeps are short: {late} answers were late");
    }

    fn a_set_of_more_rings_than_one_system_call_takes_finds_messages_too() {
        let rings = Rings::new(150);
        let peer = rings.start("echo");
        let (mut producers, mut set) = rings.ends();
        let late = ask(&mut producers, &mut set, 300);
        peer.succeed();
        assert!(late < 5, "beyond that number, sleeps are short: {late} answers were late");
    }

    fn each_strategy_of_a_set_finds_messages_and_times_out() {
        for wait in [Wait::Spin, Wait::Yield, Wait::Backoff, Wait::Park] {
            let rings = Rings::new(2);
            let peer = rings.start("echo");
            let (mut producers, mut set) = rings.ends();
            set.set_wait(wait);
            let started = Instant::now();
            let error = set.wait_within(Duration::from_millis(20)).unwrap_err();
            assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
            assert!(started.elapsed() >= Duration::from_millis(20));
            ask(&mut producers, &mut set, 50);
            peer.succeed();
        }
    }

    fn here(count: usize) -> (TempDir, Vec<Producer>, WaitSet) {
        let folder = tempdir().unwrap();
        let buffers: Vec<Buffer> =
            paths(folder.path(), "ring", count).map(|path| Buffer::create(path, 1024).unwrap()).collect();
        let producers = buffers.iter().map(|buffer| buffer.producer().unwrap()).collect();
        let set = buffers.iter().map(|buffer| buffer.consumer().unwrap()).collect();
        (folder, producers, set)
    }

    fn a_ring_that_always_has_messages_hides_no_other() {
        let (_folder, mut producers, mut set) = here(3);
        let mut found = [0; 3];
        for id in 0..30 {
            for producer in &mut producers {
                while producer.offer(id, 0, b"").is_ok() {}
            }
            let (index, consumer) = set.wait_within(WATCHDOG).unwrap();
            consumer.unwrap().poll(|_| Flow::Continue).unwrap();
            found[index] += 1;
        }
        assert_eq!(found, [10, 10, 10]);
    }

    fn an_error_of_one_consumer_leaves_the_others_to_be_waited_for() {
        let (_folder, mut producers, mut set) = here(2);
        set.consumers_mut()[0].require_producer(true);
        drop(producers.remove(0));
        let (index, ended) = set.wait_within(WATCHDOG).unwrap();
        assert!(matches!((index, &ended), (0, Err(Error::Closed))), "{index} {ended:?}");
        producers[0].offer(5, 0, b"").unwrap();
        let (index, consumer) = set.wait_within(WATCHDOG).unwrap();
        assert_eq!((index, consumer.unwrap().drain(9, |_| Flow::Continue).unwrap()), (1, 1));
        assert!(set.remove(0).is_some());
        assert!(set.remove(1).is_none());
        let error = set.wait_within(Duration::from_millis(1)).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    }

    fn a_set_without_consumers_is_closed() {
        assert!(matches!(WaitSet::new().wait(), Err(Error::Closed)));
    }

    /// Holds the producer's role in each ring.
    fn hold(arguments: &[String]) {
        let count = arguments[1].parse().unwrap();
        let _producers: Vec<Producer> = paths(Path::new(&arguments[0]), "from", count)
            .map(|path| Buffer::open(path).unwrap().producer().unwrap())
            .collect();
        say("ready");
        await_go();
    }

    fn a_set_that_requires_producers_notices_while_it_sleeps_that_one_was_killed() {
        let rings = Rings::new(2);
        let mut peer = rings.start("hold");
        let (_producers, mut set) = rings.ends();
        set.consumers_mut().iter_mut().for_each(|consumer| consumer.require_producer(true));
        let path = rings.folder.path().join("from-1");
        let waiting = std::thread::spawn(move || {
            let (_, ended) = set.wait_within(WATCHDOG).unwrap();
            ended.map(drop).unwrap_err()
        });
        await_sleeper(&path, DATA_BELL);
        peer.kill();
        let error = waiting.join().unwrap();
        assert!(matches!(error, Error::Closed), "{error:?}");
    }

    const DATA_BELL: u64 = 0x180;
    const SPACE_BELL: u64 = 0x200;

    fn bell(path: &Path, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
        u32::from_le_bytes(bytes)
    }

    fn await_sleeper(path: &Path, offset: u64) {
        eventually("the other side to sleep", || (bell(path, offset) & 1 == 1).then_some(()));
    }

    fn receive_two(arguments: &[String]) {
        let mut consumer: Consumer = Buffer::open(&arguments[0]).unwrap().consumer().unwrap();
        for _ in 0..2 {
            consumer.wait_within(WATCHDOG).unwrap();
            consumer
                .poll(|message| {
                    say(message.id());
                    Flow::Continue
                })
                .unwrap();
        }
    }

    fn hold_consumer(arguments: &[String]) {
        let _consumer = Buffer::open(&arguments[0]).unwrap().consumer().unwrap();
        say("ready");
        await_go();
    }

    /// Sends the message that is asked for and keeps the role.
    fn send_one(arguments: &[String]) {
        let mut producer = Buffer::open(&arguments[0]).unwrap().producer().unwrap();
        producer.put_within(WATCHDOG, arguments[1].parse().unwrap(), 0, &[0; 1000]).unwrap();
        say("sent");
        await_go();
    }

    fn a_consumer_that_requires_no_producer_sleeps_on_when_it_dies_and_is_woken_by_its_successor() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("ring");
        Buffer::create(&path, 1024).unwrap();
        let path = path.to_str().unwrap();
        let receiver = Peer::start("receive_two", &[path]);
        let mut first = Peer::start("send_one", &[path, "1"]);
        receiver.expect_line("1");
        first.expect_line("sent");
        await_sleeper(Path::new(path), DATA_BELL);
        first.kill();
        let mut second = Peer::start("send_one", &[path, "2"]);
        receiver.expect_line("2");
        receiver.succeed();
        second.go();
        second.succeed();
    }

    fn a_producer_that_requires_no_consumer_sleeps_on_when_it_dies_and_is_woken_by_its_successor() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("ring");
        let buffer = Buffer::create(&path, 1024).unwrap();
        let path = path.to_str().unwrap();
        buffer.producer().unwrap().offer(1, 0, &[0; 1000]).unwrap();
        let mut first = Peer::start("hold_consumer", &[path]);
        first.expect_line("ready");
        let mut sender = Peer::start("send_one", &[path, "2"]);
        await_sleeper(Path::new(path), SPACE_BELL);
        first.kill();
        let receiver = Peer::start("receive_two", &[path]);
        receiver.expect_line("1");
        receiver.expect_line("2");
        receiver.succeed();
        sender.expect_line("sent");
        sender.go();
        sender.succeed();
    }
}
