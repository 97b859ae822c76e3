package com.aether.ipc;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * A ring of messages in a file that processes map and share.
 *
 * <p>Threads may share it. Producers and consumers are taken from it with their constructors, and closed with it.
 */
public final class AetherBuffer implements AutoCloseable {
    @FunctionalInterface
    interface Opening {
        int open(long path, long options, long buffer);
    }

    @FunctionalInterface
    private interface Taking {
        int take(long buffer, long out);
    }

    private final Path path;
    private final long handle;
    private final long capacity;
    /** Who calls with the handle holds the first; who frees it, the second. */
    private final ReentrantReadWriteLock lock = new ReentrantReadWriteLock();
    private final Set<Handle> handles = new HashSet<>();
    private volatile boolean closed;

    /**
     * Creates the ring, or opens the one that is there if it has that capacity. An existing file keeps its messages.
     *
     * @param filePath where
     * @param capacity size of the data section in bytes: a power of two, at least 1024
     * @throws IllegalArgumentException if the capacity is not possible
     */
    public AetherBuffer(Path filePath, int capacity) {
        this(filePath, options().capacity(capacity), Native::create);
    }

    /**
     * Opens an existing ring.
     *
     * @param filePath where
     */
    public AetherBuffer(Path filePath) {
        this(filePath, options(), Native::open);
    }

