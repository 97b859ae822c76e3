//! Files that are removed or replaced under a ring, and limits on them.

use std::fs;

use aether_ipc::{
    Buffer, Error, Flow, Observer,
    recovery::{self, Strategy},
};
use libtest_mimic::Trial;
use tempfile::tempdir;

use crate::{
    support::{Part, Peer, say},
    trials,
};

pub(crate) const PARTS: &[(&str, Part)] =
    &[("run_out_of_descriptors", run_out_of_descriptors), ("repair_under_a_size_limit", repair_under_a_size_limit)];

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_ring_whose_file_was_removed_goes_on_between_those_who_have_it_open,
        a_ring_whose_file_was_replaced_goes_on_and_the_new_one_is_another,
        a_thousand_buffers_are_open_at_once_and_each_has_its_own_messages,
        without_descriptors_taking_a_role_is_an_error_and_those_that_are_held_go_on,
        a_repair_whose_copy_is_too_large_for_the_process_is_an_error_and_changes_nothing,
    ]
}

fn a_ring_whose_file_was_removed_goes_on_between_those_who_have_it_open() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ring");
    let buffer = Buffer::create(&path, 4096).unwrap();
    let mut producer = buffer.producer().unwrap();
    producer.offer(1, 0, b"before").unwrap();
    fs::remove_file(&path).unwrap();
    producer.offer(2, 0, b"after").unwrap();
    drop(producer);
    // Roles belong to the file, not to its name.
    let mut producer = buffer.producer().unwrap();
    assert!(matches!(buffer.producer(), Err(Error::RoleTaken { .. })));
    producer.offer(3, 0, b"by a successor").unwrap();
    let mut ids = Vec::new();
    let mut consumer = buffer.consumer().unwrap();
    consumer
        .drain(10, |message| {
            ids.push(message.id());
            Flow::Continue
        })
        .unwrap();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(buffer.observer().info().unwrap().available_bytes(), 0);
    buffer.sync().unwrap();
    assert!(matches!(Buffer::open(&path), Err(Error::NotFound { .. })));
    assert!(!path.exists(), "nobody made it again");
}

fn a_ring_whose_file_was_replaced_goes_on_and_the_new_one_is_another() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ring");
    let old = Buffer::create(&path, 4096).unwrap();
    old.producer().unwrap().offer(1, 0, b"old").unwrap();
    // In place of the old one, in one step.
    let other = folder.path().join("other");
    let new = Buffer::create(&other, 8192).unwrap();
    fs::rename(&other, &path).unwrap();
    let mut old_producer = old.producer().unwrap();
    let mut new_producer = Buffer::open(&path).unwrap().producer().unwrap();
    old_producer.offer(2, 0, b"old").unwrap();
    new_producer.offer(7, 0, b"new").unwrap();
    for (buffer, expected) in [(&old, &[1, 2][..]), (&new, &[7])] {
        let mut ids = Vec::new();
        let mut consumer = buffer.consumer().unwrap();
        while consumer.drain(10, |message| (ids.push(message.id()), Flow::Continue).1).unwrap() > 0 {}
        assert_eq!(ids, expected);
    }
    assert_eq!((old.capacity(), Buffer::open(&path).unwrap().capacity()), (4096, 8192));
}

fn a_thousand_buffers_are_open_at_once_and_each_has_its_own_messages() {
    let folder = tempdir().unwrap();
    // A buffer has a descriptor, and so has each role.
    set_limit(libc::RLIMIT_NOFILE, |limit| limit.rlim_max.min(limit.rlim_cur.max(4096)));
    let mut rings: Vec<_> = (0..1000)
        .map(|index| {
            let buffer = Buffer::create(folder.path().join(index.to_string()), 4096).unwrap();
            let roles = (buffer.producer().unwrap(), buffer.consumer().unwrap());
            (buffer, roles)
        })
        .collect();
    for (index, (_, (producer, _))) in rings.iter_mut().enumerate() {
        producer.offer(index as i64, 0, &index.to_le_bytes()).unwrap();
    }
    for (index, (_, (_, consumer))) in rings.iter_mut().enumerate() {
        let mut received = None;
        consumer
            .poll(|message| (received = Some((message.id(), message.payload().to_vec())), Flow::Continue).1)
            .unwrap();
        assert_eq!(received, Some((index as i64, index.to_le_bytes().to_vec())));
    }
}

fn set_limit(resource: libc::__rlimit_resource_t, choose: impl FnOnce(&libc::rlimit) -> u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid structure, which is filled and given back.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        limit.rlim_cur = choose(&limit);
        assert_eq!(libc::setrlimit(resource, &limit), 0);
    }
}

/// Opens the same ring until that is refused; messages go on all the time, and roles can be had again later.
fn run_out_of_descriptors(arguments: &[String]) {
    let path = &arguments[0];
    let buffer = Buffer::open(path).unwrap();
    let mut producer = buffer.producer().unwrap();
    let mut consumer = buffer.consumer().unwrap();
    set_limit(libc::RLIMIT_NOFILE, |_| 32);
    let mut buffers = Vec::new();
    let error = loop {
        match Buffer::open(path) {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => break error,
        }
    };
    say(matches!(&error, Error::Io { source, .. } if source.raw_os_error() == Some(libc::EMFILE)));
    for refused in [buffer.consumer().map(drop), buffer.producer().map(drop), Observer::open(path).map(drop)] {
        say(matches!(refused, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(libc::EMFILE)));
    }
    // Far more than the ring holds: the full ring and the empty one are looked at without descriptors too.
    for id in 0..1000 {
        while let Err(error) = producer.offer(id, 0, &[0; 100]) {
            assert!(matches!(error, Error::Full), "{error}");
            assert!(consumer.drain(3, |_| Flow::Continue).unwrap() > 0);
        }
    }
    drop((producer, consumer));
    drop(buffers);
    say(buffer.producer().is_ok() && buffer.consumer().is_ok());
}

fn without_descriptors_taking_a_role_is_an_error_and_those_that_are_held_go_on() {
    for consumers in [1, 4] {
        let folder = tempdir().unwrap();
        let path = folder.path().join("ring");
        Buffer::options().capacity(4096).consumers(consumers).create(&path).unwrap();
        assert_eq!(Peer::start("run_out_of_descriptors", &[&path]).succeed(), ["true"; 5]);
    }
}

fn repair_under_a_size_limit(arguments: &[String]) {
    let [path, backup] = arguments else { panic!("two paths") };
    let plan = recovery::plan(path, Strategy::LastGood).unwrap();
    set_limit(libc::RLIMIT_FSIZE, |_| 1000);
    match plan.apply(backup) {
        Err(Error::NoSpace { source, .. }) => say(source.raw_os_error() == Some(libc::EFBIG)),
        other => say(format!("not refused: {other:?}")),
    }
}

fn a_repair_whose_copy_is_too_large_for_the_process_is_an_error_and_changes_nothing() {
    let folder = tempdir().unwrap();
    let (path, backup) = (folder.path().join("ring"), folder.path().join("backup"));
    let buffer = Buffer::options().capacity(4096).classic(true).create(&path).unwrap();
    buffer.producer().unwrap().offer(1, 0, b"hello").unwrap();
    let mut broken = fs::read(&path).unwrap();
    broken[0] = 3;
    fs::write(&path, &broken).unwrap();
    assert_eq!(Peer::start("repair_under_a_size_limit", &[&path, &backup]).succeed(), ["true"]);
    assert_eq!(fs::read(&path).unwrap(), broken);
    assert!(!backup.exists());
}
