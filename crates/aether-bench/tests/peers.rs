//! Every peer, and every way of the ring, is measured as short as can be: all bytes arrive, in order, and nothing is left.
#![cfg(all(target_os = "linux", feature = "peers"))]

use std::fs;
use std::process::Command;

use aether_bench::page;

/// What peers leave where they should not: names of theirs are made by `names.rs`.
fn left_behind() -> Vec<String> {
    let ours = |name: &String| {
        name.strip_prefix("ab").and_then(|name| name.get(..8)).is_some_and(|hash| u32::from_str_radix(hash, 16).is_ok())
    };
    let entries = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(ours).collect()
}

#[test]
fn each_peer_delivers_every_byte_or_says_why_it_can_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let before = left_behind();
    let output = Command::new(env!("CARGO_BIN_EXE_peers"))
        .args(["--quick", "--disk"])
        .arg(folder.path())
        .arg("--report")
        .arg(&path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let report = page::load(&path).unwrap();
    for measured in &report.measures {
        for absent in &measured.absent {
            // What a peer can't do is said beforehand; a failure is another thing.
            assert!(!absent.reason.starts_with("failed"), "{}: {}: {}", measured.name, absent.label, absent.reason);
        }
    }
    let labels = || report.measures.iter().flat_map(|measured| &measured.rows).map(|row| row.label.as_str());
    for peer in ["iceoryx2", "disruptor-mp", "shmem-ipc", "ipc-channel", "rtrb, chunks", "crossbeam channel", "kanal"] {
        assert!(labels().any(|label| label == peer), "{peer} has no figures");
    }
    assert!(report.versions.iter().any(|(name, _)| name == "iceoryx2"), "{:?}", report.versions);
    let left: Vec<String> = left_behind().into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(left, Vec::<String>::new(), "left in shared memory");
}

#[test]
fn a_measurement_that_is_interrupted_ends_at_once_and_says_so_by_its_exit_code() {
    use rustix::process::{Pid, Signal, kill_process};
    let mut child = Command::new(env!("CARGO_BIN_EXE_peers"))
        .args(["--seconds", "60", "--rounds", "1", "round trip, 8 bytes"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Both sides are there: it is in the middle of a measurement.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let started = std::time::Instant::now();
    while fs::read_to_string(&children).unwrap_or_default().split_whitespace().count() < 2 {
        assert!(started.elapsed().as_secs() < 60, "no measurement began");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{status}");
}
