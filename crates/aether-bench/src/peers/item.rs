//! Payloads for libraries whose messages have a type: its size is known when it is compiled.

use aether_bench::job::{Setup, Work};

/// A payload of `N` bytes, as part of a message.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Item<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Default for Item<N> {
    fn default() -> Self {
        Item([0; N])
    }
}

impl<const N: usize> Item<N> {
    #[inline]
    pub(crate) fn filled(fill: impl FnOnce(&mut [u8])) -> Item<N> {
        let mut item = Item::default();
        fill(&mut item.0);
        item
    }
}

/// Messages that fit into the capacity.
pub(crate) fn slots(setup: &Setup) -> usize {
    (setup.capacity as usize / setup.size).max(2)
}

/// Above that, one hands over a pointer within a process, which is another work.
const LARGEST_BY_VALUE: usize = 4 << 10;

pub(crate) fn refuses_large(_: Work, setup: &Setup) -> Option<String> {
    let large = setup.size > LARGEST_BY_VALUE;
    large.then(|| "within one process a payload of this size stays where it is, and a pointer is sent".to_owned())
}

/// An entry whose transport has a type for each size. `$side` is what one process does, of `aether_bench::work`.
macro_rules! by_size {
    ($side:ident, $peer:ident, $job:ident, $ready:ident) => {
        match $job.setup.size {
            8 => aether_bench::work::$side::<$peer<8>>($job, $ready),
            24 => aether_bench::work::$side::<$peer<24>>($job, $ready),
            64 => aether_bench::work::$side::<$peer<64>>($job, $ready),
            256 => aether_bench::work::$side::<$peer<256>>($job, $ready),
            0x400 => aether_bench::work::$side::<$peer<0x400>>($job, $ready),
            0x1000 => aether_bench::work::$side::<$peer<0x1000>>($job, $ready),
            0x1_0000 => aether_bench::work::$side::<$peer<0x1_0000>>($job, $ready),
            0x10_0000 => aether_bench::work::$side::<$peer<0x10_0000>>($job, $ready),
            size => anyhow::bail!("no type has {size} bytes"),
        }
    };
}

pub(crate) use by_size;

/// Likewise, for the sizes that are sent by value.
macro_rules! by_small_size {
    ($side:ident, $peer:ident, $job:ident, $ready:ident) => {
        match $job.setup.size {
            8 => aether_bench::work::$side::<$peer<8>>($job, $ready),
            24 => aether_bench::work::$side::<$peer<24>>($job, $ready),
            64 => aether_bench::work::$side::<$peer<64>>($job, $ready),
            256 => aether_bench::work::$side::<$peer<256>>($job, $ready),
            0x400 => aether_bench::work::$side::<$peer<0x400>>($job, $ready),
            0x1000 => aether_bench::work::$side::<$peer<0x1000>>($job, $ready),
            size => anyhow::bail!("no type has {size} bytes"),
        }
    };
}

pub(crate) use by_small_size;
