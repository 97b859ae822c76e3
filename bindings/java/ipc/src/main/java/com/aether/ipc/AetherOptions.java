package com.aether.ipc;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Objects;

/**
 * Everything that can be chosen when a ring is made or opened: {@link AetherBuffer#options}.
 *
 * <pre>{@code
 * AetherBuffer bus = AetherBuffer.options().capacity(1 << 20).producers(4).consumers(8).create(path);
 * }</pre>
 */
public final class AetherOptions {
    private long capacity;
    private int mode;
    private int producers = 1;
    private int consumers = 1;
    private Overflow overflow = Overflow.WAIT;
    private boolean classic;
    private boolean prefault;
    private boolean checksums;
    private boolean sequence;

    AetherOptions() {}

    /**
     * Size of the data section, of each producer's. A new ring needs it; one that is opened must have it, if it is set.
     *
     * @param bytes a power of two, at least 1024
     * @return this
     */
    public AetherOptions capacity(long bytes) {
        if (Long.bitCount(bytes) != 1 || bytes < 0) {
            throw new IllegalArgumentException("Capacity must be power-of-two: " + bytes);
        }
        this.capacity = bytes;
        return this;
    }

    /**
     * Access rights of a new file.
     *
     * @param mode as for {@code chmod}, 0600 unless set
     * @return this
     */
    public AetherOptions mode(int mode) {
        this.mode = positive(mode, "mode");
        return this;
    }

    /**
     * How many producers a new ring has room for.
     *
     * @param producers 1 to 256
     * @return this
     */
    public AetherOptions producers(int producers) {
        this.producers = positive(producers, "producers");
        return this;
    }

    /**
     * How many consumers a new ring has room for. With more than one, each sees every message from when it joined, and
     * only named ones are waited for while they are away.
     *
     * @param consumers 1 to 1024
     * @return this
     */
    public AetherOptions consumers(int consumers) {
        this.consumers = positive(consumers, "consumers");
        return this;
    }

    /**
     * What producers of a new ring do when it is full.
     *
     * @param overflow {@link Overflow#WAIT} unless set
     * @return this
     */
    public AetherOptions overflow(Overflow overflow) {
        this.overflow = Objects.requireNonNull(overflow, "overflow");
        return this;
    }

    /**
     * Makes a file that the reference implementation can open: up to 1 GiB, one producer, one consumer.
     *
     * @param classic whether to
     * @return this
     */
    public AetherOptions classic(boolean classic) {
        this.classic = classic;
        return this;
    }

    /**
     * Brings every page into memory when opening, so that no message waits for it.
     *
     * @param prefault whether to
     * @return this
     */
    public AetherOptions prefault(boolean prefault) {
        this.prefault = prefault;
        return this;
    }

    /**
     * A CRC-32C for each record of a new ring, checked by whoever reads it.
     *
     * @param checksums whether to
     * @return this
     */
    public AetherOptions checksums(boolean checksums) {
        this.checksums = checksums;
        return this;
    }

    /**
     * A sequence shared by all producers of a new ring: it stamps the ids, in the order of arrival, and the ids given
     * with messages are not used.
     *
     * @param sequence whether to
     * @return this
     */
    public AetherOptions sequence(boolean sequence) {
        this.sequence = sequence;
        return this;
    }

    /**
     * Creates the ring, or opens the one that is there if it has the shape asked for. An existing file keeps its messages.
     *
     * @param path where
     * @return the ring
     */
    public AetherBuffer create(Path path) {
        return new AetherBuffer(path, this, Native::create);
    }

    /**
     * Creates the ring.
     *
     * @param path where
     * @return the ring
     * @throws AetherException.AlreadyExists if there is a file already
     */
    public AetherBuffer createNew(Path path) {
        return new AetherBuffer(path, this, Native::createNew);
    }

    /**
     * Opens an existing ring. Of the options, a capacity must agree, and {@link #prefault} is done.
     *
     * @param path where
     * @return the ring
     */
    public AetherBuffer open(Path path) {
        return new AetherBuffer(path, this, Native::open);
    }

    /**
     * Opens a ring, waiting until the other side has made it.
     *
     * @param path where
     * @param timeout how long to wait at most
     * @return the ring
     * @throws AetherException.TimedOut if there is no finished ring by then
     */
    public AetherBuffer connect(Path path, Duration timeout) {
        long nanoseconds = nanoseconds(timeout);
        return new AetherBuffer(
                path, this, (name, options, out) -> Native.connect(name, options, nanoseconds, out));
    }

    /** What does not fit into a long is centuries away. */
    static long nanoseconds(Duration timeout) {
        if (timeout.isNegative()) {
            return 0;
        }
        return timeout.getSeconds() < Long.MAX_VALUE / 1_000_000_000 ? timeout.toNanos() : Long.MAX_VALUE;
    }

    private static int positive(int value, String name) {
        if (value < 1) {
            throw new IllegalArgumentException(name + " must be at least 1: " + value);
        }
        return value;
    }

    /** As the C interface takes them. */
    MemorySegment pack(Arena arena) {
        MemorySegment options = arena.allocate(Native.OPTIONS);
        options.set(JAVA_LONG, Native.offset(Native.OPTIONS, "size"), options.byteSize());
        options.set(JAVA_LONG, Native.offset(Native.OPTIONS, "capacity"), capacity);
        options.set(JAVA_INT, Native.offset(Native.OPTIONS, "mode"), mode);
        options.set(JAVA_INT, Native.offset(Native.OPTIONS, "producers"), producers);
        options.set(JAVA_INT, Native.offset(Native.OPTIONS, "consumers"), consumers);
        options.set(JAVA_INT, Native.offset(Native.OPTIONS, "overflow"), overflow.ordinal());
        options.set(JAVA_BYTE, Native.offset(Native.OPTIONS, "classic"), flag(classic));
        options.set(JAVA_BYTE, Native.offset(Native.OPTIONS, "prefault"), flag(prefault));
        options.set(JAVA_BYTE, Native.offset(Native.OPTIONS, "checksums"), flag(checksums));
        options.set(JAVA_BYTE, Native.offset(Native.OPTIONS, "sequence"), flag(sequence));
        return options;
    }

    private static byte flag(boolean set) {
        return (byte) (set ? 1 : 0);
    }
}
