//! Making and opening a ring: what is there instead of one, or of the one asked for.

use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    sync::Barrier,
    time::Duration,
};

use aether_ipc::{Buffer, Error, HeaderFault, Observer, Options, Overflow};
use libtest_mimic::Trial;

use crate::{
    folder::{CAPACITY, DATA, Folder, garble, says, shown},
    support::within,
    trials,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_capacity_that_is_no_power_of_two_or_out_of_range_is_refused_and_never_rounded,
        options_that_do_not_go_together_are_refused,
        an_existing_ring_of_another_shape_is_a_mismatch_and_stays_as_it_is,
        what_is_no_ring_is_told_apart_by_its_reason,
        any_byte_of_the_fixed_header_that_is_wrong_is_noticed,
        a_later_format_version_is_refused_and_nothing_is_written,
        a_file_cut_short_names_both_sizes,
        a_directory_a_fifo_a_device_and_a_socket_are_no_files,
        a_missing_file_or_directory_says_what_to_do,
        a_file_that_is_there_is_not_created_anew,
        a_link_in_a_world_writable_directory_is_not_followed,
        a_link_in_a_directory_of_ones_own_is_followed,
        of_eight_threads_that_create_at_once_all_get_the_same_ring,
        of_eight_threads_that_create_anew_at_once_one_succeeds,
        what_else_the_system_says_is_passed_on,
    ]
}

fn a_capacity_that_is_no_power_of_two_or_out_of_range_is_refused_and_never_rounded() {
    let folder = Folder::new();
    let path = folder.join("ring");
    for (classic, max) in [(false, 1_u64 << 40), (true, 1 << 30)] {
        for bad in [0, 1, 512, 1000, 1023, 1025, 3 << 20, max - 1, max + 1, 2 * max, 1 << 63, u64::MAX] {
            let error = Buffer::options().classic(classic).capacity(bad).create(&path).unwrap_err();
            assert!(
                matches!(error, Error::Capacity { capacity, min: 1024, max: m } if capacity == bad && m == max),
                "{error:?}"
            );
            says(&error, &["capacity must be a power of two", &bad.to_string(), "1024", &max.to_string()]);
            assert!(Buffer::options().classic(classic).capacity(bad).create_new(&path).is_err());
        }
    }
    assert!(matches!(Buffer::create(&path, 1000), Err(Error::Capacity { capacity: 1000, .. })));
    folder.holds(&[]);
    assert_eq!(Buffer::create(&path, 1024).unwrap().capacity(), 1024);
}

fn options_that_do_not_go_together_are_refused() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let classic = Buffer::options().capacity(CAPACITY).classic(true);
    let plain = Buffer::options().capacity(CAPACITY);
    for (options, word) in [
        (Buffer::options(), "capacity"),
        (classic.clone().producers(2), "classic"),
        (classic.clone().consumers(2), "classic"),
        (classic.clone().checksums(true), "classic"),
        (classic.clone().sequence(true), "classic"),
        (classic.clone().overflow(Overflow::DropOldest), "classic"),
        (plain.clone().producers(0), "1 to 256"),
        (plain.clone().producers(257), "1 to 256"),
        (plain.clone().consumers(0), "1 to 1024"),
        (plain.clone().consumers(1025), "1 to 1024"),
    ] {
        let error = options.create(&path).unwrap_err();
        assert!(matches!(error, Error::Options(_)), "{error:?}");
        says(&error, &["do not go together", word]);
    }
    folder.holds(&[]);
}

fn an_existing_ring_of_another_shape_is_a_mismatch_and_stays_as_it_is() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let made = Buffer::options().capacity(CAPACITY).producers(2).create(&path).unwrap();
    made.producer().unwrap().offer(1, 2, b"stays").unwrap();
    let before = fs::read(&path).unwrap();
    let same = || Buffer::options().capacity(CAPACITY).producers(2);
    let other: [(Options, &str, u64, u64); 7] = [
        (same().capacity(8192), "capacity", 4096, 8192),
        (Buffer::options().capacity(CAPACITY).classic(true), "format", 1, 0),
        (same().producers(3), "producers", 2, 3),
        (same().consumers(4), "consumers", 1, 4),
        (same().checksums(true), "checksums", 0, 1),
        (same().sequence(true), "sequence", 0, 1),
        (same().overflow(Overflow::DropOldest), "overflow", 0, 1),
    ];
    for (options, name, has, wanted) in other {
        let error = options.create(&path).unwrap_err();
        assert!(
            matches!(&error, Error::Mismatch { field, found, expected, .. }
                if field.starts_with(name) && (*found, *expected) == (has, wanted)),
            "{error:?}"
        );
        says(&error, &[shown(&path), name, &has.to_string(), &wanted.to_string(), "remove it first"]);
    }
    let error = Buffer::options().capacity(8192).open(&path).unwrap_err();
    assert!(matches!(error, Error::Mismatch { field: "capacity", found: 4096, expected: 8192, .. }));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(same().create(&path).is_ok());

    let classic = folder.join("classic");
    Buffer::options().capacity(CAPACITY).classic(true).create(&classic).unwrap();
    assert!(Buffer::create(&classic, CAPACITY).is_ok(), "a plain request is content with either format");
    let error = Buffer::options().capacity(CAPACITY).checksums(true).create(&classic).unwrap_err();
    assert!(matches!(error, Error::Mismatch { found: 0, expected: 1, .. }), "{error:?}");
    folder.holds(&["classic", "ring"]);
}

