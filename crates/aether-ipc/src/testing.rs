//! A way for tests to end the process between two steps of the protocol. Empty without the feature `die-at`.

/// The steps at which a process can be made to die, in the order of a message's way.
#[cfg(feature = "die-at")]
pub const STEPS: &[&str] = &[
    "written",   // a record is written, nobody sees it
    "busy",      // a shared sequence is about to be advanced
    "stamped",   // ... was advanced
    "publish",   // the write cursor is about to move
    "published", // ... has moved, nobody was woken
    "rung",      // the bell's word has changed, the sleepers have not been woken
    "release",   // a read cursor is about to move
    "released",  // ... has moved, nobody was woken
    "joining",   // a slot is locked and marked, its cursors are away
    "joined",    // all cursors of a joining consumer are set
    "naming",    // the name is written, its slot is not durable yet
    "sweeping",  // a dead consumer's slot is locked, its cursors stand
    "evicted",   // the oldest records are given up, not written over yet
];

/// Ends the process by `SIGKILL` if the environment says so: `AETHER_DIE_AT=step:count` names the step and how many
/// times it is passed alive before.
#[cfg(feature = "die-at")]
pub(crate) fn step(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    static PLAN: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("AETHER_DIE_AT").ok()?;
        let (step, count) = text.split_once(':')?;
        Some((step.to_owned(), AtomicU64::new(count.parse().ok()?)))
    });
    if let Some((step, left)) = plan
        && step == name
        && left.fetch_sub(1, Relaxed) == 0
    {
        #[cfg(unix)]
        // SAFETY: sends a signal to this very process.
        unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        }
        std::process::abort();
    }
}

#[cfg(not(feature = "die-at"))]
#[inline(always)]
pub(crate) fn step(_name: &str) {}
