package com.aether.ipc;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * Messages that are published together, by one call and one store: {@link AetherProducer#batch}.
 *
 * <p>May be used again after {@link #commit}, and allocates nothing once it has grown to what is put into it. It belongs
 * to the thread that made it.
 */
public final class AetherBatch implements AutoCloseable {
    private final AetherProducer producer;
    private final Arena arena = Arena.ofConfined();
    /** Records as they are to stand in the ring. */
    private MemorySegment records = arena.allocate(4096, Native.ALIGNMENT);
    /** Records before this were published. */
    private long first;
    private long end;
    private int count;

    AetherBatch(AetherProducer producer) {
        this.producer = producer;
    }

    /**
     * Adds a message.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload eight bytes, little-endian
     */
    public void add(long messageId, int messageType, long payload) {
        long at = prepare(Long.BYTES);
        records.set(Native.LITTLE_LONG, at, payload);
        append(messageId, messageType, Long.BYTES);
    }

    /**
     * Adds a message. The bytes are copied.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload the bytes
     */
    public void add(long messageId, int messageType, byte[] payload) {
        add(messageId, messageType, payload, 0, payload.length);
    }

    /**
     * Adds a message. The bytes are copied.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload where the bytes are
     * @param offset the first
     * @param length how many
     */
    public void add(long messageId, int messageType, byte[] payload, int offset, int length) {
        Objects.checkFromIndexSize(offset, length, payload.length);
        long at = prepare(length);
        MemorySegment.copy(payload, offset, records, JAVA_BYTE, at, length);
        append(messageId, messageType, length);
    }

    /**
     * Adds a message. The bytes are copied.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @param payload the bytes, on the heap or not
     */
    public void add(long messageId, int messageType, MemorySegment payload) {
        long length = payload.byteSize();
        long at = prepare(length);
        MemorySegment.copy(payload, 0, records, at, length);
        append(messageId, messageType, length);
    }

    /** Makes room for one more, and returns where its bytes go. */
    private long prepare(long length) {
        if (length > producer.maxPayload()) {
            throw new AetherException.TooLarge(
                    "payload of " + length + " bytes is larger than this ring can ever hold (" + producer.maxPayload()
                            + " bytes); create it with a larger capacity",
                    producer.maxPayload());
        }
        long needed = end + Native.padded(Native.HEADER_SIZE + length + producer.trailer());
        if (records.byteSize() < needed) {
            MemorySegment from = records;
            if (first < end - first) {
                // What it grew out of stays until the end: together less than what there is now.
                records = arena.allocate(Math.max(2 * records.byteSize(), needed), Native.ALIGNMENT);
            }
            MemorySegment.copy(from, first, records, 0, end - first);
            end -= first;
            first = 0;
            return prepare(length);
        }
        return end + Native.HEADER_SIZE;
    }

    /** The core fills the checksum in, which the length counts. */
    private void append(long id, int type, long payload) {
        long length = Native.HEADER_SIZE + payload + producer.trailer();
        records.set(Native.LITTLE_LONG, end, id);
        records.set(Native.LITTLE_LONG, end + Long.BYTES, length | (long) type << Integer.SIZE);
        end += Native.padded(length);
        count++;
    }

    /** {@return how many messages were added and not committed yet} */
    public int size() {
        return count;
    }

    /**
     * Publishes as many messages as there is space for, from the first on. Those that had none stay in the batch.
     *
     * @return how many were published
     */
    public int commit() {
        return producer.publish(this);
    }

    /** What was not published. */
    long bytes() {
        return end - first;
    }

    /** What the first message that was not published takes. */
    long firstBytes() {
        return bytesAt(first);
    }

    private long bytesAt(long record) {
        return Native.padded(records.get(Native.LITTLE_LONG, record + Long.BYTES) & 0xFFFF_FFFFL);
    }

    /** Copies as many as fit into so much space at an address. Returns their bytes. */
    long copy(long target, long space) {
        long bytes = 0;
        if (space >= bytes()) {
            bytes = bytes();
        } else {
            for (long next = firstBytes(); next <= space; next += bytesAt(first + next)) {
                bytes = next;
            }
        }
        MemorySegment.copy(records, first, Native.MEMORY, target, bytes);
        return bytes;
    }

    void published(long bytes, int messages) {
        first += bytes;
        count -= messages;
        if (count == 0) {
            clear();
        }
    }

    /** Forgets the messages that were not committed. */
    public void clear() {
        // Fails where the batch may not be used, before it changes anything.
        records.get(JAVA_BYTE, 0);
        first = 0;
        end = 0;
        count = 0;
    }

    /** Forgets the messages that were not committed, and gives the memory back. */
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }
}
