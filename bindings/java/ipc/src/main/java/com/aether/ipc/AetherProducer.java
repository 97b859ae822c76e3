package com.aether.ipc;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.Objects;

/**
 * Writes messages into a ring. A message that was accepted is delivered, whatever dies afterwards.
 *
 * <p>One thread uses it at a time, or gets an {@link IllegalStateException}. It may be closed from another, which waits
 * for the call under way. {@code put} and {@code offer} allocate nothing.
 */
public final class AetherProducer extends Handle {
    /** Where the core has to write a record, payloads up to here go there by one call, larger ones between two. */
    private static final int STAGED = 256;
    /** Bytes that one call takes of an array: the virtual machine can't collect garbage meanwhile. */
    private static final long AT_ONCE = 64 << 10;
    private static final long WINDOW_BASE = Native.offset(Native.WINDOW, "base");
    private static final long WINDOW_LENGTH = Native.offset(Native.WINDOW, "length");
    private static final long WINDOW_POSITION = Native.offset(Native.WINDOW, "position");

    private static final long RESULTS = Math.max(Native.PRODUCER_STATS.byteSize(), Native.DIRECT.byteSize());

    /** Room for results, and for what is staged behind them. */
    private final MemorySegment room = Arena.ofAuto().allocate(RESULTS + STAGED, Native.ALIGNMENT);

    private final long out = room.address();
    private final long staged = out + RESULTS;
    private final long maxPayload;
    private final int trailer;

    // Where this publishes by itself; 0 in a ring where it can't.
    private final long cursor;
    private final long bell;
    private final long disturbances;
    // Space that the core gave for records, of which some were published and the core was not told yet.
    private long base;
    private long size;
    private long position;
    private long used;
    private long published;
    /** The count of disturbances when the core gave it. */
    private int undisturbed;

    /**
     * Takes a producer's role.
     *
     * @param buffer the ring
     * @throws AetherException.RoleTaken if the ring has all the producers that it has room for
     */
    public AetherProducer(AetherBuffer buffer) {
        super(buffer, "producer", buffer.takeProducer());
        Native.check(Native.producerReadStats(handle, out));
        maxPayload = room.get(JAVA_LONG, Native.offset(Native.PRODUCER_STATS, "max_payload"));
        trailer = room.get(JAVA_INT, Native.offset(Native.PRODUCER_STATS, "trailer"));
        Native.check(Native.producerDirect(handle, out));
        cursor = room.get(JAVA_LONG, Native.offset(Native.DIRECT, "write_cursor"));
        bell = room.get(JAVA_LONG, Native.offset(Native.DIRECT, "bell"));
        disturbances = room.get(JAVA_LONG, Native.offset(Native.DIRECT, "disturbances"));
        buffer.remember(this);
    }

    /**
     * Puts one message into the ring, waiting for space.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload eight bytes, little-endian
     * @throws InterruptedException if the thread is or was interrupted: nothing was written
     */
    public void put(long messageId, int messageType, long payload) throws InterruptedException {
        checkInterrupt();
        while (!offer(messageId, messageType, payload)) {
            waitForSpace(Long.BYTES);
        }
    }

    /**
     * Puts one message into the ring, waiting for space.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload the bytes
     * @throws InterruptedException if the thread is or was interrupted: nothing was written
     */
    public void put(long messageId, int messageType, byte[] payload) throws InterruptedException {
        put(messageId, messageType, payload, 0, payload.length);
    }

    /**
     * Puts one message into the ring, waiting for space.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload where the bytes are
     * @param offset the first
     * @param length how many
     * @throws InterruptedException if the thread is or was interrupted: nothing was written
     */
    public void put(long messageId, int messageType, byte[] payload, int offset, int length)
            throws InterruptedException {
        checkInterrupt();
        while (!offer(messageId, messageType, payload, offset, length)) {
            waitForSpace(length);
        }
    }

