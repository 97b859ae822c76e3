//! How the command ends: its exit codes, and what went wrong in words.

use std::{io, path::PathBuf, process, time::Duration};

/// Shown by `aether --help`. A test compares it with [`Exit`].
pub(crate) const CODES: &str = "\
Exit codes:
    0  done; also when whoever reads the output has seen enough and closed it
    1  failed; standard error says why
    2  wrong usage: an option, or a shape that no ring can have
    3  corrupt: the file is no ring, was cut short, or holds what can't be believed
    4  would block, or empty: `send --no-wait` dropped messages; `recv` or `journal read` had none within
       `--until-idle`, or fewer than `--count`
  124  timed out: no ring was made within `--wait`
  130  interrupted by SIGINT or SIGTERM; what was not written out is still in the ring (`record`, `metrics` and `top`, of
       which that is the proper end, then end with 0)";

/// An exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Corrupt = 3,
    WouldBlock = 4,
    TimedOut = 124,
    Interrupted = 130,
}

impl From<Exit> for process::ExitCode {
    fn from(exit: Exit) -> process::ExitCode {
        process::ExitCode::from(exit as u8)
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Ring(#[from] aether_ipc::Error),
    #[cfg(feature = "bridge")]
    #[error(transparent)]
    Bridge(aether_bridge::Error),
    #[cfg(feature = "operations")]
    #[error(transparent)]
    Journal(#[from] aether_journal::Error),
    #[error("{path}: no ring was made within {patience:?}", path = path.display())]
    NotMade { path: PathBuf, patience: Duration },
    #[error("standard input: {0}")]
    Input(#[source] io::Error),
    #[error("standard output: {0}")]
    Output(#[source] io::Error),
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// What was asked for does not go together.
    #[cfg(feature = "operations")]
    #[error("{0}")]
    Usage(String),
    /// What the other variants can't say.
    #[error("{0}")]
    Words(String),
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        use aether_ipc::Error::*;
        match self {
            Failure::Ring(Corrupt { .. } | NotARing { .. } | Truncated { .. }) => Exit::Corrupt,
            Failure::Ring(Capacity { .. } | Options(_)) => Exit::Usage,
            #[cfg(feature = "bridge")]
            Failure::Bridge(aether_bridge::Error::Key { .. }) => Exit::Usage,
            #[cfg(feature = "operations")]
            Failure::Journal(
                aether_journal::Error::Corrupt { .. }
                | aether_journal::Error::NotAJournal { .. }
                | aether_journal::Error::MissingSegment { .. },
            ) => Exit::Corrupt,
            #[cfg(feature = "operations")]
            Failure::Usage(_) => Exit::Usage,
            Failure::Ring(Full | NoConsumer | Closed) => Exit::WouldBlock,
            Failure::Ring(TimedOut { .. }) | Failure::NotMade { .. } => Exit::TimedOut,
            Failure::Interrupted(_) => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    /// Whoever reads the output has closed it: no failure, but the end.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(feature = "bridge")]
impl From<aether_bridge::Error> for Failure {
    fn from(error: aether_bridge::Error) -> Failure {
        match error {
            aether_bridge::Error::Ring(error) => Failure::Ring(error),
            error => Failure::Bridge(error),
        }
    }
}

pub(crate) type Result<T = Exit, E = Failure> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_in_the_help() {
        let documented: Vec<u8> = CODES.lines().filter_map(|line| line.get(..5)?.trim().parse().ok()).collect();
        let all =
            [Exit::Done, Exit::Failed, Exit::Usage, Exit::Corrupt, Exit::WouldBlock, Exit::TimedOut, Exit::Interrupted];
        assert_eq!(documented, all.map(|exit| exit as u8));
    }
}
