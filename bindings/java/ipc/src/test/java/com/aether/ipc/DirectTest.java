package com.aether.ipc;

import static com.aether.ipc.Support.run;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.aether.ipc.Support.Running;
import java.io.RandomAccessFile;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What Java does without asking the core: it agrees with it, believes nothing, and lets nobody else in meanwhile. */
class DirectTest {
    @TempDir
    Path folder;

    Path ring;

    @BeforeEach
    void nameRing() {
        ring = folder.resolve("ring");
    }

    @Test
    void what_was_done_without_the_core_and_with_it_is_one_sequence() throws Exception {
        for (AetherOptions options : List.of(AetherBuffer.options(), AetherBuffer.options().classic(true))) {
            Path path = folder.resolve("mixed" + options.hashCode());
            try (AetherBuffer buffer = options.capacity(1024).create(path);
                    AetherProducer producer = new AetherProducer(buffer);
                    AetherConsumer consumer = new AetherConsumer(buffer);
                    AetherBatch batch = producer.batch()) {
                Random random = new Random(7);
                long sent = 0;
                long[] next = {0};
                while (sent < 5000) {
                    byte[] payload = new byte[random.nextInt(90)];
                    Arrays.fill(payload, (byte) sent);
                    long before = producer.position();
                    boolean accepted = switch (random.nextInt(4)) {
                        case 0 -> producer.offer(sent, 1, payload);
                        case 1 -> {
                            AetherClaim claim = producer.tryClaim(payload.length);
                            if (claim != null) {
                                claim.payload().copyFrom(java.lang.foreign.MemorySegment.ofArray(payload));
                                claim.commit(sent, 1);
                            }
                            yield claim != null;
                        }
                        case 2 -> {
                            batch.add(sent, 1, payload);
                            int taken = batch.commit();
                            batch.clear();
                            yield taken == 1;
                        }
                        default -> payload.length > 0 && producer.offerArray(sent, 1, payload.length,
                                java.lang.foreign.MemorySegment.ofArray(payload)) == 1;
                    };
                    sent += accepted ? 1 : 0;
                    assertEquals(sent, producer.offered());
                    assertEquals(accepted, producer.position() > before);
                    assertEquals(producer.position(), buffer.getWriteCursorAcquire());
                    if (!accepted || random.nextInt(3) == 0) {
                        switch (random.nextInt(3)) {
                            case 0 -> consumer.drain(message -> check(next, message.id(), message.toArray()), 3);
                            case 1 -> {
                                try (MessageBatch messages = consumer.batch(3)) {
                                    for (MessageView message : messages) {
                                        check(next, message.id(), message.toArray());
                                    }
                                }
                            }
                            default -> consumer.poll((id, type, bytes) ->
                                    check(next, id, bytes.toArray(java.lang.foreign.ValueLayout.JAVA_BYTE))
                                            == Flow.CONTINUE);
                        }
                        assertEquals(next[0], consumer.received());
                        assertEquals(consumer.getReadCursor(), buffer.getReadCursorAcquire());
                        assertEquals(
                                buffer.getWriteCursorAcquire() - consumer.getReadCursor(), consumer.getAvailableBytes());
                    }
                }
            }
        }
    }

    private static Flow check(long[] next, long id, byte[] payload) {
        assertEquals(next[0]++, id);
        byte[] expected = new byte[payload.length];
        Arrays.fill(expected, (byte) id);
        assertArrayEquals(expected, payload);
        return Flow.CONTINUE;
    }