fn what_is_no_ring_is_told_apart_by_its_reason() {
    let folder = Folder::new();
    let path = folder.join("file");
    let refused = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let errors = [
            Buffer::open(&path).unwrap_err(),
            Buffer::create(&path, CAPACITY).unwrap_err(),
            Observer::open(&path).unwrap_err(),
            aether_ipc::recovery::verify(&path).unwrap_err(),
        ];
        assert_eq!(fs::read(&path).unwrap(), content, "a file that is no ring was changed");
        errors.map(|error| {
            says(&error, &[shown(&path), "not a ring"]);
            match error {
                Error::NotARing { reason, .. } => reason,
                other => panic!("{other:?}"),
            }
        })
    };
    for size in [0, 1, 0x100, 0x17F] {
        assert_eq!(refused(&vec![0; size]), [HeaderFault::TooSmall { size: size as u64, header: 0x180 }; 4]);
    }
    let zeros = HeaderFault::Capacity { capacity: 0, min: 1 << 10, max: 1 << 30 };
    assert_eq!(refused(&[0; 0x180]), [zeros; 4]);
    assert_eq!(refused(&[0; 1 << 16]), [zeros; 4]);
    let text = "Call me Ishmael. Some years ago, never mind how long precisely.\n".repeat(20);
    let magic = u32::from_le_bytes(text.as_bytes()[0x104..0x108].try_into().unwrap());
    assert_eq!(refused(text.as_bytes()), [HeaderFault::Magic { magic, expected: 0x5049_6541 }; 4]);
    let mut classic = vec![0; 0x180 + 1024];
    classic[0x100..0x104].copy_from_slice(&1000_u32.to_le_bytes());
    assert_eq!(refused(&classic), [HeaderFault::Capacity { capacity: 1000, min: 1 << 10, max: 1 << 30 }; 4]);
    folder.holds(&["file"]);
}

fn any_byte_of_the_fixed_header_that_is_wrong_is_noticed() {
    let folder = Folder::new();
    let path = folder.join("ring");
    Buffer::create(&path, CAPACITY).unwrap();
    let good = fs::read(&path).unwrap();
    for (offset, &byte) in good.iter().enumerate().take(0x180).skip(0x100) {
        for value in [0x00, 0x01, 0xFF].into_iter().filter(|&value| value != byte) {
            garble(&path, offset as u64, &[value]);
            let error = Buffer::open(&path).expect_err("a wrong header was believed");
            assert!(matches!(error, Error::NotARing { .. } | Error::Version { .. }), "{offset:#x}: {error:?}");
            garble(&path, offset as u64, &[byte]);
        }
    }
    assert!(Buffer::open(&path).is_ok());
}

fn a_later_format_version_is_refused_and_nothing_is_written() {
    let folder = Folder::new();
    let path = folder.join("ring");
    Buffer::create(&path, CAPACITY).unwrap();
    garble(&path, 0x108, &2_u32.to_le_bytes());
    let before = fs::read(&path).unwrap();
    for error in [Buffer::open(&path).unwrap_err(), Buffer::create(&path, CAPACITY).unwrap_err()] {
        assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error:?}");
        says(&error, &[shown(&path), "version 2", "knows 1", "newer aether-ipc"]);
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

fn a_file_cut_short_names_both_sizes() {
    let folder = Folder::new();
    for (name, classic, whole) in [("classic", true, 0x180 + 4096), ("extended", false, DATA + 4096)] {
        let path = folder.join(name);
        Buffer::options().capacity(CAPACITY).classic(classic).create(&path).unwrap();
        for size in [whole - 1, 0x180] {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(size).unwrap();
            for error in [Buffer::open(&path).unwrap_err(), Observer::open(&path).unwrap_err()] {
                assert!(
                    matches!(error, Error::Truncated { found, expected, .. } if (found, expected) == (size, whole)),
                    "{error:?}"
                );
                says(&error, &[shown(&path), "cut short", &size.to_string(), &whole.to_string()]);
            }
        }
    }
}

fn a_directory_a_fifo_a_device_and_a_socket_are_no_files() {
    let folder = Folder::new();
    let fifo = folder.join("fifo");
    let name = std::ffi::CString::new(shown(&fifo)).unwrap();
    // SAFETY: a string that ends with zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let socket = folder.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let directory = folder.0.path().to_owned();
    for (path, what) in [
        (directory, "a directory"),
        (fifo, "a socket, FIFO or device"),
        (socket, "a socket, FIFO or device"),
        ("/dev/null".into(), "a socket, FIFO or device"),
    ] {
        let there = path.clone();
        let errors = within("opening something that is no file", move || {
            [
                Buffer::open(&path).unwrap_err(),
                Buffer::create(&path, CAPACITY).unwrap_err(),
                Observer::open(&path).unwrap_err(),
                Buffer::connect(&path, Duration::from_secs(60)).unwrap_err(),
            ]
        });
        for error in errors {
            assert!(matches!(error, Error::NotAFile { found, .. } if found == what), "{error:?}");
            says(&error, &[shown(&there), what, "regular file"]);
        }
    }
    folder.holds(&["fifo", "socket"]);
}

fn a_missing_file_or_directory_says_what_to_do() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let nowhere = folder.join("missing/ring");
    for (error, path) in [
        (Buffer::open(&path).unwrap_err(), &path),
        (Observer::open(&path).unwrap_err(), &path),
        (Buffer::create(&nowhere, CAPACITY).unwrap_err(), &nowhere),
        (Buffer::options().capacity(CAPACITY).create_new(&nowhere).unwrap_err(), &nowhere),
    ] {
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        says(&error, &[shown(path), "no such file", "create", "directory", "connect"]);
    }
    folder.holds(&[]);
}

