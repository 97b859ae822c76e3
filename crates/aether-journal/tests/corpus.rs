//! What the fuzzer runs, with the inputs that are kept: those to start from, and those that once found something.

use std::{fs, path::Path};

#[path = "../../../fuzz/targets/journal.rs"]
mod journal;

#[test]
fn any_file_is_an_error_or_a_journal_and_can_be_read_to_its_end() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/journal");
    let mut count = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        // Others are the fuzzer's own, which are not kept.
        if path.extension().is_some_and(|extension| extension == "seed") {
            // Shown if it fails.
            println!("{}", path.display());
            journal::run(&fs::read(path).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "{} holds no inputs", corpus.display());
}
