//! Rings under watch: those whose files were named, and those in folders, which come and go.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aether_ipc::{ConsumerInfo, Error, Info, Observer};

use crate::system;

/// What is watched, and how it stood at the last look.
pub(crate) struct Watch {
    places: Vec<PathBuf>,
    rings: BTreeMap<PathBuf, Ring>,
}

enum Ring {
    Open(Box<OpenRing>),
    Unreadable(String),
}

/// One ring. It stays while its file does.
struct OpenRing {
    /// Of the file that was opened.
    identity: Option<([u64; 2], u64)>,
    observer: Observer,
    lanes: Vec<Looks>,
    standing: Option<Standing>,
}

/// When a lane was first seen to be written up to here.
#[derive(Debug, Clone, Copy)]
struct Written {
    at: Instant,
    position: u64,
}

/// Looks at a lane, as far as they say since when what waits there has waited.
#[derive(Default)]
struct Looks {
    looks: VecDeque<Written>,
    /// So far apart are those that are remembered, once they are many.
    apart: Duration,
}

/// How a ring stands.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) info: Info,
    at: Instant,
    /// The part of its fullest lane that waits for the slowest consumer there.
    pub(crate) fill: f64,
    /// The oldest message that waits is at least so old: that long ago, it was there at a look. `None` if none waits.
    pub(crate) oldest_age: Option<Duration>,
    /// Bytes a second since the look before.
    pub(crate) rate_in: f64,
    pub(crate) rate_out: f64,
}

impl Standing {
    pub(crate) fn written(&self) -> u64 {
        self.info.lanes.iter().fold(0, |sum, lane| sum.wrapping_add(lane.write_cursor))
    }

    /// What the slowest consumer has released.
    fn released(&self) -> u64 {
        self.written().wrapping_sub(self.info.available_bytes())
    }

    pub(crate) fn slowest(&self) -> Option<&ConsumerInfo> {
        // Of several, the first.
        self.info.consumers.iter().rev().max_by_key(|consumer| consumer.lag)
    }
}

/// Where somebody joins or left.
const AWAY: u64 = u64::MAX;

/// Most looks that are remembered of a lane.
const REMEMBERED: usize = 512;

impl Watch {
    /// Of files and folders; of the folder where files live in memory if there are none.
    pub(crate) fn new(places: &[PathBuf]) -> Watch {
        let places = if places.is_empty() { vec![system::memory_folder()] } else { places.to_vec() };
        Watch { places, rings: BTreeMap::new() }
    }

    /// Looks again.
    pub(crate) fn look(&mut self) {
        let mut before = std::mem::take(&mut self.rings);
        for (path, is_named) in self.files() {
            if self.rings.contains_key(&path) {
                continue;
            }
            let ring = match before.remove(&path) {
                // One that was replaced is another ring.
                Some(Ring::Open(ring)) if ring.identity == identity(&path) => Ok(ring),
                _ => OpenRing::new(&path).map(Box::new),
            };
            let ring = match ring {
                Ok(mut ring) => match ring.look() {
                    Ok(()) => Ring::Open(ring),
                    Err(error) => Ring::Unreadable(error.to_string()),
                },
                Err(error) if is_named || is_of_a_ring(&error) => Ring::Unreadable(error.to_string()),
                Err(_) => continue,
            };
            self.rings.insert(path, ring);
        }
    }

    /// How each ring stood at the last look, by path; or why it could not be looked at.
    pub(crate) fn rings(&self) -> impl Iterator<Item = (&Path, Result<&Standing, &str>)> {
        self.rings.iter().filter_map(|(path, ring)| match ring {
            Ring::Open(ring) => Some((path.as_path(), Ok(ring.standing.as_ref()?))),
            Ring::Unreadable(why) => Some((path.as_path(), Err(why.as_str()))),
        })
    }

    /// The files that are there or were named, and whether each was named.
    fn files(&self) -> Vec<(PathBuf, bool)> {
        let mut files = Vec::new();
        for place in &self.places {
            if !place.is_dir() {
                files.push((place.clone(), true));
                continue;
            }
            // A folder that can't be read is one without rings, until it can be.
            for entry in fs::read_dir(place).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                    files.push((entry.path(), false));
                }
            }
        }
        files
    }
}

/// Whether only a ring, or what is left of one, is refused for this.
fn is_of_a_ring(error: &Error) -> bool {
    matches!(error, Error::Truncated { .. } | Error::Version { .. })
}

/// Another file at the same path has another one, and so has one that was cut short, which may not be seen in the map.
fn identity(path: &Path) -> Option<([u64; 2], u64)> {
    Some((system::identity(path).ok()?, fs::metadata(path).ok()?.len()))
}

