//! What the system refuses: access, space, files without a name. Some of it is refused to another process, which asked
//! for that.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use aether_ipc::{Buffer, Error, Observer};
use libtest_mimic::Trial;

use crate::{
    folder::{CAPACITY, DATA, Folder, says, shown},
    support::{self, Part, Peer, say},
    trials,
};

pub(crate) const PARTS: &[(&str, Part)] = &[
    ("open_as_nobody", open_as_nobody),
    ("create_under_limit", create_under_limit),
    ("create_with_umask", create_with_umask),
    ("create_without_unnamed_files", create_without_unnamed_files),
];

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        without_permission_opening_fails_and_read_permission_is_enough_to_look_on,
        a_file_size_limit_is_an_error_at_create_and_no_signal,
        a_full_file_system_is_an_error_at_create,
        the_mode_is_0600_unless_chosen_whatever_the_umask,
        where_files_without_a_name_are_not_to_be_had_a_ring_is_made_all_the_same,
        the_space_of_a_new_ring_is_allocated,
    ]
}

/// Opens a file as a user without privileges: to write, and to look on.
fn open_as_nobody(arguments: &[String]) {
    // SAFETY: these calls take integers and a null list; the process has one thread.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!(libc::setgid(65534), 0);
            assert_eq!(libc::setuid(65534), 0);
        }
    }
    match Buffer::open(&arguments[0]) {
        Err(error @ Error::Permission { .. }) => say(error),
        other => say(format!("not refused: {other:?}")),
    }
    match Observer::open(&arguments[0]).and_then(|observer| observer.count_messages()) {
        Ok(count) => say(format!("{count} messages")),
        Err(error @ Error::Permission { .. }) => say(error),
        Err(other) => say(format!("{other:?}")),
    }
}

fn without_permission_opening_fails_and_read_permission_is_enough_to_look_on() {
    let folder = Folder::new();
    let path = folder.join("ring");
    fs::set_permissions(&folder.0, Permissions::from_mode(0o755)).unwrap();
    Buffer::create(&path, CAPACITY).unwrap().producer().unwrap().offer(1, 0, b"hello").unwrap();
    let try_it = |mode| {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let before = fs::read(&path);
        let lines = Peer::start("open_as_nobody", &[&path]).succeed();
        assert_eq!(fs::read(&path).ok(), before.ok());
        lines
    };
    let refused = |operation: &str| {
        format!(
            "{}: permission denied ({operation}); check the file's owner and mode, or open it read-only",
            shown(&path)
        )
    };
    assert_eq!(try_it(0o444), [refused("open for reading and writing"), "1 messages".to_owned()]);
    assert_eq!(try_it(0o000), [refused("open for reading and writing"), refused("open for reading")]);
    folder.holds(&["ring"]);
}

/// Tries to create a ring while files may not be larger than told.
fn create_under_limit(arguments: &[String]) {
    let limit = arguments[1].parse().unwrap();
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    match Buffer::create(&arguments[0], 1 << 20) {
        Ok(_) => say("made"),
        Err(error @ Error::NoSpace { .. }) => say(error),
        Err(other) => say(format!("{other:?}")),
    }
}

fn a_file_size_limit_is_an_error_at_create_and_no_signal() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let whole = DATA + (1 << 20);
    let try_it = |limit: u64| Peer::start("create_under_limit", &[shown(&path), &limit.to_string()]).succeed();
    let refused = try_it(whole - 1);
    let expected = format!("{}: no space for a ring of {whole} bytes: File too large", shown(&path));
    assert!(refused[0].starts_with(&expected), "{refused:?}");
    folder.holds(&[]);
    assert_eq!(try_it(whole), ["made"]);
}

fn a_full_file_system_is_an_error_at_create() {
    // A memory file system refuses what is larger than all of it at once, without taking the rest first.
    let shared_memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(shared_memory).expect("Linux has a memory file system at /dev/shm");
    let capacity = (room.f_blocks * room.f_frsize + 1).next_power_of_two();
    let folder = Folder(tempfile::tempdir_in(shared_memory).unwrap());
    let path = folder.join("ring");
    let error = Buffer::create(&path, capacity).unwrap_err();
    let whole = DATA + capacity;
    assert!(matches!(error, Error::NoSpace { size, .. } if size == whole), "{error:?}");
    says(&error, &[shown(&path), "no space", &whole.to_string(), "No space left on device"]);
    folder.holds(&[]);
}

