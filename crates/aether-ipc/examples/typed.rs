//! Values as they are in memory: offered as a whole, read in place.

use std::error::Error;

use aether_ipc::{Buffer, Flow};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
struct Quote {
    bid: f64,
    ask: f64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
struct Trade {
    price: f64,
    quantity: u32,
    venue: u32,
}

// The type of a message says which value it holds.
const QUOTE: i32 = 1;
const TRADE: i32 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let buffer = Buffer::create(folder.path().join("market"), 1 << 16)?;
    let mut producer = buffer.producer()?;
    producer.offer_all(1, QUOTE, &[Quote { bid: 9.5, ask: 10.0 }, Quote { bid: 9.75, ask: 10.25 }])?;
    producer.offer_value(3, TRADE, &Trade { price: 10.0, quantity: 300, venue: 4 })?;

    let (mut quotes, mut traded) = (Vec::new(), 0.0);
    buffer.consumer()?.drain(10, |message| {
        match message.message_type() {
            // The size is checked; a payload of another size is an error, not a value.
            QUOTE => quotes.extend(message.value::<Quote>().copied()),
            TRADE => traded += message.value::<Trade>().map_or(0.0, |trade| trade.price * f64::from(trade.quantity)),
            other => println!("skipped a message of type {other}"),
        }
        Flow::Continue
    })?;
    println!("{quotes:?}, traded {traded}");
    assert_eq!(quotes, [Quote { bid: 9.5, ask: 10.0 }, Quote { bid: 9.75, ask: 10.25 }]);
    assert_eq!(traded, 3000.0);
    Ok(())
}
