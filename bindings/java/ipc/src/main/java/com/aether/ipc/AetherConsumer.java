package com.aether.ipc;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.Arrays;
import java.util.Objects;

/**
 * Reads messages from a ring and releases them.
 *
 * <p>What was not released, because the process died, a handler threw or refused, comes again. One thread uses a consumer
 * at a time, or gets an {@link IllegalStateException}; so does a handler that uses the one that calls it. It may be closed
 * from another thread, which waits for the call under way, or from a handler. {@code poll} and {@code drain} allocate
 * nothing.
 */
public final class AetherConsumer extends Handle {
    /** Largest payload, in bytes, that is copied for a {@link MessageHandler}: see there. */
    public static final int COPIED = 4096;

    /** What {@link #poll} found. */
    public enum PollResult {
        /** One message was handled and released. */
        SUCCESS,
        /** No message was there. */
        EMPTY,
        /** The handler kept the message; it comes again. */
        KEPT
    }

    /** Messages that one call asks for. */
    private static final int TABLE = 256;

    private static final long ROW = Native.MESSAGE.byteSize();
    private static final long ID = Native.offset(Native.MESSAGE, "id");
    private static final long PAYLOAD = Native.offset(Native.MESSAGE, "payload");
    private static final long LENGTH = Native.offset(Native.MESSAGE, "length");
    private static final long POSITION = Native.offset(Native.MESSAGE, "position");
    private static final long TYPE = Native.offset(Native.MESSAGE, "message_type");
    private static final long LANE = Native.offset(Native.MESSAGE, "lane");
    private static final long READ_CURSOR = Native.offset(Native.CONSUMER_STATS, "position");
    private static final long AVAILABLE_BYTES = Native.offset(Native.CONSUMER_STATS, "available_bytes");
    private static final long RECEIVED = Native.offset(Native.CONSUMER_STATS, "received");

    /** Everything that a handler could still look at when the ring is no longer mapped: ends before that. */
    private final Arena arena = Arena.ofShared();
    /** What a peek shows: messages, and how many they are. Elsewhere room for results. */
    private final MemorySegment table = arena.allocate(TABLE * ROW + JAVA_LONG.byteSize(), 8);

    private final long rows = table.address();
    private final long out = rows + TABLE * ROW;
    /** The ring as it is mapped, by lane; null where nothing came through yet. */
    private MemorySegment[] lanes = new MemorySegment[1];
    /** Payloads that do not stand in the ring. */
    private MemorySegment spill = MemorySegment.NULL;

    private final MessageView view = new MessageView();
    private final Copying copying = new Copying();
    /** What went wrong behind messages that had to be reported first. */
    private RuntimeException deferred;

    /**
     * Takes a consumer's role. In a ring with one consumer, it goes on where the last one stopped. In a ring with more, it
     * sees every message committed from now on, and holds producers back until it is closed or dies.
     *
     * @param buffer the ring
     * @throws AetherException.RoleTaken if the ring has all the consumers that it has room for
     */
    public AetherConsumer(AetherBuffer buffer) {
        super(buffer, "consumer", buffer.takeConsumer(null));
        buffer.remember(this);
    }

    /**
     * Takes the role of the consumer with that name, in a ring with room for more than one: its place is kept while it is
     * away, and holds producers back. The first time, it starts with what is committed from now on.
     *
     * @param buffer the ring
     * @param name the name
     * @throws AetherException.RoleTaken if it is there already, or no place is left
     * @throws AetherException.Name if no consumer can have that name
     */
    public AetherConsumer(AetherBuffer buffer, String name) {
        super(buffer, "consumer", buffer.takeConsumer(Objects.requireNonNull(name, "name")));
        buffer.remember(this);
    }

    /**
     * Gives one message, if there is one, to the handler, and releases it unless the handler says no or throws.
     *
     * @param handler what handles it
     * @return what came of it
     */
    public PollResult poll(MessageHandler handler) {
        return result(deliver(copying, Objects.requireNonNull(handler, "handler"), 1));
    }

