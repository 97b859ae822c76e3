//! `cargo xtask install`: the C library and its headers, and what pkg-config and CMake need to find them, where Linux
//! looks for them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::steps::{Step, run};
use crate::target_folder;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The number in the name by which programs find the library: `AETHER_ABI` of the header.
const ABI: &str = "0";

pub(crate) fn install(root: &Path, prefix: &Path) -> Result<()> {
    let prefix = std::path::absolute(prefix)?;
    run(root, &[Step::new("build", "cargo build --release --package aether-capi")])?;

    let sources = root.join("crates/aether-capi");
    let built = target_folder(root)?.join("release");
    let lib = prefix.join("lib");
    let library = format!("libaether.so.{VERSION}");
    place(&fs::read(built.join("libaether.so"))?, &lib.join(&library), 0o755)?;
    link(&library, &lib.join(format!("libaether.so.{ABI}")))?;
    link(&format!("libaether.so.{ABI}"), &lib.join("libaether.so"))?;
    place(&fs::read(built.join("libaether.a"))?, &lib.join("libaether.a"), 0o644)?;
    for header in ["aether.h", "aether.hpp"] {
        let content = fs::read(sources.join("include").join(header))?;
        place(&content, &prefix.join("include").join(header), 0o644)?;
    }
    for (file, folder) in [
        ("aether.pc", "pkgconfig"),
        ("AetherConfig.cmake", "cmake/Aether"),
        ("AetherConfigVersion.cmake", "cmake/Aether"),
    ] {
        let template = fs::read_to_string(sources.join("package").join(file))?;
        let minor = VERSION.rsplit_once('.').map_or(VERSION, |(minor, _)| minor);
        let content = template.replace("@VERSION@", VERSION).replace("@MINOR_VERSION@", minor).replace("@ABI@", ABI);
        place(content.as_bytes(), &lib.join(folder).join(file), 0o644)?;
    }
    Ok(())
}

/// Puts a file where it belongs, by renaming: a program that runs with the old library keeps it.
fn place(content: &[u8], target: &Path, mode: u32) -> Result<()> {
    let new = beside(target)?;
    fs::write(&new, content)
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&new, target))
        .with_context(|| format!("could not write {}", target.display()))?;
    eprintln!("{}", target.display());
    Ok(())
}

fn link(to: &str, target: &Path) -> Result<()> {
    let new = beside(target)?;
    symlink(to, &new)
        .and_then(|()| fs::rename(&new, target))
        .with_context(|| format!("could not write {}", target.display()))?;
    eprintln!("{}", target.display());
    Ok(())
}

/// A name in the same folder that is this process's own.
fn beside(target: &Path) -> Result<PathBuf> {
    let folder = target.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    let name = target.file_name().context("a file without a name")?.to_string_lossy();
    let new = folder.join(format!(".{name}.{}", std::process::id()));
    // Left by a process that had the same id and was killed.
    if new.symlink_metadata().is_ok() {
        fs::remove_file(&new)?;
    }
    Ok(new)
}
