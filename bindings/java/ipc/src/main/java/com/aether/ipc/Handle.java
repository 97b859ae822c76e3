package com.aether.ipc;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.locks.LockSupport;

/**
 * A producer or a consumer: a native handle that one thread uses at a time.
 *
 * <p>Whoever uses it is inside, alone; another thread is refused, except to close it, for which it waits. So the native
 * handle is never freed under a call, nor the ring unmapped under an access. The first threads to come each get a
 * {@link Lease}, with which they go in and out at the cost of a store; where threads take turns, a word is swapped.
 */
abstract sealed class Handle extends Apart implements AutoCloseable permits AetherProducer, AetherConsumer {
    // The states: of a lease, while there is one, else of the handle.
    /** Nobody is inside. */
    static final int IDLE = 0;
    /** A thread is inside. */
    static final int BUSY = 1;
    /** A claim or a batch is open. */
    private static final int LENT = 2;
    private static final int CLOSED = 3;
    /** See the lease. */
    private static final int LEASED = 4;

    /** So many threads one after the other may have a lease: it costs much to take one away. */
    private static final int LEASES = 3;

    /** Nanoseconds that a wait sleeps before it looks whether its thread was interrupted or the handle is being closed. */
    static final long SLICE = 5_000_000;

    private static final VarHandle STATE;

    static {
        try {
            STATE = MethodHandles.lookup().findVarHandle(Handle.class, "state", int.class);
        } catch (ReflectiveOperationException problem) {
            throw new ExceptionInInitializerError(problem);
        }
    }

    final AetherBuffer buffer;
    private final String role;
    /** Only touched while inside. */
    final long handle;

    @SuppressWarnings("unused")
    private volatile int state;
    /** There exactly while the state is LEASED; what is read here without the lock may be the one before. */
    private Lease lease;
    /** Under the lock. */
    private int leases;
    /**
     * Without a lease, whose handler is running, or who holds what is lent. For a thread to recognise itself, a plain field
     * will do; others read it after the state, which is stored later.
     */
    private Thread owner;
    private AutoCloseable lent;
    private boolean closeWhenDone;
    /** A thread waits to close this: nobody else gets inside before. */
    private volatile boolean closing;

    Handle(AetherBuffer buffer, String role, long handle) {
        this.buffer = buffer;
        this.role = role;
        this.handle = handle;
    }

    /** Goes inside. */
    final void enter() {
        Lease mine = lease;
        if (mine == null || !mine.enter()) {
            enterWithoutLease();
        }
    }

    private void enterWithoutLease() {
        int now = (int) STATE.getAcquire(this);
        if (now == LEASED || now == IDLE && leases < LEASES) {
            synchronized (this) {
                endLease();
                refuseWhileClosing();
                if (leases < LEASES) {
                    Lease mine = new Lease(BUSY);
                    if (STATE.compareAndSet(this, IDLE, LEASED)) {
                        leases++;
                        lease = mine;
                        return;
                    }
                    mine.revoke();
                }
            }
        }
        if (!STATE.compareAndSet(this, IDLE, BUSY)) {
            throw refusal(state());
        }
        if (closing) {
            leave();
            // Without another look: whoever closes has been let in, and may be done by now.
            throw beingClosed();
        }
    }

    private void refuseWhileClosing() {
        if (closing) {
            throw beingClosed();
        }
    }

    private IllegalStateException beingClosed() {
        return new IllegalStateException("the " + role + " is being closed");
    }

    /** Under the lock: takes the lease away, if there is one, and its owner is not inside. */
    private void endLease() {
        Lease old = lease;
        if (old == null) {
            return;
        }
        if (old.owner != Thread.currentThread()) {
            old.revoke();
        }
        int inside = old.state();
        if (inside != IDLE) {
            throw refusal(inside);
        }
        old.revoke();
        lease = null;
        STATE.setRelease(this, IDLE);
    }

    /** Whatever it is, seen from anywhere. */
    private synchronized int state() {
        int now = (int) STATE.getAcquire(this);
        return now == LEASED ? lease.state() : now;
    }

    final void leave() {
        set(IDLE);
    }

    /** By the thread that is inside. */
    private void set(int next) {
        // Nobody takes the lease of a thread that is inside away from here, nor gives another one.
        Lease mine = lease;
        if (mine != null) {
            mine.setState(next);
        } else {
            STATE.setRelease(this, next);
        }
    }

    private IllegalStateException refusal(int state) {
        return new IllegalStateException(switch (state) {
            case CLOSED -> "the " + role + " is closed";
            case LENT -> "the " + role + " has an open claim or batch: close that first";
            default -> "the " + role + " is in use, by another thread or by the handler that calls it: one at a time";
        });
    }

    /** What runs until {@link #afterHandler} is the user's: it may try to use or to close this. */
    final void beforeHandler() {
        if (lease == null) {
            owner = Thread.currentThread();
        }
    }

    /** Leaves, too. */
    final void afterHandler() {
        if (lease == null) {
            owner = null;
        }
        leave();
        if (closeWhenDone) {
            close();
        }
    }

    /** Leaves, with something open that this thread will close. */
    final void lend(AutoCloseable what) {
        owner = Thread.currentThread();
        lent = what;
        set(LENT);
    }

    /** Goes inside again, by the thread to which it was lent, to close that. */
    final void takeBack() {
        owner = null;
        lent = null;
        set(BUSY);
    }

    final boolean isClosed() {
        return (int) STATE.getAcquire(this) == CLOSED;
    }

    /** Frees the native handle and everything that only it needs, or throws and leaves all as it was. */
    abstract void free();

    /**
     * Gives up the role. Waits for a call of another thread that is under way; in a handler, it is done when the handler
     * has returned. Closing again does nothing.
     *
     * @throws IllegalStateException if another thread has a claim or a batch open, or uses a payload at this moment
     */
    @Override
    public final void close() {
        while (!tryClose()) {
            LockSupport.parkNanos(50_000);
        }
    }

    private boolean tryClose() {
        AutoCloseable open;
        synchronized (this) {
            int now = (int) STATE.getAcquire(this);
            Thread user = owner;
            if (now == LEASED) {
                user = lease.owner;
                if (user != Thread.currentThread()) {
                    lease.revoke();
                }
                now = lease.state();
            }
            switch (now) {
                case CLOSED -> {
                    return true;
                }
                case IDLE -> {
                    endLease();
                    if (!STATE.compareAndSet(this, IDLE, BUSY)) {
                        return false;
                    }
                    freeOnce();
                    return true;
                }
                case LENT -> open = lent;
                default -> {
                    if (user == Thread.currentThread()) {
                        closeWhenDone = true;
                        return true;
                    }
                    closing = true;
                    return false;
                }
            }
            if (user != null && user != Thread.currentThread()) {
                if (user.isAlive()) {
                    closing = false;
                    throw new IllegalStateException(
                            "the " + role + " has a claim or a batch that " + user.getName() + " must close first");
                }
                // Nobody can reach what it had borrowed.
                set(IDLE);
                return false;
            }
        }
        closeLent(open);
        return false;
    }

    private static void closeLent(AutoCloseable open) {
        try {
            open.close();
        } catch (RuntimeException problem) {
            throw problem;
        } catch (Exception problem) {
            throw new AssertionError(problem);
        }
    }

    private void freeOnce() {
        int next = IDLE;
        try {
            free();
            next = CLOSED;
        } finally {
            closing = false;
            STATE.setRelease(this, next);
        }
        buffer.forgetHandle(this);
    }
}
