//! What happens to a ring from outside: files that go away, limits, signals, processes that stop, and peers that mean
//! harm. Whatever may kill a process is done in another one.

#[cfg(target_os = "linux")]
mod support;

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
#[path = "faults"]
mod linux {
    pub(crate) mod cut;
    pub(crate) mod files;
    pub(crate) mod peers;
    pub(crate) mod signals;
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use linux::{cut, files, peers, signals};

    let parts = [files::PARTS, signals::PARTS, cut::PARTS, peers::PARTS].concat();
    let trials = [files::trials(), signals::trials(), cut::trials(), peers::trials()];
    support::main(&parts, trials.into_iter().flatten().collect())
}
