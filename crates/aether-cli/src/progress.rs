//! Progress on standard error: only where somebody looks at it, and only of work that takes a while.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

const PATIENCE: Duration = Duration::from_millis(500);
const BETWEEN: Duration = Duration::from_millis(100);

pub(crate) struct Progress {
    bar: ProgressBar,
    wanted: bool,
    messages: u64,
    next_look: Instant,
    visible: bool,
}

impl Progress {
    /// `data` is where the data come from or go to: on a terminal, progress would be written over them. `total` is the
    /// number of bytes to come, if it is known.
    pub(crate) fn new(data: &impl IsTerminal, total: Option<u64>) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = match total {
            Some(_) => "{bar:24} {percent}% of {total_bytes}, {binary_bytes_per_sec}, {msg}, {eta} left",
            None => "{spinner} {bytes}, {binary_bytes_per_sec}, {msg}",
        };
        bar.set_style(style(template));
        Progress { bar, wanted: !data.is_terminal(), messages: 0, next_look: Instant::now() + PATIENCE, visible: false }
    }

    /// Work was done.
    pub(crate) fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bar.inc(bytes);
        let now = Instant::now();
        if !self.wanted || now < self.next_look {
            return;
        }
        self.next_look = now + BETWEEN;
        if !self.visible {
            // Stays hidden if standard error is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.visible = true;
        }
        self.bar.set_message(format!("{} messages", HumanCount(self.messages)));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
