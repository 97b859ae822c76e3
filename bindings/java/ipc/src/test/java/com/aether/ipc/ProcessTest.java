package com.aether.ipc;

import static com.aether.ipc.Support.aether;
import static com.aether.ipc.Support.java;
import static com.aether.ipc.Support.python;
import static com.aether.ipc.Support.text;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.aether.ipc.Support.Child;
import java.io.RandomAccessFile;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;

/** Processes that talk, and processes that are killed. */
class ProcessTest {
    @TempDir
    Path folder;

    String ring;

    @BeforeEach
    void nameRing() {
        ring = folder.resolve("ring").toString();
    }

    private static List<String> numbers(long count) {
        return LongStream.range(0, count).mapToObj(Long::toString).toList();
    }

    @Test
    void two_virtual_machines_talk() throws Exception {
        try (Child consumer = java(ProcessConsumer.class, ring);
                Child producer = java(ProcessProducer.class, ring, "4096", "20000")) {
            assertEquals("ready", producer.line());
            assertEquals("ready", consumer.line());
            assertEquals(numbers(20_000), consumer.end());
            producer.end();
        }
    }

    @Test
    void a_producer_is_heard_by_the_command() throws Exception {
        try (Child producer = java(ProcessProducer.class, ring, "4096", "5000")) {
            assertEquals("ready", producer.line());
            try (Child command = aether("recv", ring, "--count", "5000")) {
                assertEquals(numbers(5000), command.end());
            }
            producer.end();
        }
    }

