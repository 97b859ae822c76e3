package com.aether.ipc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.VarHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code docs/java.md}: its code is a part of this file, which runs it. */
class GuideTest {
    @TempDir
    Path folder;

    Path path;

    @BeforeEach
    void nameRing() {
        path = folder.resolve("ring");
    }

    private static String guide() throws Exception {
        return Files.readString(Support.repository("docs/java.md"));
    }

    private static List<String> blocks(String language) throws Exception {
        Pattern block = Pattern.compile("```" + language + "\n(.*?)```", Pattern.DOTALL);
        List<String> blocks = block.matcher(guide()).results().map(found -> found.group(1)).toList();
        assertFalse(blocks.isEmpty(), language);
        return blocks;
    }

    private static String trimmed(String code) {
        return String.join("\n", code.lines().map(String::strip).toList());
    }

    @Test
    void the_code_of_the_guide_is_a_part_of_this_file() throws Exception {
        String here = trimmed(Files.readString(
                Support.repository("bindings/java/ipc/src/test/java/com/aether/ipc/GuideTest.java")));
        for (String block : blocks("java")) {
            assertTrue(here.contains(trimmed(block)), "not here:\n" + block);
        }
    }

    @Test
    void the_code_of_the_readme_is_a_part_of_this_file() throws Exception {
        String readme = Files.readString(Support.repository("README.md"));
        String here = trimmed(Files.readString(
                Support.repository("bindings/java/ipc/src/test/java/com/aether/ipc/GuideTest.java")));
        MatchResult block = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL).matcher(readme).results()
                .findFirst().orElseThrow();
        assertTrue(here.contains(trimmed(block.group(1).replace("Path.of(\"/dev/shm/quotes\")", "path"))));
    }

    @Test
    void readme() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(path, 1 << 20);
                AetherProducer producer = new AetherProducer(buffer)) {
            producer.put(1, 7, "hello".getBytes());       // `offer` never waits; a long or a MemorySegment is taken too
        }
        try (AetherBuffer buffer = new AetherBuffer(path);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            consumer.poll((id, type, payload) -> payload.byteSize() == 5);      // false: it stays, and comes again
        }
        try (AetherBuffer buffer = new AetherBuffer(path)) {
            assertEquals(24, buffer.getReadCursorAcquire());
        }
    }

    @Test
    void the_dependency_of_the_guide_is_what_is_built() throws Exception {
        String pom = Files.readString(Support.repository("bindings/java/ipc/pom.xml"));
        for (String line : blocks("xml").getFirst().lines().map(String::strip).toList()) {
            assertTrue(line.contains("dependency>") || pom.contains(line), line);
        }
        String cargo = Files.readString(Support.repository("Cargo.toml"));
        MatchResult version = Pattern.compile("\nversion = \"(.*?)\"").matcher(cargo).results().findFirst().orElseThrow();
        assertTrue(pom.contains("<version>" + version.group(1) + "</version>"), version.group(1));
    }

    @Test
    void send_and_receive() throws Exception {
        List<String> seen = new ArrayList<>();
        try (AetherBuffer buffer = new AetherBuffer(path, 1 << 20);
                AetherProducer producer = new AetherProducer(buffer)) {
            producer.put(1, 7, "hello".getBytes());                   // waits for space; an interrupt ends the wait
            boolean accepted = producer.offer(2, 7, 1234567890L);     // never waits
            assertTrue(accepted);
        }
        try (AetherBuffer buffer = new AetherBuffer(path);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            consumer.await();
            int count = consumer.drain((id, type, payload) -> {
                seen.add(id + " " + type + " " + payload.byteSize());
                return true;                                          // false: it stays, and comes again
            }, 100);
            assertEquals(2, count);
        }
        assertEquals(List.of("1 7 5", "2 7 8"), seen);
    }

    static final MemoryLayout QUOTE = MemoryLayout.structLayout(
            ValueLayout.JAVA_DOUBLE.withName("bid"), ValueLayout.JAVA_DOUBLE.withName("ask"));
    static final VarHandle BID = QUOTE.varHandle(PathElement.groupElement("bid"));

    @Test
    void in_place() throws Exception {
        double[] sum = {0};
        try (AetherBuffer buffer = new AetherBuffer(path, 1 << 20);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            try (AetherClaim claim = producer.claim(QUOTE.byteSize())) {
                BID.set(claim.payload(), 0L, 1.25);
                claim.commit(1, 8);                                   // without it, closing aborts
            }
            consumer.drain(message -> {
                sum[0] += (double) BID.get(message.memory(), message.offset());
                sum[0] += message.getDouble(0);
                return Flow.CONTINUE;
            }, 100);
        }
        assertEquals(2.5, sum[0]);
    }

    @Test
    void batches() throws Exception {
        int received = 0;
        try (AetherBuffer buffer = new AetherBuffer(path, 1 << 20);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            try (AetherBatch batch = producer.batch()) {
                for (long id = 0; id < 10; id++) {
                    batch.add(id, 1, id);
                }
                while (batch.size() > 0) {
                    batch.commit();                                   // publishes what there is space for
                }
            }
            try (MessageBatch batch = consumer.batch(100)) {
                for (MessageView message : batch) {
                    received += message.payload().get(ValueLayout.JAVA_BYTE, 0) == message.id() ? 1 : 0;
                }
            }                                                         // from here on, a payload that was kept throws
        }
        assertEquals(10, received);
    }

    @Test
    void many() throws Exception {
        List<Long> ids = new ArrayList<>();
        try (AetherBuffer bus = AetherBuffer.options().capacity(1 << 20).producers(4).consumers(8).create(path);
                AetherConsumer audit = new AetherConsumer(bus, "audit");
                AetherProducer producer = new AetherProducer(bus)) {
            producer.put(1, 1, 1L);
            audit.requireProducer(true);                              // a wait ends when all producers are gone
            while (audit.await(Duration.ofMillis(1))) {
                audit.drain((id, type, payload) -> ids.add(id), 100);
            }
        }
        assertEquals(List.of(1L), ids);
    }
}
