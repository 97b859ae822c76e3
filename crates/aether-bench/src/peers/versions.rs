//! Which versions of the peers were measured: those of the lock file that this was built with.

use crate::redis;

const LOCK: &str = include_str!("../../../../Cargo.lock");

const PEERS: [&str; 8] =
    ["crossbeam", "disruptor", "disruptor-mp", "iceoryx2", "ipc-channel", "kanal", "rtrb", "shmem-ipc"];

pub(crate) fn all() -> Vec<(String, String)> {
    let mut versions: Vec<(String, String)> =
        PEERS.iter().filter_map(|peer| Some(((*peer).to_owned(), locked(LOCK, peer)?))).collect();
    versions.extend(redis::version().map(|version| ("Redis".to_owned(), version)));
    versions
}

/// The version of a package in a lock file.
fn locked(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"').map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_version_in_the_lock_file() {
        for peer in PEERS {
            assert!(locked(LOCK, peer).is_some_and(|version| version.contains('.')), "{peer}");
        }
        assert_eq!(locked(LOCK, "no such package"), None);
    }
}
