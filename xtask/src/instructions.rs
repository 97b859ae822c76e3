//! `cargo xtask instructions`: what a message costs, in instructions, against the committed budget. Valgrind's count does not
//! depend on what else the machine does, so that a change can be held to it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::steps::{Step, run};
use crate::{debian, target_folder};

/// Instructions a message of eight bytes, by operation.
const BUDGET: &str = "xtask/src/instructions/budget.json";
/// As in `counted.rs`.
const MESSAGES: u64 = 1_000;
/// What another compiler may add.
const SLACK: f64 = 1.1;

pub(crate) fn check(root: &Path) -> Result<()> {
    let mut steps = Vec::new();
    if !debian::has("valgrind") {
        steps = debian::install(&["valgrind"], "its own package of that name has it")?;
    }
    steps.push(Step::new("counted", "cargo build --release --package xtask --features counted --bin counted"));
    run(root, &steps)?;
    let path = root.join(BUDGET);
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let budget: Map<String, Value> = serde_json::from_str(&text).with_context(|| format!("{BUDGET} is no object"))?;
    let program = target_folder(root)?.join("release/counted");
    let mut over = Vec::new();
    println!("{:<10} {:>12} {:>8}", "operation", "instructions", "budget");
    for (operation, allowed) in &budget {
        let allowed = allowed.as_f64().with_context(|| format!("{BUDGET}: {operation} is no number"))?;
        let found = count(&program, operation)? as f64 / MESSAGES as f64;
        println!("{operation:<10} {found:>12.1} {allowed:>8}");
        if found > allowed * SLACK {
            over.push(format!(
                "{operation}: {found:.1} instructions a message, at most {allowed} (and a tenth) wanted"
            ));
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    bail!("{}; make it leaner, or say in {BUDGET} why it can't be", over.join("; "))
}

fn count(program: &Path, operation: &str) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_*"])
        .arg(program)
        .arg(operation)
        .output()
        .context("could not run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed on `counted {operation}`:\n{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    let collected = collected.with_context(|| format!("valgrind counted nothing:\n{said}"))?;
    ensure!(collected > MESSAGES, "valgrind counted {collected} instructions alone: the functions were not found");
    Ok(collected)
}
