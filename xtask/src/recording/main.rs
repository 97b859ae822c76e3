//! `cargo xtask recording`: how fast `aether record` is, and what its journal holds after it was killed again and again.

mod kills;
mod process;
mod speed;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures `aether record`, or kills it and checks its journal
#[derive(Parser)]
#[command(name = "cargo xtask recording", bin_name = "cargo xtask recording")]
struct Cli {
    /// The command to try; the chore builds it
    #[arg(long, global = true, default_value = "target/release/aether")]
    aether: PathBuf,
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// How many bytes a second it records, for several sizes of messages and ways of compression
    Speed(speed::Speed),
    /// Kill recorders and readers at random moments; the journal must have each message once, readers must miss none
    Kills(kills::Kills),
    #[command(hide = true)]
    Fill(speed::Fill),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done: Result<()> = match &cli.job {
        Job::Speed(args) => speed::run(&cli.aether, args),
        Job::Kills(args) => kills::run(&cli.aether, args),
        Job::Fill(args) => speed::fill(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recording: {error:#}");
            ExitCode::FAILURE
        }
    }
}
