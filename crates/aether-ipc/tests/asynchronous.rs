//! Async code at a ring, between real processes: what arrives, what a cancelled wait costs, and what waiting costs.

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
        future::{Future, poll_fn},
        os::unix::fs::FileExt,
        path::{Path, PathBuf},
        process::ExitCode,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
        },
        task::{Context, Poll, Wake, Waker},
        time::{Duration, Instant},
    };

    use aether_ipc::{Buffer, Error, MessageSink, OwnedMessage};
    use futures_util::{SinkExt, StreamExt};
    use tempfile::{TempDir, tempdir};
    use tokio::{runtime, task::yield_now, time::timeout};

    use crate::{
        support::{self, Peer, WATCHDOG, await_go, eventually, filter_system_calls, say},
        trials,
    };

    pub(crate) fn main() -> ExitCode {
        support::main(
            &[
                ("echo", echo),
                ("echo_unaided", echo_unaided),
                ("send_stream", send_stream),
                ("receive_stream", receive_stream),
                ("idle", idle),
                ("idle_unaided", idle_unaided),
                ("hold_producer", hold_producer),
                ("hold_consumer", hold_consumer),
                ("wait_guarded", wait_guarded),
                ("fork", fork),
            ],
            trials![
                tasks_of_two_processes_wake_each_other,
                tasks_are_woken_where_the_system_can_not_sleep_on_many_words,
                a_cancelled_receive_loses_nothing,
                a_cancelled_send_has_sent_nothing_or_all,
                a_stream_carried_into_a_sink_arrives_whole_in_order_and_once,
                a_sink_keeps_one_message_and_refuses_more_until_it_is_ready,
                a_stream_ends_when_the_last_producer_is_killed_and_goes_on_after_a_loss,
                a_bad_record_ends_a_stream_after_it_was_reported,
                a_task_that_always_finds_messages_lets_others_have_their_turn,
                a_process_with_a_hundred_idle_rings_costs_less_than_a_hundredth_of_a_core,
                a_hundred_idle_rings_do_not_spin_where_the_system_can_not_sleep_on_many_words,
                more_rings_than_one_system_call_takes_are_waited_for_by_more_threads,
                a_send_goes_on_when_the_consumer_that_holds_it_back_is_killed,
                a_file_that_is_cut_short_while_a_task_waits_is_an_error_with_the_guard,
                a_forked_child_waits_with_a_thread_of_its_own,
                a_message_can_be_awaited_and_read_in_place,
            ],
        )
    }

    fn ring(capacity: u64) -> (TempDir, PathBuf) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("ring");
        Buffer::create(&path, capacity).unwrap();
        (folder, path)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let started = Instant::now();
        let value = runtime.block_on(async { timeout(WATCHDOG, future).await.expect("ends by itself") });
        // The watchdog polls once more before it gives up: a task that nobody woke may end by that.
        assert!(started.elapsed() < WATCHDOG, "only the watchdog woke the task");
        value
    }

    fn payload(id: i64) -> Vec<u8> {
        (0..id * 31 % 90).map(|index| (id * 7 + index) as u8).collect()
    }

    #[track_caller]
    fn assert_is(message: &OwnedMessage, id: i64) {
        assert_eq!(*message, OwnedMessage { id, message_type: id as i32 ^ 0x55, payload: payload(id) });
    }

    /// Answers each message with the same one, until the id is below zero.
    fn echo(arguments: &[String]) {
        block_on(async {
            let mut consumer = Buffer::open(&arguments[0]).unwrap().consumer().unwrap();
            let mut producer = Buffer::open(&arguments[1]).unwrap().producer().unwrap();
            say("ready");
            loop {
                let message = consumer.recv().await.unwrap();
                if message.id < 0 {
                    return;
                }
                producer.send(message.id, message.message_type, &message.payload).await.unwrap();
            }
        });
    }

    fn echo_unaided(arguments: &[String]) {
        without_futex_waitv();
        echo(arguments);
    }

    fn idle_unaided(arguments: &[String]) {
        without_futex_waitv();
        idle(arguments);
    }

    fn without_futex_waitv() {
        let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let equal =
            |k: u32| libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: 0, jf: 1, k };
        // Threads that are started from here on inherit it.
        filter_system_calls([
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
            equal(libc::SYS_futex_waitv as u32),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ]);
    }

    /// Asks and awaits the answer; returns how many came so late that no wake-up can have ended the sleep, but only the
    /// look that follows after a fifth of a second.
    fn ask(part: &str, rounds: i64) -> u32 {
        let ((_first, to), (_second, from)) = (ring(1024), ring(1024));
        let peer = Peer::start(part, &[&to, &from]);
        peer.expect_line("ready");
        let mut late = 0;
        block_on(async {
            let mut producer = Buffer::open(&to).unwrap().producer().unwrap();
            let mut consumer = Buffer::open(&from).unwrap().consumer().unwrap();
            for id in 0..rounds {
                let started = Instant::now();
                producer.send(id, id as i32 ^ 0x55, &payload(id)).await.unwrap();
                assert_is(&consumer.recv().await.unwrap(), id);
                late += u32::from(started.elapsed() > Duration::from_millis(150));
            }
            producer.send(-1, 0, b"").await.unwrap();
        });
        peer.succeed();
        late
    }

    fn tasks_of_two_processes_wake_each_other() {
        // A machine can stall for as long, but not often in so few seconds.
        let late = ask("echo", 5_000);
        assert!(late < 5, "{late} wake-ups were lost");
    }

    fn tasks_are_woken_where_the_system_can_not_sleep_on_many_words() {
        let late = ask("echo_unaided", 200);
        assert!(late < 5, "without the call, sleeps are short: {late} answers were late");
    }

    const STREAM: i64 = 3_000;

    fn send_stream(arguments: &[String]) {
        let mut producer = Buffer::open(&arguments[0]).unwrap().producer().unwrap();
        for id in 0..STREAM {
            producer.put_within(WATCHDOG, id, id as i32 ^ 0x55, &payload(id)).unwrap();
        }
    }

    fn receive_stream(arguments: &[String]) {
        let mut stream = Buffer::open(&arguments[0]).unwrap().consumer().unwrap().into_stream();
        say("ready");
        block_on(async {
            for id in 0..STREAM {
                assert_is(&stream.next().await.unwrap().unwrap(), id);
            }
        });
    }

    /// Polls once; `None` if that did not end it, and then it is cancelled.
    async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut future = Box::pin(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn a_cancelled_receive_loses_nothing() {
        let (_folder, path) = ring(1024);
        let mut consumer = Buffer::open(&path).unwrap().consumer().unwrap();
        let peer = Peer::start("send_stream", &[&path]);
        let mut cancelled = 0;
        block_on(async {
            for id in 0..STREAM {
                let message = loop {
                    match once(consumer.recv()).await {
                        Some(message) => break message.unwrap(),
                        None => cancelled += 1,
                    }
                    yield_now().await;
                };
                assert_is(&message, id);
            }
        });
        peer.succeed();
        assert!(cancelled > 0);
        assert_eq!((consumer.received(), consumer.available_bytes()), (STREAM as u64, 0));
    }

    fn a_cancelled_send_has_sent_nothing_or_all() {
        let (_folder, path) = ring(1024);
        let mut producer = Buffer::open(&path).unwrap().producer().unwrap();
        let peer = Peer::start("receive_stream", &[&path]);
        let mut cancelled = 0;
        block_on(async {
            for id in 0..STREAM {
                while once(producer.send(id, id as i32 ^ 0x55, &payload(id))).await.map(|sent| sent.unwrap()).is_none()
                {
                    cancelled += 1;
                    yield_now().await;
                }
            }
        });
        peer.succeed();
        assert!(cancelled > 0);
    }

    fn a_stream_carried_into_a_sink_arrives_whole_in_order_and_once() {
        let ((_first, from), (_second, to)) = (ring(1024), ring(2048));
        let mut consumer = Buffer::open(&from).unwrap().consumer().unwrap();
        consumer.require_producer(true);
        let sink = Buffer::open(&to).unwrap().producer().unwrap().into_sink();
        // It has its role before the stream asks whether anybody has.
        let mut sender = Peer::start("hold_producer", &[&from]);
        sender.expect_line("ready");
        let receiver = Peer::start("receive_stream", &[&to]);
        receiver.expect_line("ready");
        sender.go();
        block_on(consumer.into_stream().forward(sink)).unwrap();
        sender.succeed();
        receiver.succeed();
    }

    /// Sends the stream when it is told to.
    fn hold_producer(arguments: &[String]) {
        let mut producer = Buffer::open(&arguments[0]).unwrap().producer().unwrap();
        say("ready");
        await_go();
        for id in 0..STREAM {
            producer.put_within(WATCHDOG, id, id as i32 ^ 0x55, &payload(id)).unwrap();
        }
    }

    fn hold_consumer(arguments: &[String]) {
        let _consumer = Buffer::open(&arguments[0]).unwrap().consumer().unwrap();
        say("ready");
        await_go();
    }

    fn a_send_goes_on_when_the_consumer_that_holds_it_back_is_killed() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("bus");
        let mut producer = Buffer::options().capacity(1024).consumers(2).create_new(&path).unwrap().producer().unwrap();
        let mut peer = Peer::start("hold_consumer", &[&path]);
        peer.expect_line("ready");
        block_on(async {
            producer.send(1, 0, &[0; 900]).await.unwrap();
            assert!(once(producer.send(2, 0, &[0; 900])).await.is_none(), "it is waited for while it lives");
            // Killed when the task waits already.
            let (sent, ()) = tokio::join!(producer.send(2, 0, &[0; 900]), async { peer.kill() });
            sent.unwrap();
        });
    }

    fn wait_guarded(arguments: &[String]) {
        aether_ipc::guard_bus_errors().unwrap();
        let buffer = Buffer::open(&arguments[0]).unwrap();
        let (mut consumer, mut producer) = (buffer.consumer().unwrap(), buffer.producer().unwrap());
        let error = block_on(async {
            assert!(once(consumer.recv()).await.is_none());
            let (received, ()) = tokio::join!(consumer.recv(), async {
                say("waiting");
                await_go();
                // It is not committed, so no bell is rung for it.
                let _ = producer.claim(100).map(|mut claim| claim.payload_mut().fill(1));
            });
            received.unwrap_err()
        });
        assert!(matches!(error, Error::Truncated { .. }), "{error:?}");
    }

    fn a_file_that_is_cut_short_while_a_task_waits_is_an_error_with_the_guard() {
        // All of it, or the data alone.
        for left in [0, 65536] {
            let (_folder, path) = ring(1024);
            let mut peer = Peer::start("wait_guarded", &[&path]);
            peer.expect_line("waiting");
            File::options().write(true).open(&path).unwrap().set_len(left).unwrap();
            peer.go();
            peer.succeed();
        }
    }

    fn message(id: i64, length: usize) -> OwnedMessage {
        OwnedMessage { id, message_type: 0, payload: vec![id as u8; length] }
    }

    fn a_sink_keeps_one_message_and_refuses_more_until_it_is_ready() {
        let (_folder, path) = ring(1024);
        let buffer = Buffer::open(&path).unwrap();
        let mut consumer = buffer.consumer().unwrap();
        let mut sink: MessageSink = buffer.producer().unwrap().into_sink();
        block_on(async {
            sink.feed(message(1, 900)).await.unwrap();
            assert!(consumer.available_bytes() > 900, "what has space is committed at once");
            sink.feed(message(2, 900)).await.unwrap();
            assert!(once(sink.flush()).await.is_none());
            assert!(once(sink.feed(message(3, 900))).await.is_none());
            assert!(matches!(sink.start_send_unpin(message(3, 900)), Err(Error::Full)));
            assert_eq!(consumer.recv().await.unwrap().id, 1);
            sink.flush().await.unwrap();
            assert_eq!(consumer.recv().await.unwrap(), message(2, 900));
            assert!(once(consumer.recv()).await.is_none(), "what was refused was not sent");
            let error = sink.send(message(4, 2000)).await.unwrap_err();
            assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
            sink.close().await.unwrap();
        });
    }

    fn a_stream_ends_when_the_last_producer_is_killed_and_goes_on_after_a_loss() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("ring");
        let buffer =
            Buffer::options().capacity(1024).overflow(aether_ipc::Overflow::DropOldest).create_new(&path).unwrap();
        let mut consumer = buffer.consumer().unwrap();
        consumer.require_producer(true);
        let mut producer = buffer.producer().unwrap();
        for id in 0..100 {
            producer.offer(id, 0, &[0; 100]).unwrap();
        }
        drop(producer);
        let mut peer = Peer::start("hold_producer", &[&path]);
        peer.expect_line("ready");
        let mut stream = consumer.into_stream();
        block_on(async {
            let first = stream.next().await.unwrap();
            assert!(matches!(first, Err(Error::Lagged { .. })), "{first:?}");
            let mut id = stream.next().await.unwrap().unwrap().id;
            while id < 99 {
                let next = stream.next().await.unwrap().unwrap().id;
                assert_eq!(next, id + 1);
                id = next;
            }
            assert!(once(stream.next()).await.is_none(), "the producer lives");
            // Killed when the task waits already.
            let (ended, ()) = tokio::join!(stream.next(), async { peer.kill() });
            assert!(ended.is_none());
            assert!(stream.next().await.is_none(), "it stays ended");
        });
    }

    fn a_bad_record_ends_a_stream_after_it_was_reported() {
        let (_folder, path) = ring(1024);
        let buffer = Buffer::open(&path).unwrap();
        buffer.producer().unwrap().offer(1, 0, b"good").unwrap();
        // The length in its header.
        File::options().write(true).open(&path).unwrap().write_all_at(&[1, 0, 0, 0], 65536 + 8).unwrap();
        let mut stream = buffer.consumer().unwrap().into_stream();
        block_on(async {
            let first = stream.next().await.unwrap();
            assert!(matches!(first, Err(Error::Corrupt { .. })), "{first:?}");
            assert!(stream.next().await.is_none());
        });
    }

    fn a_task_that_always_finds_messages_lets_others_have_their_turn() {
        let (_folder, path) = ring(1 << 16);
        let buffer = Buffer::open(&path).unwrap();
        assert_eq!(buffer.producer().unwrap().offer_all(0, 0, &[0_u64; 2000]).unwrap(), 2000);
        let mut consumer = buffer.consumer().unwrap();
        block_on(async {
            let had_its_turn = Arc::new(AtomicBool::new(false));
            let other = had_its_turn.clone();
            let task = tokio::spawn(async move { other.store(true, Relaxed) });
            for _ in 0..2000 {
                consumer.recv().await.unwrap();
            }
            assert!(had_its_turn.load(Relaxed));
            task.await.unwrap();
        });
    }

    /// How long it is watched: less than that, and the clock that it is measured with is too coarse.
    const WINDOW: Duration = Duration::from_secs(2);

    fn processor_time() -> Duration {
        // SAFETY: zero bytes are a valid `rusage`, which the call fills.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
            usage
        };
        let time = |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
        time(usage.ru_utime) + time(usage.ru_stime)
    }

    /// Has a task wait at each ring, then says how many threads wait for them and what that costs, and what came.
    fn idle(arguments: &[String]) {
        let count: usize = arguments[1].parse().unwrap();
        let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = paths(Path::new(&arguments[0]), count)
                .map(|path| {
                    let mut consumer = Buffer::open(path).unwrap().consumer().unwrap();
                    tokio::spawn(async move { consumer.recv().await.unwrap().id })
                })
                .collect();
            yield_now().await;
            say("waiting");
            tokio::task::spawn_blocking(await_go).await.unwrap();
            let before = processor_time();
            tokio::time::sleep(WINDOW).await;
            let cost = processor_time() - before;
            // They have run by now, and have their names.
            let threads = std::fs::read_dir("/proc/self/task").unwrap().filter(|thread| {
                let name = std::fs::read_to_string(thread.as_ref().unwrap().path().join("comm"));
                name.is_ok_and(|name| name.trim() == "aether-waiter")
            });
            say(threads.count());
            say(cost.as_micros());
            let mut ids = Vec::new();
            for task in tasks {
                ids.push(task.await.unwrap());
            }
            assert!(ids.into_iter().eq(0..count as i64));
        });
    }

    fn paths(folder: &Path, count: usize) -> impl Iterator<Item = PathBuf> {
        (0..count).map(move |index| folder.join(index.to_string()))
    }

    fn a_process_with_a_hundred_idle_rings_costs_less_than_a_hundredth_of_a_core() {
        let (cost, threads) = cost_of("idle", 100);
        assert_eq!(threads, "1");
        assert!(cost < WINDOW / 100, "{cost:?} of processor time in {WINDOW:?}");
    }

    fn a_hundred_idle_rings_do_not_spin_where_the_system_can_not_sleep_on_many_words() {
        let (cost, _) = cost_of("idle_unaided", 100);
        assert!(cost < WINDOW / 4, "{cost:?} of processor time in {WINDOW:?}");
    }

    /// Of so many idle rings: the processor time, and the number of threads that wait for them.
    fn cost_of(part: &str, count: usize) -> (Duration, String) {
        let folder = tempdir().unwrap();
        let buffers: Vec<Buffer> =
            paths(folder.path(), count).map(|path| Buffer::create(path, 1024).unwrap()).collect();
        let mut producers: Vec<_> = buffers.iter().map(|buffer| buffer.producer().unwrap()).collect();
        let mut peer = Peer::start(part, &[folder.path().to_str().unwrap(), &count.to_string()]);
        peer.expect_line("waiting");
        for path in paths(folder.path(), count) {
            let file = File::open(path).unwrap();
            eventually("each task to sleep", || {
                let mut bell = [0; 4];
                file.read_exact_at(&mut bell, 0x180).unwrap();
                (bell[0] & 1 == 1).then_some(())
            });
        }
        peer.go();
        let threads = peer.line();
        let cost = Duration::from_micros(peer.line().parse().unwrap());
        for (id, producer) in producers.iter_mut().enumerate() {
            producer.offer(id as i64, 0, b"").unwrap();
        }
        peer.succeed();
        (cost, threads)
    }

    fn more_rings_than_one_system_call_takes_are_waited_for_by_more_threads() {
        let (_, threads) = cost_of("idle", 300);
        assert_eq!(threads, "3");
    }

    /// Waits, forks, and waits in the child.
    fn fork(arguments: &[String]) {
        let mut parents = Buffer::open(&arguments[0]).unwrap().consumer().unwrap();
        let mut waiting = Box::pin(parents.recv());
        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // SAFETY: the child does only what it may after a fork of a process with a second thread that holds no lock
        // but, at times, the waiter's own, which is what this is about.
        let pid = unsafe { libc::fork() };
        assert_ne!(pid, -1);
        if pid == 0 {
            let inherited = waiting.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(matches!(inherited, Poll::Ready(Err(Error::Forked))), "{inherited:?}");
            let mut own = Buffer::open(&arguments[1]).unwrap().consumer().unwrap();
            let mut waiting = Box::pin(own.recv());
            let before = woken.0.load(Relaxed);
            assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            say("waiting");
            eventually("the child to be woken", || (woken.0.load(Relaxed) > before).then_some(()));
            let Poll::Ready(message) = waiting.as_mut().poll(&mut Context::from_waker(&waker)) else {
                panic!("woken for nothing")
            };
            say(message.unwrap().id);
            // SAFETY: ends the child at once, without what its parent has to do at its end.
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert_eq!(status, 0);
    }

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn a_forked_child_waits_with_a_thread_of_its_own() {
        let ((_first, parents), (_second, childs)) = (ring(1024), ring(1024));
        let mut producer = Buffer::open(&childs).unwrap().producer().unwrap();
        let peer = Peer::start("fork", &[&parents, &childs]);
        peer.expect_line("waiting");
        producer.offer(7, 0, b"").unwrap();
        peer.expect_line("7");
        peer.succeed();
    }

    fn a_message_can_be_awaited_and_read_in_place() {
        let (_folder, path) = ring(1024);
        let buffer = Buffer::open(&path).unwrap();
        let (mut consumer, mut producer) = (buffer.consumer().unwrap(), buffer.producer().unwrap());
        block_on(async {
            assert!(once(consumer.readable()).await.is_none());
            producer.writable(500).await.unwrap();
            let mut claim = producer.claim(500).unwrap();
            claim.payload_mut().fill(9);
            claim.commit(1, 0);
            consumer.readable().await.unwrap();
            assert!(once(producer.writable(600)).await.is_none());
            for message in &consumer.batch(10).unwrap() {
                assert_eq!(message.payload(), [9; 500]);
            }
            producer.writable(600).await.unwrap();
        });
    }
}
