//! Type-checks for systems that cannot be run here. Debian's compiler comes with the source of the standard
//! library, so that it can build that for every target, without a download of one for each.

use std::path::Path;

use anyhow::Result;

use crate::steps::Step;
use crate::{debian, target_folder};

const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "binutils-mingw-w64-x86-64"];

const TARGETS: [&str; 3] = ["aarch64-apple-darwin", "x86_64-pc-windows-gnu", "aarch64-unknown-linux-gnu"];

pub(crate) fn steps(root: &Path) -> Result<Vec<Step>> {
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|package| !debian::is_installed(package)).collect();
    let elsewhere = format!("`rustup target add` and `cargo check --target` do for {}", TARGETS.join(", "));
    // Debian's plain `rustc` excludes `rustc-web`.
    let mut steps = debian::install(&missing, &elsewhere)?;
    // A folder of its own: another compiler in the same one would have each of them build everything anew.
    let target = target_folder(root)?.join("portability");
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
