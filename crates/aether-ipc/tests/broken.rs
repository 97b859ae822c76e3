//! Every file of a directory of broken ones gets its own right error, from whatever is done with it, and from nothing
//! more than that: no panic, no hang, no byte outside. `testdata/broken/make.rs` makes them, `testdata/broken/expected.txt`
//! lists what is to be said.

#![cfg(unix)]

#[path = "../../../testdata/broken/make.rs"]
mod make;

use std::{collections::BTreeMap, fs, path::Path, sync::mpsc, time::Duration};

use aether_ipc::{Buffer, Consumer, Error, Flow, Observer, Result, recovery};

const EXPECTED: &str = include_str!("../../../testdata/broken/expected.txt");

/// Much more than any of this takes.
const WATCHDOG: Duration = Duration::from_secs(60);

type Operation = fn(&Path) -> Result<()>;

/// What is done with each file, each time with a fresh copy.
const OPERATIONS: [(&str, Operation); 8] = [
    ("open", |path| Buffer::open(path).map(drop)),
    ("produce", produce),
    ("consume", |path| consume(Buffer::open(path)?.consumer()?)),
    ("copy", |path| {
        let mut consumer = Buffer::open(path)?.consumer()?;
        consumer.set_untrusted(true);
        consume(consumer)
    }),
    ("audit", |path| match Buffer::open(path)?.consumer_named("audit") {
        // A ring with one consumer has no names.
        Err(Error::Name { .. }) => Ok(()),
        consumer => consume(consumer?),
    }),
    ("peek", |path| {
        let observer = Observer::open(path)?;
        observer.info()?;
        observer.peek(usize::MAX, |_| Flow::Continue).map(drop)
    }),
    ("tail", |path| {
        let mut tail = Observer::open(path)?.tail_from_oldest();
        while tail.poll(usize::MAX, |_| Flow::Continue)? > 0 {}
        Ok(())
    }),
    ("verify", verify),
];

fn produce(path: &Path) -> Result<()> {
    let mut producer = Buffer::open(path)?.producer()?;
    // More than the ring holds.
    for id in 0..100 {
        match producer.offer(id, 0, &[0; 8]) {
            Err(Error::Full) => break,
            other => other?,
        }
    }
    Ok(())
}

fn consume(mut consumer: Consumer) -> Result<()> {
    loop {
        match consumer.drain(usize::MAX, |_| Flow::Continue) {
            Ok(0) => return Ok(()),
            // What a slow consumer of a ring that drops messages is told; it is no fault of the file.
            Ok(_) | Err(Error::Lagged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The one problem, as the error that the others report it by.
fn verify(path: &Path) -> Result<()> {
    match *recovery::verify(path)?.problems {
        [] => Ok(()),
        [ref problem] => Err(Error::Corrupt { lane: problem.lane, position: problem.position, reason: problem.reason }),
        ref many => {
            let texts: Vec<String> = many.iter().map(ToString::to_string).collect();
            panic!("broken in one place, but verify says:\n{}", texts.join("\n"))
        }
    }
}

/// What is said about a file, and by which operations.
fn say(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    let copy = path.with_file_name("copy");
    let mut said: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (operation, run) in OPERATIONS {
        fs::copy(path, &copy).unwrap();
        let error = match run(&copy) {
            Ok(()) => continue,
            Err(Error::Corrupt { lane, position, reason }) => format!("lane {lane}, position {position}: {reason}"),
            Err(error) => error.to_string().replace(copy.to_str().unwrap(), "PATH"),
        };
        said.entry(error).or_default().push(operation);
    }
    if said.is_empty() {
        return format!("{name}\n    sound\n");
    }
    let lines = said.iter().map(|(error, operations)| {
        let all = operations.len() == OPERATIONS.len();
        format!("    {error}\n        {}\n", if all { "all".to_owned() } else { operations.join(" ") })
    });
    format!("{name}\n{}", lines.collect::<String>())
}

#[test]
fn every_broken_file_gets_its_own_right_error() {
    if let Some(directory) = std::env::var_os("AETHER_WRITE_BROKEN") {
        make::make(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let names = make::make(directory.path());
    assert!(names.len() >= 100);
    let (sender, said) = mpsc::channel();
    let path = directory.path().to_owned();
    std::thread::spawn(move || {
        for name in names {
            // Told before, so that what hangs or dies has a name.
            sender.send((name.clone(), None)).unwrap();
            sender.send((name.clone(), Some(say(&path.join(&name))))).unwrap();
        }
    });
    let mut all = String::new();
    let mut at_hand = String::new();
    loop {
        match said.recv_timeout(WATCHDOG) {
            Ok((name, None)) => at_hand = name,
            Ok((_, Some(text))) => {
                all += &text;
                at_hand.clear();
            }
            Err(mpsc::RecvTimeoutError::Disconnected) if at_hand.is_empty() => break,
            Err(error) => panic!("{at_hand}: {error}"),
        }
    }
    if let Some(path) = std::env::var_os("AETHER_EXPECTED") {
        fs::write(path, &all).unwrap();
    }
    let pairs = EXPECTED.lines().zip(all.lines());
    if let Some((line, (expected, found))) = pairs.enumerate().find(|(_, (expected, found))| expected != found) {
        panic!("expected.txt, line {}: expected {expected:?}, found {found:?}", line + 1);
    }
    assert_eq!(EXPECTED.lines().count(), all.lines().count());
}
