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

    /** What {@link #deliverDirectly} counts down from. */
    private static final int ASK_CORE = -2;

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
    private static final long DIRECT_WRITE_CURSOR = Native.offset(Native.DIRECT, "write_cursor");
    private static final long DIRECT_READ_CURSOR = Native.offset(Native.DIRECT, "read_cursor");
    private static final long DIRECT_BELL = Native.offset(Native.DIRECT, "bell");
    private static final long DIRECT_DISTURBANCES = Native.offset(Native.DIRECT, "disturbances");
    private static final long DIRECT_DATA = Native.offset(Native.DIRECT, "data");
    private static final long DIRECT_MAPPED = Native.offset(Native.DIRECT, "mapped");
    private static final long DIRECT_CAPACITY = Native.offset(Native.DIRECT, "capacity");
    private static final long DIRECT_POSITION = Native.offset(Native.DIRECT, "position");
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
    /** Where payloads are copied to for handlers that take segments. */
    private final long copy;
    private final MemorySegment copyForHandlers;
    /** By length: the first bytes of the copy, each made once. */
    private MemorySegment[] payloads = new MemorySegment[0];

    // What this reads and releases by itself, and has not told the core. Without a cursor, the core does it.
    private boolean oneLane;
    private long cursor;
    private long writeCursor;
    private long bell;
    private long disturbances;
    private long data;
    private long mapped;
    private long mask;
    /** The next record to read; everything before was released. */
    private long position;
    /** Up to here records are known to be committed. */
    private long end;
    private long unsettled;
    private int undisturbed;
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
        this(buffer, null, buffer.takeConsumer(null));
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
        this(buffer, name, buffer.takeConsumer(Objects.requireNonNull(name, "name")));
    }

    private AetherConsumer(AetherBuffer buffer, String name, long handle) {
        super(buffer, "consumer", handle);
        try {
            MemorySegment room = arena.allocate(COPIED, 8);
            copy = room.address();
            copyForHandlers = room.asReadOnly();
            attach();
            oneLane = cursor != 0;
            buffer.remember(this);
        } catch (Throwable problem) {
            // The buffer may have been closed meanwhile: nobody else knows of the role.
            arena.close();
            Native.consumerFree(handle);
            throw problem;
        }
    }

    /**
     * Gives one message, if there is one, to the handler, and releases it unless the handler says no or throws.
     *
     * @param handler what handles it
     * @return what came of it
     */
    public PollResult poll(MessageHandler handler) {
        return result(deliver(null, Objects.requireNonNull(handler, "handler"), 1));
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
     * Gives up to {@code batchSize} messages, of those that are there now, to the handler. Ends early when the handler says
     * no or throws; what it handled before is released. A bad record behind others is reported by the next call.
     *
     * @param handler what handles them
     * @param batchSize how many at most
     * @return how many were released
     */
    public int drain(MessageHandler handler, int batchSize) {
        return Math.max(0, deliver(null, Objects.requireNonNull(handler, "handler"), batchSize));
    }

    /**
     * Gives up to {@code batchSize} messages, of those that are there now, to the handler. Ends early when the handler says
     * so or throws; what it handled before is released. A bad record behind others is reported by the next call.
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

    /**
     * Returns how many were released, or -1 if that is none since the handler kept the first. Either handler is null.
     */
    private int deliver(MessageView.Handler handler, MessageHandler forSegments, int limit) {
        if (limit < 0) {
            throw new IllegalArgumentException("a negative number of messages: " + limit);
        }
        enter();
        beforeHandler();
        try {
            int total = 0;
            if (cursor != 0 && deferred == null && Native.getInt(disturbances) == undisturbed) {
                total = deliverDirectly(handler, forSegments, limit);
                if (total >= -1) {
                    return total;
                }
                total = ASK_CORE - total;
            }
            return deliverByCore(handler, forSegments, limit, total);
        } finally {
            afterHandler();
        }
    }

    /**
     * As {@link #deliver}, with messages that the core has not seen; or {@link #ASK_CORE}, less what was released before
     * one that the core has to look at.
     */
    private int deliverDirectly(MessageView.Handler handler, MessageHandler forSegments, int limit) {
        long position = this.position;
        int total = 0;
        int released = 0;
        boolean kept = false;
        boolean asked = false;
        // One look a call: each takes the line from the producer, which is writing it.
        if (limit > 1 || position == end) {
            // The acquire pairs with the release by which it was moved.
            long written = Native.getAcquire(writeCursor);
            long ahead = written - position;
            if (ahead < 0 || ahead > mask + 1 || (ahead & Native.ALIGNMENT - 1) != 0) {
                return ASK_CORE;
            }
            end = written;
        }
        try {
            while (total < limit && position != end) {
                long offset = position & mask;
                long left = Math.min(end - position, mapped - offset);
                if (left < Native.HEADER_SIZE) {
                    asked = true;
                    break;
                }
                long record = data + offset;
                long second = Native.MEMORY.get(Native.LITTLE_LONG, record + Long.BYTES);
                long length = second & 0xFFFF_FFFFL;
                long size = Native.padded(length);
                // What does not pass may have come to an end elsewhere, or be damage: the core can tell.
                if (length < Native.HEADER_SIZE || size > left) {
                    asked = true;
                    break;
                }
                long id = Native.MEMORY.get(Native.LITTLE_LONG, record);
                int type = (int) (second >> Integer.SIZE);
                long payload = length - Native.HEADER_SIZE;
                if (forSegments != null) {
                    if (!forSegments.handle(id, type, segment(offset + Native.HEADER_SIZE, payload))) {
                        kept = true;
                        break;
                    }
                    total++;
                    position += size;
                    continue;
                }
                view.show(lanes[0], offset + Native.HEADER_SIZE, payload, id, type, 0, position);
                Flow flow = Objects.requireNonNull(handler.handle(view), "flow");
                if (flow == Flow.KEEP) {
                    kept = true;
                    break;
                }
                total++;
                position += size;
                if (flow == Flow.BREAK) {
                    break;
                }
                if (flow == Flow.COMMIT) {
                    int count = total - released;
                    released = total;
                    releaseDirectly(position, count);
                }
            }
        } catch (Throwable thrown) {
            view.showNothing();
            try {
                releaseDirectly(position, total - released);
            } catch (RuntimeException problem) {
                thrown.addSuppressed(problem);
            }
            throw thrown;
        }
        if (forSegments == null) {
            view.showNothing();
        }
        releaseDirectly(position, total - released);
        return asked ? ASK_CORE - total : total == 0 && kept ? -1 : total;
    }

    private void releaseDirectly(long position, int count) {
        if (count == 0) {
            return;
        }
        if (Native.getInt(disturbances) != undisturbed) {
            // Perhaps what the handler saw is not what was sent.
            long before = unsettled;
            unsettled = 0;
            detach();
            Native.check(Native.consumerSettle(handle, position, before + count));
            return;
        }
        // The release: what was read is read.
        Native.setRelease(cursor, position);
        this.position = position;
        unsettled += count;
        if (Native.isWanted(bell)) {
            Native.check(Native.consumerRing(handle));
        }
    }

    /** Tells the core what was released, before it is asked anything else. */
    private void settle() {
        if (unsettled > 0) {
            long count = unsettled;
            unsettled = 0;
            Native.check(Native.consumerSettle(handle, position, count));
        }
    }

    /** Goes on where the core stands, directly if that can be. */
    private void attach() {
        Native.check(Native.consumerDirect(handle, rows));
        cursor = table.get(JAVA_LONG, DIRECT_READ_CURSOR);
        writeCursor = table.get(JAVA_LONG, DIRECT_WRITE_CURSOR);
        bell = table.get(JAVA_LONG, DIRECT_BELL);
        disturbances = table.get(JAVA_LONG, DIRECT_DISTURBANCES);
        data = table.get(JAVA_LONG, DIRECT_DATA);
        mapped = table.get(JAVA_LONG, DIRECT_MAPPED);
        mask = table.get(JAVA_LONG, DIRECT_CAPACITY) - 1;
        position = table.get(JAVA_LONG, DIRECT_POSITION);
        end = position;
        if (cursor == 0) {
            return;
        }
        undisturbed = Native.getInt(disturbances);
        // What has been disturbed so far, the core finds out now.
        if (Native.consumerSettle(handle, position, 0) != Native.OK) {
            detach();
            return;
        }
        if (lanes[0] == null) {
            map(0);
        }
    }

    private void detach() {
        cursor = 0;
    }

    /** Goes inside to ask the core. */
    private void enterCore() {
        enter();
        try {
            settle();
        } catch (Throwable problem) {
            leave();
            throw problem;
        }
    }

    /** The payload at an offset in the ring, for a handler that takes segments. */
    private MemorySegment segment(long offset, long length) {
        if (length > COPIED) {
            return lanes[0].asSlice(offset, length);
        }
        if (length == Long.BYTES) {
            Native.MEMORY.set(JAVA_LONG, copy, Native.MEMORY.get(JAVA_LONG, data + offset));
        } else {
            MemorySegment.copy(Native.MEMORY, data + offset, Native.MEMORY, copy, length);
        }
        return copied((int) length);
    }

    /** The first bytes of the copy. */
    private MemorySegment copied(int length) {
        MemorySegment payload = length < payloads.length ? payloads[length] : null;
        if (payload != null) {
            return payload;
        }
        if (length >= payloads.length) {
            payloads = Arrays.copyOf(payloads, Math.min(2 * Integer.highestOneBit(length + 8), COPIED + 1));
        }
        payloads[length] = copyForHandlers.asSlice(0, length);
        return payloads[length];
    }

    /** As {@link #deliver}, behind so many messages that were released already. */
    private int deliverByCore(MessageView.Handler handler, MessageHandler forSegments, int limit, int before) {
        settle();
        try {
            reportDeferred();
            int total = before;
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
                        switch (forSegments == null ? handler.handle(view) : handle(forSegments)) {
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
            if (oneLane) {
                attach();
            }
        }
    }

    /** Gives the message that is shown to a handler that takes segments. */
    private Flow handle(MessageHandler handler) {
        MemorySegment payload;
        if (view.length() > COPIED) {
            payload = view.payload();
        } else {
            MemorySegment.copy(view.memory(), view.offset(), Native.MEMORY, copy, view.length());
            payload = copied((int) view.length());
        }
        return handler.handle(view.id(), view.type(), payload) ? Flow.CONTINUE : Flow.KEEP;
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
        enterCore();
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
            if (oneLane) {
                attach();
            }
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
        enterCore();
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
        enterCore();
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
        enterCore();
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
        enterCore();
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
        enterCore();
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
        enterCore();
        try {
            Native.check(Native.setUntrusted(handle, untrusted));
            attach();
            oneLane = cursor != 0;
        } finally {
            leave();
        }
    }

    /** {@return whether any process produces now} Asks the system. */
    public boolean hasProducer() {
        enterCore();
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
