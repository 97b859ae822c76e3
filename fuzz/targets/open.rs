//! Any file at all: opening it, and doing with it whatever that allows.

use aether_ipc::{
    Buffer, Error, Flow, Observer,
    recovery::{self, Strategy},
};

use super::{Input, Memory, touch};

const HEADER: u64 = 0x100;
const DATA: u64 = 64 << 10;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let size = match choice % 8 {
        0 => data.len() as u64,
        1 => 0x180 + 1024,
        2 => DATA + 1024,
        3 => 2 * DATA + 1024,
        4 => 3 * DATA + 4096,
        5 => DATA,
        6 => 0x180,
        _ => u64::from(input.byte()) << 8,
    };
    let memory = Memory::new(size);
    memory.write(0, input.bytes(0x800));
    memory.write(if choice & 0x40 == 0 { DATA } else { 0x180 }, input.bytes(4096));
    // Few inputs would get past a checksum by chance.
    if choice & 0x80 != 0 && size >= 0x180 {
        let checksum = crc32c(&memory.read(HEADER + 4, 0x78));
        memory.write(0x17C, &checksum.to_le_bytes());
    }
    let path = memory.path();
    let opened = Buffer::open(&path);
    assert_eq!(opened.is_ok(), Observer::open(&path).is_ok(), "one check for both");
    let verified = recovery::verify(&path);
    let buffer = match (opened, verified) {
        (Ok(buffer), Ok(_)) => buffer,
        (Err(error), Err(_)) => {
            assert!(
                matches!(error, Error::NotARing { .. } | Error::Version { .. } | Error::Truncated { .. }),
                "{error:?}"
            );
            assert!(recovery::plan(&path, Strategy::LastGood).is_err());
            return;
        }
        (opened, verified) => panic!("{opened:?}, but {verified:?}"),
    };
    let observer = buffer.observer();
    let _ = observer.info().unwrap();
    let look = |message: aether_ipc::Message<'_>| {
        touch(&message);
        Flow::Continue
    };
    let _ = observer.peek(1000, look);
    let mut tail = observer.tail_from_oldest();
    let _ = tail.poll(1000, look);
    for strategy in [Strategy::LastGood, Strategy::SkipToWrite] {
        let _ = recovery::plan(&path, strategy).unwrap();
    }
    let named = buffer.consumer_named("audit").map(|mut consumer| consumer.drain(1000, look));
    let _ = (named, buffer.forget("audit"));
    if let Ok(mut producer) = buffer.producer() {
        for id in 0..4 {
            let _ = producer.offer(id, 0, &[7; 100]);
        }
    }
    if let Ok(mut consumer) = buffer.consumer() {
        let _ = consumer.drain(1000, look);
        consumer.set_untrusted(true);
        let _ = consumer.drain(1000, look);
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 })
    })
}
