//! `aether journal prune`: old files of a journal are removed.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aether_journal::{Keep, prune, superfluous};
use clap::Args;
use serde_json::json;

use super::nanoseconds;
use crate::{
    exit::{Exit, Failure, Result},
    frame::size_of_text,
    output,
};

const EXAMPLES: &str = "\
Examples:
  aether journal prune quotes.journal --keep-size 10GiB --dry-run
  aether journal prune quotes.journal --keep-for 7d";

/// Remove the oldest files of a journal that was rolled
///
/// Files are removed whole, the oldest first, and the last one never, so that recording and reading go on. `record` does
/// the same with the same options whenever it begins a file.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Prune {
    /// The journal
    file: PathBuf,
    #[command(flatten)]
    keep: Kept,
    /// Only say which files would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Copy)]
pub(super) struct Kept {
    /// Keep as many of the newest files as take no more than this together
    #[arg(long, value_name = "SIZE", value_parser = size_of_text)]
    keep_size: Option<u64>,
    /// Keep files whose last message is no older than this
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    keep_for: Option<Duration>,
}

impl Kept {
    /// `None` if all is kept.
    pub(super) fn limits(&self) -> Option<Keep> {
        let keep = Keep { bytes: self.keep_size, age: self.keep_for };
        (keep != Keep::default()).then_some(keep)
    }
}

pub(super) fn run(args: &Prune) -> Result {
    let Some(keep) = args.keep.limits() else {
        return Err(Failure::Usage("say what to keep: --keep-size, --keep-for, or both".to_owned()));
    };
    // A journal that is not there is an error, not one without old files.
    aether_journal::Reader::open(&args.file)?;
    let now = nanoseconds(SystemTime::now());
    let paths = if args.dry_run { superfluous(&args.file, &keep, now)? } else { prune(&args.file, &keep, now)? };
    let names: Vec<String> = paths.iter().map(|path| Path::display(path).to_string()).collect();
    match args.json {
        true => output::json(&json!({ "removed": names, "dry_run": args.dry_run }))?,
        false => output::text(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?,
    }
    Ok(Exit::Done)
}
