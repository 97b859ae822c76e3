//! Receiving and sending in async code. Nothing here spins, and no task holds up its thread: while it waits, the
//! thread in `waiter.rs` sleeps for it.

mod waiter;

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use futures_sink::Sink;
use tokio::task::coop::poll_proceed;

use crate::{
    bell::{self, Sleep},
    consumer::{Consumer, Flow, Message, Polled},
    error::{Error, Result},
    producer::Producer,
    slots::Waiting,
};
#[doc(hidden)]
pub use waiter::Registration;

/// A message, copied out of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedMessage {
    /// The application's id.
    pub id: i64,
    /// The application's type.
    pub message_type: i32,
    /// The bytes.
    pub payload: Vec<u8>,
}

impl From<Message<'_>> for OwnedMessage {
    fn from(message: Message<'_>) -> OwnedMessage {
        OwnedMessage { id: message.id(), message_type: message.message_type(), payload: message.payload().to_vec() }
    }
}

/// Waits without holding up the thread: in the same steps as `wait_until`, but the sleep is left to the
/// waiter, which has the task polled again.
fn poll_until(
    cx: &mut Context<'_>,
    registration: &mut Option<Registration>,
    waiting: impl FnOnce() -> Waiting,
    mut ready: impl FnMut(bool) -> Result<bool>,
) -> Poll<Result<()>> {
    *registration = None;
    if ready(false)? || ready(true)? {
        return Poll::Ready(Ok(()));
    }
    let waiting = waiting();
    let mut sleep = [Sleep::on(&waiting.bell)];
    bell::announce(&mut sleep);
    let [Sleep { value, .. }] = sleep;
    if ready(false)? {
        return Poll::Ready(Ok(()));
    }
    *registration = Some(waiter::register(waiting, value, cx.waker())?);
    Poll::Pending
}

/// With the feature `tokio`; these work in every executor. All are cancel-safe: a future that is dropped before it was
/// ready has taken nothing.
impl Consumer {
    /// Waits until a message is there, to be read in place with [`poll`](Consumer::poll), [`drain`](Consumer::drain) or
    /// [`batch`](Consumer::batch). The strategy of [`set_wait`](Consumer::set_wait) does not matter.
    ///
    /// # Errors
    ///
    /// As [`wait`](Consumer::wait), and [`Error::Io`] if no thread can be started.
    pub async fn readable(&mut self) -> Result<()> {
        let mut registration = None;
        poll_fn(|cx| {
            let progress = ready!(poll_proceed(cx));
            let polled = self.poll_readable(cx, &mut registration);
            if polled.is_ready() {
                progress.made_progress();
            }
            polled
        })
        .await
    }

    /// Waits for a message, copies and releases it.
    ///
    /// # Errors
    ///
    /// As [`poll`](Consumer::poll) and [`readable`](Consumer::readable).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let dir = tempfile::tempdir()?;
    /// # use aether_ipc::Buffer;
    /// let buffer = Buffer::create(dir.path().join("ring"), 4096)?;
    /// let (mut producer, mut consumer) = (buffer.producer()?, buffer.consumer()?);
    /// producer.send(1, 7, b"hello").await?;
    /// assert_eq!(consumer.recv().await?.payload, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn recv(&mut self) -> Result<OwnedMessage> {
        let mut registration = None;
        poll_fn(|cx| self.poll_recv(cx, &mut registration)).await
    }

    /// All messages, each copied and released as it is taken: see [`MessageStream`].
    pub fn into_stream(self) -> MessageStream {
        MessageStream { consumer: Some(self), registration: None }
    }

    /// [`readable`](Consumer::readable) for other languages, whose tasks can't hold a borrow: one look. If nothing is
    /// there, the task is woken for the next one as long as the registration lives.
    #[doc(hidden)]
    pub fn poll_readable(&mut self, cx: &mut Context<'_>, registration: &mut Option<Registration>) -> Poll<Result<()>> {
        let waiting = self.waiting();
        poll_until(cx, registration, || waiting, |tick| self.look(tick))
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        registration: &mut Option<Registration>,
    ) -> Poll<Result<OwnedMessage>> {
        let progress = ready!(poll_proceed(cx));
        let mut received = None;
        let polled = self.poll(|message| {
            received = Some(OwnedMessage::from(message));
            Flow::Continue
        });
        let result = match (polled, received) {
            (Ok(Polled::Released), Some(message)) => Ok(message),
            (Err(error), _) => Err(error),
            _ => match ready!(self.poll_readable(cx, registration)) {
                Err(error) => Err(error),
                Ok(()) => {
                    // It came just now: take it when others had their turn.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            },
        };
        progress.made_progress();
        Poll::Ready(result)
    }
}

/// The messages of a [`Consumer`] as a [`Stream`], with the feature `tokio`.
///
/// With [`require_producer`](Consumer::require_producer) it ends when the ring is empty and no producer is left;
/// otherwise it goes on for ever. After [`Error::Lagged`] it goes on too; any other error ends it.
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct MessageStream {
    /// None when it has ended.
    consumer: Option<Consumer>,
    registration: Option<Registration>,
}

impl Stream for MessageStream {
    type Item = Result<OwnedMessage>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let MessageStream { consumer, registration } = &mut *self;
        let Some(reader) = consumer else { return Poll::Ready(None) };
        let received = ready!(reader.poll_recv(cx, registration));
        if !matches!(received, Ok(_) | Err(Error::Lagged { .. })) {
            *consumer = None;
        }
        Poll::Ready(match received {
            Err(Error::Closed) => None,
            received => Some(received),
        })
    }
}

