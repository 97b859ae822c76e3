//! What a reader that was outrun has lost, said in words, at most once a second.

use std::time::{Duration, Instant};

use indicatif::HumanBytes;

#[derive(Default)]
pub(crate) struct Losses {
    unsaid: u64,
    last_said: Option<Instant>,
}

impl Losses {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.unsaid += bytes;
        if self.last_said.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            self.say();
        }
    }

    fn say(&mut self) {
        eprintln!("aether: lagged: {} were overwritten before they were read", HumanBytes(self.unsaid));
        self.unsaid = 0;
        self.last_said = Some(Instant::now());
    }
}

impl Drop for Losses {
    fn drop(&mut self) {
        if self.unsaid > 0 {
            self.say();
        }
    }
}
