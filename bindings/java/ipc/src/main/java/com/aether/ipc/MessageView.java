package com.aether.ipc;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Objects;

/**
 * A look at a message where it stands in the ring. Nothing is copied, and nothing is allocated.
 *
 * <p>In a {@link Handler}, it is one object that shows one message after the other, and none after the handler has
 * returned. In a {@link MessageBatch}, each message has its own, until the batch is closed.
 *
 * <p>Offsets count from the start of the payload, which is aligned to 8. Numbers are little-endian.
 */
public final class MessageView {
    /** Handles messages where they stand. */
    @FunctionalInterface
    public interface Handler {
        /**
         * Handles a message.
         *
         * @param message the message, to be looked at during this call
         * @return what is to be done with it
         */
        Flow handle(MessageView message);
    }

    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfDouble DOUBLE =
            ValueLayout.JAVA_DOUBLE_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private MemorySegment memory = MemorySegment.NULL;
    private long offset;
    /** Negative if there is no message. */
    private long length = -1;
    private long id;
    private long position;
    private int type;
    private int lane;

    MessageView() {}

    void show(MemorySegment memory, long offset, long length, long id, int type, int lane, long position) {
        // A reference costs more to store than to compare.
        if (this.memory != memory) {
            this.memory = memory;
        }
        this.offset = offset;
        this.length = length;
        this.id = id;
        this.position = position;
        this.type = type;
        this.lane = lane;
    }

    void showNothing() {
        length = -1;
    }

    private long shown() {
        if (length < 0) {
            throw new IllegalStateException("this view shows no message any more: it is valid during the handler's call");
        }
        return length;
    }

    private long at(long index, long size) {
        return offset + Objects.checkFromIndexSize(index, size, shown());
    }

    /** {@return the sender's id} */
    public long id() {
        shown();
        return id;
    }

    /** {@return the sender's type} */
    public int type() {
        shown();
        return type;
    }

    /** {@return the bytes of the payload} */
    public long length() {
        return shown();
    }

    /** {@return the lane that it came through: 0 in a ring with one producer} */
    public int lane() {
        shown();
        return lane;
    }

    /** {@return where it stands in its lane, in bytes since the ring was made} */
    public long position() {
        shown();
        return position;
    }

    /**
     * {@return the byte at {@code index}}
     *
     * @param index the offset in the payload
     */
    public byte getByte(long index) {
        return memory.get(ValueLayout.JAVA_BYTE, at(index, Byte.BYTES));
    }

    /**
     * {@return the short at {@code index}}
     *
     * @param index the offset in the payload
     */
    public short getShort(long index) {
        return memory.get(SHORT, at(index, Short.BYTES));
    }

    /**
     * {@return the int at {@code index}}
     *
     * @param index the offset in the payload
     */
    public int getInt(long index) {
        return memory.get(INT, at(index, Integer.BYTES));
    }

    /**
     * {@return the long at {@code index}}
     *
     * @param index the offset in the payload
     */
    public long getLong(long index) {
        return memory.get(LONG, at(index, Long.BYTES));
    }

    /**
     * {@return the float at {@code index}}
     *
     * @param index the offset in the payload
     */
    public float getFloat(long index) {
        return memory.get(FLOAT, at(index, Float.BYTES));
    }

    /**
     * {@return the double at {@code index}}
     *
     * @param index the offset in the payload
     */
    public double getDouble(long index) {
        return memory.get(DOUBLE, at(index, Double.BYTES));
    }

    /**
     * Copies bytes of the payload.
     *
     * @param index the offset in the payload
     * @param target where to
     * @param start where in the target
     * @param count how many
     */
    public void getBytes(long index, byte[] target, int start, int count) {
        MemorySegment.copy(memory, ValueLayout.JAVA_BYTE, at(index, count), target, start, count);
    }

    /** {@return a copy of the payload} */
    public byte[] toArray() {
        byte[] copy = new byte[Math.toIntExact(shown())];
        getBytes(0, copy, 0, copy.length);
        return copy;
    }

    /**
     * {@return the payload where it stands, read-only} Makes an object; {@link #memory} and {@link #offset} do without.
     */
    public MemorySegment payload() {
        return memory.asSlice(at(0, length), length);
    }

    /**
     * {@return the memory in which the payload starts at {@link #offset}} For handles of a
     * {@link java.lang.foreign.MemoryLayout}, as in {@code (double) PRICE.get(message.memory(), message.offset())}. It is
     * read-only and larger than the payload: check {@link #length} first.
     */
    public MemorySegment memory() {
        shown();
        return memory;
    }

    /** {@return where in {@link #memory} the payload starts} */
    public long offset() {
        shown();
        return offset;
    }
}