    /**
     * Puts one message into the ring, waiting for space.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload the bytes, on the heap or not
     * @throws InterruptedException if the thread is or was interrupted: nothing was written
     */
    public void put(long messageId, int messageType, MemorySegment payload) throws InterruptedException {
        checkInterrupt();
        while (!offer(messageId, messageType, payload)) {
            waitForSpace(payload.byteSize());
        }
    }

    /**
     * Puts one message into the ring if there is space. Never waits.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload eight bytes, little-endian
     * @return whether there was space
     */
    public boolean offer(long messageId, int messageType, long payload) {
        enter();
        try {
            long target = place(Long.BYTES);
            if (target == 0) {
                return false;
            }
            Native.MEMORY.set(Native.LITTLE_LONG, target, payload);
            return finish(messageId, messageType, target, Long.BYTES);
        } finally {
            leave();
        }
    }

    /**
     * Puts one message into the ring if there is space. Never waits.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload the bytes
     * @return whether there was space
     */
    public boolean offer(long messageId, int messageType, byte[] payload) {
        return offer(messageId, messageType, payload, 0, payload.length);
    }

    /**
     * Puts one message into the ring if there is space. Never waits.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload where the bytes are
     * @param offset the first
     * @param length how many
     * @return whether there was space
     */
    public boolean offer(long messageId, int messageType, byte[] payload, int offset, int length) {
        Objects.checkFromIndexSize(offset, length, payload.length);
        enter();
        try {
            long target = place(length);
            if (target == 0) {
                return false;
            }
            MemorySegment.copy(payload, offset, Native.MEMORY, JAVA_BYTE, target, length);
            return finish(messageId, messageType, target, length);
        } finally {
            leave();
        }
    }

    /**
     * Puts one message into the ring if there is space. Never waits.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload the bytes, on the heap or not
     * @return whether there was space
     */
    public boolean offer(long messageId, int messageType, MemorySegment payload) {
        long length = payload.byteSize();
        enter();
        try {
            long target = place(length);
            if (target == 0) {
                return false;
            }
            MemorySegment.copy(payload, 0, Native.MEMORY, target, length);
            return finish(messageId, messageType, target, length);
        } finally {
            leave();
        }
    }

    /** Where the next payload is to be written; 0 if there is no space. Nobody sees it before {@link #finish}. */
    private long place(long length) {
        // A window can be larger than what the length of a record can say.
        if (length <= size - used - Native.HEADER_SIZE && length < Integer.MAX_VALUE - Native.HEADER_SIZE
                && Native.getInt(disturbances) == undisturbed) {
            return base + used + Native.HEADER_SIZE;
        }
        return placeByCore(length, true);
    }

    /** As {@link #place}; the address is in the ring, unless it may be staged. */
    private long placeByCore(long length, boolean stage) {
        settle();
        if (cursor != 0 && length < Integer.MAX_VALUE - Native.HEADER_SIZE) {
            int disturbed = Native.getInt(disturbances);
            if (!accepted(Native.window(handle, length, out))) {
                return 0;
            }
            base = room.get(JAVA_LONG, WINDOW_BASE);
            size = room.get(JAVA_LONG, WINDOW_LENGTH);
            position = room.get(JAVA_LONG, WINDOW_POSITION);
            undisturbed = disturbed;
            if (size > 0) {
                return base + Native.HEADER_SIZE;
            }
        }
        if (stage && length <= STAGED) {
            return staged;
        }
        return accepted(Native.claim(handle, length, out)) ? room.get(JAVA_LONG, 0) : 0;
    }

    /** Commits the payload that was written there. Whether there was space. */
    private boolean finish(long id, int type, long target, long length) {
        if (size == 0) {
            return accepted(
                    target == staged ? Native.offer(handle, id, type, staged, length) : Native.commit(handle, id, type));
        }
        long record = target - Native.HEADER_SIZE;
        Native.MEMORY.set(Native.LITTLE_LONG, record, id);
        long taken = Native.HEADER_SIZE + length;
        Native.MEMORY.set(Native.LITTLE_LONG, record + Long.BYTES, taken | (long) type << Integer.SIZE);
        long next = used + Native.padded(taken);
        // The release: whoever sees the cursor sees the record.
        Native.setRelease(cursor, position + next);
        used = next;
        published++;
        if (Native.isWanted(bell)) {
            Native.check(Native.producerRing(handle));
        }
        return true;
    }

