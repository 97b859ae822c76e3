//! The project's own chores: `cargo xtask --help` lists them.

#[cfg(target_os = "linux")]
mod bench;
mod debian;
#[cfg(target_os = "linux")]
mod install;
mod instructions;
mod portability;
mod steps;
mod suite;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use steps::{Step, run};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run all the tests
    Test,
    /// Check formatting, lints and documentation
    Lint,
    /// Type-check the library and the command for macOS, Windows and arm64 Linux
    Portability,
    /// Kill producers and consumers at random moments, and check what is left; `torture --help` says more. With --bridge
    /// [--kills N], kill bridges and the link between them
    #[command(disable_help_flag = true)]
    Torture {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure `aether record`, or kill it again and again and check its journal; `recording --help` says more
    #[command(disable_help_flag = true)]
    Recording {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Count the instructions that a message costs, and compare them with the budget
    Instructions,
    /// Measure the Python package beside others; without arguments, write docs/python-benchmarks.md anew
    #[command(disable_help_flag = true)]
    BenchPython {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure everything beside other libraries, and write docs/performance.md
    #[cfg(target_os = "linux")]
    Bench(bench::Bench),
    /// Write the C header anew from the sources
    Header,
    /// Install the C library, its headers, and what pkg-config and CMake need to find them
    #[cfg(target_os = "linux")]
    Install {
        /// Where `lib` and `include` are, or are to be made
        #[arg(long)]
        prefix: PathBuf,
    },
    /// Everything that `.ci/run` runs
    Ci,
}

fn main() -> ExitCode {
    match chore(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore(chore: Chore) -> Result<()> {
    let root = root()?;
    match chore {
        Chore::Test => run(&root, &suite::steps(&root)?),
        Chore::Lint => run(&root, &lint()),
        Chore::Portability => run(&root, &portability::steps(&root)?),
        Chore::Torture { arguments } => run(&root, &[torture(&arguments)?]),
        Chore::Recording { arguments } => run(&root, &recording(&root, &arguments)?),
        Chore::Instructions => instructions::check(&root),
        Chore::BenchPython { arguments } => {
            let command = format!("bash bindings/python/bench.sh {}", arguments.join(" "));
            run(&root, &[Step::new("bench python", command)])
        }
        #[cfg(target_os = "linux")]
        Chore::Bench(args) => bench::bench(&root, &args),
        Chore::Header => run(&root, &[header()]),
        #[cfg(target_os = "linux")]
        Chore::Install { prefix } => install::install(&root, &prefix),
        Chore::Ci => run(&root, &[Step::new("ci", "bash .ci/run")]),
    }
}

fn lint() -> [Step; 9] {
    [
        Step::new("format", "cargo fmt --all --check").needs("cargo fmt --version", "rustup component add rustfmt"),
        Step::new("clippy", "cargo clippy --workspace --all-targets --features aether-cli/full -- -D warnings")
            .needs("cargo clippy --version", "rustup component add clippy"),
        Step::new(
            "clippy of torture",
            "cargo clippy --package xtask --all-targets --features aimed,counted,recording -- -D warnings",
        ),
        Step::new(
            "clippy of peers",
            "cargo clippy --package aether-bench --all-targets --features peers -- -D warnings",
        ),
        Step::new("clippy of plain builds", "cargo clippy --package aether-cli --all-targets -- -D warnings"),
        Step::new(
            "clippy of async and events",
            "cargo clippy --package aether-ipc --all-targets --features tokio,tracing -- -D warnings",
        ),
        Step::new("format of python", "cargo fmt --manifest-path bindings/python/Cargo.toml --check"),
        Step::new(
            "clippy of python",
            "cargo clippy --manifest-path bindings/python/Cargo.toml --all-targets -- -D warnings",
        )
        // Nothing is linked: no Python is needed.
        .env("PYO3_NO_PYTHON", "1")
        .env("PYO3_BUILD_EXTENSION_MODULE", "1"),
        Step::new(
            "doc",
            "cargo doc --workspace --no-deps --features aether-ipc/tokio,aether-ipc/tracing,aether-cli/full",
        )
        .env("RUSTDOCFLAGS", "-D warnings"),
    ]
}

/// A program of its own: only with `--aimed` is it built with the steps to die at; otherwise the library is the one that
/// users get.
fn torture(arguments: &[String]) -> Result<Step> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments.contains(&"--bridge") {
        return torture_of_bridges(&arguments);
    }
    let feature = if arguments.contains(&"--aimed") { "aimed" } else { "torture" };
    let build = format!("cargo run --quiet --release --package xtask --features {feature} --bin torture");
    Ok(Step::new("torture", format!("{build} -- {}", arguments.join(" "))))
}

/// Tests of the suite, which kills less often. They build what the suite has built.
fn torture_of_bridges(arguments: &[&str]) -> Result<Step> {
    let kills: u64 = match arguments {
        ["--bridge"] => 300,
        ["--bridge", "--kills", kills] | ["--kills", kills, "--bridge"] => kills.parse().context("--kills N")?,
        _ => anyhow::bail!("with --bridge there is --kills N, and nothing else"),
    };
    let features = "--workspace --exclude aether-capi --features aether-cli/full";
    let command = format!("cargo test {features} --test command -- bridge::kills --nocapture --test-threads 1");
    Ok(Step::new("torture of bridges", command).env("AETHER_BRIDGE_KILLS", kills.to_string()))
}

/// Another program that runs the released command, which is built first.
fn recording(root: &Path, arguments: &[String]) -> Result<[Step; 2]> {
    let aether = target_folder(root)?.join("release/aether");
    let run = "cargo run --quiet --release --package xtask --features recording --bin recording";
    Ok([
        Step::new("command", "cargo build --quiet --release --package aether-cli --features operations"),
        Step::new("recording", format!("{run} -- --aether {} {}", aether.display(), arguments.join(" "))),
    ])
}

/// The test that compares the committed header with the sources writes it when asked to.
fn header() -> Step {
    Step::new("header", "cargo test --quiet --package aether-capi --test header").env("AETHER_WRITE_HEADER", "1")
}

/// Cargo tells it at run time, so that a checkout that was moved still finds itself.
fn root() -> Result<PathBuf> {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR is not set: run it as `cargo xtask`")?;
    let root = PathBuf::from(manifest);
    Ok(root.parent().context("xtask has no parent folder")?.to_owned())
}

/// Where cargo puts what it builds.
fn target_folder(root: &Path) -> Result<PathBuf> {
    Ok(match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(folder)?,
        None => root.join("target"),
    })
}
