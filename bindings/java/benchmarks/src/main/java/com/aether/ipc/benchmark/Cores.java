package com.aether.ipc.benchmark;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Binds threads to processors, so that both sides of a transport have one each, whatever the scheduler thinks. */
final class Cores {
    /** Asked before a thread is bound: then the system counts no others. */
    private static final int PROCESSORS = Runtime.getRuntime().availableProcessors();

    private Cores() {}

    /** Binds the calling thread to a processor, where the system can. */
    static void pin(int core) {
        if (!System.getProperty("os.name").equals("Linux") || core >= PROCESSORS) {
            return;
        }
        Linker linker = Linker.nativeLinker();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment set = arena.allocate(128);
            set.set(ValueLayout.JAVA_BYTE, core / 8, (byte) (1 << core % 8));
            int failed = (int) linker.downcallHandle(
                            linker.defaultLookup().find("sched_setaffinity").orElseThrow(),
                            FunctionDescriptor.of(
                                    ValueLayout.JAVA_INT, ValueLayout.JAVA_INT, ValueLayout.JAVA_LONG, ValueLayout.ADDRESS))
                    .invokeExact(0, set.byteSize(), set);
            if (failed != 0) {
                throw new IllegalStateException("could not bind the thread to processor " + core);
            }
        } catch (Throwable problem) {
            throw new IllegalStateException(problem);
        }
    }
}