    /**
     * Gives one message, if there is one, to the handler, and releases it unless the handler keeps it or throws.
     *
     * @param handler what handles it
     * @return what came of it
     */
    public PollResult poll(MessageView.Handler handler) {
        return result(deliver(Objects.requireNonNull(handler, "handler"), null, 1));
    }

    /**
     * Gives up to {@code batchSize} messages to the handler. Ends early when the ring is empty, or the handler says no or
     * throws; what it handled before is released. A bad record behind others is reported by the next call.
     *
     * @param handler what handles them
     * @param batchSize how many at most
     * @return how many were released
     */
    public int drain(MessageHandler handler, int batchSize) {
        return Math.max(0, deliver(copying, Objects.requireNonNull(handler, "handler"), batchSize));
    }

    /**
     * Gives up to {@code batchSize} messages to the handler. Ends early when the ring is empty, or the handler says so or
     * throws; what it handled before is released. A bad record behind others is reported by the next call.
     *
     * @param handler what handles them
     * @param batchSize how many at most
     * @return how many were released
     */
    public int drain(MessageView.Handler handler, int batchSize) {
        return Math.max(0, deliver(Objects.requireNonNull(handler, "handler"), null, batchSize));
    }

    private static PollResult result(int released) {
        return released > 0 ? PollResult.SUCCESS : released == 0 ? PollResult.EMPTY : PollResult.KEPT;
    }

    /** Gives messages where they stand to a handler that takes segments. */
    private final class Copying implements MessageView.Handler {
        private MessageHandler handler;
        private MemorySegment copy = MemorySegment.NULL;
        private MemorySegment copyForHandler = MemorySegment.NULL;
        /** By length: parts of the copy, made once. */
        private MemorySegment[] payloads = new MemorySegment[0];

        @Override
        public Flow handle(MessageView message) {
            boolean done = handler.handle(message.id(), message.type(), payload(message));
            return done ? Flow.CONTINUE : Flow.KEEP;
        }

        private MemorySegment payload(MessageView message) {
            if (message.length() > COPIED) {
                return message.payload();
            }
            int length = (int) message.length();
            if (length >= payloads.length) {
                grow(length);
            }
            MemorySegment.copy(message.memory(), message.offset(), copy, 0, length);
            MemorySegment payload = payloads[length];
            if (payload == null) {
                payload = copyForHandler.asSlice(0, length);
                payloads[length] = payload;
            }
            return payload;
        }

        private void grow(int length) {
            if (copy.byteSize() == 0) {
                copy = arena.allocate(COPIED, 8);
                copyForHandler = copy.asReadOnly();
            }
            payloads = Arrays.copyOf(payloads, Math.min(2 * Integer.highestOneBit(length + 8), COPIED + 1));
        }
    }

    /**
     * Returns how many were released, or -1 if that is none since the handler kept the first. {@code copyFor} is whom
     * {@link #copying} copies for.
     */
    private int deliver(MessageView.Handler handler, MessageHandler copyFor, int limit) {
        if (limit < 0) {
            throw new IllegalArgumentException("a negative number of messages: " + limit);
        }
        enter();
        beforeHandler();
        try {
            copying.handler = copyFor;
            reportDeferred();
            int total = 0;
            boolean kept = false;
            boolean goOn = true;
            while (goOn && total < limit) {
                int count = peek(Math.min(limit - total, TABLE), total > 0);
                if (count == 0) {
                    break;
                }
                int done = 0;
                int released = 0;
                try {
                    while (goOn && done < count) {
                        show(done);
                        switch (handler.handle(view)) {
                            case CONTINUE -> done++;
                            case BREAK -> {
                                done++;
                                goOn = false;
                            }
                            case COMMIT -> {
                                done++;
                                Native.check(Native.release(handle, done - released));
                                released = done;
                            }
                            case KEEP -> {
                                kept = true;
                                goOn = false;
                            }
                        }
                    }
                } catch (Throwable thrown) {
                    releaseAfter(thrown, done - released);
                    throw thrown;
                }
                Native.check(Native.release(handle, done - released));
                total += done;
            }
            return total == 0 && kept ? -1 : total;
        } finally {
            view.showNothing();
            afterHandler();
        }
    }

