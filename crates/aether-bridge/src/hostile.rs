//! Somebody on the network sends whatever he likes, short of what only access control can keep out: frames that are
//! right in every respect.

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use aether_ipc::{Buffer, Flow};
use zenoh::Wait;

use crate::{
    Endpoints, Event, InOptions, Incoming, Network, OutOptions, Outgoing,
    frame::{ANYBODY, Ack, Head, Status, Writer},
    network::acknowledgements,
};

const KEY: &str = "trading/quotes";
const MESSAGES: i64 = 20_000;
const WATCHDOG: Duration = Duration::from_secs(60);

fn endpoint() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("tcp/127.0.0.1:{port}")
}

fn network(listen: &[&String], connect: &[&String]) -> Network {
    let strings = |endpoints: &[&String]| endpoints.iter().map(|&endpoint| endpoint.clone()).collect();
    Network::open(&Endpoints { listen: strings(listen), connect: strings(connect), config: None }).unwrap()
}

/// A frame with two records, of a source that there is not.
fn frame(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut writer = Writer::new(Head {
        source: [random.u64(1..), random.u64(..)],
        sink: ANYBODY,
        lane: random.u32(..3),
        lanes: random.choice([3, 4, 1 << 30, u32::MAX]).unwrap(),
        checksums: random.bool(),
        best_effort: random.bool(),
        answer: random.bool(),
        released: random.u64(..),
        start: random.u64(..),
    });
    writer.push(random.i64(..), random.i32(..), &vec![random.u8(..); random.usize(..1000)]);
    writer.push(0, 0, b"");
    writer.finish()
}

fn ack(random: &mut fastrand::Rng) -> Vec<u8> {
    let status = random.choice([Status::Taken, Status::Gap, Status::Waiting, Status::Refused]).unwrap();
    let (source, sink) = ([random.u64(..), random.u64(..)], [random.u64(..), random.u64(..)]);
    Ack { status, source, sink, lane: random.u32(..), next: random.u64(..), words: "\u{1b}[31m go".to_owned() }.encode()
}

/// Cut, with changed bits, with more behind it, or random altogether.
fn spoiled(mut bytes: Vec<u8>, random: &mut fastrand::Rng) -> Vec<u8> {
    match random.u8(..4) {
        0 => bytes.truncate(random.usize(..bytes.len())),
        1 => {
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1_u8 << random.u8(..8);
        }
        2 => bytes.extend_from_slice(&[random.u8(..); 100]),
        _ => random.fill(&mut bytes),
    }
    bytes
}

