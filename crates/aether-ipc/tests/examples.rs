//! The examples run, end, and find for themselves that they did what they show.

#[cfg(unix)]
mod support;

#[cfg(unix)]
#[test]
fn each_example_runs_and_finds_its_result_right() {
    use std::{fs, path::Path, process::Command};

    // Beside the folder that this test is in.
    let built = std::env::current_exe().unwrap().parent().unwrap().with_file_name("examples");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = fs::read_dir(sources)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 7, "{names:?}");
    let running: Vec<_> = names
        .iter()
        .map(|name| {
            let program = built.join(name);
            assert!(program.exists(), "{} is missing: cargo build --package aether-ipc --examples", program.display());
            (name, support::Peer::of(&mut Command::new(program)))
        })
        .collect();
    for (name, peer) in running {
        let (status, lines) = peer.finish();
        assert!(status.success(), "{name} ended with {status} after {lines:?}");
        assert!(!lines.is_empty(), "{name} shows nothing");
    }
}
