package com.aether.ipc;

/** The order in which messages of several producers come. Those of one producer always come as they were committed. */
public enum Merge {
    // In the order of `aether_merge`.
    /** Producers take turns, so that none starves. The default. */
    FAIR,
    /** The smallest id first: one total order, for producers whose ids grow. */
    BY_ID
}
