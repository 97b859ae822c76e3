//! `WaitSet`: waiting for messages in any of several rings.

use std::time::Duration;

use crate::{
    bell::Sleep,
    consumer::Consumer,
    error::{Error, Result},
    slots::Waiting,
    wait::{TICK, Wait, wait_until},
};

/// Consumers, of as many rings, that are waited for together: one sleep, from which a message in any of the rings wakes.
///
/// They take turns: one that always has messages does not keep the others from being found.
///
/// On Linux from 5.16 on up to 128 of them sleep until they are woken (`futex_waitv`). With more, or elsewhere, the sleep
/// is a millisecond at most, and they are looked at again.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use aether_ipc::{Buffer, Flow, WaitSet};
///
/// let orders = Buffer::create(dir.path().join("orders"), 4096)?;
/// let quotes = Buffer::create(dir.path().join("quotes"), 4096)?;
/// let mut set = WaitSet::from_iter([orders.consumer()?, quotes.consumer()?]);
///
/// quotes.producer()?.offer(1, 0, b"1.25")?;
/// let (index, consumer) = set.wait()?;
/// assert_eq!(index, 1);
/// assert_eq!(consumer?.drain(100, |_| Flow::Continue)?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct WaitSet {
    consumers: Vec<Consumer>,
    /// The one that is looked at first.
    turn: usize,
    wait: Wait,
}

impl WaitSet {
    /// An empty set.
    pub fn new() -> WaitSet {
        WaitSet::default()
    }

    /// Adds a consumer, and returns its index.
    pub fn add(&mut self, consumer: Consumer) -> usize {
        self.consumers.push(consumer);
        self.consumers.len() - 1
    }

    /// Takes a consumer out, if there is one of that index; those behind it move up by one.
    pub fn remove(&mut self, index: usize) -> Option<Consumer> {
        (index < self.consumers.len()).then(|| self.consumers.remove(index))
    }

    /// All consumers, by index.
    pub fn consumers_mut(&mut self) -> &mut [Consumer] {
        &mut self.consumers
    }

    /// How [`wait`](WaitSet::wait) waits, whatever its consumers do by themselves: [`Wait::Park`] unless set.
    pub fn set_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// Waits until a message is there in any of the rings. Returns the index of the consumer that has it, and the
    /// consumer, or the error with which its own [`wait`](Consumer::wait) would end. The others can be waited for
    /// further; one with an error comes up again until it is [removed](WaitSet::remove).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the set is empty.
    pub fn wait(&mut self) -> Result<(usize, Result<&mut Consumer>)> {
        self.wait_for(None)
    }

    /// As [`wait`](WaitSet::wait), at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As [`wait`](WaitSet::wait), and [`Error::TimedOut`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use std::time::Duration;
    /// # use aether_ipc::{Buffer, Error, WaitSet};
    /// let mut set = WaitSet::new();
    /// set.add(Buffer::create(dir.path().join("ring"), 4096)?.consumer()?);
    /// assert!(matches!(set.wait_within(Duration::from_millis(1)), Err(Error::TimedOut { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_within(&mut self, timeout: Duration) -> Result<(usize, Result<&mut Consumer>)> {
        self.wait_for(Some(timeout))
    }

    fn wait_for(&mut self, timeout: Option<Duration>) -> Result<(usize, Result<&mut Consumer>)> {
        let (index, looked) = match self.find(false) {
            Some(found) => found,
            None => self.sleep(timeout)?,
        };
        self.turn = index + 1;
        Ok((index, looked.map(|()| &mut self.consumers[index])))
    }

    fn sleep(&mut self, timeout: Option<Duration>) -> Result<(usize, Result<()>)> {
        let waiting: Vec<Waiting> = self.consumers.iter().map(Consumer::waiting).collect();
        let mut sleeps: Vec<Sleep<'_>> = waiting.iter().map(|waiting| Sleep::on(&waiting.bell)).collect();
        let longest_sleep =
            || waiting.iter().map(|waiting| (waiting.longest_sleep)(&waiting.mapping)).min().unwrap_or(TICK);
        let mut found = None;
        if !sleeps.is_empty() {
            wait_until(self.wait, timeout, "a message in any of the rings", &mut sleeps, longest_sleep, |tick| {
                found = self.find(tick);
                Ok(found.is_some())
            })?;
        }
        found.ok_or(Error::Closed)
    }

    /// The next consumer, in turn, whose own wait would end.
    fn find(&mut self, tick: bool) -> Option<(usize, Result<()>)> {
        let count = self.consumers.len();
        (0..count).map(|step| (self.turn + step) % count).find_map(|index| {
            let looked = self.consumers[index].look(tick);
            (!matches!(looked, Ok(false))).then(|| (index, looked.map(drop)))
        })
    }
}

impl FromIterator<Consumer> for WaitSet {
    fn from_iter<I: IntoIterator<Item = Consumer>>(consumers: I) -> WaitSet {
        WaitSet { consumers: consumers.into_iter().collect(), ..WaitSet::default() }
    }
}