#[test]
fn a_stream_comes_whole_whatever_somebody_else_sends_under_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let source = Buffer::create(folder.path().join("source"), 64 << 10).unwrap();
    let sink = Buffer::create(folder.path().join("sink"), 64 << 10).unwrap();
    let (near, far) = (endpoint(), endpoint());
    let out_network = network(&[&near], &[]);
    let in_network = network(&[&far], &[&near]);
    let hostile = network(&[], &[&near, &far]);
    let outgoing = Outgoing::new(&out_network, KEY, source.path(), OutOptions::default()).unwrap();
    let incoming = Incoming::new(&in_network, KEY, sink.path(), InOptions::default()).unwrap();
    let events = Mutex::new(Vec::new());
    let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let listener = |_: &str, event: Event| events.lock().unwrap().push(event);
    thread::scope(|scope| {
        let out = scope.spawn(|| outgoing.run(&stop, &listener));
        let incoming = scope.spawn(|| incoming.run(&stop, &listener));
        scope.spawn(|| {
            let mut producer = source.producer().unwrap();
            for id in 0..MESSAGES {
                producer.put_within(WATCHDOG, id, 0, &id.to_le_bytes()).unwrap();
            }
        });
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(7);
            let frames = hostile.publisher(KEY).unwrap();
            let acks = hostile.publisher(&acknowledgements(KEY)).unwrap();
            // What the two sides send, to be sent again when it is long past.
            let heard = |key: &str| {
                let (sender, heard) = std::sync::mpsc::sync_channel(100);
                let keep = move |sample: zenoh::sample::Sample| drop(sender.try_send(sample.payload().clone()));
                (hostile.subscriber(key, keep).unwrap(), heard)
            };
            let (_frames, past_frames) = heard(KEY);
            let (_acks, past_acks) = heard(&acknowledgements(KEY));
            let (mut old_frames, mut old_acks) = (Vec::new(), Vec::new());
            while !done.load(Relaxed) {
                for (past, old, publisher) in
                    [(&past_frames, &mut old_frames, &frames), (&past_acks, &mut old_acks, &acks)]
                {
                    if old.len() < 500 {
                        old.extend(past.try_iter());
                    }
                    if let Some(again) = random.choice(old.iter()) {
                        publisher.put(again.clone()).wait().unwrap();
                    }
                }
                let (frame, ack) = (frame(&mut random), ack(&mut random));
                frames.put(spoiled(frame, &mut random)).wait().unwrap();
                acks.put(spoiled(ack.clone(), &mut random)).wait().unwrap();
                acks.put(ack).wait().unwrap();
            }
        });
        let mut consumer = sink.consumer().unwrap();
        let started = Instant::now();
        let mut next = 0;
        let malformed =
            || events.lock().unwrap().iter().any(|event| matches!(event, Event::Malformed { frames: 64.., .. }));
        while next < MESSAGES || !malformed() {
            let drained = consumer.drain(1000, |message| {
                assert_eq!((message.id(), message.payload()), (next, next.to_le_bytes().as_slice()));
                next += 1;
                Flow::Continue
            });
            drained.unwrap();
            let ended = out.is_finished() || incoming.is_finished();
            if ended || started.elapsed() > WATCHDOG {
                done.store(true, Relaxed);
                stop.store(true, Relaxed);
                panic!("{next} messages came; {:?}", events.lock().unwrap());
            }
        }
        done.store(true, Relaxed);
        stop.store(true, Relaxed);
        let ends = [out.join().unwrap().unwrap(), incoming.join().unwrap().unwrap()];
        assert_eq!(ends[1].messages, MESSAGES as u64, "what was sent again was taken again");
        assert_eq!(ends.map(|totals| totals.dropped), [0, 0]);
        assert_eq!(next, MESSAGES);
    });
}

#[test]
fn whole_frames_of_a_stranger_are_refused_and_nothing_of_them_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let listen = endpoint();
    let in_network = network(&[&listen], &[]);
    let stranger = network(&[], &[&listen]);
    let mut random = fastrand::Rng::with_seed(8);
    for round in 0..8 {
        let (key, path) = (format!("{KEY}/{round}"), folder.path().join(round.to_string()));
        let options = InOptions { create: Some(4096), ..InOptions::default() };
        let incoming = Incoming::new(&in_network, &key, &path, options).unwrap();
        let stop = AtomicBool::new(false);
        let ended = thread::scope(|scope| {
            let incoming = scope.spawn(|| incoming.run(&stop, &|_, _| {}));
            let frame = frame(&mut random);
            let publisher = stranger.publisher(&key).unwrap();
            let answered = Arc::<AtomicBool>::default();
            let answer = answered.clone();
            let _acks = stranger.subscriber(&acknowledgements(&key), move |_| answer.store(true, Relaxed)).unwrap();
            let started = Instant::now();
            while !incoming.is_finished() && !answered.load(Relaxed) {
                assert!(started.elapsed() < WATCHDOG, "no answer");
                publisher.put(frame.clone()).wait().unwrap();
                thread::yield_now();
            }
            stop.store(true, Relaxed);
            incoming.join().unwrap()
        });
        if let Ok(ring) = Buffer::open(&path) {
            let info = ring.observer().info().unwrap();
            assert!(info.lanes.iter().all(|lane| lane.write_cursor == 0), "{ended:?}");
        }
    }
}
