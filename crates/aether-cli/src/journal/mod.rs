//! `aether journal`: what a journal holds, whether it is sound, and its messages for other programs.

mod export;
pub(crate) mod record;
pub(crate) mod replay;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aether_journal::{Error, Problem, Reader, Segment};
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use serde::Serialize;

use crate::{
    exit::{Exit, Result},
    output,
};

const EXAMPLES: &str = "\
Examples:
  aether journal info quotes.journal
  aether journal verify quotes.journal && echo sound
  aether journal export quotes.journal -o quotes.parquet --from-time 2026-01-31T09:30:00Z";

/// Look into a journal that `aether record` has written, check it, or export its messages
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Journal {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Info(Info),
    Verify(Verify),
    Export(export::Export),
}

/// Show its files: how many messages, which ids, from when to when
///
/// That is what the indexes and the headers of blocks say; `verify` reads the messages themselves. It also works while
/// the journal is being recorded.
#[derive(Args)]
#[command(after_help = "Examples:\n  aether journal info quotes.journal --json | jq .messages")]
struct Info {
    /// The journal
    file: PathBuf,
    /// Print one JSON object for each file
    #[arg(long)]
    json: bool,
}

/// Read and check all of it
///
/// Every checksum, every record, and that the messages of each lane follow each other. Messages that passed through the
/// ring without being recorded are counted, and no damage; nor is a block at the end that was torn when the recorder was
/// killed: what it held is still in the ring. Exits with 3 if anything can't be believed.
#[derive(Args)]
#[command(after_help = "Examples:\n  aether journal verify quotes.journal --json | jq .problems")]
struct Verify {
    /// The journal
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Where to start reading, and what to do about damage.
#[derive(Args)]
struct Selection {
    /// Start with the first message whose id is at least this
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    from: Option<i64>,
    /// Start with the first message recorded at this time or later, such as 2026-01-31T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak, conflicts_with = "from")]
    from_time: Option<SystemTime>,
    /// Leave out blocks that can't be believed, and say where they are, instead of ending there
    #[arg(long)]
    skip_damaged: bool,
}

impl Selection {
    /// The journal, at the first message that was asked for. Whether there is one.
    fn open(&self, file: &PathBuf) -> Result<(Reader, bool)> {
        let mut reader = Reader::open(file)?;
        reader.skip_damaged(self.skip_damaged);
        let found = match (self.from, self.from_time) {
            (Some(id), _) => reader.seek_id(id)?,
            (None, Some(time)) => reader.seek_time(nanoseconds(time))?,
            (None, None) => true,
        };
        Ok((reader, found))
    }
}

fn say_skipped(reader: &Reader) {
    for problem in reader.skipped() {
        eprintln!("aether: left out: {}", in_words(problem));
    }
}

/// Since 1970; 0 for what is before, and the most for what is beyond 2554.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn time_in_words(nanoseconds: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string()
}

fn in_words(problem: &Problem) -> String {
    let Problem { path, offset, damage } = problem.clone();
    Error::Corrupt { path, offset, damage }.to_string()
}

#[derive(Serialize)]
struct FileReport {
    path: String,
    messages: u64,
    blocks: usize,
    bytes: u64,
    first_time: Option<String>,
    last_time: Option<String>,
    min_id: Option<i64>,
    max_id: Option<i64>,
    /// Whether it ends with an index.
    sealed: bool,
    torn_bytes: u64,
}

impl FileReport {
    fn new(segment: &Segment) -> FileReport {
        FileReport {
            path: segment.path().display().to_string(),
            messages: segment.messages(),
            blocks: segment.blocks(),
            bytes: segment.bytes(),
            first_time: segment.times().map(|(first, _)| time_in_words(first)),
            last_time: segment.times().map(|(_, last)| time_in_words(last)),
            min_id: segment.ids().map(|(min, _)| min),
            max_id: segment.ids().map(|(_, max)| max),
            sealed: segment.is_sealed(),
            torn_bytes: segment.torn(),
        }
    }

    fn in_words(&self) -> String {
        let mut words = format!("{}: {} messages in {}", self.path, self.messages, HumanBytes(self.bytes));
        if let (Some(min), Some(max)) = (self.min_id, self.max_id) {
            words += &format!(", ids {min} to {max}");
        }
        if let (Some(first), Some(last)) = (&self.first_time, &self.last_time) {
            words += &format!(", {first} to {last}");
        }
        words += if self.sealed { ", with index" } else { ", no index yet" };
        if self.torn_bytes > 0 {
            words += &format!(", {} bytes at the end are torn or being written", self.torn_bytes);
        }
        words + "\n"
    }
}

#[derive(Serialize)]
struct VerifyReport {
    segments: usize,
    blocks: usize,
    messages: u64,
    payload_bytes: u64,
    gaps: u64,
    missing_bytes: u64,
    torn_bytes: u64,
    problems: Vec<String>,
}

pub(crate) fn run(args: &Journal) -> Result {
    match &args.action {
        Action::Info(args) => info(args),
        Action::Verify(args) => verify(args),
        Action::Export(args) => export::run(args),
    }
}

fn info(args: &Info) -> Result {
    for segment in Reader::open(&args.file)?.segments() {
        let report = FileReport::new(segment);
        match args.json {
            true => output::json(&report)?,
            false => output::text(&report.in_words())?,
        }
    }
    Ok(Exit::Done)
}

fn verify(args: &Verify) -> Result {
    let report = aether_journal::verify(&args.file)?;
    let report = VerifyReport {
        segments: report.segments,
        blocks: report.blocks,
        messages: report.messages,
        payload_bytes: report.payload_bytes,
        gaps: report.gaps,
        missing_bytes: report.missing_bytes,
        torn_bytes: report.torn_bytes,
        problems: report.problems.iter().map(in_words).collect(),
    };
    if args.json {
        output::json(&report)?;
    } else {
        let VerifyReport { segments, blocks, messages, gaps, missing_bytes, torn_bytes, .. } = report;
        let mut words = format!("{messages} messages in {blocks} blocks of {segments} files\n");
        if gaps > 0 {
            words += &format!("{gaps} gaps: {missing_bytes} bytes passed through the ring without being recorded\n");
        }
        if torn_bytes > 0 {
            words +=
                &format!("{torn_bytes} bytes at the end are torn or being written; nothing in them was committed\n");
        }
        output::text(&words)?;
        for problem in &report.problems {
            eprintln!("aether: {problem}");
        }
    }
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Corrupt })
}
