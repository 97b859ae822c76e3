package com.aether.ipc;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The files in {@code testdata}, whose bytes may not change: read, and made anew. */
class GoldenTest {
    @TempDir
    Path folder;

    private static Path golden(String name) {
        return Support.repository("testdata").resolve(name);
    }

    private static byte[] payload(long id, int length) {
        byte[] payload = new byte[length];
        for (int index = 0; index < length; index++) {
            payload[index] = (byte) (id + index);
        }
        return payload;
    }

    /** What waits, as {@code testdata/README.md} has it. */
    private static List<String> documented(String name) throws Exception {
        for (String line : Files.readAllLines(golden("README.md"))) {
            if (line.startsWith("| `" + name + "` |")) {
                String[] cells = line.split("\\|");
                return Arrays.stream(cells[cells.length - 1].split(",")).map(String::strip).toList();
            }
        }
        throw new AssertionError("no row for " + name);
    }

    private static List<String> read(AetherConsumer consumer, int limit) {
        List<String> seen = new ArrayList<>();
        consumer.drain(message -> {
            assertArrayEquals(payload(message.id(), (int) message.length()), message.toArray());
            seen.add(message.id() + " / " + message.type() + " / " + message.length());
            return Flow.CONTINUE;
        }, limit);
        return seen;
    }

    @Test
    void files_read_as_documented() throws Exception {
        for (String name : List.of(
                "classic.ring", "classic-wrapped.ring", "extended.ring", "extended-wrapped.ring", "checksums.ring")) {
            Path copy = Files.copy(golden(name), folder.resolve(name));
            try (AetherBuffer buffer = new AetherBuffer(copy);
                    AetherConsumer consumer = new AetherConsumer(buffer)) {
                assertEquals(1024, buffer.getCapacity());
                assertEquals(documented(name), read(consumer, 100), name);
            }
        }
    }

    @Test
    void the_file_with_lanes_reads_as_documented() throws Exception {
        Path copy = Files.copy(golden("lanes.ring"), folder.resolve("lanes"));
        try (AetherBuffer bus = new AetherBuffer(copy);
                AetherConsumer audit = new AetherConsumer(bus, "audit");
                AetherConsumer billing = new AetherConsumer(bus, "billing")) {
            audit.setMerge(Merge.BY_ID);
            billing.setMerge(Merge.BY_ID);
            assertEquals(List.of("0 / 10 / 5", "1 / 11 / 6", "2 / 12 / 100", "3 / 13 / 7"), read(audit, 100));
            assertEquals(List.of("2 / 12 / 100", "3 / 13 / 7"), read(billing, 100));
        }
    }

    @Test
    void the_file_that_dropped_messages_tells_of_its_loss_first() throws Exception {
        Path copy = Files.copy(golden("dropped.ring"), folder.resolve("dropped"));
        try (AetherBuffer buffer = new AetherBuffer(copy);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            assertEquals(1536, assertThrows(AetherException.Lagged.class, () -> read(consumer, 100)).bytes());
            List<String> rest = read(consumer, 100);
            assertEquals(16, rest.size());
            assertEquals("24 / 3 / 48", rest.getFirst());
            assertEquals("39 / 3 / 48", rest.getLast());
        }
    }

    @Test
    void files_made_anew_are_the_same_byte_for_byte() throws Exception {
        for (String name : List.of(
                "classic.ring", "classic-wrapped.ring", "extended.ring", "extended-wrapped.ring", "checksums.ring")) {
            AetherOptions options = AetherBuffer.options()
                    .capacity(1024)
                    .classic(name.startsWith("classic"))
                    .checksums(name.startsWith("checksums"));
            boolean wrapped = !name.equals("classic.ring") && !name.equals("extended.ring");
            long[][] messages = wrapped
                    ? new long[][] {{1, 1, 300}, {2, 1, 300}, {3, 1, 300}, {4, 1, 36}}
                    : new long[][] {
                        {1, 7, 11},
                        {-2, -1, 0},
                        {Long.MAX_VALUE, Integer.MIN_VALUE, 256},
                        {Long.MIN_VALUE, Integer.MAX_VALUE, 9}
                    };
            Path made = folder.resolve(name);
            try (AetherBuffer buffer = options.createNew(made);
                    AetherProducer producer = new AetherProducer(buffer);
                    AetherConsumer consumer = new AetherConsumer(buffer)) {
                offer(producer, messages);
                int released = wrapped ? 3 : 1;
                assertEquals(released, read(consumer, released).size());
                if (wrapped) {
                    offer(producer, new long[][] {{5, 1, 200}, {6, 1, 1}});
                }
            }
            assertArrayEquals(Files.readAllBytes(golden(name)), Files.readAllBytes(made), name);
        }
    }

    private static void offer(AetherProducer producer, long[][] messages) throws Exception {
        for (long[] message : messages) {
            producer.put(message[0], (int) message[1], payload(message[0], (int) message[2]));
        }
    }
}
