//! What is told to whoever listens, with the feature `tracing`: only what is rare, never anything about a single message.

/// An event of the crate `tracing`, if the feature is there. What it is told is not looked at otherwise.
macro_rules! event {
    ($level:ident, $($what:tt)*) => {
        #[cfg(feature = "tracing")]
        tracing::$level!($($what)*)
    };
}

pub(crate) use event;
