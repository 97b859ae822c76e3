//! Signals that interrupt, and processes that are stopped.

use std::{
    sync::atomic::{AtomicU64, Ordering::*},
    time::{Duration, Instant},
};

use aether_ipc::{Buffer, Error, Flow, Wait};
use libtest_mimic::Trial;
use tempfile::tempdir;

use crate::{
    support::{Part, Peer, WATCHDOG, await_go, eventually, filter_system_calls, say},
    trials,
};

pub(crate) const PARTS: &[(&str, Part)] = &[
    ("work_under_signals", work_under_signals),
    ("create_while_large_allocations_are_interrupted", create_while_large_allocations_are_interrupted),
    ("send_counting", send_counting),
    ("receive_counting", receive_counting),
];

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        signals_all_the_time_break_no_wait_and_no_call,
        an_allocation_that_signals_interrupt_goes_on_in_smaller_pieces,
        a_stopped_producer_keeps_its_role_and_goes_on_where_it_was,
        a_stopped_consumer_keeps_its_role_and_goes_on_where_it_was,
    ]
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count(_signal: libc::c_int) {
    SIGNALS.fetch_add(1, Relaxed);
}

/// A signal every 200 microseconds, whose handler does not restart what it interrupts.
fn storm() {
    let handler: extern "C" fn(libc::c_int) = count;
    // SAFETY: zero bytes are a valid `sigaction` and a valid `itimerval`; the handler adds to an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        assert_eq!(libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()), 0);
        let mut timer: libc::itimerval = std::mem::zeroed();
        timer.it_interval.tv_usec = 200;
        timer.it_value.tv_usec = 200;
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()), 0);
    }
}

fn work_under_signals(arguments: &[String]) {
    const ROUNDS: i64 = 2000;
    storm();
    let folder = std::path::Path::new(&arguments[0]);
    for classic in [false, true] {
        let path = folder.join(format!("large-{classic}"));
        let large = Buffer::options().capacity(8 << 20).classic(classic).prefault(true).create(path).unwrap();
        large.sync().unwrap();
    }
    assert!(matches!(Buffer::connect(folder.join("none"), Duration::from_millis(30)), Err(Error::TimedOut { .. })));
    for wait in [Wait::Park, Wait::Backoff, Wait::Yield] {
        let (there, back) = (folder.join(format!("there-{wait}")), folder.join(format!("back-{wait}")));
        let [there, back] = [there, back].map(|path| Buffer::create(path, 1024).unwrap());
        std::thread::scope(|scope| {
            let (mut requests, mut answers) = (there.consumer().unwrap(), back.producer().unwrap());
            requests.set_wait(wait);
            answers.set_wait(wait);
            scope.spawn(move || {
                for id in 0..ROUNDS {
                    requests.wait().unwrap();
                    requests.poll(|message| (assert_eq!(message.id(), id), Flow::Continue).1).unwrap();
                    answers.put(id, 0, &[0; 900]).unwrap();
                }
            });
            let (mut questions, mut replies) = (there.producer().unwrap(), back.consumer().unwrap());
            questions.set_wait(wait);
            replies.set_wait(wait);
            for id in 0..ROUNDS {
                questions.put_within(WATCHDOG, id, 0, b"").unwrap();
                replies.wait_within(WATCHDOG).unwrap();
                replies.poll(|message| (assert_eq!(message.id(), id), Flow::Continue).1).unwrap();
            }
            // A time-out counts the whole time, however often it is interrupted.
            let started = Instant::now();
            let patience = Duration::from_millis(20);
            assert!(matches!(replies.wait_within(patience), Err(Error::TimedOut { waited, .. }) if waited >= patience));
            assert!(started.elapsed() >= patience);
        });
    }
    let signals = SIGNALS.load(Relaxed);
    assert!(signals > 100, "only {signals} signals came");
    say("whole");
}

fn signals_all_the_time_break_no_wait_and_no_call() {
    let folder = tempdir().unwrap();
    assert_eq!(Peer::start("work_under_signals", &[folder.path()]).succeed(), ["whole"]);
}

/// As a file system does that takes longer for a piece than the time between two signals: it undoes what it did.
fn create_while_large_allocations_are_interrupted(arguments: &[String]) {
    const LARGEST: u32 = 1 << 20;
    let load = |offset: usize| libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: offset as u32,
    };
    let jump = |test: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: (libc::BPF_JMP | test | libc::BPF_K) as u16,
        jt,
        jf,
        k,
    };
    let answer = |k: u32| libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k };
    // The low half of the fourth argument: these sizes have no other.
    let length = std::mem::offset_of!(libc::seccomp_data, args) + 3 * 8;
    filter_system_calls([
        load(std::mem::offset_of!(libc::seccomp_data, nr)),
        jump(libc::BPF_JEQ, libc::SYS_fallocate as u32, 0, 2),
        load(length),
        jump(libc::BPF_JGT, LARGEST, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_ERRNO | libc::EINTR as u32),
    ]);
    let buffer = Buffer::create(&arguments[0], 64 << 20).unwrap();
    let info = buffer.observer().info().unwrap();
    say(info.disk_size >= info.file_size);
}

