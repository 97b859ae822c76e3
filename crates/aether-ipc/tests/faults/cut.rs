//! A file that is cut short under its map.

use std::{
    fs::OpenOptions,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
};

use aether_ipc::{Buffer, Error, Flow, Observer, guard_bus_errors};
use libtest_mimic::Trial;
use tempfile::{TempDir, tempdir};

use crate::{
    support::{Part, Peer, await_go, say},
    trials,
};

pub(crate) const PARTS: &[(&str, Part)] =
    &[("use_what_is_cut", use_what_is_cut), ("touch_another_map", touch_another_map)];

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        with_the_guard_a_file_cut_short_is_an_error_for_everybody,
        without_the_guard_a_file_cut_short_ends_the_process,
        a_message_that_is_cut_is_neither_shown_from_a_copy_nor_released,
        the_guard_leaves_other_bus_errors_alone,
    ]
}

const CAPACITY: u64 = 64 << 10;

fn ring(classic: bool) -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ring");
    Buffer::options().capacity(CAPACITY).classic(classic).create(&path).unwrap();
    (folder, path)
}

fn cut(path: &Path, size: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(size).unwrap();
}

/// Takes a role, lets the test cut the file, and goes on until there is an error; says which.
fn use_what_is_cut(arguments: &[String]) {
    let [path, role, guarded, other] = arguments else { panic!("four arguments") };
    if guarded == "true" {
        guard_bus_errors().unwrap();
    }
    // Not cut: it must not be taken for the one that is.
    let mut whole = Buffer::create(other, 4096).unwrap().producer().unwrap();
    let buffer = Buffer::open(path).unwrap();
    let mut producer = buffer.producer().unwrap();
    let mut consumer = buffer.consumer().unwrap();
    consumer.set_untrusted(role == "copy");
    let observer = Observer::open(path).unwrap();
    let mut tail = observer.tail();
    let fill = |producer: &mut aether_ipc::Producer| while producer.offer(1, 0, &[7; 1000]).is_ok() {};
    if role != "producer" {
        fill(&mut producer);
    }
    say("ready");
    await_go();
    let mut wrong = 0;
    let mut look = |message: aether_ipc::Message<'_>| {
        wrong += usize::from(message.payload() != [7; 1000]);
        Flow::Continue
    };
    let released = consumer.position();
    let mut good = 0;
    let error = loop {
        let done = match role.as_str() {
            "producer" => producer.offer(1, 0, &[7; 1000]).map(|()| 1),
            "consumer" | "copy" => consumer.poll(&mut look).map(|_| 1),
            "drain" => consumer.drain(usize::MAX, &mut look),
            "batch" => consumer.batch(usize::MAX).map(|batch| batch.iter().map(&mut look).count()),
            "wait" => consumer.drain(usize::MAX, &mut look).and_then(|_| consumer.wait()).map(|()| 1),
            "peek" => observer.peek(usize::MAX, &mut look),
            "tail" => tail.poll(1, &mut look),
            "info" => observer.info().map(|_| 1),
            role => panic!("{role}"),
        };
        match done {
            Ok(count) => good += count,
            Err(error) => break error,
        }
        assert!(good < 10_000, "no error comes");
    };
    let variant = match error {
        Error::Truncated { found, expected, .. } => format!("truncated from {expected} to {found}"),
        other => format!("{other:?}"),
    };
    say(variant);
    // It stays so. Another side goes on while it finds what is whole.
    let ends_truncated = |call: &mut dyn FnMut() -> aether_ipc::Result<()>| {
        let error = (0..1000).find_map(|_| call().err());
        matches!(error, Some(Error::Truncated { .. })) && matches!(call(), Err(Error::Truncated { .. }))
    };
    let position = consumer.position();
    say(ends_truncated(&mut || consumer.poll(|_| Flow::Continue).map(drop)));
    say(ends_truncated(&mut || producer.offer(1, 0, b"")));
    say(matches!(buffer.producer(), Err(Error::RoleTaken { .. })));
    whole.offer(1, 0, b"not cut").unwrap();
    // In place, the message at hand may be seen cut; but it is not released then.
    let at_most = if ["copy", "peek", "tail"].contains(&role.as_str()) { 0 } else { 1 };
    say(if role == "drain" || role == "batch" || wrong <= at_most { "not shown" } else { "shown" });
    say(position.wrapping_sub(released) / 1016);
}