    private void releaseAfter(Throwable thrown, int count) {
        try {
            Native.check(Native.release(handle, count));
        } catch (RuntimeException problem) {
            thrown.addSuppressed(problem);
        }
    }

    private void reportDeferred() {
        RuntimeException problem = deferred;
        if (problem != null) {
            deferred = null;
            throw problem;
        }
    }

    /** Fills the table; with {@code later}, a failure is kept for the next call. */
    private int peek(int limit, boolean later) {
        int status = Native.peek(handle, rows, limit, out);
        if (status == Native.OK) {
            return (int) table.get(JAVA_LONG, TABLE * ROW);
        }
        RuntimeException problem = Native.failure(status);
        if (!later) {
            throw problem;
        }
        deferred = problem;
        return 0;
    }

    private void show(int index) {
        long row = index * ROW;
        long address = table.get(JAVA_LONG, row + PAYLOAD);
        long length = table.get(JAVA_LONG, row + LENGTH);
        int lane = table.get(JAVA_INT, row + LANE);
        MemorySegment memory = lane < lanes.length && lanes[lane] != null ? lanes[lane] : map(lane);
        long offset = address - memory.address();
        if (offset < 0 || offset > memory.byteSize() - length) {
            memory = spilled(address, length);
            offset = 0;
        }
        view.show(
                memory,
                offset,
                length,
                table.get(JAVA_LONG, row + ID),
                table.get(JAVA_INT, row + TYPE),
                lane,
                table.get(JAVA_LONG, row + POSITION));
    }

    private MemorySegment map(int lane) {
        if (lane >= lanes.length) {
            lanes = Arrays.copyOf(lanes, lane + 1);
        }
        lanes[lane] = buffer.memory(lane, arena).asReadOnly();
        return lanes[lane];
    }

    /** A payload that the core had to copy may move with its next call; a view may not. */
    private MemorySegment spilled(long address, long length) {
        if (spill.byteSize() < length) {
            // What it grew out of stays until the end: together less than what there is now.
            spill = arena.allocate(Math.max(Math.max(2 * spill.byteSize(), length), 4096), 8);
        }
        MemorySegment.copy(Native.MEMORY, address, spill, 0, length);
        return spill;
    }

    /**
     * Borrows up to {@code limit} messages where they stand, fewer if they came through several lanes.
     *
     * @param limit how many at most
     * @return the batch, to be closed by this thread; this consumer does nothing else before
     */
    public MessageBatch batch(int limit) {
        if (limit < 0) {
            throw new IllegalArgumentException("a negative number of messages: " + limit);
        }
        enter();
        MessageBatch batch = null;
        try {
            reportDeferred();
            int count = peek(Math.min(limit, TABLE), false);
            batch = new MessageBatch(this, count);
        } finally {
            if (batch == null) {
                leave();
            } else {
                lend(batch);
            }
        }
        return batch;
    }

    /** The message in a row of the table, for a batch, with memory that ends with it. */
    MessageView message(int index, Arena batch) {
        long row = index * ROW;
        long length = table.get(JAVA_LONG, row + LENGTH);
        MemorySegment memory = MemorySegment.ofAddress(table.get(JAVA_LONG, row + PAYLOAD));
        MessageView message = new MessageView();
        message.show(
                memory.reinterpret(length, batch, null).asReadOnly(),
                0,
                length,
                table.get(JAVA_LONG, row + ID),
                table.get(JAVA_INT, row + TYPE),
                table.get(JAVA_INT, row + LANE),
                table.get(JAVA_LONG, row + POSITION));
        return message;
    }

    void endBatch(int released) {
        takeBack();
        try {
            Native.check(Native.release(handle, released));
        } finally {
            leave();
        }
    }