fn a_file_that_is_there_is_not_created_anew() {
    let folder = Folder::new();
    let path = folder.join("file");
    fs::write(&path, "something of value").unwrap();
    let error = Buffer::options().capacity(CAPACITY).create_new(&path).unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    says(&error, &[shown(&path), "already exists"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "something of value");
    folder.holds(&["file"]);
}

fn a_link_in_a_world_writable_directory_is_not_followed() {
    let folder = Folder::new();
    let public = folder.join("public");
    fs::create_dir(&public).unwrap();
    fs::set_permissions(&public, Permissions::from_mode(0o1777)).unwrap();
    let ring = folder.join("ring");
    Buffer::create(&ring, CAPACITY).unwrap();
    let trap = public.join("trap");
    symlink(&ring, &trap).unwrap();
    let lure = public.join("lure");
    symlink(folder.join("made elsewhere"), &lure).unwrap();
    for (path, error) in [
        (&trap, Buffer::open(&trap).unwrap_err()),
        (&trap, Buffer::create(&trap, CAPACITY).unwrap_err()),
        (&trap, Observer::open(&trap).unwrap_err()),
        (&lure, Buffer::create(&lure, CAPACITY).unwrap_err()),
    ] {
        assert!(matches!(error, Error::NotAFile { .. }), "{error:?}");
        says(&error, &[shown(path), "symbolic link in a world-writable directory"]);
    }
    folder.holds(&["public", "ring"]);
}

fn a_link_in_a_directory_of_ones_own_is_followed() {
    let folder = Folder::new();
    Buffer::create(folder.join("ring"), CAPACITY).unwrap();
    symlink(folder.join("ring"), folder.join("link")).unwrap();
    assert!(Buffer::open(folder.join("link")).is_ok());
    symlink(folder.join("loop"), folder.join("loop")).unwrap();
    let error = Buffer::open(folder.join("loop")).unwrap_err();
    assert!(matches!(error, Error::NotAFile { .. }), "{error:?}");
    symlink(folder.join("nowhere"), folder.join("dangling")).unwrap();
    assert!(matches!(Buffer::create(folder.join("dangling"), CAPACITY), Err(Error::NotFound { .. })));
    folder.holds(&["dangling", "link", "loop", "ring"]);
}

fn of_eight_threads_that_create_at_once_all_get_the_same_ring() {
    for _ in 0..20 {
        let folder = Folder::new();
        let path = folder.join("ring");
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for id in 0..8 {
                let (path, barrier) = (&path, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let buffer = Buffer::options().capacity(CAPACITY).producers(8).create(path).unwrap();
                    buffer.producer().unwrap().offer(id, 0, b"from all").unwrap();
                    barrier.wait();
                    // All eight wrote to the same file: had one replaced another's, that one's message were gone.
                    assert_eq!(buffer.observer().count_messages().unwrap(), 8);
                });
            }
        });
        folder.holds(&["ring"]);
    }
}

fn of_eight_threads_that_create_anew_at_once_one_succeeds() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let barrier = Barrier::new(8);
    let results: Vec<_> = std::thread::scope(|scope| {
        let create = || {
            barrier.wait();
            Buffer::options().capacity(CAPACITY).create_new(&path)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|result| matches!(result, Err(Error::AlreadyExists { .. }))).count(), 7);
    folder.holds(&["ring"]);
}

fn what_else_the_system_says_is_passed_on() {
    let folder = Folder::new();
    let long = folder.join(&"x".repeat(300));
    for error in [Buffer::create(&long, 1024).unwrap_err(), Buffer::open(&long).unwrap_err()] {
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        says(&error, &[shown(&long), "name too long"]);
    }
    let below = folder.join("file/ring");
    fs::write(folder.join("file"), "").unwrap();
    let error = Buffer::create(&below, 1024).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    says(&error, &[shown(&below), "create", "Not a directory"]);
    folder.holds(&["file"]);
}
