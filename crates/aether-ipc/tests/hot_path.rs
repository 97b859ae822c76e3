//! Nothing on the way of a message allocates or calls the system, in any shape of ring and by whatever call.
//!
//! Another process sets up a ring, has the system kill it at the next system call but its end, sends a million messages
//! to itself, and says by its exit code whether anything was allocated.

#[cfg(target_os = "linux")]
mod support;

// The filter for system calls is one of Linux.
#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        alloc::{GlobalAlloc, Layout, System},
        cell::Cell,
        os::unix::process::ExitStatusExt,
        path::Path,
        process::ExitCode,
    };

    use aether_ipc::{Buffer, Consumer, Error, Flow, Merge, Options, Overflow, Polled, Producer};

    use crate::{
        support::{self, Peer},
        trials,
    };

    /// Counts what a thread allocates.
    struct Counting;

    thread_local! {
        static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    }

    fn count() {
        // The thread may be ending; then nobody counts any more.
        let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
    }

    // SAFETY: the system's allocator, and a counter that itself allocates nothing.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count();
            // SAFETY: by the caller's contract.
            unsafe { System.alloc(layout) }
        }

        unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count();
            // SAFETY: by the caller's contract.
            unsafe { System.realloc(place, layout, size) }
        }

        unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
            count();
            // SAFETY: by the caller's contract.
            unsafe { System.dealloc(place, layout) }
        }
    }

    #[global_allocator]
    static COUNTING: Counting = Counting;

    const MESSAGES: u64 = 1_000_000;
    const ALLOCATED: i32 = 7;

    pub(crate) fn main() -> ExitCode {
        support::main(
            &[("send_to_itself", send_to_itself), ("call_the_system", call_the_system), ("allocate", allocate)],
            trials![
                a_system_call_would_be_noticed,
                an_allocation_would_be_noticed,
                in_a_classic_ring_no_message_allocates_or_calls_the_system,
                in_an_extended_ring_no_message_allocates_or_calls_the_system,
                in_a_small_ring_with_checksums_no_message_allocates_or_calls_the_system,
                for_producers_that_are_not_trusted_no_message_allocates_or_calls_the_system,
                with_many_lanes_and_places_no_message_allocates_or_calls_the_system,
                with_a_shared_sequence_in_order_no_message_allocates_or_calls_the_system,
                in_a_ring_that_drops_the_oldest_no_message_allocates_or_calls_the_system,
                after_prefaulting_no_message_waits_for_a_page,
            ],
        )
    }

    #[derive(Clone, Copy)]
    struct Shape {
        name: &'static str,
        options: fn(Options) -> Options,
        lanes: usize,
        places: usize,
        untrusted: bool,
        merge: Merge,
    }

    const SHAPE: Shape =
        Shape { name: "", options: |options| options, lanes: 1, places: 1, untrusted: false, merge: Merge::Fair };

    const SHAPES: [Shape; 7] = [
        Shape { name: "classic", options: |options| options.classic(true), ..SHAPE },
        Shape { name: "extended", ..SHAPE },
        // Too small to be mapped twice: records over the end are copied.
        Shape { name: "checksums", options: |options| options.capacity(2048).checksums(true), ..SHAPE },
        Shape { name: "untrusted", untrusted: true, ..SHAPE },
        Shape { name: "many", options: |options| options.producers(3).consumers(2), lanes: 3, places: 2, ..SHAPE },
        Shape {
            name: "sequence",
            options: |options| options.producers(2).sequence(true),
            lanes: 2,
            merge: Merge::ById,
            ..SHAPE
        },
        Shape { name: "lossy", options: |options| options.overflow(Overflow::DropOldest), ..SHAPE },
    ];

    /// From here on only the end of the process is allowed.
    fn forbid_system_calls() {
        use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JUMP, BPF_K, BPF_LD, BPF_RET, BPF_STMT, BPF_W};
        // SAFETY: these only put integers together.
        let program = unsafe {
            [
                // The call's number.
                BPF_STMT((BPF_LD | BPF_W | BPF_ABS) as u16, 0),
                BPF_JUMP((BPF_JMP | BPF_JEQ | BPF_K) as u16, libc::SYS_exit_group as u32, 0, 1),
                BPF_STMT((BPF_RET | BPF_K) as u16, libc::SECCOMP_RET_ALLOW),
                BPF_STMT((BPF_RET | BPF_K) as u16, libc::SECCOMP_RET_KILL_PROCESS),
            ]
        };
        support::filter_system_calls(program);
    }

    /// Runs `action` with system calls forbidden, then ends the process.
    fn run_bare(action: impl FnOnce()) -> ! {
        forbid_system_calls();
        let before = ALLOCATIONS.get();
        action();
        let status = if ALLOCATIONS.get() == before { 0 } else { ALLOCATED };
        // SAFETY: ends the process without any handlers, which would call the system.
        unsafe { libc::_exit(status) }
    }

    fn call_the_system(_: &[String]) {
        run_bare(|| {
            // SAFETY: has no arguments and no effect.
            unsafe { libc::getppid() };
        });
    }

    fn allocate(_: &[String]) {
        // Small enough to come from memory that the allocator has.
        run_bare(|| drop(std::hint::black_box(Box::new(5))));
    }

    fn a_system_call_would_be_noticed() {
        let (status, _) = Peer::start("call_the_system", &[""]).finish();
        assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
    }

    fn an_allocation_would_be_noticed() {
        let (status, _) = Peer::start("allocate", &[""]).finish();
        assert_eq!(status.code(), Some(ALLOCATED), "{status}");
    }

    fn send_to_itself(arguments: &[String]) {
        let [name, folder] = arguments else { panic!("{arguments:?}") };
        let shape = SHAPES.iter().find(|shape| shape.name == name).unwrap();
        let options = (shape.options)(Buffer::options().capacity(16 << 10));
        let buffer = options.create_new(Path::new(folder).join("ring")).unwrap();
        let mut traffic = Traffic {
            producers: (0..shape.lanes).map(|_| buffer.producer().unwrap()).collect(),
            consumers: (0..shape.places).map(|_| buffer.consumer().unwrap()).collect(),
            payload: [7; 300],
            // In a ring with many places, a full one is looked at for consumers that died, by system calls.
            fill: shape.places == 1,
            waits: shape.merge == Merge::Fair,
            sent: 0,
        };
        for consumer in &mut traffic.consumers {
            consumer.set_untrusted(shape.untrusted);
            consumer.set_merge(shape.merge);
        }
        // What is allocated once is allocated here: room for a copy of the largest message.
        traffic.send(MESSAGES / 50);
        run_bare(|| traffic.send(MESSAGES));
    }

    struct Traffic {
        producers: Vec<Producer>,
        consumers: Vec<Consumer>,
        payload: [u8; 300],
        fill: bool,
        waits: bool,
        sent: u64,
    }

    impl Traffic {
        fn send(&mut self, count: u64) {
            let end = self.sent + count;
            let mut turn = 0;
            while self.sent < end {
                turn += 1;
                for producer in 0..self.producers.len() {
                    self.write(producer, turn);
                }
                if !self.fill || turn % 5 == 0 {
                    for consumer in &mut self.consumers {
                        read_all(consumer, turn, self.waits);
                    }
                }
            }
        }

        /// Some messages, in every way.
        fn write(&mut self, producer: usize, turn: usize) {
            let producer = &mut self.producers[producer];
            let before = producer.offered();
            let payload = &self.payload[..turn % self.payload.len()];
            for _ in 0..2 {
                or_full(producer.offer(1, 2, payload));
            }
            or_full(producer.offer_value(1, 2, &[1_u64; 5]));
            or_full(producer.offer_all(1, 2, &[0_u64; 8]).map(drop));
            or_full(producer.offer_array(1, 2, 20, &self.payload[..60]).map(drop));
            match producer.claim(payload.len()) {
                Ok(mut claim) => {
                    claim.payload_mut().copy_from_slice(payload);
                    claim.commit(1, 2);
                }
                Err(error) => or_full(Err(error)),
            }
            // Given up: there is room, so that `put` need not wait.
            if producer.claim(payload.len()).map(drop).is_ok() {
                or_full(producer.put(1, 2, payload));
            }
            let mut batch = producer.batch();
            for _ in 0..3 {
                or_full(batch.push(1, 2, &payload[..payload.len() / 2]));
            }
            batch.commit();
            self.sent += producer.offered() - before;
        }
    }

    /// Reads in one way after the other, until nothing is left.
    fn read_all(consumer: &mut Consumer, turn: usize, waits: bool) {
        loop {
            let mut done = consumer.received();
            // Something is there: nothing to wait for, unless an older message may come in another lane.
            if waits && consumer.available_bytes() > 0 {
                or_lagged(consumer.wait());
            }
            match turn % 3 {
                0 => or_lagged(consumer.poll(|_| Flow::Keep).map(|polled| assert_ne!(polled, Polled::Released))),
                1 => or_lagged(consumer.drain(10, |message| flow(message.payload())).map(drop)),
                _ => {}
            }
            or_lagged(consumer.batch(10).map(|batch| assert!(batch.iter().all(|message| message.message_type() == 2))));
            or_lagged(consumer.poll(|message| flow(message.payload())).map(drop));
            done = consumer.received() - done;
            if done == 0 && consumer.available_bytes() == 0 {
                return;
            }
        }
    }

    fn flow(payload: &[u8]) -> Flow {
        if payload.first() == Some(&9) { Flow::Commit } else { Flow::Continue }
    }

    // No panic says more than that, since it could not be printed.
    fn or_full(result: Result<(), Error>) {
        assert!(matches!(result, Ok(()) | Err(Error::Full)));
    }

    fn or_lagged(result: Result<(), Error>) {
        assert!(matches!(result, Ok(()) | Err(Error::Lagged { .. })));
    }

    #[track_caller]
    fn assert_bare(name: &str) {
        let folder = tempfile::tempdir().unwrap();
        let (status, _) = Peer::start("send_to_itself", &[name, folder.path().to_str().unwrap()]).finish();
        assert_ne!(status.signal(), Some(libc::SIGSYS), "a message called the system, or an assertion failed");
        assert_ne!(status.code(), Some(ALLOCATED), "a message allocated");
        assert!(status.success(), "{status}");
    }

    fn in_a_classic_ring_no_message_allocates_or_calls_the_system() {
        assert_bare("classic");
    }

    fn in_an_extended_ring_no_message_allocates_or_calls_the_system() {
        assert_bare("extended");
    }

    fn in_a_small_ring_with_checksums_no_message_allocates_or_calls_the_system() {
        assert_bare("checksums");
    }

    fn for_producers_that_are_not_trusted_no_message_allocates_or_calls_the_system() {
        assert_bare("untrusted");
    }

    fn with_many_lanes_and_places_no_message_allocates_or_calls_the_system() {
        assert_bare("many");
    }

    fn with_a_shared_sequence_in_order_no_message_allocates_or_calls_the_system() {
        assert_bare("sequence");
    }

    fn in_a_ring_that_drops_the_oldest_no_message_allocates_or_calls_the_system() {
        assert_bare("lossy");
    }

    /// Times that this thread waited for a page.
    fn page_faults() -> i64 {
        // SAFETY: all zero is a valid `rusage`, and the pointer is to one.
        unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
            usage.ru_minflt + usage.ru_majflt
        }
    }

    fn after_prefaulting_no_message_waits_for_a_page() {
        // In memory: where a disk is behind, its pages are made read-only again each time they were written to it.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let laps = |classic: bool, prefault: bool| {
            let path = folder.path().join(format!("{classic} {prefault}"));
            let options = Buffer::options().capacity(1 << 20).classic(classic).prefault(prefault);
            let buffer = options.create_new(path).unwrap();
            let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
            let payload = vec![1; 70_000];
            let mut copy = vec![0; 70_000];
            let before = page_faults();
            for _ in 0..40 {
                producer.offer(1, 1, &payload).unwrap();
                consumer
                    .poll(|message| {
                        copy.copy_from_slice(message.payload());
                        Flow::Continue
                    })
                    .unwrap();
            }
            page_faults() - before
        };
        for classic in [false, true] {
            assert!(laps(classic, false) > 10, "faults are not seen");
            // The room for a copy of a record over the end is the allocator's to have ready.
            let allowed = if classic { 2 * 70_000 / 4096 } else { 0 };
            let faults = laps(classic, true);
            assert!(faults <= allowed, "{faults} page faults, classic: {classic}");
        }
    }
}
