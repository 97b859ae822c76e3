//! The ring of this project, in the four ways to send.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use aether_ipc::{Buffer, Consumer, Error, Flow, HEADER_SIZE, Producer};
use anyhow::{Context, Result};

use crate::job::Setup;
use crate::size::{BySize, Size};
use crate::transports::bare::RELEASES;
use crate::{Receiver, Sender, Transport};

/// A ring whose producer sends in the way of `S`.
pub(crate) struct Ring<S, const N: usize>(PhantomData<S>);

pub(crate) trait Sending: Sender + Sized {
    fn by(producer: Producer, setup: &Setup) -> Result<Self>;
}

/// The four ways by size.
pub(crate) struct Offers;

impl BySize for Offers {
    type Of<const N: usize> = Ring<Offer<N>, N>;
}

pub(crate) struct Claims;

impl BySize for Claims {
    type Of<const N: usize> = Ring<InPlace<N>, N>;
}

pub(crate) struct Batches;

impl BySize for Batches {
    type Of<const N: usize> = Ring<Batch<N>, N>;
}

pub(crate) struct Arrays;

impl BySize for Arrays {
    type Of<const N: usize> = Ring<Array<N>, N>;
}

fn path(place: &Path) -> PathBuf {
    place.join("ring")
}

impl<S: Sending, const N: usize> Transport for Ring<S, N> {
    type Sender = S;
    type Receiver = Drain<N>;

    fn prepare(place: &Path, setup: &Setup) -> Result<()> {
        Buffer::options()
            .capacity(setup.capacity)
            .classic(setup.classic)
            .producers(setup.producers.into())
            .consumers(setup.consumers.into())
            .prefault(true)
            .create_new(path(place))?;
        Ok(())
    }

    fn sender(place: &Path, setup: &Setup) -> Result<S> {
        let mut producer = Buffer::options().prefault(true).open(path(place))?.producer()?;
        producer.set_wait(setup.wait.parse()?);
        S::by(producer, setup)
    }

    fn receiver(place: &Path, setup: &Setup) -> Result<Drain<N>> {
        let mut consumer = Buffer::options().prefault(true).open(path(place))?.consumer()?;
        consumer.set_wait(setup.wait.parse()?);
        let messages = usize::try_from(setup.capacity)? / (HEADER_SIZE + setup.size);
        Ok(Drain { consumer, size: Size::new(setup.size), limit: messages.div_ceil(RELEASES) })
    }
}

pub(crate) struct Drain<const N: usize> {
    consumer: Consumer,
    size: Size<N>,
    /// So many messages are released together at most: the sender need not wait for the end of a long run.
    limit: usize,
}

impl<const N: usize> Receiver for Drain<N> {
    const SPINS: bool = true;

    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.consumer.wait()?;
        loop {
            let taken = self.consumer.drain(self.limit, |message| {
                each(self.size.of(message.payload()));
                Flow::Continue
            })?;
            if taken < self.limit {
                return Ok(());
            }
        }
    }
}

/// From a buffer of the sender's, copied into the ring.
pub(crate) struct Offer<const N: usize> {
    producer: Producer,
    size: Size<N>,
    payload: Vec<u8>,
}

impl<const N: usize> Sending for Offer<N> {
    fn by(producer: Producer, setup: &Setup) -> Result<Offer<N>> {
        Ok(Offer { producer, size: Size::new(setup.size), payload: vec![0; setup.size] })
    }
}

impl<const N: usize> Sender for Offer<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let payload = &mut self.payload[..self.size.get()];
        fill(payload);
        Ok(self.producer.put(1, 1, payload)?)
    }
}

/// Written in the ring, without a copy.
pub(crate) struct InPlace<const N: usize> {
    producer: Producer,
    size: Size<N>,
}

impl<const N: usize> Sending for InPlace<N> {
    fn by(producer: Producer, setup: &Setup) -> Result<InPlace<N>> {
        Ok(InPlace { producer, size: Size::new(setup.size) })
    }
}

impl<const N: usize> Sender for InPlace<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        loop {
            match self.producer.claim(self.size.get()) {
                Ok(mut claim) => {
                    fill(claim.payload_mut());
                    claim.commit(1, 1);
                    return Ok(());
                }
                Err(Error::Full) => {}
                Err(error) => return Err(error.into()),
            }
            self.producer.wait_for_space(self.size.get(), None)?;
        }
    }
}

/// One after the other into the ring, published together.
pub(crate) struct Batch<const N: usize>(Offer<N>);

impl<const N: usize> Sending for Batch<N> {
    fn by(producer: Producer, setup: &Setup) -> Result<Batch<N>> {
        Ok(Batch(Offer::by(producer, setup)?))
    }
}

impl<const N: usize> Sender for Batch<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        self.0.send(fill)
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        let Offer { producer, size, payload } = &mut self.0;
        let payload = &mut payload[..size.get()];
        let mut sent = 0;
        while sent < count {
            let mut batch = producer.batch();
            while sent < count {
                fill(sent, payload);
                match batch.push(1, 1, payload) {
                    Ok(()) => sent += 1,
                    Err(Error::Full) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            batch.commit();
            if sent < count {
                producer.wait_for_space(payload.len(), None)?;
            }
        }
        Ok(())
    }
}

/// Equal-sized records, handed over as one array.
pub(crate) struct Array<const N: usize> {
    producer: Producer,
    size: Size<N>,
    records: Vec<u8>,
}

impl<const N: usize> Sending for Array<N> {
    fn by(producer: Producer, setup: &Setup) -> Result<Array<N>> {
        let bytes = setup.size.checked_mul(setup.batch).context("the batch is too large")?;
        Ok(Array { producer, size: Size::new(setup.size), records: vec![0; bytes] })
    }
}

impl<const N: usize> Sender for Array<N> {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let record = &mut self.records[..self.size.get()];
        fill(record);
        Ok(self.producer.put(1, 1, record)?)
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        let size = self.size.get();
        let records = &mut self.records[..count * size];
        for (index, record) in records.chunks_exact_mut(size).enumerate() {
            fill(index, record);
        }
        let mut rest = &*records;
        while !rest.is_empty() {
            match self.producer.offer_array(1, 1, size, rest)? {
                0 => self.producer.wait_for_space(size, None)?,
                taken => rest = &rest[taken * size..],
            }
        }
        Ok(())
    }
}
