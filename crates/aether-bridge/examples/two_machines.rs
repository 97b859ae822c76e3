//! Both halves in one program, as they would run on two machines: what goes into one ring comes out of another.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use aether_bridge::{Endpoints, InOptions, Incoming, Network, OutOptions, Outgoing};
use aether_ipc::{Buffer, Flow};

const MESSAGES: i64 = 10_000;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let source = Buffer::create(&here, 1 << 20)?;
    let copy = Buffer::create(&there, 1 << 20)?;

    // A free port, so that this runs beside anything.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let this_side = Network::open(&Endpoints { listen: vec![endpoint.clone()], ..Endpoints::default() })?;
    let other_side = Network::open(&Endpoints { connect: vec![endpoint], ..Endpoints::default() })?;
    let outgoing = Outgoing::new(&this_side, "lab/numbers", &here, OutOptions::default())?;
    let incoming = Incoming::new(&other_side, "lab/numbers", &there, InOptions::default())?;

    let stop = AtomicBool::new(false);
    let tell = |key: &str, event| eprintln!("{key}: {event}");
    thread::scope(|scope| {
        let halves = [scope.spawn(|| outgoing.run(&stop, &tell)), scope.spawn(|| incoming.run(&stop, &tell))];
        scope.spawn(|| -> aether_ipc::Result<()> {
            let mut producer = source.producer()?;
            (0..MESSAGES).try_for_each(|id| producer.put(id, 0, &id.to_le_bytes()))
        });
        let mut consumer = copy.consumer()?;
        let mut next = 0;
        while next < MESSAGES {
            consumer.wait_within(Duration::from_secs(60))?;
            consumer.drain(1000, |message| {
                assert_eq!(message.id(), next);
                next += 1;
                Flow::Continue
            })?;
        }
        stop.store(true, Relaxed);
        for half in halves {
            half.join().map_err(|_| "a half has died")??;
        }
        println!("{next} messages came, in order, each once");
        Ok(())
    })
}