    /** Before the core is asked anything else: tells what was published, and gives the rest of the space up. */
    private void settle() {
        if (published > 0) {
            long bytes = used;
            long count = published;
            giveUp();
            Native.check(Native.producerSettle(handle, bytes, count));
        }
        giveUp();
    }

    private void giveUp() {
        size = 0;
        used = 0;
        published = 0;
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

    private static boolean accepted(int status) {
        if (status == Native.OK) {
            return true;
        }
        if (status == Native.FULL) {
            return false;
        }
        throw Native.failure(status);
    }

    /**
     * Puts as many records as there is space for into the ring, each a message of its own.
     *
     * @param firstId the first one's id; the others count up from there
     * @param messageType the application's type
     * @param recordSize bytes of each record
     * @param records the records, one after the other, on the heap or not
     * @return how many records were taken, from the first on; 0 if the ring is full
     */
    public int offerArray(long firstId, int messageType, long recordSize, MemorySegment records) {
        if (recordSize <= 0 || records.byteSize() % recordSize != 0) {
            throw new IllegalArgumentException(
                    "no whole number of records: " + records.byteSize() + " bytes in records of " + recordSize);
        }
        long step = Math.max(1, AT_ONCE / recordSize) * recordSize;
        long at = 0;
        enterCore();
        try {
            while (at < records.byteSize()) {
                MemorySegment part = records.asSlice(at, Math.min(step, records.byteSize() - at));
                long id = firstId + at / recordSize;
                Native.check(Native.offerArray(handle, id, messageType, recordSize, part, out));
                long taken = room.get(JAVA_LONG, 0) * recordSize;
                at += taken;
                if (taken < part.byteSize()) {
                    break;
                }
            }
            return Math.toIntExact(at / recordSize);
        } finally {
            leave();
        }
    }

    /** {@return an empty batch: messages that are published together} */
    public AetherBatch batch() {
        return new AetherBatch(this);
    }

    /** Bytes of the checksum after each payload. */
    int trailer() {
        return trailer;
    }

    /** Publishes as many of the batch's records as there is space for, and tells it. */
    int publish(AetherBatch batch) {
        enterCore();
        try {
            long wanted = batch.bytes();
            if (wanted == 0
                    || !accepted(Native.reserve(handle, batch.firstBytes(), wanted, out, out + JAVA_LONG.byteSize()))) {
                return 0;
            }
            long taken = batch.copy(room.get(JAVA_LONG, 0), room.get(JAVA_LONG, JAVA_LONG.byteSize()));
            Native.check(Native.commitReserved(handle, taken, out));
            int count = (int) room.get(JAVA_LONG, 0);
            batch.published(taken, count);
            return count;
        } finally {
            leave();
        }
    }

    /**
     * Reserves a message, to be written in place, waiting for space. Nobody sees it before it is committed.
     *
     * @param length bytes of the payload
     * @return the claim, to be closed by this thread; this producer does nothing else before
     * @throws InterruptedException if the thread is or was interrupted
     */
    public AetherClaim claim(long length) throws InterruptedException {
        checkInterrupt();
        AetherClaim claim;
        while ((claim = tryClaim(length)) == null) {
            waitForSpace(length);
        }
        return claim;
    }

    /**
     * Reserves a message, to be written in place, if there is space. Nobody sees it before it is committed.
     *
     * @param length bytes of the payload
     * @return the claim, to be closed by this thread; null if there is no space. This producer does nothing else before
     */
    public AetherClaim tryClaim(long length) {
        if (length < 0) {
            throw new IllegalArgumentException("length is negative: " + length);
        }
        enter();
        AetherClaim claim = null;
        try {
            long target = place(length);
            if (target == staged) {
                target = placeByCore(length, false);
            }
            if (target != 0) {
                claim = new AetherClaim(this, target, length);
            }
        } finally {
            if (claim == null) {
                leave();
            } else {
                lend(claim);
            }
        }
        return claim;
    }

    void commit(long id, int type, long target, long length) {
        takeBack();
        try {
            finish(id, type, target, length);
        } finally {
            leave();
        }
    }

    void abort() {
        takeBack();
        try {
            if (size == 0) {
                Native.check(Native.abort(handle));
            }
        } finally {
            leave();
        }
    }

    /**
     * Waits until a message has space: the next {@code offer} of one so large is accepted.
     *
     * @param length bytes of the payload
     * @param timeout how long to wait at most
     * @return whether it has; false if the time is over
     * @throws InterruptedException if the thread is or was interrupted
     */
    public boolean awaitSpace(long length, Duration timeout) throws InterruptedException {
        long wait = AetherOptions.nanoseconds(timeout);
        long start = System.nanoTime();
        checkInterrupt();
        while (true) {
            long left = wait - (System.nanoTime() - start);
            if (waitForSpace(length, Math.clamp(left, 0, SLICE))) {
                return true;
            }
            if (left <= SLICE && System.nanoTime() - start >= wait) {
                return false;
            }
        }
    }

    private void waitForSpace(long length) throws InterruptedException {
        waitForSpace(length, SLICE);
    }

    private boolean waitForSpace(long length, long nanoseconds) throws InterruptedException {
        int status;
        enterCore();
        try {
            status = Native.waitForSpace(handle, length, nanoseconds);
            if (status != Native.OK && status != Native.TIMED_OUT) {
                throw Native.failure(status);
            }
        } finally {
            leave();
        }
        checkInterrupt();
        return status == Native.OK;
    }

    static void checkInterrupt() throws InterruptedException {
        if (Thread.interrupted()) {
            throw new InterruptedException();
        }
    }

    /**
     * How calls wait.
     *
     * @param wait {@link Wait#PARK} unless set
     */
    public void setWait(Wait wait) {
        enterCore();
        try {
            Native.check(Native.producerSetWait(handle, wait.ordinal()));
        } finally {
            leave();
        }
    }

    /**
     * Whether a full ring without any consumer is reported as {@link AetherException.NoConsumer}, also while waiting.
     *
     * @param required false unless set: a consumer may come later
     */
    public void requireConsumer(boolean required) {
        enterCore();
        try {
            Native.check(Native.requireConsumer(handle, required));
        } finally {
            leave();
        }
    }

    /** {@return whether any process consumes now} Asks the system. */
    public boolean hasConsumer() {
        enterCore();
        try {
            Native.check(Native.hasConsumer(handle, out));
            return room.get(JAVA_BYTE, 0) != 0;
        } finally {
            leave();
        }
    }

    /** {@return the largest payload that the empty ring can take, in bytes} */
    public long maxPayload() {
        return maxPayload;
    }

    /** {@return the lane that it writes; 0 in a ring with one producer} */
    public int lane() {
        return (int) stat("lane");
    }

    /** {@return where the next message goes: bytes committed in this lane since the ring was made} */
    public long position() {
        return stat("position");
    }

    /** {@return bytes that the slowest consumer has not released yet} */
    public long lag() {
        return stat("lag");
    }

    /** {@return bytes that are free, headers and padding to be counted} */
    public long freeBytes() {
        return stat("free_bytes");
    }

    /** {@return messages committed by this producer} */
    public long offered() {
        return stat("offered");
    }

    private long stat(String field) {
        enterCore();
        try {
            Native.check(Native.producerReadStats(handle, out));
            long offset = Native.offset(Native.PRODUCER_STATS, field);
            return field.equals("lane") ? room.get(JAVA_INT, offset) : room.get(JAVA_LONG, offset);
        } finally {
            leave();
        }
    }

    @Override
    void free() {
        Native.check(Native.producerFree(handle));
    }
}
