//! How to wait: spin, yield, back off, park.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use crate::{
    bell::{self, Sleep},
    error::{Error, Result},
    mapping::sleep,
};

/// How a blocking call waits.
///
/// | | wakes up after | costs meanwhile |
/// |---|---|---|
/// | `Spin` | a cache miss | a core |
/// | `Yield` | a cache miss, or one turn of whoever else runs there | a core that others may use |
/// | `Backoff` | at most a millisecond | little |
/// | `Park` | a wake-up by the system | nothing |
///
/// ```
/// use aether_ipc::Wait;
/// assert_eq!("park".parse(), Ok(Wait::Park));
/// assert_eq!(Wait::Spin.to_string(), "spin");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Wait {
    /// Look again and again. For a core that has nothing else to do.
    Spin,
    /// Look, and let others run in between.
    Yield,
    /// Spin, then yield, then sleep longer and longer, up to a millisecond.
    Backoff,
    /// Spin briefly, then sleep in the kernel until the other side wakes this one. The default. Where the system can't
    /// sleep on a word of a shared file, or the other side can't wake, it sleeps a millisecond at a time.
    #[default]
    Park,
}

const NAMES: [(&str, Wait); 4] =
    [("spin", Wait::Spin), ("yield", Wait::Yield), ("backoff", Wait::Backoff), ("park", Wait::Park)];

/// The text names no [`Wait`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no way to wait: spin, yield, backoff or park")]
pub struct UnknownWait(String);

impl FromStr for Wait {
    type Err = UnknownWait;

    fn from_str(text: &str) -> Result<Wait, UnknownWait> {
        NAMES.iter().find(|(name, _)| *name == text).map(|&(_, wait)| wait).ok_or_else(|| UnknownWait(text.to_owned()))
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NAMES.iter().find(|(_, wait)| wait == self).map_or(Err(fmt::Error), |(name, _)| f.pad(name))
    }
}

/// Looks between two checks of the clock.
const SPINS: u32 = 64;
/// Looks before `Park` goes to sleep and `Backoff` yields: a few microseconds.
const PATIENCE: u32 = 4 * SPINS;
const LONGEST_BACKOFF: Duration = Duration::from_millis(1);
/// How often a waiting side looks whether the other one is still there. It decides nothing: the lock does.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// A first look, again and again for some hundred nanoseconds, before anything that costs more than it. Whether `ready`
/// said so.
#[inline]
pub(crate) fn spin_briefly(mut ready: impl FnMut() -> Result<bool>) -> Result<bool> {
    for _ in 0..SPINS {
        if ready()? {
            return Ok(true);
        }
        std::hint::spin_loop();
    }
    Ok(false)
}

/// Waits until `ready` says so. At times, at least every [`TICK`], `ready` is called with `true`, to look at what costs
/// system calls. A parked sleep is one on all of `sleeps`; `longest_sleep` says how long it may last: not long if the
/// other side can't ring.
pub(crate) fn wait_until(
    strategy: Wait,
    timeout: Option<Duration>,
    awaited: &'static str,
    sleeps: &mut [Sleep<'_>],
    longest_sleep: impl Fn() -> Duration,
    mut ready: impl FnMut(bool) -> Result<bool>,
) -> Result<()> {
    if ready(false)? {
        return Ok(());
    }
    let started = Instant::now();
    let mut last_tick = started;
    // Looks at once whether anybody is there to wait for.
    if ready(true)? {
        return Ok(());
    }
    let mut rounds = 0_u32;
    loop {
        let mut left = TICK;
        if rounds.is_multiple_of(SPINS) || rounds >= PATIENCE {
            let now = Instant::now();
            if let Some(timeout) = timeout {
                let waited = now - started;
                if waited >= timeout {
                    return Err(Error::TimedOut { waited, awaited });
                }
                left = timeout - waited;
            } else {
                left = Duration::MAX;
            }
            if now - last_tick >= TICK {
                last_tick = now;
                if ready(true)? {
                    return Ok(());
                }
            }
        }
        match strategy {
            Wait::Spin => std::hint::spin_loop(),
            _ if rounds < PATIENCE && strategy != Wait::Yield => std::hint::spin_loop(),
            Wait::Yield => std::thread::yield_now(),
            Wait::Backoff if rounds < 2 * PATIENCE => std::thread::yield_now(),
            Wait::Backoff => {
                let nap = Duration::from_micros(u64::from(rounds - 2 * PATIENCE) + 1).min(LONGEST_BACKOFF);
                std::thread::sleep(nap.min(left));
            }
            Wait::Park => {
                bell::announce(sleeps);
                if ready(false)? {
                    return Ok(());
                }
                sleep(sleeps, left.min(longest_sleep()));
            }
        }
        if ready(false)? {
            return Ok(());
        }
        rounds = rounds.saturating_add(1);
    }
}
