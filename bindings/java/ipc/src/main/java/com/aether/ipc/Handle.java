package com.aether.ipc;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.locks.LockSupport;

/**
 * A producer or a consumer: a native handle that one thread uses at a time.
 *
 * <p>Whoever uses it is inside, alone; another thread is refused, except to close it, for which it waits. So the native
 * handle is never freed under a call.
 */
abstract sealed class Handle implements AutoCloseable permits AetherProducer, AetherConsumer {
    /** Nobody is inside. */
    private static final int IDLE = 0;
    /** A thread is inside. */
    private static final int BUSY = 1;
    /** A claim or a batch is open. */
    private static final int LENT = 2;
    private static final int CLOSED = 3;

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
    /**
     * Whose handler is running, or who holds what is lent. For a thread to recognise itself, a plain field will do; others
     * read it after the state, which is stored later.
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
        if (!STATE.compareAndSet(this, IDLE, BUSY)) {
            throw refusal();
        }
        if (closing) {
            leave();
            throw new IllegalStateException("the " + role + " is being closed");
        }
    }

    final void leave() {
        STATE.setRelease(this, IDLE);
    }

    private IllegalStateException refusal() {
        return new IllegalStateException(switch ((int) STATE.getAcquire(this)) {
            case CLOSED -> "the " + role + " is closed";
            case LENT -> "the " + role + " has an open claim or batch: close that first";
            default -> "the " + role + " is in use, by another thread or by the handler that calls it: one at a time";
        });
    }

    /** What runs until {@link #afterHandler} is the user's: it may try to use or to close this. */
    final void beforeHandler() {
        owner = Thread.currentThread();
    }

    /** Leaves, too. */
    final void afterHandler() {
        owner = null;
        leave();
        if (closeWhenDone) {
            close();
        }
    }

    /** Leaves, with something open that this thread will close. */
    final void lend(AutoCloseable what) {
        owner = Thread.currentThread();
        lent = what;
        STATE.setRelease(this, LENT);
    }

    /** Goes inside again, to close what was lent. */
    final void takeBack() {
        if (!STATE.compareAndSet(this, LENT, BUSY)) {
            throw refusal();
        }
        owner = null;
        lent = null;
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
        while (true) {
            switch ((int) STATE.getAcquire(this)) {
                case CLOSED -> {
                    return;
                }
                case IDLE -> {
                    if (STATE.compareAndSet(this, IDLE, BUSY)) {
                        freeOnce();
                        return;
                    }
                }
                case LENT -> closeLent();
                default -> {
                    if (owner == Thread.currentThread()) {
                        closeWhenDone = true;
                        return;
                    }
                    closing = true;
                    LockSupport.parkNanos(50_000);
                }
            }
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

    private void closeLent() {
        Thread borrower = owner;
        if (borrower == Thread.currentThread()) {
            try {
                lent.close();
            } catch (RuntimeException problem) {
                throw problem;
            } catch (Exception problem) {
                throw new AssertionError(problem);
            }
        } else if (borrower != null && !borrower.isAlive()) {
            // Nobody can reach what it had borrowed.
            if (STATE.compareAndSet(this, LENT, IDLE)) {
                return;
            }
        } else if (borrower != null) {
            closing = false;
            throw new IllegalStateException(
                    "the " + role + " has a claim or a batch that " + borrower.getName() + " must close first");
        }
    }
}
