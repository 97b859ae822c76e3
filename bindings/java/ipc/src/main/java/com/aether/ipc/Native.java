package com.aether.ipc;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BOOLEAN;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Locale;

/**
 * The functions of {@code aether.h} that the binding calls, by the same names.
 *
 * <p>Addresses are {@code long}: a segment as an argument would cost more than the call. Whoever calls keeps the memory
 * alive meanwhile.
 */
final class Native {
    /** {@code AETHER_ABI} of the header that this was written after. */
    static final int ABI = 0;

    // The numbers of `aether_status` that are not failures here.
    static final int OK = 0;
    static final int FULL = 1;
    static final int CLOSED = 4;
    static final int TIMED_OUT = 5;

    /** All memory. An access is as safe as the address. */
    static final MemorySegment MEMORY = MemorySegment.NULL.reinterpret(Long.MAX_VALUE);

    /** For numbers in a ring, whose bytes are the same on every machine. */
    static final ValueLayout.OfLong LITTLE_LONG =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    // What the header says of records, and of bells.
    static final int HEADER_SIZE = 16;
    static final int ALIGNMENT = 8;
    static final int ASLEEP = 1;

    private static final VarHandle LONG = JAVA_LONG.varHandle();
    private static final VarHandle INT = JAVA_INT.varHandle();

    private static final ValueLayout.OfLong POINTER = JAVA_LONG.withName("pointer");

    static final MemoryLayout OPTIONS = MemoryLayout.structLayout(
            JAVA_LONG.withName("size"),
            JAVA_LONG.withName("capacity"),
            JAVA_INT.withName("mode"),
            JAVA_INT.withName("producers"),
            JAVA_INT.withName("consumers"),
            JAVA_INT.withName("overflow"),
            ValueLayout.JAVA_BYTE.withName("classic"),
            ValueLayout.JAVA_BYTE.withName("prefault"),
            ValueLayout.JAVA_BYTE.withName("checksums"),
            ValueLayout.JAVA_BYTE.withName("sequence"),
            MemoryLayout.sequenceLayout(4, ValueLayout.JAVA_BYTE).withName("reserved"))
            .withName("aether_options");

    static final MemoryLayout MESSAGE = MemoryLayout.structLayout(
            JAVA_LONG.withName("id"),
            POINTER.withName("payload"),
            JAVA_LONG.withName("length"),
            JAVA_LONG.withName("position"),
            JAVA_INT.withName("message_type"),
            JAVA_INT.withName("lane"))
            .withName("aether_message");

    static final MemoryLayout DIRECT = MemoryLayout.structLayout(
            POINTER.withName("write_cursor"),
            POINTER.withName("read_cursor"),
            POINTER.withName("bell"),
            POINTER.withName("disturbances"),
            POINTER.withName("data"),
            JAVA_LONG.withName("mapped"),
            JAVA_LONG.withName("capacity"),
            JAVA_LONG.withName("position"))
            .withName("aether_direct");

    static final MemoryLayout WINDOW = MemoryLayout.structLayout(
            POINTER.withName("base"), JAVA_LONG.withName("length"), JAVA_LONG.withName("position"))
            .withName("aether_window");

    static final MemoryLayout PRODUCER_STATS = MemoryLayout.structLayout(
            JAVA_LONG.withName("capacity"),
            JAVA_LONG.withName("max_payload"),
            JAVA_LONG.withName("position"),
            JAVA_LONG.withName("lag"),
            JAVA_LONG.withName("free_bytes"),
            JAVA_LONG.withName("offered"),
            JAVA_INT.withName("lane"),
            JAVA_INT.withName("trailer"))
            .withName("aether_producer_stats");

    static final MemoryLayout CONSUMER_STATS = MemoryLayout.structLayout(
            JAVA_LONG.withName("available_bytes"),
            JAVA_LONG.withName("position"),
            JAVA_LONG.withName("received"))
            .withName("aether_consumer_stats");

    static final MemoryLayout ERROR = MemoryLayout.structLayout(
            JAVA_INT.withName("status"),
            JAVA_INT.withName("os_error"),
            JAVA_INT.withName("lane"),
            MemoryLayout.paddingLayout(4),
            JAVA_LONG.withName("position"),
            JAVA_LONG.withName("value"),
            POINTER.withName("message"))
            .withName("aether_error");