fn an_allocation_that_signals_interrupt_goes_on_in_smaller_pieces() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ring");
    let lines = Peer::start("create_while_large_allocations_are_interrupted", &[&path]).succeed();
    assert_eq!(lines, ["true"], "all of it has its space on the disk");
}

const MESSAGES: i64 = 200_000;

fn send_counting(arguments: &[String]) {
    let mut producer = Buffer::open(&arguments[0]).unwrap().producer().unwrap();
    say("started");
    for id in 0..MESSAGES {
        producer.put(id, 0, &id.to_le_bytes()).unwrap();
    }
    await_go();
}

fn receive_counting(arguments: &[String]) {
    let mut consumer = Buffer::open(&arguments[0]).unwrap().consumer().unwrap();
    say("started");
    let mut expected: i64 = 0;
    while expected < MESSAGES {
        consumer.wait_within(WATCHDOG).unwrap();
        consumer
            .drain(1000, |message| {
                assert_eq!((message.id(), message.payload()), (expected, &expected.to_le_bytes()[..]));
                expected += 1;
                Flow::Continue
            })
            .unwrap();
    }
    say("all");
}

/// The process is stopped when this returns.
fn stop(peer: &Peer) {
    // SAFETY: sends a signal to a process that this one has started and not waited for.
    assert_eq!(unsafe { libc::kill(peer.pid().cast_signed(), libc::SIGSTOP) }, 0);
    let stat = format!("/proc/{}/stat", peer.pid());
    eventually("the process to be stopped", || {
        let text = std::fs::read_to_string(&stat).unwrap();
        text.rsplit(") ").next().unwrap().starts_with('T').then_some(())
    });
}

fn resume(peer: &Peer) {
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(peer.pid().cast_signed(), libc::SIGCONT) }, 0);
}

fn a_stopped_producer_keeps_its_role_and_goes_on_where_it_was() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ring");
    let buffer = Buffer::create(&path, 4096).unwrap();
    let mut consumer = buffer.consumer().unwrap();
    consumer.require_producer(true);
    let mut peer = Peer::start("send_counting", &[&path]);
    peer.expect_line("started");
    let mut expected: i64 = 0;
    let mut drain = |consumer: &mut aether_ipc::Consumer| {
        let drained = consumer.drain(usize::MAX, |message| {
            assert_eq!((message.id(), message.payload()), (expected, &expected.to_le_bytes()[..]));
            expected += 1;
            Flow::Continue
        });
        drained.unwrap();
        expected
    };
    for _ in 0..20 {
        consumer.wait_within(WATCHDOG).unwrap();
        drain(&mut consumer);
        stop(&peer);
        drain(&mut consumer);
        // Whatever it was doing: it is alive, and nothing half done shows.
        assert!(consumer.has_producer().unwrap());
        assert!(matches!(consumer.wait_within(Duration::from_millis(1)), Err(Error::TimedOut { .. })));
        assert!(matches!(buffer.producer(), Err(Error::RoleTaken { holders, .. }) if holders == [peer.pid()]));
        resume(&peer);
    }
    while drain(&mut consumer) < MESSAGES {
        consumer.wait_within(WATCHDOG).unwrap();
    }
    peer.go();
    peer.succeed();
}

fn a_stopped_consumer_keeps_its_role_and_goes_on_where_it_was() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ring");
    let buffer = Buffer::create(&path, 4096).unwrap();
    let mut producer = buffer.producer().unwrap();
    producer.require_consumer(true);
    let peer = Peer::start("receive_counting", &[&path]);
    peer.expect_line("started");
    let mut id: i64 = 0;
    for _ in 0..20 {
        for _ in 0..1000 {
            producer.put_within(WATCHDOG, id, 0, &id.to_le_bytes()).unwrap();
            id += 1;
        }
        stop(&peer);
        let refused = loop {
            match producer.offer(id, 0, &id.to_le_bytes()) {
                Ok(()) => id += 1,
                Err(error) => break error,
            }
        };
        // Full, not without a consumer: it is alive.
        assert!(matches!(refused, Error::Full), "{refused}");
        let late = producer.put_within(Duration::from_millis(1), id, 0, &id.to_le_bytes());
        assert!(matches!(late, Err(Error::TimedOut { .. })));
        resume(&peer);
    }
    while id < MESSAGES {
        producer.put_within(WATCHDOG, id, 0, &id.to_le_bytes()).unwrap();
        id += 1;
    }
    peer.expect_line("all");
    peer.succeed();
}