const ROLES: [&str; 9] = ["producer", "consumer", "copy", "drain", "batch", "wait", "peek", "tail", "info"];

fn with_the_guard_a_file_cut_short_is_an_error_for_everybody() {
    for classic in [false, true] {
        for role in ROLES {
            // All of it, or from the middle of the data on.
            for size in [0, if classic { 8192 } else { CAPACITY + 8192 }] {
                if size > 0 && role == "info" {
                    // It looks at nothing behind the header.
                    continue;
                }
                let (folder, path) = ring(classic);
                let full = path.metadata().unwrap().len();
                let other = folder.path().join("other");
                let arguments = [path.to_str().unwrap(), role, "true", other.to_str().unwrap()];
                let mut peer = Peer::start("use_what_is_cut", &arguments);
                peer.expect_line("ready");
                cut(&path, size);
                peer.go();
                let lines = peer.succeed();
                let what = format!("{role}, cut to {size}, classic: {classic}");
                assert_eq!(lines[0], format!("truncated from {full} to {size}"), "{what}");
                assert_eq!(lines[1..5], ["true", "true", "true", "not shown"], "{what}");
            }
        }
    }
}

fn without_the_guard_a_file_cut_short_ends_the_process() {
    for role in ["producer", "consumer", "peek"] {
        let (folder, path) = ring(false);
        let other = folder.path().join("other");
        let arguments = [path.to_str().unwrap(), role, "false", other.to_str().unwrap()];
        let mut peer = Peer::start("use_what_is_cut", &arguments);
        peer.expect_line("ready");
        cut(&path, 0);
        peer.go();
        let (status, lines) = peer.finish();
        assert_eq!((status.signal(), lines), (Some(libc::SIGBUS), vec![]), "{role}");
    }
}

fn a_message_that_is_cut_is_neither_shown_from_a_copy_nor_released() {
    // Seven whole messages of 1,016 bytes stand before the cut; the eighth runs over it.
    for role in ["consumer", "copy"] {
        let (folder, path) = ring(false);
        let other = folder.path().join("other");
        let arguments = [path.to_str().unwrap(), role, "true", other.to_str().unwrap()];
        let mut peer = Peer::start("use_what_is_cut", &arguments);
        peer.expect_line("ready");
        cut(&path, CAPACITY + 8192);
        peer.go();
        let lines = peer.succeed();
        assert_eq!(lines[4..], ["not shown", "8"], "{role}: eight messages of 1,016 bytes end before 8,192");
    }
}

/// The handler that was there before gets what is not a ring's.
fn touch_another_map(arguments: &[String]) {
    guard_bus_errors().unwrap();
    guard_bus_errors().unwrap();
    let _ring = Buffer::open(&arguments[0]).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&arguments[1]).unwrap();
    file.set_len(4096).unwrap();
    use std::os::fd::AsRawFd;
    // SAFETY: a new map of a file, which nobody else knows; reading a byte of it is what is tried.
    unsafe {
        let map = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(map, libc::MAP_FAILED);
        file.set_len(0).unwrap();
        say("ready");
        say(map.cast::<u8>().read_volatile());
    }
}

fn the_guard_leaves_other_bus_errors_alone() {
    let (folder, path) = ring(false);
    let other = folder.path().join("other");
    std::fs::write(&other, b"").unwrap();
    let (status, lines) = Peer::start("touch_another_map", &[&path, &other]).finish();
    assert_eq!((status.signal(), lines), (Some(libc::SIGBUS), vec!["ready".to_owned()]));
}