    /**
     * Waits until a message is there.
     *
     * @throws InterruptedException if the thread is or was interrupted
     */
    public void await() throws InterruptedException {
        while (!await(Duration.ofDays(1))) {
            // Without end.
        }
    }

    /**
     * Waits until a message is there.
     *
     * @param timeout how long to wait at most
     * @return whether one is; false if the time is over
     * @throws InterruptedException if the thread is or was interrupted
     * @throws AetherException.Closed if no producer is there, where {@link #requireProducer} asked for it
     */
    public boolean await(Duration timeout) throws InterruptedException {
        long wait = AetherOptions.nanoseconds(timeout);
        long start = System.nanoTime();
        AetherProducer.checkInterrupt();
        while (true) {
            long left = wait - (System.nanoTime() - start);
            if (await(Math.clamp(left, 0, SLICE))) {
                return true;
            }
            if (left <= SLICE && System.nanoTime() - start >= wait) {
                return false;
            }
        }
    }

    private boolean await(long nanoseconds) throws InterruptedException {
        int status;
        enter();
        try {
            status = deferred == null ? Native.await(handle, nanoseconds) : Native.OK;
            if (status != Native.OK && status != Native.TIMED_OUT) {
                throw Native.failure(status);
            }
        } finally {
            leave();
        }
        AetherProducer.checkInterrupt();
        return status == Native.OK;
    }

    /** {@return bytes that this consumer has released of the first producer's, since the ring was made} */
    public long getReadCursor() {
        return stat(READ_CURSOR);
    }

    /** {@return bytes that were ever committed, by the first producer if there may be many} */
    public long getWriteCursor() {
        return buffer.getWriteCursorAcquire();
    }

    /** {@return bytes that are there to be read, of all producers together} */
    public long getAvailableBytes() {
        return stat(AVAILABLE_BYTES);
    }

    /** {@return messages released by this consumer} */
    public long received() {
        return stat(RECEIVED);
    }

    private long stat(long field) {
        enter();
        try {
            Native.check(Native.consumerReadStats(handle, rows));
            return table.get(JAVA_LONG, field);
        } finally {
            leave();
        }
    }

    /**
     * How {@link #await} waits.
     *
     * @param wait {@link Wait#PARK} unless set
     */
    public void setWait(Wait wait) {
        enter();
        try {
            Native.check(Native.consumerSetWait(handle, wait.ordinal()));
        } finally {
            leave();
        }
    }

    /**
     * Whether waiting at an empty ring that no producer holds ends with {@link AetherException.Closed}.
     *
     * @param required false unless set: a producer may come later
     */
    public void requireProducer(boolean required) {
        enter();
        try {
            Native.check(Native.requireProducer(handle, required));
        } finally {
            leave();
        }
    }

    /**
     * The order in which messages of several producers come.
     *
     * @param merge {@link Merge#FAIR} unless set
     */
    public void setMerge(Merge merge) {
        enter();
        try {
            Native.check(Native.setMerge(handle, merge.ordinal()));
        } finally {
            leave();
        }
    }

    /**
     * Reads by copying first and checking then, for producers that may mean harm: whatever they write into the ring
     * meanwhile, a payload does not change while it is looked at. Rings that drop messages are always read so.
     *
     * @param untrusted false unless set
     */
    public void setUntrusted(boolean untrusted) {
        enter();
        try {
            Native.check(Native.setUntrusted(handle, untrusted));
        } finally {
            leave();
        }
    }

    /** {@return whether any process produces now} Asks the system. */
    public boolean hasProducer() {
        enter();
        try {
            Native.check(Native.hasProducer(handle, rows));
            return table.get(JAVA_BYTE, 0) != 0;
        } finally {
            leave();
        }
    }

    @Override
    void free() {
        // Fails if another thread uses a payload at this moment; then the ring has to stay mapped.
        arena.close();
        Native.check(Native.consumerFree(handle));
    }
}