    private static final long ERROR_OS = offset(ERROR, "os_error");
    private static final long ERROR_LANE = offset(ERROR, "lane");
    private static final long ERROR_POSITION = offset(ERROR, "position");
    private static final long ERROR_VALUE = offset(ERROR, "value");
    private static final long ERROR_MESSAGE = offset(ERROR, "message");

    private static final Linker LINKER = Linker.nativeLinker();
    private static final SymbolLookup LIBRARY = load();
    /** For calls that are short and never block: they cost a third. */
    private static final Linker.Option SHORT = Linker.Option.critical(false);

    private static final MethodHandle LAST_ERROR =
            LINKER.downcallHandle(symbol("aether_last_error"), FunctionDescriptor.of(JAVA_LONG), SHORT);
    private static final MethodHandle GUARD_BUS_ERRORS = function("aether_guard_bus_errors");
    private static final MethodHandle CREATE = function("aether_buffer_create", POINTER, POINTER, POINTER);
    private static final MethodHandle CREATE_NEW = function("aether_buffer_create_new", POINTER, POINTER, POINTER);
    private static final MethodHandle OPEN = function("aether_buffer_open", POINTER, POINTER, POINTER);
    private static final MethodHandle CONNECT =
            function("aether_buffer_connect", POINTER, POINTER, JAVA_LONG, POINTER);
    private static final MethodHandle BUFFER_FREE = function("aether_buffer_free", POINTER);
    private static final MethodHandle PRODUCER = function("aether_buffer_producer", POINTER, POINTER);
    private static final MethodHandle CONSUMER = function("aether_buffer_consumer", POINTER, POINTER);
    private static final MethodHandle CONSUMER_NAMED =
            function("aether_buffer_consumer_named", POINTER, POINTER, POINTER);
    private static final MethodHandle FORGET = function("aether_buffer_forget", POINTER, POINTER);
    private static final MethodHandle CAPACITY = function("aether_buffer_capacity", POINTER, POINTER);
    private static final MethodHandle BUFFER_MEMORY =
            function("aether_buffer_memory", POINTER, JAVA_INT, POINTER, POINTER);
    private static final MethodHandle CURSORS = shortFunction("aether_buffer_cursors", POINTER, POINTER, POINTER);
    private static final MethodHandle SET_WRITE_CURSOR =
            function("aether_buffer_set_write_cursor", POINTER, JAVA_LONG);
    private static final MethodHandle SET_READ_CURSOR = function("aether_buffer_set_read_cursor", POINTER, JAVA_LONG);
    private static final MethodHandle SYNC = function("aether_buffer_sync", POINTER);

