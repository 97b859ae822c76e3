//! Two processes and a ring between them: messages, roles and their death, forks, and waking each other up.

#[cfg(target_os = "linux")]
mod support;

// Other systems have neither forks whose locks stay behind nor sleeps on a word of a file.
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
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::{Duration, Instant},
    };

    use aether_ipc::{Buffer, Consumer, Error, Flow, Message, Observer};
    use tempfile::{TempDir, tempdir};

    use crate::{
        support::{self, Peer, WATCHDOG, await_go, eventually, say, within},
        trials,
    };

    pub(crate) fn main() -> ExitCode {
        support::main(
            &[
                ("send_stream", send_stream),
                ("connect", connect),
                ("hold_producer", hold_producer),
                ("hold_consumer", hold_consumer),
                ("hold_named", hold_named),
                ("hold_and_spawn", hold_and_spawn),
                ("idle", idle),
                ("fork", fork),
                ("fork_in_the_middle", fork_in_the_middle),
                ("consume_parked", consume_parked),
                ("produce_parked", produce_parked),
                ("send_and_die", send_and_die),
            ],
            trials![
                a_stream_of_messages_arrives_whole_in_order_and_once,
                connecting_waits_for_the_creator,
                connecting_waits_until_another_implementation_has_finished_the_file,
                a_second_producer_in_another_process_is_told_who_holds_the_role,
                a_second_consumer_in_another_process_is_told_who_holds_the_role,
                a_killed_producer_frees_its_role_at_once_and_what_it_had_not_committed_does_not_exist,
                a_killed_consumer_frees_its_role_at_once_and_what_it_had_not_released_comes_again,
                a_killed_consumer_among_many_holds_nobody_back_unless_it_has_a_name,
                a_program_started_by_the_holder_does_not_keep_the_role,
                a_forked_child_can_use_nothing_it_inherited_and_does_not_keep_the_role,
                a_forked_child_neither_commits_nor_releases_what_its_parent_had_at_hand,
                a_parked_consumer_is_woken_by_each_message,
                a_parked_producer_is_woken_by_each_release,
                waiting_for_messages_ends_when_the_last_producer_is_killed,
                waiting_for_space_ends_when_the_last_consumer_is_killed,
                what_was_committed_before_the_producer_died_is_read_before_the_ring_is_closed,
            ],
        )
    }

    fn ring() -> (TempDir, PathBuf) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("ring");
        (folder, path)
    }

    fn open(arguments: &[String]) -> Buffer {
        Buffer::connect(&arguments[0], WATCHDOG).unwrap()
    }

    /// Bytes and length follow from the id.
    fn payload(id: i64) -> Vec<u8> {
        (0..id * 131 % 700).map(|index| (id * 7 + index) as u8).collect()
    }

    #[track_caller]
    fn assert_is(message: &Message<'_>, id: i64) {
        assert_eq!((message.id(), message.message_type()), (id, id as i32 ^ 0x55));
        assert!(message.payload() == payload(id), "message {id} has another's bytes");
    }

    const STREAM: i64 = 30_000;

    fn send_stream(arguments: &[String]) {
        let mut producer = open(arguments).producer().unwrap();
        for id in 0..STREAM {
            producer.put(id, id as i32 ^ 0x55, &payload(id)).unwrap();
        }
    }

    fn a_stream_of_messages_arrives_whole_in_order_and_once() {
        let plain = || Buffer::options().capacity(4096);
        for (options, untrusted) in
            [(plain(), false), (plain().classic(true), false), (plain().checksums(true), false), (plain(), true)]
        {
            let (_folder, path) = ring();
            let buffer = options.create_new(&path).unwrap();
            let mut consumer = buffer.consumer().unwrap();
            consumer.set_untrusted(untrusted);
            let sender = Peer::start("send_stream", &[&path]);
            let mut next = 0;
            while next < STREAM {
                consumer.wait_within(WATCHDOG).unwrap();
                // In turn by each way of reading.
                match next % 3 {
                    0 => drop(consumer.poll(|message| {
                        assert_is(&message, next);
                        next += 1;
                        Flow::Continue
                    })),
                    1 => drop(consumer.drain(50, |message| {
                        assert_is(&message, next);
                        next += 1;
                        if next % 7 == 0 { Flow::Commit } else { Flow::Continue }
                    })),
                    _ => {
                        for message in &consumer.batch(20).unwrap() {
                            assert_is(&message, next);
                            next += 1;
                        }
                    }
                }
            }
            sender.succeed();
            assert_eq!((consumer.received(), consumer.available_bytes()), (STREAM as u64, 0));
        }
    }

    fn connect(arguments: &[String]) {
        say("connecting");
        let mut consumer = open(arguments).consumer().unwrap();
        consumer.wait_within(WATCHDOG).unwrap();
        consumer
            .poll(|message| {
                say(message.id());
                Flow::Continue
            })
            .unwrap();
    }

    fn connecting_waits_for_the_creator() {
        let (_folder, path) = ring();
        let peer = Peer::start("connect", &[&path]);
        peer.expect_line("connecting");
        Buffer::create(&path, 4096).unwrap().producer().unwrap().offer(17, 0, b"").unwrap();
        peer.expect_line("17");
        peer.succeed();
    }

    fn connecting_waits_until_another_implementation_has_finished_the_file() {
        let (_folder, path) = ring();
        let peer = Peer::start("connect", &[&path]);
        peer.expect_line("connecting");
        let file = File::create(&path).unwrap();
        file.set_len(0x180 + 1024).unwrap();
        file.write_all_at(&18_i64.to_le_bytes(), 0x180).unwrap();
        file.write_all_at(&16_u32.to_le_bytes(), 0x188).unwrap();
        file.write_all_at(&16_u64.to_le_bytes(), 0x000).unwrap();
        // It can't know that there is a ring before this.
        assert_eq!(peer.line_now(), None);
        file.write_all_at(&1024_u32.to_le_bytes(), 0x100).unwrap();
        peer.expect_line("18");
        peer.succeed();
    }

    /// Commits a message, writes another and does not commit it.
    fn hold_producer(arguments: &[String]) {
        let mut producer = open(arguments).producer().unwrap();
        producer.offer(1, 0, b"committed").unwrap();
        let mut claim = producer.claim(100).unwrap();
        claim.payload_mut().fill(0xEE);
        say("ready");
        await_go();
        claim.commit(2, 0);
    }

    /// Has a message at hand and does not release it.
    fn hold_consumer(arguments: &[String]) {
        let mut consumer = open(arguments).consumer().unwrap();
        consumer.wait_within(WATCHDOG).unwrap();
        let batch = consumer.batch(1).unwrap();
        assert_eq!(batch.iter().count(), 1);
        say("ready");
        await_go();
    }

    fn hold_named(arguments: &[String]) {
        let bus = open(arguments);
        let _consumer = match arguments.get(1) {
            Some(name) => bus.consumer_named(name).unwrap(),
            None => bus.consumer().unwrap(),
        };
        say("ready");
        await_go();
    }

    #[track_caller]
    fn assert_taken<T: std::fmt::Debug>(result: aether_ipc::Result<T>, peer: &Peer) {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::RoleTaken { holders, .. } if *holders == [peer.pid()]), "{error:?}");
        assert!(error.to_string().contains(&format!("held by process {};", peer.pid())), "{error}");
    }

    fn word(path: &Path, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
        u32::from_le_bytes(bytes)
    }

    fn a_second_producer_in_another_process_is_told_who_holds_the_role() {
        for classic in [false, true] {
            let (_folder, path) = ring();
            let buffer = Buffer::options().capacity(4096).classic(classic).create_new(&path).unwrap();
            let mut peer = Peer::start("hold_producer", &[&path]);
            peer.expect_line("ready");
            assert_taken(buffer.producer(), &peer);
            assert_eq!(buffer.observer().info().unwrap().lanes[0].producer, Some(peer.pid()));
            peer.go();
            peer.succeed();
            assert_eq!(buffer.observer().info().unwrap().lanes[0].producer, None);
            buffer.producer().unwrap();
            assert_eq!(buffer.observer().count_messages().unwrap(), 2);
        }
    }

    fn a_second_consumer_in_another_process_is_told_who_holds_the_role() {
        let (_folder, path) = ring();
        let buffer = Buffer::create(&path, 4096).unwrap();
        buffer.producer().unwrap().offer(1, 0, b"").unwrap();
        let mut peer = Peer::start("hold_consumer", &[&path]);
        peer.expect_line("ready");
        assert_taken(buffer.consumer(), &peer);
        assert_eq!(buffer.observer().info().unwrap().consumers[0].holder, Some(peer.pid()));
        peer.go();
        peer.succeed();
        assert_eq!(buffer.observer().info().unwrap().consumers[0].holder, None);
        assert_eq!(buffer.consumer().unwrap().available_bytes(), 0);
    }

    fn a_killed_producer_frees_its_role_at_once_and_what_it_had_not_committed_does_not_exist() {
        for classic in [false, true] {
            let (_folder, path) = ring();
            let buffer = Buffer::options().capacity(4096).classic(classic).create_new(&path).unwrap();
            let mut peer = Peer::start("hold_producer", &[&path]);
            peer.expect_line("ready");
            peer.kill();
            assert_eq!(word(&path, 0x008), peer.pid(), "a killed process can't wipe its id");
            assert_eq!(buffer.observer().info().unwrap().lanes[0].producer, None, "but nobody believes it");
            assert!(!buffer.consumer().unwrap().has_producer().unwrap());
            let mut producer = buffer.producer().expect("the role is free at once");
            assert_eq!(producer.position(), 32);
            producer.offer(3, 0, b"").unwrap();
            let mut ids = Vec::new();
            let mut consumer = buffer.consumer().unwrap();
            consumer.drain(10, |message| keep(&mut ids, &message)).unwrap();
            assert_eq!(ids, [1, 3]);
        }
    }

    fn keep(ids: &mut Vec<i64>, message: &Message<'_>) -> Flow {
        ids.push(message.id());
        Flow::Continue
    }

    fn a_killed_consumer_frees_its_role_at_once_and_what_it_had_not_released_comes_again() {
        let (_folder, path) = ring();
        let buffer = Buffer::create(&path, 4096).unwrap();
        buffer.producer().unwrap().offer(1, 0, b"").unwrap();
        let mut peer = Peer::start("hold_consumer", &[&path]);
        peer.expect_line("ready");
        peer.kill();
        assert_eq!(word(&path, 0x088), peer.pid());
        assert_eq!(buffer.observer().info().unwrap().consumers[0].holder, None);
        let mut ids = Vec::new();
        buffer.consumer().unwrap().drain(10, |message| keep(&mut ids, &message)).unwrap();
        assert_eq!(ids, [1]);
    }

    fn a_killed_consumer_among_many_holds_nobody_back_unless_it_has_a_name() {
        let (_folder, path) = ring();
        let bus = Buffer::options().capacity(1024).consumers(2).create_new(&path).unwrap();
        let mut producer = bus.producer().unwrap();
        let mut peer = Peer::start("hold_named", &[&path]);
        peer.expect_line("ready");
        producer.offer(1, 0, &[0; 1000]).unwrap();
        assert!(matches!(producer.offer(2, 0, b""), Err(Error::Full)), "it is waited for while it lives");
        peer.kill();
        producer.put_within(WATCHDOG, 2, 0, b"").expect("nobody waits for the dead");

        let mut peer = Peer::start("hold_named", &[shown(&path), "audit"]);
        peer.expect_line("ready");
        assert_taken(bus.consumer_named("audit"), &peer);
        peer.kill();
        producer.put_within(WATCHDOG, 3, 0, &[0; 900]).unwrap();
        assert!(matches!(producer.put_within(Duration::ZERO, 4, 0, &[0; 900]), Err(Error::TimedOut { .. })));
        let _other = bus.consumer().unwrap();
        let error = bus.consumer().unwrap_err();
        let me = std::process::id();
        assert!(
            matches!(&error, Error::RoleTaken { holders, .. } if *holders == [me]),
            "the dead are not named: {error:?}"
        );
        let mut ids = Vec::new();
        bus.consumer_named("audit").unwrap().drain(10, |message| keep(&mut ids, &message)).unwrap();
        assert_eq!(ids, [3]);
    }

    fn shown(path: &Path) -> &str {
        path.to_str().unwrap()
    }

    fn idle(_: &[String]) {
        say("idle");
        await_go();
    }

    fn hold_and_spawn(arguments: &[String]) {
        let buffer = open(arguments);
        let _roles = (buffer.producer().unwrap(), buffer.consumer().unwrap());
        // It inherits the input, by which the test lets it go on.
        let program = std::env::current_exe().unwrap();
        std::process::Command::new(program).args(["--part", "idle"]).spawn().unwrap().wait().unwrap();
    }

    fn a_program_started_by_the_holder_does_not_keep_the_role() {
        let (_folder, path) = ring();
        let buffer = Buffer::create(&path, 4096).unwrap();
        let mut peer = Peer::start("hold_and_spawn", &[&path]);
        peer.expect_line("idle");
        assert_taken(buffer.producer(), &peer);
        peer.kill();
        let _roles = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    }

    /// Forks. The parent is to be killed; the child then says what it can do with what it inherited.
    fn fork(arguments: &[String]) {
        let buffer = open(arguments);
        let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
        producer.offer(1, 0, b"").unwrap();
        // SAFETY: the process has one thread.
        let pid = unsafe { libc::fork() };
        assert_ne!(pid, -1);
        if pid == 0 {
            let parent = std::os::unix::process::parent_id();
            let again = Buffer::open(&arguments[0]).unwrap();
            for taken in [buffer.producer().map(drop), again.producer().map(drop), again.consumer().map(drop)] {
                assert!(matches!(&taken, Err(Error::RoleTaken { holders, .. }) if *holders == [parent]), "{taken:?}");
            }
            say("forked");
            await_go();
            let errors = [
                producer.offer(2, 0, b"").unwrap_err(),
                producer.put(2, 0, b"").unwrap_err(),
                producer.offer_all(2, 0, &[1_u64]).unwrap_err(),
                producer.claim(8).map(drop).unwrap_err(),
                producer.batch().push(2, 0, b"").unwrap_err(),
                producer.wait_for_space(8, None).unwrap_err(),
                consumer.poll(|_| Flow::Continue).map(drop).unwrap_err(),
                consumer.drain(1, |_| Flow::Continue).map(drop).unwrap_err(),
                consumer.batch(1).map(drop).unwrap_err(),
                consumer.wait().unwrap_err(),
            ];
            for error in errors {
                assert!(matches!(error, Error::Forked), "{error:?}");
                assert!(error.to_string().contains("open the buffer again in the child"), "{error}");
            }
            drop((producer, consumer));
            // The parent is gone: a child that opens the ring again may have the roles.
            let again = Buffer::open(&arguments[0]).unwrap();
            again.producer().unwrap().offer(3, 0, b"").unwrap();
            say("done");
            return;
        }
        let mut status = 0;
        // SAFETY: a valid place for the status.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
    }

    fn a_forked_child_can_use_nothing_it_inherited_and_does_not_keep_the_role() {
        let (_folder, path) = ring();
        let buffer = Buffer::create(&path, 4096).unwrap();
        let mut peer = Peer::start("fork", &[&path]);
        peer.expect_line("forked");
        assert_taken(buffer.producer(), &peer);
        peer.kill();
        // The child lives: it still waits for its input.
        let roles = (buffer.producer().expect("free at once"), buffer.consumer().expect("free at once"));
        assert_eq!(roles.1.available_bytes(), 16);
        drop(roles);
        peer.go();
        peer.expect_line("done");
        let mut ids = Vec::new();
        buffer.consumer().unwrap().drain(10, |message| keep(&mut ids, &message)).unwrap();
        assert_eq!(ids, [1, 3]);
    }

    /// Forks with a claim, a batch and a handler at hand. The child finishes them, which must do nothing.
    fn fork_in_the_middle(arguments: &[String]) {
        let buffer = open(arguments);
        let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
        producer.offer_all(0, 0, &[0_u64; 3]).unwrap();
        let cursors = || {
            let info = buffer.observer().info().unwrap();
            (info.write_cursor(), info.read_cursor())
        };
        let unmoved = |child: bool| {
            if child {
                std::process::exit(0);
            }
            assert_eq!(cursors(), (72, 0), "the child moved a cursor");
        };

        let claim = producer.claim(8).unwrap();
        let child = in_child();
        if child {
            claim.commit(99, 0);
        }
        unmoved(child);

        let mut batch = producer.batch();
        batch.push(99, 0, b"").unwrap();
        let child = in_child();
        if child {
            assert_eq!(batch.commit(), 0);
        }
        unmoved(child);

        let batch = consumer.batch(10).unwrap();
        assert_eq!(batch.iter().count(), 3);
        let child = in_child();
        if child {
            drop(batch);
        } else {
            batch.keep();
        }
        unmoved(child);

        let mut child = false;
        let polled = consumer.poll(|_| {
            child = in_child();
            if child { Flow::Continue } else { Flow::Keep }
        });
        assert!(child || polled.is_ok());
        unmoved(child);

        let drained = consumer.drain(10, |_| {
            if !child {
                child = in_child();
            }
            if child { Flow::Commit } else { Flow::Keep }
        });
        assert!(child || drained.is_ok());
        unmoved(child);

        let mut ids = Vec::new();
        consumer.drain(10, |message| keep(&mut ids, &message)).unwrap();
        assert_eq!(ids, [0, 1, 2]);
        say("done");
    }

    /// Forks; whether this is the child. The parent waits for its end first.
    fn in_child() -> bool {
        // SAFETY: the process has one thread.
        let pid = unsafe { libc::fork() };
        assert_ne!(pid, -1);
        if pid > 0 {
            let mut status = 0;
            // SAFETY: a valid place for the status.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            assert_eq!(status, 0, "the child failed");
        }
        pid == 0
    }

    fn a_forked_child_neither_commits_nor_releases_what_its_parent_had_at_hand() {
        for classic in [false, true] {
            let (_folder, path) = ring();
            Buffer::options().capacity(4096).classic(classic).create_new(&path).unwrap();
            assert_eq!(Peer::start("fork_in_the_middle", &[&path]).succeed(), ["done"]);
        }
    }

    const ROUNDS: u32 = 20_000;
    /// Where the bells of an extended file are, see docs/format.md.
    const DATA_BELL: u64 = 0x180;
    const SPACE_BELL: u64 = 0x200;

    /// A bell, looked at through the file.
    struct Bell {
        file: File,
        offset: u64,
    }

    impl Bell {
        fn value(&self) -> u32 {
            let mut bytes = [0; 4];
            self.file.read_exact_at(&mut bytes, self.offset).unwrap();
            u32::from_le_bytes(bytes)
        }

        /// Until the other side sleeps, or is about to: the moment at which a wake-up would get lost.
        fn await_sleeper(&self) {
            eventually("the other side to sleep", || (self.value() & 1 == 1).then_some(()));
        }
    }

    /// Counts rounds that took so long that no wake-up can have ended the sleep, but only the look that follows after
    /// a fifth of a second. A machine can stall for as long, but not often in so few seconds.
    #[derive(Default)]
    struct Late(u32);

    impl Late {
        fn watch(&mut self, awaited: &str, mut arrived: impl FnMut() -> bool) {
            let started = Instant::now();
            eventually(awaited, || arrived().then_some(()));
            self.0 += u32::from(started.elapsed() > Duration::from_millis(150));
            assert!(self.0 < 5, "wake-ups are lost");
        }
    }

    fn consume_parked(arguments: &[String]) {
        let mut consumer = open(arguments).consumer().unwrap();
        for _ in 0..ROUNDS {
            consumer.wait().unwrap();
            consumer.poll(|_| Flow::Continue).unwrap();
        }
    }

    fn a_parked_consumer_is_woken_by_each_message() {
        let (_folder, path) = ring();
        let buffer = Buffer::create(&path, 4096).unwrap();
        let mut producer = buffer.producer().unwrap();
        let peer = Peer::start("consume_parked", &[&path]);
        let bell = Bell { file: File::open(&path).unwrap(), offset: DATA_BELL };
        let mut late = Late::default();
        assert_eq!(word(&path, 0x00C), 1, "a producer that does not say that it rings is not waited for with trust");
        for round in 0..ROUNDS {
            bell.await_sleeper();
            producer.offer(round.into(), 0, b"wake up").unwrap();
            late.watch("the message to be read", || producer.lag() == 0);
        }
        peer.succeed();
        assert!(bell.value() >> 1 >= ROUNDS, "rung {} times in {ROUNDS} rounds", bell.value() >> 1);
    }

    fn produce_parked(arguments: &[String]) {
        let mut producer = open(arguments).producer().unwrap();
        for round in 0..=ROUNDS {
            producer.put(round.into(), 0, &[0; 1000]).unwrap();
        }
    }

    fn a_parked_producer_is_woken_by_each_release() {
        let (_folder, path) = ring();
        let buffer = Buffer::create(&path, 1024).unwrap();
        let mut consumer = buffer.consumer().unwrap();
        let peer = Peer::start("produce_parked", &[&path]);
        let bell = Bell { file: File::open(&path).unwrap(), offset: SPACE_BELL };
        let mut late = Late::default();
        assert_eq!(word(&path, 0x08C), 1, "a consumer that does not say that it rings is not waited for with trust");
        consumer.wait_within(WATCHDOG).unwrap();
        for _ in 0..ROUNDS {
            bell.await_sleeper();
            consumer.poll(|_| Flow::Continue).unwrap();
            late.watch("the next message", || consumer.available_bytes() > 0);
        }
        peer.succeed();
        assert!(bell.value() >> 1 >= ROUNDS, "rung {} times in {ROUNDS} rounds", bell.value() >> 1);
    }

    fn waiting_for_messages_ends_when_the_last_producer_is_killed() {
        let (_folder, path) = ring();
        let buffer = Buffer::create(&path, 4096).unwrap();
        let mut peer = Peer::start("hold_producer", &[&path]);
        peer.expect_line("ready");
        let mut consumer = buffer.consumer().unwrap();
        consumer.require_producer(true);
        consumer.poll(|_| Flow::Continue).unwrap();
        let bell = Bell { file: File::open(&path).unwrap(), offset: DATA_BELL };
        let ended = Arc::new(AtomicBool::new(false));
        let waiting = {
            let ended = ended.clone();
            std::thread::spawn(move || {
                let error = consumer.wait().unwrap_err();
                ended.store(true, Ordering::Relaxed);
                error
            })
        };
        bell.await_sleeper();
        assert!(!ended.load(Ordering::Relaxed), "the producer lives");
        peer.kill();
        let error = within("wait after the producer was killed", move || waiting.join().unwrap());
        assert!(matches!(error, Error::Closed), "{error:?}");
    }

    fn waiting_for_space_ends_when_the_last_consumer_is_killed() {
        let (_folder, path) = ring();
        let buffer = Buffer::create(&path, 1024).unwrap();
        let mut producer = buffer.producer().unwrap();
        producer.require_consumer(true);
        producer.offer(1, 0, &[0; 1000]).unwrap();
        let mut peer = Peer::start("hold_consumer", &[&path]);
        peer.expect_line("ready");
        let bell = Bell { file: File::open(&path).unwrap(), offset: SPACE_BELL };
        let waiting = std::thread::spawn(move || producer.put(2, 0, b"").unwrap_err());
        bell.await_sleeper();
        peer.kill();
        let error = within("put after the consumer was killed", move || waiting.join().unwrap());
        assert!(matches!(error, Error::NoConsumer), "{error:?}");
    }

    fn send_and_die(arguments: &[String]) {
        let mut producer = open(arguments).producer().unwrap();
        for id in 0..1000 {
            producer.put(id, id as i32 ^ 0x55, &payload(id)).unwrap();
        }
        // SAFETY: sends a signal to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }

    fn what_was_committed_before_the_producer_died_is_read_before_the_ring_is_closed() {
        let (_folder, path) = ring();
        let mut consumer: Consumer = Buffer::create(&path, 4096).unwrap().consumer().unwrap();
        let peer = Peer::start("send_and_die", &[&path]);
        let mut next = 0;
        let mut waited = consumer.wait_within(WATCHDOG);
        consumer.require_producer(true);
        let error = loop {
            match waited {
                Ok(()) => {}
                Err(error) => break error,
            }
            consumer
                .drain(100, |message| {
                    assert_is(&message, next);
                    next += 1;
                    Flow::Continue
                })
                .unwrap();
            waited = consumer.wait_within(WATCHDOG);
        };
        assert!(matches!(error, Error::Closed), "{error:?}");
        assert_eq!(next, 1000);
        let (status, _) = peer.finish();
        assert!(!status.success());
        assert_eq!(Observer::open(&path).unwrap().count_messages().unwrap(), 0);
    }
}
