//! `bench`: the smallest measurements that are whole, between real processes.

use std::{fs, path::PathBuf};

use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::Value;

use crate::common::{Place, Run, aether, eventually, run};

/// As short as can be, of these works.
fn bench(works: &[&str]) -> std::process::Command {
    let mut command = aether(["bench", "--seconds", "0.005", "--rounds", "1"]);
    command.args(works);
    command
}

fn field<'v>(value: &'v Value, name: &str) -> &'v Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn the_report_has_every_way_with_its_ratio_to_the_first() {
    let report = run(bench(&["round-trip", "batches"]).arg("--json")).with(0).json().remove(0);
    let measures = field(&report, "measures");
    let names: Vec<&str> = measures.iter().map(|measure| measure["name"].as_str().unwrap()).collect();
    let expected = ["round trip, 8 bytes", "round trip, 64 bytes", "8 bytes, 256 at once", "64 bytes, 256 at once"];
    assert_eq!(names, expected);
    for measure in measures {
        let rows = field(measure, "rows");
        assert_eq!(rows.len(), 3, "{measure}");
        assert_eq!(rows[0]["ratio"]["median"], 1.0, "{measure}");
        for row in rows {
            assert!(row["messages_per_second"].as_f64().unwrap() > 0.0, "{row}");
            assert!(row["ratio"]["median"].as_f64().unwrap() > 0.0, "{row}");
            assert_eq!(row["latency"].is_object(), measure["group"] == "round-trip", "{row}");
        }
    }
}

#[test]
fn every_work_can_be_done() {
    let ended = run(bench(&["wake-up", "rate", "waiting", "many", "layout", "disk"]).args(["--disk", "/tmp"])).with(0);
    for way in ["bare futex", "aether, park", "8 to 8", "aether, classic", "aether, on the disk"] {
        assert!(ended.text().contains(way), "no {way:?} in {}", ended.text());
    }
    assert_eq!(ended.errors, "");
}

#[test]
fn a_report_is_compared_with_an_older_one_and_drawn_as_a_page() {
    let place = Place::new();
    let (old, page) = (place.path("old.json"), place.path("page.html"));
    fs::write(&old, run(bench(&["layout"]).arg("--json")).with(0).output).unwrap();
    let mut again = bench(&["layout"]);
    again.arg("--compare").arg(&old).arg("--html").arg(&page);
    let compared = run(&mut again).with(0);
    let lines: Vec<&str> = compared.text().lines().filter(|line| line.contains("aether, classic")).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.ends_with(" %")), "{}", compared.text());
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("aether, classic") && page.ends_with("</html>\n"), "{page}");
    let outside: Vec<&str> =
        page.split('"').filter(|part| part.starts_with("http") && !part.contains("w3.org")).collect();
    assert_eq!(outside, [""; 0], "a page needs no other file");
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_is() {
    run(&mut bench(&["no-such-work"])).with(2).says(&["no-such-work", "round-trip", "opening"]);
    run(bench(&[]).args(["--cpus", "0"])).with(2).says(&["two numbers, as in 0,1"]);
    run(bench(&[]).args(["--cpus", "0,0"])).with(1).says(&["two different processors"]);
    run(bench(&[]).args(["--cpus", "0,99999"])).with(1).says(&["processor 99999", "it may use"]);
    run(&mut aether(["bench", "--seconds", "0"])).with(2).says(&["from 0.001 to 3600"]);
    run(bench(&["disk"]).args(["--disk", "no/such/folder"])).with(1).says(&["no/such/folder"]);
    let place = Place::new();
    run(bench(&[]).arg("--compare").arg(&place.ring)).with(1).says(&[place.name()]);
    fs::write(&place.ring, "{}").unwrap();
    run(bench(&[]).arg("--compare").arg(&place.ring)).with(1).says(&[place.name(), "aether bench --json"]);
}

#[test]
fn ctrl_c_ends_all_processes_of_a_measurement_and_removes_its_files() {
    let mut bench = Run::start(&mut aether(["bench", "layout", "--seconds", "30", "--rounds", "1"]));
    let pid = bench.pid();
    let mut sides = Vec::new();
    eventually("both sides, in one ring", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        sides = children.split_whitespace().filter_map(|child| Some((child.parse().ok()?, ring_of(child)?))).collect();
        sides.len() == 2
    });
    bench.signal(Signal::INT);
    bench.end().with(130).says(&["not finished"]);
    for (side, ring) in sides {
        let side = Pid::from_raw(side).unwrap();
        assert!(test_kill_process(side).is_err(), "{side:?} goes on");
        assert!(!ring.exists(), "{} is left", ring.display());
    }
}

/// The file that a side has mapped.
fn ring_of(pid: &str) -> Option<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let line = maps.lines().find(|line| line.contains("/aether-bench-"))?;
    Some(line[line.find('/')?..].into())
}
