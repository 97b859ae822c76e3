//! With the feature `tracing`: what is rare is told, and nothing else.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use aether_ipc::{Buffer, Error, Flow, Overflow, recovery};
use tempfile::tempdir;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::with_default,
};

/// Keeps every event as a line.
#[derive(Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.0.insert_str(0, &format!("{value:?}:")),
            // It is another one in each run.
            "path" => {}
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("aether_ipc") && *metadata.level() <= Level::TRACE
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(format!("{} {}", event.metadata().level(), line.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        panic!("there are no spans")
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What is told while `work` is done.
fn told(work: impl FnOnce()) -> Vec<String> {
    let listener = Listener::default();
    let lines = listener.0.clone();
    with_default(listener, work);
    lines.lock().unwrap().clone()
}

#[test]
fn roles_are_told_and_messages_are_not() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ring");
    let lines = told(|| {
        let buffer = Buffer::create(&path, 4096).unwrap();
        let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
        for id in 0..10_000 {
            producer.offer(id, 0, &[0; 100]).unwrap();
            producer.claim(8).unwrap().commit(id, 0);
            assert_eq!(consumer.drain(9, |_| Flow::Continue).unwrap(), 2);
        }
        while producer.offer(1, 0, &[0; 100]).is_ok() {}
        assert!(matches!(producer.offer(1, 0, &[0; 100]), Err(Error::Full)));
    });
    assert_eq!(
        lines,
        [
            "DEBUG ring created: capacity=4096",
            "DEBUG producer came: lane=0 position=0",
            "DEBUG consumer came: slot=0 durable=true",
            "DEBUG consumer left: slot=0",
            "DEBUG producer left: lane=0",
        ]
    );
    assert_eq!(told(|| drop(Buffer::open(&path))), ["DEBUG ring opened: capacity=4096 writable=true"]);
}

#[test]
fn losses_and_places_given_up_are_told() {
    let folder = tempdir().unwrap();
    let options = Buffer::options().capacity(1024).consumers(2).overflow(Overflow::DropOldest);
    let buffer = options.create(folder.path().join("ring")).unwrap();
    let lines = told(|| {
        let mut consumer = buffer.consumer_named("audit").unwrap();
        let mut producer = buffer.producer().unwrap();
        for id in 0..100 {
            producer.offer(id, 0, &[0; 48]).unwrap();
        }
        assert!(matches!(consumer.drain(9, |_| Flow::Continue), Err(Error::Lagged { .. })));
        drop(consumer);
        buffer.forget("audit").unwrap();
    });
    let lost = lines.iter().find(|line| line.contains("overwritten before they were read")).expect("a loss");
    assert!(lost.starts_with("DEBUG") && lost.contains("lane=0 bytes="), "{lost}");
    assert!(lines.contains(&"INFO gave up the place of a consumer: slot=0 name=\"audit\"".to_owned()), "{lines:#?}");
}

#[test]
fn damage_and_repairs_are_told() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ring");
    Buffer::create(&path, 1024).unwrap().producer().unwrap().offer(1, 0, b"message").unwrap();
    // The length of the record.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0x1_0008] = 1;
    std::fs::write(&path, bytes).unwrap();
    let lines = told(|| {
        let error = Buffer::open(&path).unwrap().consumer().unwrap().poll(|_| Flow::Continue).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }));
        recovery::plan(&path, recovery::Strategy::LastGood).unwrap().apply(folder.path().join("copy")).unwrap();
    });
    let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
    assert!(has("WARN record can't be believed: lane=0 position=0 reason="), "{lines:#?}");
    assert!(has("WARN cursor repaired: lane=0 cursor="), "{lines:#?}");
}