    @Test
    void a_consumer_hears_the_command() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(Path.of(ring), 1 << 16);
                Child consumer = java(ProcessConsumer.class, ring)) {
            assertEquals("ready", consumer.line());
            try (Child command = aether("send", ring)) {
                command.writeAndClose(String.join("\n", numbers(5000)) + "\n");
                command.end();
            }
            assertEquals(numbers(5000), consumer.end());
            assertEquals(buffer.getWriteCursorAcquire(), buffer.getReadCursorAcquire());
        }
    }

    @Test
    @EnabledIfSystemProperty(named = "aether.python", matches = ".+")
    void a_producer_is_heard_by_python() throws Exception {
        try (Child producer = java(ProcessProducer.class, ring, "4096", "5000")) {
            assertEquals("ready", producer.line());
            try (Child python = python("""
                    import sys, aether_ipc
                    with aether_ipc.Buffer.open(sys.argv[1]) as buffer, buffer.consumer() as consumer:
                        for number in range(5000):
                            message = consumer.receive()
                            assert (message.id, message.type) == (number, 1), message
                            print(message.payload.decode())
                    """, ring)) {
                assertEquals(numbers(5000), python.end());
            }
            producer.end();
        }
    }

    @Test
    @EnabledIfSystemProperty(named = "aether.python", matches = ".+")
    void a_consumer_hears_python() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(Path.of(ring), 1 << 16);
                Child consumer = java(ProcessConsumer.class, ring)) {
            assertEquals("ready", consumer.line());
            try (Child python = python("""
                    import sys, aether_ipc
                    with aether_ipc.Buffer.open(sys.argv[1]) as buffer, buffer.producer() as producer:
                        for number in range(5000):
                            producer.put(number, str(number).encode(), type=1)
                    """, ring)) {
                python.end();
            }
            assertEquals(numbers(5000), consumer.end());
            assertEquals(buffer.getWriteCursorAcquire(), buffer.getReadCursorAcquire());
        }
    }

    @Test
    void what_a_killed_producer_had_committed_arrives_and_its_role_is_free() throws Exception {
        for (int round = 0; round < 3; round++) {
            String path = folder.resolve("killed" + round).toString();
            try (Child producer = java(ProcessProducer.class, path, "8192", "0")) {
                assertEquals("ready", producer.line());
                try (AetherBuffer buffer = new AetherBuffer(Path.of(path));
                        AetherConsumer consumer = new AetherConsumer(buffer)) {
                    long[] next = {0};
                    MessageHandler inOrder = (id, type, payload) -> {
                        assertEquals(next[0], id);
                        assertEquals(Long.toString(next[0]++), text(payload));
                        return true;
                    };
                    int enough = 1000 * (round + 1);
                    while (next[0] < enough) {
                        assertTrue(consumer.await(Duration.ofSeconds(Support.WATCHDOG_SECONDS)));
                        consumer.drain(inOrder, 100);
                    }
                    assertTrue(consumer.hasProducer());
                    assertThrows(AetherException.RoleTaken.class, () -> new AetherProducer(buffer));
                    producer.kill();
                    assertFalse(consumer.hasProducer());
                    consumer.requireProducer(true);
                    while (consumer.drain(inOrder, 100) > 0) {
                        // What it had committed.
                    }
                    assertThrows(AetherException.Closed.class, consumer::await);
                    try (AetherProducer successor = new AetherProducer(buffer)) {
                        successor.put(next[0], 1, Support.bytes(Long.toString(next[0])));
                        assertEquals(1, consumer.drain(inOrder, 100));
                    }
                }
            }
        }
    }

    /** Releases fifty messages, takes fifty more, and stops in the handler of the next: FILE */
    static final class Stopping {
        public static void main(String[] arguments) {
            AetherBuffer buffer = new AetherBuffer(Path.of(arguments[0]));
            AetherConsumer consumer = new AetherConsumer(buffer);
            consumer.drain((id, type, payload) -> true, 50);
            consumer.drain((id, type, payload) -> {
                if (id == 100) {
                    System.out.println("stopped");
                    while (true) {
                        java.util.concurrent.locks.LockSupport.park();
                    }
                }
                return true;
            }, 100);
        }
    }

    @Test
    void what_a_killed_consumer_had_not_released_comes_again() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(Path.of(ring), 8192);
                AetherProducer producer = new AetherProducer(buffer)) {
            for (long id = 0; id < 200; id++) {
                producer.put(id, 1, id);
            }
            try (Child consumer = java(Stopping.class, ring)) {
                assertEquals("stopped", consumer.line());
                assertTrue(producer.hasConsumer());
                assertThrows(AetherException.RoleTaken.class, () -> new AetherConsumer(buffer));
                consumer.kill();
            }
            assertFalse(producer.hasConsumer());
            try (AetherConsumer successor = new AetherConsumer(buffer)) {
                assertEquals(LongStream.range(50, 200).boxed().toList(), AetherIpcTest.ids(successor));
            }
        }
    }

    /** Cuts its own ring short, then uses it: FILE */
    static final class Truncating {
        public static void main(String[] arguments) throws Exception {
            AetherBuffer.guardBusErrors();
            try (AetherBuffer buffer = new AetherBuffer(Path.of(arguments[0]), 1 << 20);
                    AetherProducer producer = new AetherProducer(buffer);
                    AetherConsumer consumer = new AetherConsumer(buffer)) {
                producer.put(1, 1, new byte[500_000]);
                List<String> seen = new ArrayList<>();
                try (RandomAccessFile file = new RandomAccessFile(arguments[0], "rw")) {
                    consumer.drain(message -> {
                        try {
                            file.setLength(4096);
                        } catch (java.io.IOException problem) {
                            throw new AssertionError(problem);
                        }
                        // Java itself reads what is gone.
                        seen.add("read " + message.getByte(499_999));
                        return Flow.CONTINUE;
                    }, 1);
                    seen.add("not noticed by the consumer");
                } catch (AetherException.Truncated expected) {
                    seen.add("truncated");
                }
                try {
                    producer.put(2, 2, new byte[100_000]);
                    seen.add("not noticed by the producer");
                } catch (AetherException.Truncated expected) {
                    seen.add("truncated");
                }
                seen.forEach(System.out::println);
            }
        }
    }

    @Test
    void a_file_cut_short_under_the_map_is_an_exception_where_bus_errors_are_guarded() throws Exception {
        try (Child child = java(Truncating.class, ring)) {
            assertEquals(List.of("read 0", "truncated", "truncated"), child.end());
        }
    }
}
