package com.aether.ipc;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Objects;

/**
 * Messages that are published together, by one call and one store: {@link AetherProducer#batch}.
 *
 * <p>May be used again after {@link #commit}, and allocates nothing once it has grown to what is put into it. It belongs
 * to the thread that made it.
 */
public final class AetherBatch implements AutoCloseable {
    private static final long RECORD = Native.RECORD.byteSize();
    private static final long ID = Native.offset(Native.RECORD, "id");
    private static final long PAYLOAD = Native.offset(Native.RECORD, "payload");
    private static final long LENGTH = Native.offset(Native.RECORD, "length");
    private static final long TYPE = Native.offset(Native.RECORD, "message_type");
    private static final ValueLayout.OfLong LITTLE_LONG =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final AetherProducer producer;
    private final Arena arena = Arena.ofConfined();
    private MemorySegment records = arena.allocate(RECORD * 64, 8);
    private MemorySegment bytes = arena.allocate(4096, 8);
    /** Records before this were committed. */
    private int first;
    private int count;
    private long used;

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
        bytes.set(LITTLE_LONG, at, payload);
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
        MemorySegment.copy(payload, offset, bytes, JAVA_BYTE, at, length);
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
        MemorySegment.copy(payload, 0, bytes, at, length);
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
        if (records.byteSize() < (count + 1) * RECORD) {
            records = grown(records, count * RECORD, (count + 1) * RECORD);
        }
        if (bytes.byteSize() < used + length) {
            bytes = grown(bytes, used, used + length);
        }
        return used;
    }

    /** What it grew out of stays until the end: together less than what there is now. */
    private MemorySegment grown(MemorySegment old, long used, long needed) {
        MemorySegment grown = arena.allocate(Math.max(2 * old.byteSize(), needed), 8);
        MemorySegment.copy(old, 0, grown, 0, used);
        return grown;
    }

    private void append(long id, int type, long length) {
        long record = count * RECORD;
        records.set(JAVA_LONG, record + ID, id);
        // Becomes an address when it is known where the bytes end up.
        records.set(JAVA_LONG, record + PAYLOAD, used);
        records.set(JAVA_LONG, record + LENGTH, length);
        records.set(JAVA_INT, record + TYPE, type);
        used += length;
        count++;
    }

    /** {@return how many messages were added and not committed yet} */
    public int size() {
        return count - first;
    }

    /**
     * Publishes as many messages as there is space for, from the first on. Those that had none stay in the batch.
     *
     * @return how many were published
     */
    public int commit() {
        long base = bytes.address();
        for (int index = first; index < count; index++) {
            long record = index * RECORD;
            records.set(JAVA_LONG, record + PAYLOAD, base + records.get(JAVA_LONG, record + PAYLOAD));
        }
        int taken = 0;
        try {
            taken = (int) producer.offerBatch(records.address() + first * RECORD, count - first);
        } finally {
            first += taken;
            for (int index = first; index < count; index++) {
                long record = index * RECORD;
                records.set(JAVA_LONG, record + PAYLOAD, records.get(JAVA_LONG, record + PAYLOAD) - base);
            }
        }
        if (first == count) {
            clear();
        }
        return taken;
    }

    /** Forgets the messages that were not committed. */
    public void clear() {
        // Fails where the batch may not be used, before it changes anything.
        records.get(JAVA_BYTE, 0);
        first = 0;
        count = 0;
        used = 0;
    }

    /** Forgets the messages that were not committed, and gives the memory back. */
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }
}