/// With the feature `tokio`; these work in every executor. All are cancel-safe: a future that is dropped before it was
/// ready has written nothing.
impl Producer {
    /// Waits until a message of `length` bytes has space. The strategy of [`set_wait`](Producer::set_wait) does not
    /// matter.
    ///
    /// # Errors
    ///
    /// As [`wait_for_space`](Producer::wait_for_space), and [`Error::Io`] if no thread can be started.
    pub async fn writable(&mut self, length: usize) -> Result<()> {
        let mut registration = None;
        poll_fn(|cx| {
            let progress = ready!(poll_proceed(cx));
            let polled = self.poll_writable(cx, &mut registration, length);
            if polled.is_ready() {
                progress.made_progress();
            }
            polled
        })
        .await
    }

    /// Puts one message into the ring, waiting for space. When it returned, the message is committed.
    ///
    /// # Errors
    ///
    /// As [`put`](Producer::put) and [`writable`](Producer::writable).
    pub async fn send(&mut self, id: i64, message_type: i32, payload: &[u8]) -> Result<()> {
        loop {
            self.writable(payload.len()).await?;
            match self.offer(id, message_type, payload) {
                Err(Error::Full) => {}
                other => return other,
            }
        }
    }

    /// A sink for messages: see [`MessageSink`].
    pub fn into_sink(self) -> MessageSink {
        MessageSink { producer: self, waits: None, registration: None }
    }

    /// [`writable`](Producer::writable) for other languages, as [`Consumer::poll_readable`].
    #[doc(hidden)]
    pub fn poll_writable(
        &mut self,
        cx: &mut Context<'_>,
        registration: &mut Option<Registration>,
        length: usize,
    ) -> Poll<Result<()>> {
        let waiting = self.waiting();
        poll_until(cx, registration, || waiting, |tick| self.look(length, tick))
    }
}

/// A [`Producer`] as a [`Sink`], with the feature `tokio`.
///
/// A message for which the ring has space is committed as soon as it is given to the sink; one for which it has none is
/// kept, and committed by the next flush. A sink that is dropped while it keeps one has not sent it.
#[derive(Debug)]
#[must_use = "a sink does nothing unless it is polled"]
pub struct MessageSink {
    producer: Producer,
    waits: Option<OwnedMessage>,
    registration: Option<Registration>,
}

impl MessageSink {
    fn offer(&mut self, message: OwnedMessage) -> Result<()> {
        match self.producer.offer(message.id, message.message_type, &message.payload) {
            Err(Error::Full) => {
                self.waits = Some(message);
                Ok(())
            }
            other => other,
        }
    }
}

impl Sink<OwnedMessage> for MessageSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let progress = ready!(poll_proceed(cx));
        ready!(self.as_mut().poll_flush(cx))?;
        progress.made_progress();
        Poll::Ready(Ok(()))
    }

    /// [`Error::Full`] if it was not ready.
    fn start_send(mut self: Pin<&mut Self>, message: OwnedMessage) -> Result<()> {
        if self.waits.is_some() {
            return Err(Error::Full);
        }
        self.offer(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while let Some(message) = &self.waits {
            let length = message.payload.len();
            let MessageSink { producer, registration, .. } = &mut *self;
            ready!(producer.poll_writable(cx, registration, length))?;
            if let Some(message) = self.waits.take() {
                self.offer(message)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(cx)
    }
}
