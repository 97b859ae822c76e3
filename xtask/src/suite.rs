//! `cargo xtask test`: every test there is, in this order. A new language adds its step here.

use std::path::Path;

use anyhow::{Context, Result};

use crate::steps::Step;

pub(crate) fn steps(root: &Path) -> Result<Vec<Step>> {
    let mut steps = vec![
        Step::new("rust", "cargo test --workspace"),
        Step::new("torture's checker", "cargo test --package xtask --features torture"),
    ];
    for example in examples(root)? {
        let command = format!("cargo run --quiet --package aether-ipc --example {example}");
        steps.push(Step::new(format!("example {example}"), command));
    }
    Ok(steps)
}

/// Every example ends by itself and exits with 0 when what it shows has worked.
fn examples(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("examples");
    let mut names = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into()));
        }
    }
    names.sort();
    Ok(names)
}
