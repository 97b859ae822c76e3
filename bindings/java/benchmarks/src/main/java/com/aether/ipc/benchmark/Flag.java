package com.aether.ipc.benchmark;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/** Tells another thread to stop. Nothing that is written meanwhile shares its cache lines. */
final class Flag {
    private static final VarHandle WORDS = MethodHandles.arrayElementVarHandle(long[].class);
    private static final int MIDDLE = 32;

    private final long[] words = new long[2 * MIDDLE];

    void raise() {
        WORDS.setRelease(words, MIDDLE, 1L);
    }

    boolean isRaised() {
        return (long) WORDS.getAcquire(words, MIDDLE) != 0;
    }
}
