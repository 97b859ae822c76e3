//! `aether verify` and `aether recover`: what is wrong in a ring, and how to go on.

use std::path::PathBuf;

use aether_ipc::recovery::{self, Strategy};
use clap::Args;
use serde::Serialize;

use crate::{
    exit::{Exit, Result},
    output,
};

const VERIFY_EXAMPLES: &str = "\
Examples:
  aether verify quotes && echo sound
  aether verify quotes --json | jq '.problems[].reason'";

const RECOVER_EXAMPLES: &str = "\
Examples:
  aether recover quotes --dry-run
  aether recover quotes --skip-to-write --backup /var/backups/quotes";

/// Check every message that waits in a ring
///
/// Exits with 3 if anything is wrong. It takes no role and needs read permission only.
#[derive(Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct Verify {
    /// The ring's file
    path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Repair a ring, giving up as little as can be
///
/// Says what it changes, keeps a copy of the file, then changes it. Nobody may produce or consume meanwhile. A header
/// that can't be believed can't be repaired: nothing says where the ring is.
#[derive(Args)]
#[command(after_help = RECOVER_EXAMPLES)]
pub(crate) struct Recover {
    /// The ring's file
    path: PathBuf,
    /// Give up all that waits, instead of only what comes from the first bad message on
    #[arg(long)]
    skip_to_write: bool,
    /// Where the copy goes; PATH.backup unless given
    #[arg(long, value_name = "COPY", conflicts_with = "dry_run")]
    backup: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Report {
    sound: bool,
    messages: u64,
    bytes: u64,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct Problem {
    lane: u32,
    /// The slot of the consumer whose cursor is wrong; null if a message is.
    consumer: Option<u32>,
    position: u64,
    reason: String,
}

pub(crate) fn verify(args: &Verify) -> Result {
    let report = recovery::verify(&args.path)?;
    let sound = report.problems.is_empty();
    if args.json {
        let problem = |problem: &recovery::Problem| Problem {
            lane: problem.lane,
            consumer: problem.consumer,
            position: problem.position,
            reason: problem.reason.to_string(),
        };
        let problems = report.problems.iter().map(problem).collect();
        output::json(&Report { sound, messages: report.messages, bytes: report.bytes, problems })?;
    } else {
        let verdict = if sound { "sound" } else { "not sound" };
        let mut text = format!("{verdict}: {} whole messages wait, {} bytes\n", report.messages, report.bytes);
        for problem in &report.problems {
            text += &format!("{problem}\n");
        }
        output::text(&text)?;
    }
    Ok(if sound { Exit::Done } else { Exit::Corrupt })
}

pub(crate) fn recover(args: &Recover) -> Result {
    let strategy = if args.skip_to_write { Strategy::SkipToWrite } else { Strategy::LastGood };
    let plan = recovery::plan(&args.path, strategy)?;
    if plan.changes().is_empty() {
        output::text("sound: nothing to repair\n")?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for change in plan.changes() {
        text += &format!("{change}\n");
    }
    let given_up = format!("{} bytes, in them {} whole messages", plan.bytes_given_up(), plan.messages_given_up());
    if args.dry_run {
        text += &format!("would give up {given_up}; nothing was changed\n");
        output::text(&text)?;
        return Ok(Exit::Done);
    }
    output::text(&text)?;
    let backup = args.backup.clone().unwrap_or_else(|| {
        let mut path = args.path.clone().into_os_string();
        path.push(".backup");
        path.into()
    });
    plan.apply(&backup)?;
    output::text(&format!("copied to {}; gave up {given_up}\n", backup.display()))?;
    Ok(Exit::Done)
}
