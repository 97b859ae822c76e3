package com.aether.ipc;

/** What producers do when the ring is full. */
public enum Overflow {
    // In the order of `aether_overflow`.
    /** They wait, or are refused: nothing is ever lost. */
    WAIT,
    /** They overwrite the oldest messages; a consumer that falls behind gets {@link AetherException.Lagged}. */
    DROP_OLDEST
}
