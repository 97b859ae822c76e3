//! `cargo xtask bench`: measures everything, peers too, and writes the page about it.

use std::path::Path;

use anyhow::Result;

use crate::steps::{Step, run};
use crate::{debian, target_folder};

const DOCS: &str = "docs";

#[derive(clap::Args)]
pub(crate) struct Bench {
    /// As short as can be, in a debug build, nothing written: whether every peer works
    #[arg(long)]
    quick: bool,
    /// Measure nothing, make the page anew from the report that is there
    #[arg(long, conflicts_with = "quick")]
    page: bool,
    /// Only measures, or ways, that are called like that; nothing is written
    #[arg(value_name = "TEXT")]
    only: Vec<String>,
}

pub(crate) fn bench(root: &Path, args: &Bench) -> Result<()> {
    if args.page {
        return run(root, &[page()]);
    }
    let mut steps = tools()?;
    let profile = if args.quick { "" } else { "--release " };
    let build = format!("{profile}--package aether-bench --features peers --bin peers");
    steps.push(Step::new("build", format!("cargo build {build}")));
    let program = target_folder(root)?.join(if args.quick { "debug/peers" } else { "release/peers" });
    let mut measure = program.display().to_string();
    if args.quick {
        measure += " --quick";
    } else if args.only.is_empty() {
        measure += &format!(" --docs {DOCS}");
    }
    for text in &args.only {
        measure += &format!(" {text}");
    }
    steps.push(Step::new("measure", measure));
    run(root, &steps)
}

/// The server of Redis. Debian would start it, and stop at what it does not know.
pub(crate) fn tools() -> Result<Vec<Step>> {
    let missing: &[&str] = if debian::has("redis-server") { &[] } else { &["redis-server"] };
    debian::install(missing, "its own package has it")
}

/// The test that compares the page with the report writes it when asked to.
fn page() -> Step {
    Step::new("page", "cargo test --quiet --package aether-bench --test page").env("AETHER_WRITE_PAGE", "1")
}
