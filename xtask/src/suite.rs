//! `cargo xtask test`: every test there is, in this order. A new language adds its step here.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::steps::Step;

pub(crate) fn steps(root: &Path) -> Result<Vec<Step>> {
    let mut steps = vec![
        Step::new("rust", "cargo test --workspace"),
        Step::new("torture's checker", "cargo test --package xtask --features torture"),
    ];
    for (package, example) in examples(root)? {
        let command = format!("cargo run --quiet --package {package} --example {example}");
        steps.push(Step::new(format!("example {example}"), command));
    }
    Ok(steps)
}

/// Every example of the workspace: it ends by itself, with 0 if what it shows has worked.
fn examples(root: &Path) -> Result<Vec<(String, String)>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(root)
        .output()
        .context("could not run `cargo metadata`")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let mut examples = Vec::new();
    for package in items(&metadata, "packages") {
        for target in items(package, "targets") {
            if items(target, "kind").any(|kind| kind == "example") {
                examples.push((text(package, "name")?, text(target, "name")?));
            }
        }
    }
    Ok(examples)
}

fn items<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value[field].as_array().into_iter().flatten()
}

fn text(value: &Value, field: &str) -> Result<String> {
    let text = value[field].as_str().with_context(|| format!("`cargo metadata` gave no {field}"))?;
    Ok(text.to_owned())
}