    @Test
    void threads_that_take_turns_share_a_producer_and_a_consumer() throws Exception {
        int threads = 4;
        int turns = 2000;
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            Object turn = new Object();
            long[] sent = {0};
            long[] next = {0};
            List<Running<Void>> running = new ArrayList<>();
            for (int t = 0; t < threads; t++) {
                running.add(run(() -> {
                    for (int i = 0; i < turns; i++) {
                        synchronized (turn) {
                            assertTrue(producer.offer(sent[0], 1, sent[0]));
                            sent[0]++;
                            assertEquals(1, consumer.drain(message -> {
                                assertEquals(next[0], message.id());
                                assertEquals(next[0]++, message.getLong(0));
                                return Flow.CONTINUE;
                            }, 10));
                        }
                    }
                    return null;
                }));
            }
            for (Running<Void> one : running) {
                one.result();
            }
            assertEquals(threads * turns, consumer.received());
        }
    }

    /** Both try at once, again and again: each offer is refused or whole. */
    @Test
    void two_threads_are_never_inside_at_once() throws Exception {
        for (int round = 0; round < 20; round++) {
            try (AetherBuffer buffer = new AetherBuffer(folder.resolve("two" + round), 1 << 16);
                    AetherProducer producer = new AetherProducer(buffer);
                    AetherConsumer consumer = new AetherConsumer(buffer)) {
                List<Running<Integer>> running = new ArrayList<>();
                for (int t = 0; t < 2; t++) {
                    long mark = t + 1;
                    running.add(run(() -> {
                        int accepted = 0;
                        for (int i = 0; i < 1000; i++) {
                            try {
                                accepted += producer.offer(mark << 32 | i, (int) mark, mark << 32 | i) ? 1 : 0;
                            } catch (IllegalStateException inUse) {
                                assertTrue(inUse.getMessage().contains("one at a time"), inUse.getMessage());
                            }
                        }
                        return accepted;
                    }));
                }
                int expected = running.get(0).result() + running.get(1).result();
                long[] last = new long[3];
                assertEquals(expected, consumer.drain((id, type, payload) -> {
                    assertEquals(id, payload.get(Support.LITTLE_LONG, 0));
                    assertEquals(id >> 32, type);
                    assertTrue(last[type] < id + 1);
                    last[type] = id + 1;
                    return true;
                }, Integer.MAX_VALUE));
                assertEquals(expected, producer.offered());
            }
        }
    }

    @Test
    void a_handler_that_comes_back_in_is_refused_and_changes_nothing() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            for (long id = 0; id < 10; id++) {
                producer.offer(id, 1, id);
            }
            for (long id = 0; id < 10; id++) {
                long expected = id;
                assertEquals(1, consumer.drain((found, type, payload) -> {
                    assertThrows(IllegalStateException.class, () -> consumer.poll(message -> Flow.CONTINUE));
                    assertThrows(IllegalStateException.class, consumer::received);
                    return found == expected;
                }, 1));
            }
            assertEquals(10, consumer.received());
        }
    }

    /** Somebody who means harm writes anywhere into the file: an exception, or other bytes, and never the machine's end. */
    @Test
    void whatever_a_peer_writes_into_the_file_ends_no_virtual_machine() throws Exception {
        Random random = new Random(42);
        int damage = 0;
        for (int round = 0; round < 300; round++) {
            Path path = folder.resolve("scribbled" + round);
            boolean classic = round % 2 == 0;
            try (AetherBuffer buffer = AetherBuffer.options().capacity(1024).classic(classic).create(path);
                    AetherProducer producer = new AetherProducer(buffer);
                    AetherConsumer consumer = new AetherConsumer(buffer);
                    RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
                long[] bytes = {0};
                long data = file.length() - 1024;
                for (int step = 0; step < 30; step++) {
                    try {
                        producer.offer(step, 1, new byte[random.nextInt(200)]);
                        switch (random.nextInt(4)) {
                            case 0 -> file.seek(0);
                            case 1 -> file.seek(0x80);
                            default -> file.seek(data + random.nextInt(128) * 8);
                        }
                        switch (random.nextInt(3)) {
                            case 0 -> file.writeLong(random.nextLong());
                            case 1 -> file.writeLong(Long.reverseBytes(random.nextInt(4096)));
                            default -> file.write(random.nextInt(256));
                        }
                        consumer.drain((id, type, payload) -> {
                            for (byte one : payload.toArray(java.lang.foreign.ValueLayout.JAVA_BYTE)) {
                                bytes[0] += one;
                            }
                            return true;
                        }, 10);
                        consumer.drain(message -> {
                            bytes[0] += message.length() == 0 ? 0 : message.getByte(message.length() - 1);
                            return Flow.CONTINUE;
                        }, 10);
                    } catch (AetherException expected) {
                        damage++;
                    }
                }
            }
        }
        assertTrue(damage > 300, "only " + damage + " reported");
    }

    @Test
    void a_write_cursor_between_records_delivers_nothing_as_in_the_core() throws Exception {
        for (long cursor : new long[] {24 + 4, 24 + 100, 24 + 31}) {
            Path path = folder.resolve("misaligned" + cursor);
            try (AetherBuffer buffer = new AetherBuffer(path, 4096);
                    AetherProducer producer = new AetherProducer(buffer);
                    AetherConsumer consumer = new AetherConsumer(buffer);
                    RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
                assertTrue(producer.offer(1, 1, 7L));
                assertEquals(AetherConsumer.PollResult.SUCCESS, consumer.poll((id, type, payload) -> true));
                assertTrue(producer.offer(2, 1, 8L));
                file.seek(0);
                file.writeLong(Long.reverseBytes(cursor));
                int[] seen = {0};
                assertThrows(AetherException.Corrupt.class, () -> consumer.drain((id, type, payload) -> seen[0]++ >= 0, 10));
                assertEquals(0, seen[0], "at " + cursor);
                assertEquals(24, buffer.getReadCursorAcquire(), "at " + cursor);
            }
        }
    }
}
