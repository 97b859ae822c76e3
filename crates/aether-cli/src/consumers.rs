//! `aether consumers`: who reads a ring, who holds back whom, and letting go of one.

use std::path::PathBuf;

use aether_ipc::{Buffer, ConsumerInfo, Observer};
use clap::Args;
use serde::Serialize;

use crate::{
    exit::{Exit, Result},
    info::holder,
    output,
};

const EXAMPLES: &str = "\
Examples:
  aether consumers bus
  aether consumers bus --forget audit";

/// List the consumers of a ring, or give up the place of one
///
/// A durable consumer that is away holds producers back when the ring is full; `lag` says by how many bytes each one
/// is behind. Giving up its place lets the producers go on, and the messages that it had not read are lost to it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Consumers {
    /// The ring's file
    path: PathBuf,
    /// Give up the place of the durable consumer of this name, which must not be there now
    #[arg(long, value_name = "NAME")]
    forget: Option<String>,
    /// Print one JSON object a line
    #[arg(long, conflicts_with = "forget")]
    json: bool,
}

#[derive(Serialize)]
pub(crate) struct Report<'a> {
    slot: u32,
    name: Option<&'a str>,
    durable: bool,
    consumer_pid: Option<u32>,
    read_cursors: &'a [u64],
    lag: u64,
}

impl<'a> Report<'a> {
    pub(crate) fn new(info: &'a ConsumerInfo) -> Report<'a> {
        Report {
            slot: info.slot,
            name: info.name.as_deref(),
            durable: info.durable,
            consumer_pid: info.holder,
            read_cursors: &info.read_cursors,
            lag: info.lag,
        }
    }
}

pub(crate) fn run(args: &Consumers) -> Result {
    if let Some(name) = &args.forget {
        Buffer::open(&args.path)?.forget(name)?;
        return Ok(Exit::Done);
    }
    let info = Observer::open(&args.path)?.info()?;
    for consumer in &info.consumers {
        if args.json {
            output::json(&Report::new(consumer))?;
        } else {
            output::text(&format!("{}\n", in_words(consumer)))?;
        }
    }
    Ok(Exit::Done)
}

pub(crate) fn in_words(consumer: &ConsumerInfo) -> String {
    let name = consumer.name.as_ref().map_or(String::new(), |name| format!(" {name:?}"));
    let durable = if consumer.durable { "durable" } else { "counts while it lives" };
    let (slot, lag, holder) = (consumer.slot, consumer.lag, holder(consumer.holder));
    format!("slot {slot}{name}: {lag} bytes behind, {durable}, {holder}")
}