impl OpenRing {
    fn new(path: &Path) -> Result<OpenRing, Error> {
        // In this order: if it is replaced in between, the next look opens it again.
        let identity = identity(path);
        Ok(OpenRing { identity, observer: Observer::open(path)?, lanes: Vec::new(), standing: None })
    }

    fn look(&mut self) -> Result<(), Error> {
        let info = self.observer.info()?;
        let at = Instant::now();
        self.lanes.resize_with(info.lanes.len(), Looks::default);
        let (mut fill, mut oldest) = (0.0, None);
        for (index, (lane, looks)) in info.lanes.iter().zip(&mut self.lanes).enumerate() {
            let cursors = info.consumers.iter().filter_map(|consumer| consumer.read_cursors.get(index));
            let behind = cursors.filter(|&&read| read != AWAY).map(|&read| lane.write_cursor.wrapping_sub(read));
            // A consumer that is further behind than that lost what is missing, or is just joining.
            let waiting = behind.map(|behind| behind.min(info.capacity)).max().unwrap_or(0);
            fill = f64::max(fill, waiting as f64 / info.capacity as f64);
            let since = looks.add(Written { at, position: lane.write_cursor }, waiting);
            oldest = [oldest, since].into_iter().flatten().min();
        }
        let mut standing =
            Standing { info, at, fill, oldest_age: oldest.map(|since| at - since), rate_in: 0.0, rate_out: 0.0 };
        if let Some(before) = &self.standing {
            let seconds = (at - before.at).as_secs_f64();
            let rate = |now: u64, before: u64| match now.wrapping_sub(before).cast_signed() {
                grown @ 1.. if seconds > 0.0 => grown as f64 / seconds,
                _ => 0.0,
            };
            standing.rate_in = rate(standing.written(), before.written());
            standing.rate_out = rate(standing.released(), before.released());
        }
        self.standing = Some(standing);
        Ok(())
    }
}

impl Looks {
    /// Adds a look at the lane, when `waiting` bytes wait. Returns at which look the first of these was there.
    fn add(&mut self, now: Written, waiting: u64) -> Option<Instant> {
        let Looks { looks, apart } = self;
        let released = now.position.wrapping_sub(waiting);
        // A look at which no more was written than is released by now says nothing of what waits.
        while looks.front().is_some_and(|look| look.position.wrapping_sub(released).cast_signed() <= 0) {
            looks.pop_front();
        }
        if waiting == 0 {
            return None;
        }
        let last = looks.back().copied();
        if last.is_none() {
            *apart = Duration::ZERO;
        }
        // What came after a look that is remembered seems as old as the next one that is: younger than it is.
        if last.is_none_or(|last| last.position != now.position && now.at - last.at >= *apart) {
            looks.push_back(now);
        }
        if looks.len() > REMEMBERED
            && let (Some(first), Some(last)) = (looks.front(), looks.back())
        {
            *apart = (last.at - first.at) * 2 / REMEMBERED as u32;
            let mut keep = false;
            looks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        looks.front().map(|look| look.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_message_is_as_old_as_the_first_look_at_which_it_was_there() {
        let start = Instant::now();
        let second = |n| start + Duration::from_secs(n);
        let mut looks = Looks::default();
        let mut look = |n, position, waiting| looks.add(Written { at: second(n), position }, waiting);
        assert_eq!(look(0, 0, 0), None);
        assert_eq!(look(1, 100, 100), Some(second(1)));
        assert_eq!(look(2, 300, 300), Some(second(1)));
        assert_eq!(look(3, 300, 250), Some(second(1)), "the rest of the first hundred");
        assert_eq!(look(4, 300, 200), Some(second(2)));
        assert_eq!(look(5, 300, 8), Some(second(2)));
        assert_eq!(look(6, 300, 0), None);
        assert_eq!(look(7, 308, 8), Some(second(7)));
    }

    #[test]
    fn a_consumer_that_is_stuck_for_long_costs_no_more_memory_and_never_seems_older_than_it_is() {
        let start = Instant::now();
        let mut looks = Looks::default();
        for n in 1..10_000_u64 {
            let now = Written { at: start + Duration::from_secs(n), position: 8 * n };
            assert_eq!(looks.add(now, 8 * n), Some(start + Duration::from_secs(1)));
            assert!(looks.looks.len() <= REMEMBERED);
        }
        // Now all but the last three thousand are released.
        let now = Written { at: start + Duration::from_secs(10_000), position: 8 * 9_999 };
        let since = looks.add(now, 8 * 3_000).unwrap() - start;
        assert!((7_000..7_100).contains(&since.as_secs()), "{since:?}");
    }
}
