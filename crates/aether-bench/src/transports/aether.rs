//! The ring of this project, in the four ways to send.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use aether_ipc::{Buffer, Consumer, Error, Flow, Producer};
use anyhow::{Context, Result};

use crate::job::Setup;
use crate::{Receiver, Sender, Transport};

/// A ring whose producer sends in the way of `S`.
pub(crate) struct Ring<S>(PhantomData<S>);

pub(crate) trait Sending: Sender + Sized {
    fn by(producer: Producer, setup: &Setup) -> Result<Self>;
}

fn path(place: &Path) -> PathBuf {
    place.join("ring")
}

impl<S: Sending> Transport for Ring<S> {
    type Sender = S;
    type Receiver = Drain;

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

    fn receiver(place: &Path, setup: &Setup) -> Result<Drain> {
        let mut consumer = Buffer::options().prefault(true).open(path(place))?.consumer()?;
        consumer.set_wait(setup.wait.parse()?);
        Ok(Drain(consumer))
    }
}

pub(crate) struct Drain(Consumer);

impl Receiver for Drain {
    #[inline]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.0.wait()?;
        self.0.drain(usize::MAX, |message| {
            each(message.payload());
            Flow::Continue
        })?;
        Ok(())
    }
}

/// From a buffer of the sender's, copied into the ring.
pub(crate) struct Offer {
    producer: Producer,
    payload: Vec<u8>,
}

impl Sending for Offer {
    fn by(producer: Producer, setup: &Setup) -> Result<Offer> {
        Ok(Offer { producer, payload: vec![0; setup.size] })
    }
}

impl Sender for Offer {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        fill(&mut self.payload);
        Ok(self.producer.put(1, 1, &self.payload)?)
    }
}

/// Written in the ring, without a copy.
pub(crate) struct InPlace {
    producer: Producer,
    size: usize,
}

impl Sending for InPlace {
    fn by(producer: Producer, setup: &Setup) -> Result<InPlace> {
        Ok(InPlace { producer, size: setup.size })
    }
}

impl Sender for InPlace {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        loop {
            match self.producer.claim(self.size) {
                Ok(mut claim) => {
                    fill(claim.payload_mut());
                    claim.commit(1, 1);
                    return Ok(());
                }
                Err(Error::Full) => {}
                Err(error) => return Err(error.into()),
            }
            self.producer.wait_for_space(self.size, None)?;
        }
    }
}

/// One after the other into the ring, published together.
pub(crate) struct Batch(Offer);

impl Sending for Batch {
    fn by(producer: Producer, setup: &Setup) -> Result<Batch> {
        Ok(Batch(Offer::by(producer, setup)?))
    }
}

impl Sender for Batch {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        self.0.send(fill)
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        let Offer { producer, payload } = &mut self.0;
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
pub(crate) struct Array {
    producer: Producer,
    size: usize,
    records: Vec<u8>,
}

impl Sending for Array {
    fn by(producer: Producer, setup: &Setup) -> Result<Array> {
        let bytes = setup.size.checked_mul(setup.batch).context("the batch is too large")?;
        Ok(Array { producer, size: setup.size, records: vec![0; bytes] })
    }
}

impl Sender for Array {
    #[inline]
    fn send(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let record = &mut self.records[..self.size];
        fill(record);
        Ok(self.producer.put(1, 1, record)?)
    }

    #[inline]
    fn send_run(&mut self, count: usize, fill: impl Fn(usize, &mut [u8])) -> Result<()> {
        let records = &mut self.records[..count * self.size];
        for (index, record) in records.chunks_exact_mut(self.size).enumerate() {
            fill(index, record);
        }
        let mut rest = &*records;
        while !rest.is_empty() {
            match self.producer.offer_array(1, 1, self.size, rest)? {
                0 => self.producer.wait_for_space(self.size, None)?,
                taken => rest = &rest[taken * self.size..],
            }
        }
        Ok(())
    }
}
