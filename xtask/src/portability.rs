//! Type-checks for systems that cannot be run here. Debian's compiler comes with the source of the standard
//! library, so that it can build that for every target, without a download of one for each.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps::Step;

const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "binutils-mingw-w64-x86-64"];

const TARGETS: [&str; 3] = ["aarch64-apple-darwin", "x86_64-pc-windows-gnu", "aarch64-unknown-linux-gnu"];

pub(crate) fn steps(root: &Path) -> Result<Vec<Step>> {
    let mut steps = install()?;
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => std::path::absolute(folder)?,
        None => root.join("target"),
    };
    // A folder of its own: another compiler in the same one would have each of them build everything anew.
    let target = target.join("portability");
    let mut check = String::from(
        "/usr/bin/cargo check --keep-going -Zbuild-std=std,panic_abort --package aether-ipc --package aether-cli",
    );
    for triple in TARGETS {
        check += " --target ";
        check += triple;
    }
    let check = Step::new("portability", check)
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target.display().to_string())
        // Left by the cargo that runs this program; they belong to its own compiler.
        .unset(&["CARGO", "LD_LIBRARY_PATH", "RUSTC_WRAPPER", "RUSTDOC"]);
    steps.push(check);
    Ok(steps)
}

fn install() -> Result<Vec<Step>> {
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let missing = missing.join(" ");
    if !has("apt-get") {
        bail!(
            "needs the Debian packages {missing}; on another system, `rustup target add` and `cargo check --target` do for {}",
            TARGETS.join(", ")
        );
    }
    if !is_root()? {
        bail!("needs the Debian packages {missing}: sudo apt-get update && sudo apt-get install {missing}");
    }
    Ok(vec![
        Step::new("apt update", "apt-get update --quiet --quiet"),
        // Debian's plain `rustc` excludes `rustc-web`: better to fail than to remove what somebody uses.
        Step::new(
            "apt install",
            format!("apt-get install --quiet --quiet --yes --no-remove --no-install-recommends {missing}"),
        )
        .env("DEBIAN_FRONTEND", "noninteractive"),
    ])
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("could not run `id -u`")?;
    Ok(output.stdout.trim_ascii() == b"0")
}
