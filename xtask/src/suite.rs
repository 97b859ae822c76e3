//! `cargo xtask test`: every test there is, in this order. A new language adds its step here.

use std::path::Path;

use anyhow::{Context, Result};

use crate::debian;
use crate::steps::Step;

pub(crate) fn steps(root: &Path) -> Result<Vec<Step>> {
    let mut steps = c_tools()?;
    steps.extend([
        Step::new("rust", "cargo test --workspace --exclude aether-capi"),
        Step::new("torture's checker", "cargo test --package xtask --features torture"),
        Step::new("c", "cargo test --package aether-capi"),
    ]);
    for example in examples(root)? {
        let command = format!("cargo run --quiet --package aether-ipc --example {example}");
        steps.push(Step::new(format!("example {example}"), command));
    }
    Ok(steps)
}

/// What the tests of the C interface compile, link and check with. They know Linux's linker and loader; elsewhere only
/// those in Rust are run.
fn c_tools() -> Result<Vec<Step>> {
    if !cfg!(target_os = "linux") {
        return Ok(Vec::new());
    }
    const TOOLS: [(&str, &str); 5] =
        [("cc", "gcc"), ("c++", "g++"), ("cmake", "cmake"), ("pkg-config", "pkg-config"), ("valgrind", "valgrind")];
    let missing: Vec<&str> =
        TOOLS.into_iter().filter(|(program, _)| !debian::has(program)).map(|(_, package)| package).collect();
    debian::install(&missing, "its own packages of those names have the tools")
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
