//! `aether create`: a new ring.

use std::path::PathBuf;

use aether_ipc::{Buffer, Overflow};
use clap::{Args, ValueEnum};

use crate::{
    exit::{Exit, Result},
    frame::size_of_text,
};

const EXAMPLES: &str = "\
Examples:
  aether create /dev/shm/quotes --capacity 1MiB
  aether create bus --capacity 64KiB --producers 4 --consumers 8
  aether create log --capacity 16MiB --checksums --overflow drop-oldest";

/// Make a new ring
///
/// The whole file is made at once, so that a full disk is an error now and never one later. A file that is there
/// already is left as it is, and is an error.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    /// The file to make
    path: PathBuf,
    /// Bytes of data, of each lane: a power of two of at least 1KiB
    #[arg(long, value_name = "SIZE", value_parser = size_of_text)]
    capacity: u64,
    /// The plain format that older readers know: one producer, one consumer, up to 1GiB
    #[arg(long)]
    classic: bool,
    /// How many processes may produce, each with a lane of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    producers: u32,
    /// How many consumers there may be, each of which sees every message
    #[arg(long, value_name = "N", default_value_t = 1)]
    consumers: u32,
    /// What producers do when the ring is full
    #[arg(long, value_enum, default_value_t = WhenFull::Wait)]
    overflow: WhenFull,
    /// A CRC-32C for each message
    #[arg(long)]
    checksums: bool,
    /// Ids from one sequence that all producers share, in the order of arrival
    #[arg(long)]
    sequence: bool,
    /// Access rights of the file, in octal
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = mode_of_text)]
    mode: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum WhenFull {
    /// Wait for the slowest consumer
    Wait,
    /// Give up the oldest messages
    DropOldest,
}

fn mode_of_text(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|&mode| mode <= 0o777)
        .ok_or_else(|| "expected access rights in octal, from 000 to 777".to_owned())
}

pub(crate) fn run(args: &Create) -> Result {
    Buffer::options()
        .capacity(args.capacity)
        .classic(args.classic)
        .producers(args.producers)
        .consumers(args.consumers)
        .overflow(match args.overflow {
            WhenFull::Wait => Overflow::Wait,
            WhenFull::DropOldest => Overflow::DropOldest,
        })
        .checksums(args.checksums)
        .sequence(args.sequence)
        .mode(args.mode)
        .create_new(&args.path)?;
    Ok(Exit::Done)
}