    AetherBuffer(Path path, AetherOptions options, Opening opening) {
        this.path = path;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            MemorySegment name = arena.allocateFrom(path.toString());
            Native.check(opening.open(name.address(), options.pack(arena).address(), out.address()));
            handle = out.get(JAVA_LONG, 0);
            Native.check(Native.capacity(handle, out.address()));
            capacity = out.get(JAVA_LONG, 0);
        }
    }

    /**
     * Opens a ring, waiting until the other side has made it.
     *
     * @param filePath where
     * @param timeout how long to wait at most
     * @return the ring
     * @throws AetherException.TimedOut if there is no finished ring by then
     */
    public static AetherBuffer connect(Path filePath, Duration timeout) {
        return options().connect(filePath, timeout);
    }

    /** {@return everything that can be chosen when a ring is made or opened} */
    public static AetherOptions options() {
        return new AetherOptions();
    }

    /**
     * Turns a bus error in a mapped ring into {@link AetherException.Truncated}. It occurs when somebody cuts the file
     * short while it is mapped, and ends the virtual machine otherwise. Installs a signal handler for the whole process;
     * bus errors elsewhere go to the one that was there before.
     */
    public static void guardBusErrors() {
        Native.check(Native.guardBusErrors());
    }

    /**
     * {@return the size of the data section in bytes}
     *
     * @throws ArithmeticException if that is no int; see {@link #capacity}
     */
    public int getCapacity() {
        return Math.toIntExact(capacity);
    }

    /** {@return the size of the data section in bytes, of each producer's} */
    public long capacity() {
        return capacity;
    }

    /** {@return the path by which the ring was opened} */
    public Path path() {
        return path;
    }

    /** {@return whether this was closed} */
    public boolean isClosed() {
        return closed;
    }

    /** {@return bytes ever committed, by the first producer if there may be many} An acquire load. */
    public long getWriteCursorAcquire() {
        return cursors(0);
    }

    /** {@return bytes ever released, by the consumer that is furthest back if there may be many} An acquire load. */
    public long getReadCursorAcquire() {
        return cursors(JAVA_LONG.byteSize());
    }

    private long cursors(long offset) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment both = arena.allocate(JAVA_LONG, 2);
            long address = both.address();
            use(buffer -> Native.cursors(buffer, address, address + JAVA_LONG.byteSize()));
            return both.get(JAVA_LONG, offset);
        }
    }

    /**
     * Sets the write cursor, with a release store: to mend a ring by hand while nobody produces or consumes. Whoever does
     * next checks what stands there. Producers move it by themselves.
     *
     * @param value bytes ever committed
     * @throws AetherException.RoleTaken if the ring has a producer or a consumer at this moment
     * @throws AetherException.Options if the ring has room for more than one of either
     */
    public void setWriteCursorRelease(long value) {
        use(buffer -> Native.setWriteCursor(buffer, value));
    }

    /**
     * Sets the read cursor, as {@link #setWriteCursorRelease} does the other. Consumers move it by themselves.
     *
     * @param value bytes ever released
     * @throws AetherException.RoleTaken if the ring has a producer or a consumer at this moment
     * @throws AetherException.Options if the ring has room for more than one of either
     */
    public void setReadCursorRelease(long value) {
        use(buffer -> Native.setReadCursor(buffer, value));
    }

    /**
     * Gives up the place of a consumer with a name, so that it holds nobody back any more.
     *
     * @param name its name
     */
    public void forget(String name) {
        try (Arena arena = Arena.ofConfined()) {
            long address = text(arena, name).address();
            use(buffer -> Native.forget(buffer, address));
        }
    }

    /** Waits until everything committed so far is on the disk. Nothing else here waits for a disk. */
    public void sync() {
        use(Native::sync);
    }

    private interface Use {
        int call(long buffer);
    }

    private void use(Use use) {
        lock.readLock().lock();
        try {
            checkOpen();
            Native.check(use.call(handle));
        } finally {
            lock.readLock().unlock();
        }
    }

    private void checkOpen() {
        if (closed) {
            throw new IllegalStateException("the buffer is closed: " + path);
        }
    }

    /** A zero would end it early. */
    static MemorySegment text(Arena arena, String text) {
        if (text.indexOf(0) >= 0) {
            throw new IllegalArgumentException("a name has no zero in it");
        }
        return arena.allocateFrom(text);
    }

    long takeProducer() {
        return take(Native::producer);
    }

    /** {@code name} may be null. */
    long takeConsumer(String name) {
        if (name == null) {
            return take(Native::consumer);
        }
        try (Arena arena = Arena.ofConfined()) {
            long address = text(arena, name).address();
            return take((buffer, out) -> Native.consumerNamed(buffer, address, out));
        }
    }

    private long take(Taking taking) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_LONG);
            use(buffer -> taking.take(buffer, out.address()));
            return out.get(JAVA_LONG, 0);
        }
    }

    /** A lane as it is mapped: until this and everything that was taken from it is freed, and no longer than the arena. */
    MemorySegment memory(int lane, Arena arena) {
        try (Arena results = Arena.ofConfined()) {
            MemorySegment both = results.allocate(JAVA_LONG, 2);
            long address = both.address();
            use(buffer -> Native.bufferMemory(buffer, lane, address, address + JAVA_LONG.byteSize()));
            MemorySegment base = MemorySegment.ofAddress(both.get(JAVA_LONG, 0));
            return base.reinterpret(both.get(JAVA_LONG, JAVA_LONG.byteSize()), arena, null);
        }
    }

    /** Closes it with this. */
    void remember(Handle taken) {
        synchronized (handles) {
            handles.add(taken);
        }
        if (closed) {
            taken.close();
            checkOpen();
        }
    }

    void forgetHandle(Handle closed) {
        synchronized (handles) {
            handles.remove(closed);
        }
    }

    /**
     * Closes the producers and consumers that were taken from this, then this. Closing again does nothing.
     *
     * @throws IllegalStateException if one of them can't be closed now; see there
     */
    @Override
    public void close() {
        closeHandles();
        lock.writeLock().lock();
        try {
            if (closed) {
                return;
            }
            closed = true;
            Native.check(Native.bufferFree(handle));
        } finally {
            lock.writeLock().unlock();
        }
        // One may have been taken meanwhile.
        closeHandles();
    }

    private void closeHandles() {
        List<Handle> taken;
        synchronized (handles) {
            taken = List.copyOf(handles);
        }
        taken.forEach(Handle::close);
    }
}