    private static final MethodHandle OFFER =
            shortFunction("aether_producer_offer", POINTER, JAVA_LONG, JAVA_INT, POINTER, JAVA_LONG);
    /** Takes the records as a segment: they are the user's, on the heap or not, and must stay where they are meanwhile. */
    private static final MethodHandle OFFER_ARRAY = LINKER.downcallHandle(
            symbol("aether_producer_offer_array"),
            FunctionDescriptor.of(JAVA_INT, POINTER, JAVA_LONG, JAVA_INT, JAVA_LONG, ADDRESS, JAVA_LONG, POINTER),
            Linker.Option.critical(true));
    private static final MethodHandle RESERVE =
            shortFunction("aether_producer_reserve", POINTER, JAVA_LONG, JAVA_LONG, POINTER, POINTER);
    /** Looks at every record: no short call. */
    private static final MethodHandle COMMIT_RESERVED =
            function("aether_producer_commit_reserved", POINTER, JAVA_LONG, POINTER);
    private static final MethodHandle PRODUCER_DIRECT = shortFunction("aether_producer_direct", POINTER, POINTER);
    private static final MethodHandle WINDOW_OF = shortFunction("aether_producer_window", POINTER, JAVA_LONG, POINTER);
    private static final MethodHandle PRODUCER_SETTLE =
            shortFunction("aether_producer_settle", POINTER, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle PRODUCER_RING = function("aether_producer_ring", POINTER);
    private static final MethodHandle CLAIM = shortFunction("aether_producer_claim", POINTER, JAVA_LONG, POINTER);
    private static final MethodHandle COMMIT = shortFunction("aether_producer_commit", POINTER, JAVA_LONG, JAVA_INT);
    private static final MethodHandle ABORT = shortFunction("aether_producer_abort", POINTER);
    private static final MethodHandle WAIT_FOR_SPACE =
            function("aether_producer_wait_for_space", POINTER, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle PRODUCER_SET_WAIT = function("aether_producer_set_wait", POINTER, JAVA_INT);
    private static final MethodHandle REQUIRE_CONSUMER =
            function("aether_producer_require_consumer", POINTER, JAVA_BOOLEAN);
    private static final MethodHandle HAS_CONSUMER = function("aether_producer_has_consumer", POINTER, POINTER);
    private static final MethodHandle PRODUCER_READ_STATS =
            shortFunction("aether_producer_read_stats", POINTER, POINTER);
    private static final MethodHandle PRODUCER_FREE = function("aether_producer_free", POINTER);

    private static final MethodHandle PEEK =
            shortFunction("aether_consumer_peek", POINTER, POINTER, JAVA_LONG, POINTER);
    private static final MethodHandle RELEASE = shortFunction("aether_consumer_release", POINTER, JAVA_LONG);
    private static final MethodHandle CONSUMER_DIRECT = shortFunction("aether_consumer_direct", POINTER, POINTER);
    private static final MethodHandle CONSUMER_SETTLE =
            shortFunction("aether_consumer_settle", POINTER, JAVA_LONG, JAVA_LONG);
    private static final MethodHandle CONSUMER_RING = function("aether_consumer_ring", POINTER);
    private static final MethodHandle WAIT = function("aether_consumer_wait", POINTER, JAVA_LONG);
    private static final MethodHandle CONSUMER_SET_WAIT = function("aether_consumer_set_wait", POINTER, JAVA_INT);
    private static final MethodHandle REQUIRE_PRODUCER =
            function("aether_consumer_require_producer", POINTER, JAVA_BOOLEAN);
    private static final MethodHandle SET_MERGE = function("aether_consumer_set_merge", POINTER, JAVA_INT);
    private static final MethodHandle SET_UNTRUSTED = function("aether_consumer_set_untrusted", POINTER, JAVA_BOOLEAN);
    private static final MethodHandle HAS_PRODUCER = function("aether_consumer_has_producer", POINTER, POINTER);
    private static final MethodHandle CONSUMER_READ_STATS =
            shortFunction("aether_consumer_read_stats", POINTER, POINTER);
    private static final MethodHandle CONSUMER_FREE = function("aether_consumer_free", POINTER);

    private Native() {}

    static long offset(MemoryLayout struct, String field) {
        return struct.byteOffset(PathElement.groupElement(field));
    }

    private static MemorySegment symbol(String name) {
        return LIBRARY.find(name).orElseThrow(() -> new UnsatisfiedLinkError("the native library has no " + name));
    }

    private static MethodHandle function(String name, ValueLayout... arguments) {
        return LINKER.downcallHandle(symbol(name), FunctionDescriptor.of(JAVA_INT, arguments));
    }

    private static MethodHandle shortFunction(String name, ValueLayout... arguments) {
        return LINKER.downcallHandle(symbol(name), FunctionDescriptor.of(JAVA_INT, arguments), SHORT);
    }

    static long getAcquire(long word) {
        return (long) LONG.getAcquire(MEMORY, word);
    }

    static void setRelease(long word, long value) {
        LONG.setRelease(MEMORY, word, value);
    }

    /**
     * A bell is looked at after what came before it, as far as the compiler goes: a sleeper sees to the rest. That the
     * compiler keeps the order is what HotSpot does, more than the memory model asks for; a sleeper that was missed looks by
     * itself some tenths of a second later.
     */
    static boolean isWanted(long bell) {
        return ((int) INT.getVolatile(MEMORY, bell) & ASLEEP) != 0;
    }

    static int getInt(long word) {
        return (int) INT.getOpaque(MEMORY, word);
    }

    /** Bytes that a record of so many takes. */
    static long padded(long length) {
        return length + (ALIGNMENT - 1) & -ALIGNMENT;
    }

    /** The library of the property {@code aether.library}, or the one in the jar, copied out of it for the loader. */
    private static SymbolLookup load() {
        String given = System.getProperty("aether.library");
        SymbolLookup library = given == null ? loadFromJar() : load(Path.of(given));
        try {
            MethodHandle abi = LINKER.downcallHandle(library.find("aether_abi").orElseThrow(), FunctionDescriptor.of(JAVA_INT));
            int found = (int) abi.invokeExact();
            if (found != ABI) {
                throw new UnsatisfiedLinkError("the native library of Aether-IPC has the ABI " + found + ", not " + ABI
                        + ": jar and library are not of the same version");
            }
            return library;
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    private static SymbolLookup load(Path file) {
        try {
            return SymbolLookup.libraryLookup(file, Arena.global());
        } catch (IllegalArgumentException problem) {
            UnsatisfiedLinkError error = new UnsatisfiedLinkError("cannot load the native library " + file
                    + "; if its folder forbids programs, name another one with -Djava.io.tmpdir=FOLDER, or the library "
                    + "itself with -Daether.library=FILE");
            error.initCause(problem);
            throw error;
        }
    }

    private static SymbolLookup loadFromJar() {
        String resource = "native/" + platform() + "/" + System.mapLibraryName("aether");
        try (InputStream packed = Native.class.getResourceAsStream(resource)) {
            if (packed == null) {
                throw new UnsatisfiedLinkError("this jar of Aether-IPC has no " + resource
                        + "; build it on this platform (bindings/java/test.sh), or name a library with "
                        + "-Daether.library=FILE");
            }
            Path file = Files.createTempFile("libaether", ".tmp");
            try {
                Files.copy(packed, file, StandardCopyOption.REPLACE_EXISTING);
                return load(file);
            } finally {
                // What is loaded stays, except on Windows, where the file must too.
                if (System.getProperty("os.name").startsWith("Windows")) {
                    file.toFile().deleteOnExit();
                } else {
                    Files.delete(file);
                }
            }
        } catch (IOException problem) {
            throw new UncheckedIOException("cannot copy the native library out of the jar", problem);
        }
    }

    /** As in {@code linux-amd64}: the name of the folder in the jar. */
    private static String platform() {
        String name = System.getProperty("os.name").toLowerCase(Locale.ROOT);
        String system = name.startsWith("windows") ? "windows" : name.startsWith("mac") ? "macos" : "linux";
        return system + "-" + System.getProperty("os.arch");
    }

    /** Throws what a status means, unless that is {@link #OK}. */
    static void check(int status) {
        if (status != OK) {
            throw failure(status);
        }
    }

    /** What the last call of this thread failed with. */
    static RuntimeException failure(int status) {
        long error;
        try {
            error = (long) LAST_ERROR.invokeExact();
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
        return AetherException.of(
                status,
                MEMORY.getString(MEMORY.get(JAVA_LONG, error + ERROR_MESSAGE)),
                MEMORY.get(JAVA_INT, error + ERROR_OS),
                MEMORY.get(JAVA_INT, error + ERROR_LANE),
                MEMORY.get(JAVA_LONG, error + ERROR_POSITION),
                MEMORY.get(JAVA_LONG, error + ERROR_VALUE));
    }

    /** Native functions throw nothing, so this is an error of the virtual machine's. */
    private static Error unexpected(Throwable problem) {
        return problem instanceof Error error ? error : new AssertionError(problem);
    }

    static int guardBusErrors() {
        try {
            return (int) GUARD_BUS_ERRORS.invokeExact();
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int create(long path, long options, long buffer) {
        try {
            return (int) CREATE.invokeExact(path, options, buffer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int createNew(long path, long options, long buffer) {
        try {
            return (int) CREATE_NEW.invokeExact(path, options, buffer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int open(long path, long options, long buffer) {
        try {
            return (int) OPEN.invokeExact(path, options, buffer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int connect(long path, long options, long timeout, long buffer) {
        try {
            return (int) CONNECT.invokeExact(path, options, timeout, buffer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int bufferFree(long buffer) {
        try {
            return (int) BUFFER_FREE.invokeExact(buffer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int producer(long buffer, long producer) {
        try {
            return (int) PRODUCER.invokeExact(buffer, producer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int consumer(long buffer, long consumer) {
        try {
            return (int) CONSUMER.invokeExact(buffer, consumer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int consumerNamed(long buffer, long name, long consumer) {
        try {
            return (int) CONSUMER_NAMED.invokeExact(buffer, name, consumer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int forget(long buffer, long name) {
        try {
            return (int) FORGET.invokeExact(buffer, name);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int capacity(long buffer, long capacity) {
        try {
            return (int) CAPACITY.invokeExact(buffer, capacity);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int cursors(long buffer, long write, long read) {
        try {
            return (int) CURSORS.invokeExact(buffer, write, read);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int setWriteCursor(long buffer, long value) {
        try {
            return (int) SET_WRITE_CURSOR.invokeExact(buffer, value);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int setReadCursor(long buffer, long value) {
        try {
            return (int) SET_READ_CURSOR.invokeExact(buffer, value);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int sync(long buffer) {
        try {
            return (int) SYNC.invokeExact(buffer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int offer(long producer, long id, int type, long payload, long length) {
        try {
            return (int) OFFER.invokeExact(producer, id, type, payload, length);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int offerArray(long producer, long id, int type, long size, MemorySegment records, long taken) {
        try {
            long length = records.byteSize();
            return (int) OFFER_ARRAY.invokeExact(producer, id, type, size, records, length, taken);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int reserve(long producer, long least, long most, long base, long length) {
        try {
            return (int) RESERVE.invokeExact(producer, least, most, base, length);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int commitReserved(long producer, long length, long count) {
        try {
            return (int) COMMIT_RESERVED.invokeExact(producer, length, count);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int producerDirect(long producer, long direct) {
        try {
            return (int) PRODUCER_DIRECT.invokeExact(producer, direct);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int window(long producer, long least, long window) {
        try {
            return (int) WINDOW_OF.invokeExact(producer, least, window);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int producerSettle(long producer, long length, long count) {
        try {
            return (int) PRODUCER_SETTLE.invokeExact(producer, length, count);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int producerRing(long producer) {
        try {
            return (int) PRODUCER_RING.invokeExact(producer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int claim(long producer, long length, long payload) {
        try {
            return (int) CLAIM.invokeExact(producer, length, payload);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int commit(long producer, long id, int type) {
        try {
            return (int) COMMIT.invokeExact(producer, id, type);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int abort(long producer) {
        try {
            return (int) ABORT.invokeExact(producer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int waitForSpace(long producer, long length, long timeout) {
        try {
            return (int) WAIT_FOR_SPACE.invokeExact(producer, length, timeout);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int producerSetWait(long producer, int wait) {
        try {
            return (int) PRODUCER_SET_WAIT.invokeExact(producer, wait);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int requireConsumer(long producer, boolean required) {
        try {
            return (int) REQUIRE_CONSUMER.invokeExact(producer, required);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int hasConsumer(long producer, long result) {
        try {
            return (int) HAS_CONSUMER.invokeExact(producer, result);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int producerReadStats(long producer, long stats) {
        try {
            return (int) PRODUCER_READ_STATS.invokeExact(producer, stats);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int producerFree(long producer) {
        try {
            return (int) PRODUCER_FREE.invokeExact(producer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int peek(long consumer, long messages, long limit, long count) {
        try {
            return (int) PEEK.invokeExact(consumer, messages, limit, count);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int release(long consumer, long count) {
        try {
            return (int) RELEASE.invokeExact(consumer, count);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int consumerDirect(long consumer, long direct) {
        try {
            return (int) CONSUMER_DIRECT.invokeExact(consumer, direct);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int consumerSettle(long consumer, long position, long count) {
        try {
            return (int) CONSUMER_SETTLE.invokeExact(consumer, position, count);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int consumerRing(long consumer) {
        try {
            return (int) CONSUMER_RING.invokeExact(consumer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int bufferMemory(long buffer, int lane, long base, long length) {
        try {
            return (int) BUFFER_MEMORY.invokeExact(buffer, lane, base, length);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int await(long consumer, long timeout) {
        try {
            return (int) WAIT.invokeExact(consumer, timeout);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int consumerSetWait(long consumer, int wait) {
        try {
            return (int) CONSUMER_SET_WAIT.invokeExact(consumer, wait);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int requireProducer(long consumer, boolean required) {
        try {
            return (int) REQUIRE_PRODUCER.invokeExact(consumer, required);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int setMerge(long consumer, int merge) {
        try {
            return (int) SET_MERGE.invokeExact(consumer, merge);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int setUntrusted(long consumer, boolean untrusted) {
        try {
            return (int) SET_UNTRUSTED.invokeExact(consumer, untrusted);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int hasProducer(long consumer, long result) {
        try {
            return (int) HAS_PRODUCER.invokeExact(consumer, result);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int consumerReadStats(long consumer, long stats) {
        try {
            return (int) CONSUMER_READ_STATS.invokeExact(consumer, stats);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }

    static int consumerFree(long consumer) {
        try {
            return (int) CONSUMER_FREE.invokeExact(consumer);
        } catch (Throwable problem) {
            throw unexpected(problem);
        }
    }
}