fn create_with_umask(arguments: &[String]) {
    // SAFETY: takes and returns an integer; the process has one thread.
    unsafe { libc::umask(0o777) };
    Buffer::create(&arguments[0], CAPACITY).unwrap();
    Buffer::options().capacity(CAPACITY).mode(0o664).create_new(&arguments[1]).unwrap();
    // SAFETY: as above.
    unsafe { libc::umask(0) };
    Buffer::create(&arguments[2], CAPACITY).unwrap();
}

fn the_mode_is_0600_unless_chosen_whatever_the_umask() {
    let folder = Folder::new();
    Peer::start("create_with_umask", &[folder.join("a"), folder.join("b"), folder.join("c")]).succeed();
    let mode = |name| fs::metadata(folder.join(name)).unwrap().mode() & 0o7777;
    assert_eq!([mode("a"), mode("b"), mode("c")], [0o600, 0o664, 0o600]);
}

/// Has the system refuse files without a name, as some file systems do, and then creates rings.
fn create_without_unnamed_files(arguments: &[String]) {
    refuse_unnamed_files();
    let path = Path::new(&arguments[0]);
    let options = || Buffer::options().capacity(CAPACITY).mode(0o640);
    options().create_new(path).unwrap().producer().unwrap().offer(1, 0, b"hello").unwrap();
    assert!(matches!(options().create_new(path), Err(Error::AlreadyExists { .. })));
    assert!(matches!(options().create_new(path.join("below")), Err(Error::Io { .. })));
    create_under_limit(&[shown(&path.with_file_name("large")).to_owned(), "100000".to_owned()]);
}

fn refuse_unnamed_files() {
    use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JMP, BPF_JUMP, BPF_K, BPF_LD, BPF_RET, BPF_STMT, BPF_W};
    // The syscall's number is at 0 of `seccomp_data`, the low half of the third argument at 32.
    // SAFETY: these only put integers together.
    let program = unsafe {
        [
            BPF_STMT((BPF_LD | BPF_W | BPF_ABS) as u16, 0),
            BPF_JUMP((BPF_JMP | BPF_JEQ | BPF_K) as u16, libc::SYS_openat as u32, 0, 4),
            BPF_STMT((BPF_LD | BPF_W | BPF_ABS) as u16, 32),
            BPF_STMT((BPF_ALU | BPF_AND | BPF_K) as u16, libc::O_TMPFILE as u32),
            BPF_JUMP((BPF_JMP | BPF_JEQ | BPF_K) as u16, libc::O_TMPFILE as u32, 0, 1),
            BPF_STMT((BPF_RET | BPF_K) as u16, libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP as u32),
            BPF_STMT((BPF_RET | BPF_K) as u16, libc::SECCOMP_RET_ALLOW),
        ]
    };
    support::filter_system_calls(program);
    let unnamed = fs::OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open("/tmp");
    assert_eq!(unnamed.unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP), "the filter does not work");
}

fn where_files_without_a_name_are_not_to_be_had_a_ring_is_made_all_the_same() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let lines = Peer::start("create_without_unnamed_files", &[&path]).succeed();
    assert!(lines[0].contains("no space for a ring"), "{lines:?}");
    folder.holds(&["ring"]);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(Observer::open(&path).unwrap().count_messages().unwrap(), 1);
}

fn the_space_of_a_new_ring_is_allocated() {
    let folder = Folder::new();
    for classic in [false, true] {
        let path = folder.join(if classic { "classic" } else { "extended" });
        let buffer = Buffer::options().capacity(1 << 20).classic(classic).create(&path).unwrap();
        let info = buffer.observer().info().unwrap();
        assert!(info.disk_size >= info.file_size, "a full disk would be a bus error later: {info:?}");
    }
}
