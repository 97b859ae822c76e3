//! Packages of Debian, for steps that need more than Rust.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps::Step;

/// The steps that install what is missing, if this may; otherwise an error that says how to get it. `elsewhere` is what
/// to do on another system.
pub(crate) fn install(missing: &[&str], elsewhere: &str) -> Result<Vec<Step>> {
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let missing = missing.join(" ");
    if !has("apt-get") {
        bail!("needs the Debian packages {missing}; on another system, {elsewhere}");
    }
    if !is_root()? {
        bail!("needs the Debian packages {missing}: sudo apt-get update && sudo apt-get install {missing}");
    }
    Ok(vec![
        Step::new("apt update", "apt-get update --quiet --quiet"),
        // Better to fail than to remove what somebody uses.
        Step::new(
            "apt install",
            format!("apt-get install --quiet --quiet --yes --no-remove --no-install-recommends {missing}"),
        )
        .env("DEBIAN_FRONTEND", "noninteractive"),
    ])
}

pub(crate) fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

pub(crate) fn has(program: &str) -> bool {
    // `ip` knows the short one only.
    let answers = |option| Command::new(program).arg(option).output().is_ok_and(|output| output.status.success());
    answers("--version") || answers("-V")
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("could not run `id -u`")?;
    Ok(output.stdout.trim_ascii() == b"0")
}
