//! The size of a payload, known to the compiler where `N` is not zero: for the small ones, whose cost is a few
//! instructions. Peers with typed messages know it too.

use crate::Transport;
use crate::job::{Job, Outcome};
use crate::work;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Size<const N: usize>(usize);

impl<const N: usize> Size<N> {
    pub(crate) fn new(size: usize) -> Size<N> {
        Size(size)
    }

    #[inline]
    pub(crate) fn get(self) -> usize {
        if N == 0 { self.0 } else { N }
    }

    /// The payload as one of this size; nothing, which is no message, if it has another.
    #[inline]
    pub(crate) fn of(self, payload: &[u8]) -> &[u8] {
        if payload.len() == self.get() { &payload[..self.get()] } else { &[] }
    }
}

/// A way whose code is made for some sizes.
pub(crate) trait BySize {
    type Of<const N: usize>: Transport;
}

/// What one process does.
pub(crate) fn side<W: BySize>(job: &Job, ready: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<Outcome> {
    match job.setup.size {
        8 => work::side::<W::Of<8>>(job, ready),
        64 => work::side::<W::Of<64>>(job, ready),
        _ => work::side::<W::Of<0>>(job, ready),
    }
}
