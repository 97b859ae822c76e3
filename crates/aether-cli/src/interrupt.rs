//! SIGINT and SIGTERM: the first one asks for a clean end, a second one ends at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::exit::{Exit, Failure, Result};

/// How long anything may wait without a look at [`Interrupt::is_set`].
pub(crate) const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn catch() -> Result<Interrupt> {
        Interrupt::register().map_err(|error| Failure::Words(format!("can't handle signals: {error}")))
    }

    fn register() -> io::Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset.
            flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, flag.clone())?;
            flag::register(signal, flag.clone())?;
        }
        Ok(Interrupt(flag))
    }

    #[cfg(feature = "bridge")]
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.0
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}
