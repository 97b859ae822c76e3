//! Many in, one out, to many: clients send orders, a sequencer puts them into one order, and all followers see that.

use std::{error::Error, thread};

use aether_ipc::{Buffer, Flow, Merge, Result};

const CLIENTS: u32 = 3;
const FOLLOWERS: u32 = 2;
const ORDERS: i64 = 5_000;
const ALL: i64 = ORDERS * CLIENTS as i64;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    // Each client has a lane of its own; a shared sequence numbers the orders as they come.
    let inbox =
        Buffer::options().capacity(1 << 14).producers(CLIENTS).sequence(true).create(folder.path().join("in"))?;
    // Each follower has a place of its own; the sequencer waits for the slowest.
    let outbox = Buffer::options().capacity(1 << 14).consumers(FOLLOWERS).create(folder.path().join("out"))?;

    let clients: Vec<_> = (0..CLIENTS).map(|_| inbox.producer()).collect::<Result<_>>()?;
    let followers: Vec<_> = (0..FOLLOWERS).map(|_| outbox.consumer()).collect::<Result<_>>()?;
    let (mut sequencer, mut publisher) = (inbox.consumer()?, outbox.producer()?);
    sequencer.set_merge(Merge::ById);
    // Should the other side end early, waiting for it is an error.
    sequencer.require_producer(true);

    thread::scope(|scope| {
        let mut working = Vec::new();
        for (client, mut producer) in clients.into_iter().enumerate() {
            // The ids are the sequence's, whatever is given here.
            let mut send = move |order: i64| producer.put(0, client as i32, &order.to_le_bytes());
            working.push(scope.spawn(move || (0..ORDERS).try_for_each(&mut send)));
        }
        working.push(scope.spawn(move || -> Result<()> {
            while sequencer.received() < ALL as u64 {
                sequencer.wait()?;
                for order in &sequencer.batch(100)? {
                    publisher.put(order.id(), order.message_type(), order.payload())?;
                }
            }
            Ok(())
        }));
        let following: Vec<_> = followers
            .into_iter()
            .map(|mut consumer| {
                consumer.require_producer(true);
                scope.spawn(move || -> Result<Vec<(i32, i64)>> {
                    let mut seen = Vec::new();
                    while seen.len() < ALL as usize {
                        consumer.wait()?;
                        consumer.drain(100, |order| {
                            assert_eq!(order.id(), seen.len() as i64, "no number is missing");
                            let number = order.value::<[u8; 8]>().map_or(-1, |bytes| i64::from_le_bytes(*bytes));
                            seen.push((order.message_type(), number));
                            Flow::Continue
                        })?;
                    }
                    Ok(seen)
                })
            })
            .collect();

        for worker in working {
            worker.join().expect("no worker panics")?;
        }
        let mut orders = Vec::new();
        for follower in following {
            orders.push(follower.join().expect("no follower panics")?);
        }
        assert!(orders.iter().all(|seen| *seen == orders[0]), "all followers see the same order");
        for client in 0..CLIENTS as i32 {
            let own: Vec<i64> = orders[0].iter().filter(|(from, _)| *from == client).map(|&(_, order)| order).collect();
            assert!(own.iter().copied().eq(0..ORDERS), "each client's orders stay in order");
        }
        println!("{ALL} orders of {CLIENTS} clients, in one order for {FOLLOWERS} followers");
        Ok(())
    })
}
