//! Whole inputs through `send`, a ring that is far smaller than they are, and `recv`, in two processes.

use std::{
    env,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::common::{Ended, Place, Run, aether, input, run, size};

fn digest(path: &Path) -> [u8; 32] {
    Sha256::digest(fs::read(path).unwrap()).into()
}

/// Sends the file `from` and receives the file `to`, with both processes started at once.
fn pass(place: &Place, capacity: &str, from: &Path, to: &Path, frames: [&str; 2]) {
    let mut receiving = place.aether("recv", &["--wait", "30s", "--frame", frames[1]]);
    let receiver = Run::start(receiving.stdout(File::create(to).unwrap()));
    let mut sending = place.aether("send", &["--create", capacity, "--frame", frames[0]]);
    let sent = run(sending.stdin(File::open(from).unwrap())).with(0);
    let received = receiver.end().with(0);
    for Ended { errors, .. } in [sent, received] {
        assert_eq!(errors, "", "quiet where standard error is a pipe, even after half a second");
    }
    assert!(size(&from.into()) > 100 * size(&place.ring), "the ring was not much smaller than the input");
    assert_eq!(place.waiting(), 0);
}

/// The sources of what this test was built from, as often as it takes. A line that a small ring can't take is left out
/// with its file.
fn write_a_million_lines(path: &Path) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates");
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let mut sources = Vec::new();
    for folder in [Some(workspace), cargo.map(|cargo| cargo.join("registry/src"))].into_iter().flatten() {
        find_sources(&folder, &mut sources);
    }
    let mut output = BufWriter::new(File::create(path).unwrap());
    let mut lines = 0;
    while lines < 1_000_000 {
        let before = lines;
        for source in &sources {
            let mut text = fs::read(source).unwrap_or_default();
            if text.split(|&byte| byte == b'\n').any(|line| line.len() > 32 << 10) {
                continue;
            }
            if text.last().is_some_and(|&last| last != b'\n') {
                text.push(b'\n');
            }
            lines += text.iter().filter(|&&byte| byte == b'\n').count();
            output.write_all(&text).unwrap();
            if lines >= 1_000_000 {
                break;
            }
        }
        assert!(lines > before, "no sources were found");
    }
    output.flush().unwrap();
}

fn find_sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Enough of them; a registry may hold far more.
        if found.len() > 4000 {
            return;
        } else if path.is_dir() {
            find_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn a_million_lines_of_real_text_keep_their_sha_256() {
    let place = Place::new();
    let (from, to) = (place.path("in"), place.path("out"));
    write_a_million_lines(&from);
    pass(&place, "64KiB", &from, &to, ["lines", "lines"]);
    assert_eq!(digest(&to), digest(&from));
}

/// As pseudo-random as it must be for a byte out of place to show.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(bytes / 8).flatten().collect()
}

#[test]
fn a_binary_file_in_records_of_a_fixed_size_keeps_its_sha_256() {
    let place = Place::new();
    let (from, to) = (place.path("in"), place.path("out"));
    // The last record is a short one.
    fs::write(&from, &noise(64 << 20)[..(64 << 20) - 1001]).unwrap();
    pass(&place, "64KiB", &from, &to, ["fixed:4096", "raw"]);
    assert_eq!(digest(&to), digest(&from));
}

#[test]
fn a_binary_file_sent_whole_in_as_many_pieces_as_it_takes_keeps_its_sha_256() {
    let place = Place::new();
    let (from, to) = (place.path("in"), place.path("out"));
    fs::write(&from, noise(64 << 20)).unwrap();
    pass(&place, "256KiB", &from, &to, ["whole", "raw"]);
    assert_eq!(digest(&to), digest(&from));
}

#[test]
fn records_with_their_length_come_out_as_they_went_in() {
    let place = Place::new();
    let (from, to) = (place.path("in"), place.path("out"));
    let content = noise(16 << 20);
    let mut rest = &content[..];
    let mut file = BufWriter::new(File::create(&from).unwrap());
    // Empty ones too.
    for length in (0..3000).cycle() {
        let Some((record, behind)) = rest.split_at_checked(length) else { break };
        file.write_all(&(length as u32).to_le_bytes()).unwrap();
        file.write_all(record).unwrap();
        rest = behind;
    }
    file.into_inner().unwrap();
    pass(&place, "64KiB", &from, &to, ["length", "length"]);
    assert_eq!(digest(&to), digest(&from));
}

#[test]
fn every_byte_of_a_line_is_kept_and_only_a_missing_last_newline_is_added_with_a_word_about_it() {
    let place = Place::with_capacity(64 << 10);
    let cases: [(&[u8], usize, bool); 8] = [
        (b"\n", 1, false),
        (b"\n\n\n", 3, false),
        (b"one\r\ntwo\r\n", 2, false),
        (b"one\r\ntwo\r", 2, true),
        (b"one", 1, true),
        (b"one\n\ntwo", 3, true),
        (b"\0\0\n\0", 2, true),
        (b"\xff\xfe not text\n", 1, false),
    ];
    for (lines, count, open) in cases {
        let sent = run(place.aether("send", &["--json"]).stdin(input(lines))).with(0);
        assert_eq!(sent.json()[0]["sent"], count, "of {lines:?}");
        assert_eq!(sent.errors.contains("the last line has no newline"), open, "of {lines:?}: {}", sent.errors);
        let received = run(&mut place.aether("recv", &[])).with(0);
        let mut expected = lines.to_vec();
        expected.extend(open.then_some(b'\n'));
        assert_eq!(received.output, expected);
    }
}

#[test]
fn an_empty_input_is_no_message_in_any_frame() {
    let place = Place::with_capacity(1024);
    for frame in ["lines", "length", "fixed:8", "whole"] {
        let sent = run(&mut place.aether("send", &["--json", "--frame", frame])).with(0);
        assert_eq!((sent.json()[0]["sent"].as_u64(), sent.errors.as_str()), (Some(0), ""), "{frame}");
    }
    assert_eq!(place.waiting(), 0);
}

#[test]
fn a_line_that_no_ring_of_this_size_can_take_is_an_error_that_names_it_and_the_lines_before_it_are_sent() {
    let place = Place::with_capacity(1024);
    let text = format!("one\ntwo\n{}\nfour\n", "x".repeat(1009));
    run(place.aether("send", &[]).stdin(input(text))).with(1).says(&[
        "line 3 of standard input has 1009 bytes",
        "has 1008",
        "--capacity",
        "--frame whole",
    ]);
    assert_eq!(place.waiting(), 2);
    run(place.aether("send", &["--frame", "fixed:1009"]).stdin(input("x"))).with(1).says(&["1009", "1008"]);
    run(place.aether("send", &["--frame", "length"]).stdin(input(b"\x09\0\0\0short")))
        .with(1)
        .says(&["ends within record 1", "9 of its 13 bytes"]);
    assert_eq!(place.waiting(), 2, "what was not whole was not sent");
}

#[test]
fn a_name_that_is_no_frame_is_wrong_usage_and_says_which_there_are() {
    for arguments in [["send", "x", "--frame", "fixed:0"], ["recv", "x", "--frame", "whole"]] {
        run(&mut aether(arguments)).with(2).says(&["lines", "length"]);
    }
}
