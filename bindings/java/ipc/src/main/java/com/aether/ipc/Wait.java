package com.aether.ipc;

/** How a call waits. */
public enum Wait {
    // In the order of `aether_wait`.
    /** Looks again and again: wakes after a cache miss, costs a core. */
    SPIN,
    /** Looks, and lets others run in between. */
    YIELD,
    /** Spins, then yields, then sleeps longer and longer, up to a millisecond. */
    BACKOFF,
    /** Spins briefly, then sleeps until the other side wakes it. The default. */
    PARK
}
