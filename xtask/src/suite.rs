//! `cargo xtask test`: every test there is, in this order. A new language adds its step here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::steps::Step;
use crate::{debian, target_folder};

pub(crate) fn steps(root: &Path) -> Result<Vec<Step>> {
    let mut steps = tools()?;
    steps.extend(python_tools(root)?);
    steps.extend([
        Step::new("rust", "cargo test --workspace --exclude aether-capi --features aether-cli/full"),
        // With the command that the first step has built: a later one builds it without what takes larger libraries.
        Step::new("python", "bash bindings/python/test.sh")
            .env("AETHER_COMMAND", target_folder(root)?.join("debug/aether").display().to_string()),
        Step::new("peers of the benchmarks", "cargo test --package aether-bench --features peers"),
        Step::new("rust async and events", "cargo test --package aether-ipc --features tokio,tracing"),
        Step::new("torture's checker", "cargo test --package xtask --features torture"),
        Step::new("c", "cargo test --package aether-capi"),
    ]);
    for (package, example) in examples(root)? {
        let command = format!("cargo run --quiet --package {package} --example {example}");
        steps.push(Step::new(format!("example {example}"), command));
    }
    steps.extend(java_tools()?);
    steps.push(Step::new("java", "bash bindings/java/test.sh"));
    Ok(steps)
}

/// What the tests of the C interface compile, link and check with, the browser that shows the page of `aether
/// metrics`, what makes network namespaces, and the server that the benchmarks compare with. They know Linux's linker and
/// loader; elsewhere only those in Rust are run.
fn tools() -> Result<Vec<Step>> {
    if !cfg!(target_os = "linux") {
        return Ok(Vec::new());
    }
    const TOOLS: [(&str, &str); 8] = [
        ("cc", "gcc"),
        ("c++", "g++"),
        ("cmake", "cmake"),
        ("pkg-config", "pkg-config"),
        ("valgrind", "valgrind"),
        ("ip", "iproute2"),
        ("chromium-headless-shell", "chromium-headless-shell"),
        ("redis-server", "redis-server"),
    ];
    let missing: Vec<&str> =
        TOOLS.into_iter().filter(|(program, _)| !debian::has(program)).map(|(_, package)| package).collect();
    debian::install(&missing, "its own packages of those names have the tools")
}

/// A Python for the tests of its package, which bring all else that they need.
fn python_tools(root: &Path) -> Result<Vec<Step>> {
    let found = Command::new("bash").arg("bindings/python/find-python.sh").current_dir(root).output();
    let missing: &[&str] = if found.is_ok_and(|output| output.status.success()) { &[] } else { &["python3-venv"] };
    debian::install(missing, "set PYTHON to a Python 3.11 or newer")
}

/// Maven, which itself runs on any JDK, and one that has foreign memory, where Maven looks for it.
fn java_tools() -> Result<Vec<Step>> {
    let mut missing = Vec::new();
    if !debian::has("mvn") {
        missing.push("maven");
    }
    let mut homes: Vec<PathBuf> = env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().collect();
    let user = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let folders = ["/usr/lib/jvm".into(), "/opt/java".into(), user.join(".jdks"), user.join(".sdkman/candidates/java")];
    for folder in folders {
        homes.extend(fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    if cfg!(target_os = "linux") && !homes.iter().any(|home| java_version(home) >= 22) {
        missing.push("openjdk-25-jdk-headless");
    }
    debian::install(
        &missing,
        "get Maven from https://maven.apache.org and a JDK 22 or newer, and set JAVA_HOME to that",
    )
}

/// 0 if there is no JDK.
fn java_version(home: &Path) -> u32 {
    let output = Command::new(home.join("bin/javac")).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = text.strip_prefix("javac ").and_then(|version| version.split(['.', '-', '\n']).next());
    major.and_then(|major| major.trim().parse().ok()).unwrap_or(0)
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
