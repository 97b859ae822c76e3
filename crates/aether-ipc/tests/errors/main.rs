//! Every way of failing has an error of its own, which says what was found, what was expected, where, and what to do.
//! No failure leaves a file behind or changes one.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod corruption;
#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod folder;
#[cfg(target_os = "linux")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(target_os = "linux")]
mod system;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    support::main(
        system::PARTS,
        [files::trials(), system::trials(), calls::trials(), corruption::trials()].into_iter().flatten().collect(),
    )
}

// The calls that bring the failures about are those of Linux.
#[cfg(not(target_os = "linux"))]
fn main() {}
