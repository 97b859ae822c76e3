//! What the fuzzer runs, with the inputs that are kept: those to start from, and those that once found something.

#![cfg(target_os = "linux")]

#[path = "../../../fuzz/targets/mod.rs"]
mod targets;

use std::{fs, path::Path};

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        // Others are the fuzzer's own, which are not kept.
        if path.extension().is_some_and(|extension| extension == "seed") {
            // Shown if it fails.
            println!("{}", path.display());
            run(&fs::read(path).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "{} holds no inputs", corpus.display());
}

#[test]
fn opening_any_file_is_an_error_or_a_ring() {
    replay("open", targets::open::run);
}

#[test]
fn reading_any_content_is_an_error_or_messages_and_repairs_end_sound() {
    replay("poll", targets::poll::run);
}

#[test]
fn any_sequence_of_calls_does_what_a_queue_would() {
    replay("api", targets::api::run);
}

#[test]
fn a_peer_that_writes_at_the_worst_instant_does_no_harm() {
    replay("scribble", targets::scribble::run);
}
