package com.aether.ipc;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.VarHandle;

/**
 * A handle's promise to one thread: to go inside it needs no atomic operation, which would cost as much as a message.
 *
 * <p>The thread says that it is inside by a plain store through {@link #door}. Closing the arena of the door takes the
 * lease away: it is part of what a shared arena is that a store either came before the end of the arena, and is then seen
 * by whoever ended it, or fails. (It may do both: the exception can reach the thread when the store is done. Then the thread
 * takes the store back.) So whoever has taken it away sees whether the thread is inside, and it does not come in
 * again. That is dear, some tens of microseconds; but it only happens when another thread wants to come in, or to close.
 */
final class Lease {
    private static final VarHandle INT = JAVA_INT.varHandle();

    final Thread owner;
    private final Arena arena = Arena.ofShared();
    /** What the owner is doing inside, as a state of {@link Handle}. It outlives the lease. */
    private final MemorySegment inside;
    /** The same memory. */
    private final MemorySegment door;

    /** A lease for this thread, which is inside. */
    Lease(int state) {
        owner = Thread.currentThread();
        // Nothing else on the lines that a processor takes at once.
        inside = Arena.ofAuto().allocate(256, 128).asSlice(0, JAVA_INT.byteSize());
        inside.set(JAVA_INT, 0, state);
        Arena source = arena;
        door = MemorySegment.ofAddress(inside.address()).reinterpret(JAVA_INT.byteSize(), source, null);
    }

    /** Whether this is a lease of this thread, which was outside and now is inside. */
    boolean enter() {
        if (owner != Thread.currentThread()) {
            return false;
        }
        boolean outside = false;
        try {
            if (door.get(JAVA_INT, 0) != Handle.IDLE) {
                return false;
            }
            outside = true;
            door.set(JAVA_INT, 0, Handle.BUSY);
            return true;
        } catch (IllegalStateException taken) {
            if (outside) {
                // Nobody but its owner writes this.
                setState(Handle.IDLE);
            }
            return false;
        }
    }

    int state() {
        return (int) INT.getAcquire(inside, 0L);
    }

    /** By the owner, while it is inside. */
    void setState(int state) {
        INT.setRelease(inside, 0L, state);
    }

    /** From here on the owner does not come in. Whether it still is inside, {@link #state} says. */
    void revoke() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }
}
