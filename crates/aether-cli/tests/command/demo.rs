//! `demo`: two processes, every message checked.

use crate::common::{aether, run};

#[test]
fn the_demo_loses_nothing_and_measures_each_way() {
    let rows = run(&mut aether(["demo", "--seconds", "1", "--rate", "20000", "--json"])).with(0).json();
    let ways: Vec<_> = rows.iter().map(|row| row["medium"].as_str().unwrap()).collect();
    assert_eq!(ways, ["ring", "tcp", "unix"]);
    for row in &rows {
        let field = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("no {name} in {row}"));
        assert_eq!(row["correct"], true, "{row}");
        assert_eq!((field("received"), field("wrong"), field("payload")), (field("sent"), 0, 64), "{row}");
        assert_eq!((field("sent"), field("rate")), (20_000, 20_000), "{row}");
        let latencies = ["p50_ns", "p99_ns", "p999_ns", "max_ns"].map(field);
        assert!(latencies[0] > 0 && latencies.is_sorted(), "{row}");
        assert!(row["messages_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{row}");
    }
}

#[test]
fn the_demo_ends_with_a_table_of_both_paces() {
    let ended = run(&mut aether(["demo", "--payload", "1KiB", "--capacity", "64KiB", "--wait", "park"])).with(0);
    let verdicts = ended.text().lines().filter(|line| line.ends_with("  none")).count();
    assert_eq!((verdicts, ended.errors.as_str()), (6, ""), "{}", ended.text());
    assert!(ended.text().contains("full speed") && ended.text().contains("20000/s"), "{}", ended.text());
}

#[test]
fn a_payload_that_the_ring_cannot_take_is_said_at_once() {
    run(&mut aether(["demo", "--payload", "8"])).with(1).says(&["16 bytes"]);
    run(&mut aether(["demo", "--capacity", "1KiB", "--payload", "2KiB"])).with(1).says(&["2048", "1008"]);
    run(&mut aether(["demo", "--capacity", "1000"])).with(2).says(&["power of two", "1000"]);
}

/// Who plays which part is read from `/proc`.
#[cfg(target_os = "linux")]
mod parts {
    use std::fs;

    use rustix::{
        io::Errno,
        process::{Pid, Signal, kill_process, test_kill_process},
    };

    use crate::common::{Run, aether, eventually};

    /// The process that plays this part for the demo `pid`.
    fn child(pid: u32, part: &str) -> Option<Pid> {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let found = children.split_whitespace().find(|child| {
            let arguments = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            arguments.split('\0').any(|argument| argument == part)
        })?;
        Pid::from_raw(found.parse().unwrap())
    }

    #[test]
    fn the_demo_fails_when_its_consumer_is_killed() {
        let mut demo = Run::start(&mut aether(["demo", "--seconds", "20", "--wait", "park"]));
        let pid = demo.pid();
        // Both at work, so that the producer is left with a full ring.
        eventually("two processes", || child(pid, "produce").is_some());
        kill_process(child(pid, "consume").unwrap(), Signal::KILL).unwrap();
        demo.end().with(1).says(&["ring: the consumer ended"]);
    }

    #[test]
    fn an_interrupted_demo_leaves_no_process_behind() {
        let mut demo = Run::start(&mut aether(["demo", "--seconds", "20", "--wait", "park"]));
        let pid = demo.pid();
        eventually("two processes", || child(pid, "produce").is_some());
        let parts = ["produce", "consume"].map(|part| child(pid, part).unwrap());
        demo.signal(Signal::INT);
        demo.end().with(130);
        for part in parts {
            let gone = test_kill_process(part);
            assert_eq!(gone, Err(Errno::SRCH));
        }
    }
}
