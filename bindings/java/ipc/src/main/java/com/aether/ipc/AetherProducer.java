package com.aether.ipc;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.Objects;

/**
 * Writes messages into a ring. A message that was accepted is delivered, whatever dies afterwards.
 *
 * <p>One thread uses it at a time, or gets an {@link IllegalStateException}. It may be closed from another, which waits
 * for the call under way. {@code put} and {@code offer} allocate nothing.
 */
public final class AetherProducer extends Handle {
    /** Payloads up to here go into the ring by one call, larger ones are written there between two. */
    private static final int STAGED = 256;
    /** Bytes that one call takes of an array: the virtual machine can't collect garbage meanwhile. */
    private static final long AT_ONCE = 64 << 10;

    private static final ValueLayout.OfLong LITTLE_LONG =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /** Room for a result, or for statistics, and for what is staged behind it. */
    private final MemorySegment room = Arena.ofAuto().allocate(Native.PRODUCER_STATS.byteSize() + STAGED, 8);

    private final long out = room.address();
    private final long staged = out + Native.PRODUCER_STATS.byteSize();
    private final long maxPayload;

    /**
     * Takes a producer's role.
     *
     * @param buffer the ring
     * @throws AetherException.RoleTaken if the ring has all the producers that it has room for
     */
    public AetherProducer(AetherBuffer buffer) {
        super(buffer, "producer", buffer.takeProducer());
        maxPayload = stat("max_payload");
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
            room.set(LITTLE_LONG, Native.PRODUCER_STATS.byteSize(), payload);
            return accepted(Native.offer(handle, messageId, messageType, staged, Long.BYTES));
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
            long target = length <= STAGED ? staged : place(length);
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
            long target = length <= STAGED ? staged : place(length);
            if (target == 0) {
                return false;
            }
            MemorySegment.copy(payload, 0, Native.MEMORY, target, length);
            return finish(messageId, messageType, target, length);
        } finally {
            leave();
        }
    }

    private boolean finish(long id, int type, long target, long length) {
        return accepted(
                target == staged ? Native.offer(handle, id, type, staged, length) : Native.commit(handle, id, type));
    }

    /** Where in the ring the next payload goes; 0 if there is no space. */
    private long place(long length) {
        return accepted(Native.claim(handle, length, out)) ? room.get(JAVA_LONG, 0) : 0;
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
        enter();
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

    long offerBatch(long records, long count) {
        enter();
        try {
            Native.check(Native.offerBatch(handle, records, count, out));
            return room.get(JAVA_LONG, 0);
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

    void commit(long id, int type) {
        takeBack();
        try {
            Native.check(Native.commit(handle, id, type));
        } finally {
            leave();
        }
    }

    void abort() {
        takeBack();
        try {
            Native.check(Native.abort(handle));
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
        enter();
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
        enter();
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
        enter();
        try {
            Native.check(Native.requireConsumer(handle, required));
        } finally {
            leave();
        }
    }

    /** {@return whether any process consumes now} Asks the system. */
    public boolean hasConsumer() {
        enter();
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
        enter();
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
