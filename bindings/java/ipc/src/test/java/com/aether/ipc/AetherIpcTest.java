package com.aether.ipc;

import static com.aether.ipc.Support.LITTLE_LONG;
import static com.aether.ipc.Support.bytes;
import static com.aether.ipc.Support.text;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.aether.ipc.AetherConsumer.PollResult;
import java.io.RandomAccessFile;
import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.VarHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What one thread sees. */
class AetherIpcTest {
    @TempDir
    Path folder;

    Path ring;

    @BeforeEach
    void nameRing() {
        ring = folder.resolve("ring");
    }

    static List<Long> ids(AetherConsumer consumer) {
        List<Long> ids = new ArrayList<>();
        consumer.drain((id, type, payload) -> ids.add(id), Integer.MAX_VALUE);
        return ids;
    }

    @Test
    void every_kind_of_payload_arrives_as_it_was_sent_by_put_and_by_offer() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1 << 16);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer);
                Arena arena = Arena.ofConfined()) {
            byte[] large = new byte[9000];
            for (int i = 0; i < large.length; i++) {
                large[i] = (byte) (i * 7);
            }
            MemorySegment segment = arena.allocateFrom("native");
            producer.put(1, -1, 0x0807060504030201L);
            assertTrue(producer.offer(2, 2, -5L));
            producer.put(3, 3, bytes("whole"));
            assertTrue(producer.offer(4, 4, bytes("xpartx"), 1, 4));
            producer.put(5, 5, bytes("xpartx"), 1, 4);
            producer.put(Long.MIN_VALUE, Integer.MAX_VALUE, segment);
            assertTrue(producer.offer(7, 7, MemorySegment.ofArray(bytes("heap"))));
            assertTrue(producer.offer(8, 8, large));
            assertTrue(producer.offer(9, 9, arena.allocateFrom(ValueLayout.JAVA_BYTE, large)));
            assertTrue(producer.offer(10, 10, new byte[0]));

            List<String> seen = new ArrayList<>();
            List<byte[]> payloads = new ArrayList<>();
            assertEquals(10, consumer.drain((id, type, payload) -> {
                seen.add(id + "/" + type);
                payloads.add(payload.toArray(ValueLayout.JAVA_BYTE));
                return true;
            }, 100));
            assertEquals(
                    List.of("1/-1", "2/2", "3/3", "4/4", "5/5", "-9223372036854775808/2147483647", "7/7", "8/8", "9/9",
                            "10/10"),
                    seen);
            assertArrayEquals(new byte[] {1, 2, 3, 4, 5, 6, 7, 8}, payloads.get(0));
            assertEquals(-5L, MemorySegment.ofArray(payloads.get(1)).get(LITTLE_LONG, 0));
            assertArrayEquals(bytes("whole"), payloads.get(2));
            assertArrayEquals(bytes("part"), payloads.get(3));
            assertArrayEquals(bytes("part"), payloads.get(4));
            assertArrayEquals(bytes("native\0"), payloads.get(5));
            assertArrayEquals(bytes("heap"), payloads.get(6));
            assertArrayEquals(large, payloads.get(7));
            assertArrayEquals(large, payloads.get(8));
            assertArrayEquals(new byte[0], payloads.get(9));
        }
    }

    @Test
    void payloads_arrive_in_every_layout_also_over_the_end_of_the_ring() throws Exception {
        List<AetherOptions> layouts = List.of(
                AetherBuffer.options(),
                AetherBuffer.options().classic(true),
                AetherBuffer.options().checksums(true),
                AetherBuffer.options().overflow(Overflow.DROP_OLDEST));
        int number = 0;
        for (AetherOptions layout : layouts) {
            for (long capacity : new long[] {1024, 65536}) {
                try (AetherBuffer buffer = layout.capacity(capacity).createNew(folder.resolve("layout" + number++));
                        AetherProducer producer = new AetherProducer(buffer);
                        AetherConsumer consumer = new AetherConsumer(buffer)) {
                    for (int id = 0; id < 500; id++) {
                        byte[] sent = new byte[(int) (id * 37 % (capacity / 2))];
                        java.util.Arrays.fill(sent, (byte) id);
                        if (id % 3 == 0) {
                            try (AetherClaim claim = producer.claim(sent.length)) {
                                claim.payload().copyFrom(MemorySegment.ofArray(sent));
                                claim.commit(id, 1);
                            }
                        } else {
                            producer.put(id, 1, sent);
                        }
                        int expected = id;
                        switch (id % 4) {
                            case 0 -> assertEquals(PollResult.SUCCESS, consumer.poll((found, type, payload) -> {
                                assertEquals(expected, found);
                                assertArrayEquals(sent, payload.toArray(ValueLayout.JAVA_BYTE));
                                return true;
                            }));
                            case 1 -> {
                                try (MessageBatch batch = consumer.batch(5)) {
                                    for (MessageView message : batch) {
                                        assertEquals(expected, message.id());
                                        assertArrayEquals(sent, message.payload().toArray(ValueLayout.JAVA_BYTE));
                                    }
                                }
                            }
                            default -> assertEquals(1, consumer.drain(message -> {
                                assertEquals(expected, message.id());
                                assertArrayEquals(sent, message.toArray());
                                return Flow.CONTINUE;
                            }, 5));
                        }
                    }
                    assertEquals(500, consumer.received());
                    assertEquals(0, consumer.getAvailableBytes());
                }
            }
        }
    }

    @Test
    void poll_says_what_came_of_it_and_a_refused_message_comes_again() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            assertEquals(PollResult.EMPTY, consumer.poll((id, type, payload) -> true));
            producer.offer(1, 0, 1L);
            assertEquals(PollResult.KEPT, consumer.poll((id, type, payload) -> false));
            assertEquals(PollResult.KEPT, consumer.poll(message -> Flow.KEEP));
            assertEquals(PollResult.SUCCESS, consumer.poll((id, type, payload) -> id == 1));
            assertEquals(PollResult.EMPTY, consumer.poll(message -> Flow.CONTINUE));
        }
    }

    @Test
    void a_handler_that_throws_keeps_its_message_and_releases_those_before() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 4096);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            for (long id = 0; id < 5; id++) {
                producer.offer(id, 0, id);
            }
            RuntimeException thrown = assertThrows(IllegalArgumentException.class, () -> consumer.drain((id, type, p) -> {
                if (id == 2) {
                    throw new IllegalArgumentException("third");
                }
                return true;
            }, 10));
            assertEquals("third", thrown.getMessage());
            assertEquals(2, consumer.received());
            assertThrows(NullPointerException.class, () -> consumer.poll(message -> null));
            assertEquals(List.of(2L, 3L, 4L), ids(consumer));
        }
    }

    @Test
    void a_flow_ends_a_batch_where_it_says() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1 << 16);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            for (long id = 0; id < 1000; id++) {
                producer.offer(id, 0, id);
            }
            assertEquals(3, consumer.drain(message -> message.id() == 2 ? Flow.BREAK : Flow.CONTINUE, 1000));
            assertEquals(2, consumer.drain(message -> message.id() == 5 ? Flow.KEEP : Flow.CONTINUE, 1000));
            long before = consumer.getReadCursor();
            assertEquals(2, consumer.drain(message -> {
                if (message.id() == 6) {
                    // The commit of the one before has given its space back already.
                    assertEquals(before + 24, buffer.getReadCursorAcquire());
                    return Flow.BREAK;
                }
                return Flow.COMMIT;
            }, 1000));
            assertEquals(0, consumer.drain(message -> Flow.CONTINUE, 0));
            assertEquals(600, consumer.drain(message -> Flow.CONTINUE, 600));
            assertEquals(LongStream.range(607, 1000).boxed().toList(), ids(consumer));
            assertThrows(IllegalArgumentException.class, () -> consumer.drain(message -> Flow.CONTINUE, -1));
        }
    }

    @Test
    void a_view_reads_numbers_and_layouts_in_place_and_nothing_beside_its_payload() {
        MemoryLayout quote = MemoryLayout.structLayout(
                ValueLayout.JAVA_DOUBLE.withName("bid"),
                ValueLayout.JAVA_FLOAT.withName("size"),
                ValueLayout.JAVA_SHORT.withName("venue"),
                ValueLayout.JAVA_BYTE.withName("flag"),
                MemoryLayout.paddingLayout(1));
        VarHandle bid = quote.varHandle(MemoryLayout.PathElement.groupElement("bid"));
        try (AetherBuffer buffer = new AetherBuffer(ring, 4096);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            producer.offer(1, 2, 0L);
            try (AetherClaim claim = producer.tryClaim(quote.byteSize())) {
                bid.set(claim.payload(), 0L, 1.25);
                claim.payload().set(ValueLayout.JAVA_FLOAT, 8, 2.5f);
                claim.payload().set(ValueLayout.JAVA_SHORT, 12, (short) -3);
                claim.payload().set(ValueLayout.JAVA_BYTE, 14, (byte) 9);
                claim.commit(5, 6);
            }
            MessageView[] kept = new MessageView[1];
            MemorySegment[] payload = new MemorySegment[1];
            consumer.drain(message -> {
                if (message.id() == 5) {
                    kept[0] = message;
                    payload[0] = message.payload();
                    assertEquals("6 16 0 24", message.type() + " " + message.length() + " " + message.lane() + " "
                            + message.position());
                    assertEquals(1.25, (double) bid.get(message.memory(), message.offset()));
                    assertEquals(1.25, message.getDouble(0));
                    assertEquals(2.5f, message.getFloat(8));
                    assertEquals(-3, message.getShort(12));
                    assertEquals(9, message.getByte(14));
                    assertEquals(Double.doubleToLongBits(1.25), message.getLong(0));
                    assertEquals(Float.floatToIntBits(2.5f), message.getInt(8));
                    byte[] part = new byte[4];
                    message.getBytes(14, part, 1, 1);
                    assertArrayEquals(new byte[] {0, 9, 0, 0}, part);
                    assertThrows(IndexOutOfBoundsException.class, () -> message.getLong(9));
                    assertThrows(IndexOutOfBoundsException.class, () -> message.getByte(-1));
                    assertThrows(IndexOutOfBoundsException.class, () -> message.getBytes(15, part, 0, 2));
                    assertThrows(IndexOutOfBoundsException.class, () -> payload[0].get(ValueLayout.JAVA_BYTE, 16));
                    assertThrows(
                            IllegalArgumentException.class, () -> payload[0].set(ValueLayout.JAVA_BYTE, 0, (byte) 0));
                }
                return Flow.CONTINUE;
            }, 10);
            assertThrows(IllegalStateException.class, () -> kept[0].getByte(0));
            assertThrows(IllegalStateException.class, () -> kept[0].id());
            assertThrows(IllegalStateException.class, () -> kept[0].payload());
            // A segment in the ring throws at the latest when the ring is no longer mapped.
            consumer.close();
            assertThrows(IllegalStateException.class, () -> payload[0].get(ValueLayout.JAVA_BYTE, 0));
        }
    }

    @Test
    void a_payload_of_a_batch_ends_with_the_batch_and_what_was_not_passed_comes_again() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 4096);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            for (long id = 0; id < 6; id++) {
                producer.offer(id, 0, bytes("message " + id));
            }
            List<MessageView> views = new ArrayList<>();
            List<MemorySegment> payloads = new ArrayList<>();
            try (MessageBatch batch = consumer.batch(2)) {
                assertEquals(2, batch.size());
                assertThrows(IllegalStateException.class, () -> consumer.poll(message -> Flow.CONTINUE));
                for (MessageView message : batch) {
                    views.add(message);
                    payloads.add(message.payload());
                }
                assertEquals("message 0", text(payloads.get(0)));
                assertEquals("message 1", text(payloads.get(1)));
            }
            for (int i = 0; i < 2; i++) {
                MemorySegment payload = payloads.get(i);
                MessageView view = views.get(i);
                assertThrows(IllegalStateException.class, () -> payload.get(ValueLayout.JAVA_BYTE, 0));
                assertThrows(IllegalStateException.class, () -> view.getByte(0));
            }
            try (MessageBatch batch = consumer.batch(10)) {
                for (MessageView message : batch) {
                    if (message.id() == 3) {
                        break;
                    }
                }
            }
            assertEquals(3, consumer.received());
            assertThrows(ArithmeticException.class, () -> {
                try (MessageBatch batch = consumer.batch(10)) {
                    for (MessageView message : batch) {
                        long ignored = 1 / (message.id() - 4);
                    }
                }
            });
            assertEquals(4, consumer.received());
            try (MessageBatch batch = consumer.batch(10)) {
                batch.done(1);
                assertThrows(IllegalArgumentException.class, () -> batch.done(3));
            }
            assertEquals(List.of(5L), ids(consumer));
            try (MessageBatch batch = consumer.batch(10)) {
                assertEquals(0, batch.size());
                assertFalse(batch.iterator().hasNext());
                batch.close();
            }
        }
    }

    @Test
    void a_claim_exists_from_its_commit_on_and_its_payload_until_then() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            MemorySegment payload;
            try (AetherClaim claim = producer.claim(5)) {
                payload = claim.payload();
                payload.copyFrom(MemorySegment.ofArray(bytes("hello")));
                assertThrows(IndexOutOfBoundsException.class, () -> claim.payload().set(ValueLayout.JAVA_BYTE, 5, (byte) 0));
                assertThrows(IllegalStateException.class, () -> producer.offer(9, 9, 9L));
                assertEquals(PollResult.EMPTY, consumer.poll((id, type, p) -> true));
                claim.commit(1, 7);
                assertThrows(IllegalStateException.class, () -> claim.commit(1, 7));
            }
            assertThrows(IllegalStateException.class, () -> payload.set(ValueLayout.JAVA_BYTE, 0, (byte) 0));
            assertEquals(PollResult.SUCCESS, consumer.poll((id, type, p) -> id == 1 && type == 7 && text(p).equals("hello")));
            MemorySegment aborted;
            try (AetherClaim claim = producer.claim(8)) {
                aborted = claim.payload();
            }
            assertThrows(IllegalStateException.class, () -> aborted.get(ValueLayout.JAVA_BYTE, 0));
            assertEquals(0, consumer.getAvailableBytes());
            producer.put(2, 0, new byte[1008]);
            assertNull(producer.tryClaim(1));
            assertThrows(IllegalArgumentException.class, () -> producer.tryClaim(-1));
            AetherClaim open = producer.offered() > 0 && ids(consumer).size() == 1 ? producer.tryClaim(16) : null;
            producer.close();
            assertThrows(IllegalStateException.class, () -> open.payload().get(ValueLayout.JAVA_BYTE, 0));
            open.close();
        }
    }

    @Test
    void a_full_ring_refuses_and_a_payload_that_never_fits_is_an_error_with_the_limit() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024);
                AetherProducer producer = new AetherProducer(buffer)) {
            assertEquals(1008, producer.maxPayload());
            assertFalse(producer.hasConsumer());
            long count = 0;
            while (producer.offer(count, 0, count)) {
                count++;
            }
            assertEquals(1024 / 24, count);
            assertEquals(count, producer.offered());
            assertFalse(producer.offer(0, 0, bytes("x")));
            assertFalse(producer.offer(0, 0, new byte[500]));
            assertFalse(producer.offer(0, 0, MemorySegment.ofArray(new byte[500])));
            assertEquals(1008, producer.lag());
            assertEquals(16, producer.freeBytes());
            assertEquals(1008, producer.position());
            assertEquals(0, producer.lane());
            assertFalse(producer.awaitSpace(8, Duration.ofMillis(2)));
            AetherException.TooLarge error =
                    assertThrows(AetherException.TooLarge.class, () -> producer.offer(0, 0, new byte[1009]));
            assertEquals(1008, error.max());
            assertTrue(error.getMessage().contains("1009"), error.getMessage());
            assertThrows(IndexOutOfBoundsException.class, () -> producer.offer(0, 0, new byte[4], 2, 3));
            producer.requireConsumer(true);
            assertThrows(AetherException.NoConsumer.class, () -> producer.put(0, 0, 0L));
            producer.setWait(Wait.SPIN);
            assertThrows(NullPointerException.class, () -> producer.setWait(null));
        }
    }

    @Test
    void arrays_and_batches_are_taken_as_far_as_there_is_space() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer);
                AetherBatch batch = producer.batch()) {
            MemorySegment numbers = MemorySegment.ofArray(LongStream.range(0, 100).toArray());
            assertEquals(42, producer.offerArray(1000, 1, 8, numbers));
            assertEquals(0, producer.offerArray(1042, 1, 8, numbers));
            long[] next = {0};
            assertEquals(42, consumer.drain(message -> {
                assertEquals(1000 + next[0], message.id());
                assertEquals(next[0]++, message.getLong(0));
                return Flow.CONTINUE;
            }, 100));
            assertThrows(IllegalArgumentException.class, () -> producer.offerArray(0, 0, 7, numbers));
            assertThrows(IllegalArgumentException.class, () -> producer.offerArray(0, 0, 0, numbers));

            for (int round = 0; round < 3; round++) {
                for (int id = 0; id < 200; id++) {
                    switch (id % 4) {
                        case 0 -> batch.add(id, 1, (long) id);
                        case 1 -> batch.add(id, 1, bytes("" + id));
                        case 2 -> batch.add(id, 1, bytes("x" + id), 1, ("" + id).length());
                        default -> batch.add(id, 1, MemorySegment.ofArray(bytes("" + id)));
                    }
                }
                assertThrows(AetherException.TooLarge.class, () -> batch.add(0, 0, new byte[1009]));
                int[] expected = {0};
                while (batch.size() > 0) {
                    int before = batch.size();
                    int taken = batch.commit();
                    assertEquals(before - taken, batch.size());
                    assertEquals(taken, consumer.drain((id, type, payload) -> {
                        assertEquals(expected[0]++, id);
                        if (id % 4 == 0) {
                            assertEquals(id, payload.get(LITTLE_LONG, 0));
                        } else {
                            assertEquals("" + id, text(payload));
                        }
                        return true;
                    }, 1000));
                }
                assertEquals(200, expected[0]);
            }
            batch.add(1, 1, 1L);
            batch.clear();
            assertEquals(0, batch.commit());
            batch.close();
            assertThrows(IllegalStateException.class, () -> batch.add(1, 1, 1L));
            assertThrows(IllegalStateException.class, batch::clear);
        }
    }

    @Test
    void an_array_larger_than_one_call_takes_arrives_whole() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1 << 21);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            MemorySegment numbers = MemorySegment.ofArray(LongStream.range(0, 50_000).toArray());
            assertEquals(50_000, producer.offerArray(0, 1, 8, numbers));
            long[] next = {0};
            assertEquals(50_000, consumer.drain(message -> {
                assertEquals(next[0], message.id());
                assertEquals(next[0]++, message.getLong(0));
                return Flow.CONTINUE;
            }, Integer.MAX_VALUE));
        }
    }

    @Test
    void a_batch_grows_with_what_is_added_and_keeps_it() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1 << 18);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer);
                AetherBatch batch = producer.batch()) {
            for (long id = 0; id < 5000; id++) {
                batch.add(id, 1, id * 7);
            }
            assertEquals(5000, batch.commit());
            assertEquals(5000, consumer.drain(message -> {
                assertEquals(message.id() * 7, message.getLong(0));
                return Flow.CONTINUE;
            }, 5000));
        }
    }

    @Test
    void cursors_can_be_read_and_be_set_while_nobody_is_there() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024)) {
            assertEquals(1024, buffer.getCapacity());
            assertEquals(1024, buffer.capacity());
            assertEquals(ring, buffer.path());
            buffer.setWriteCursorRelease(100);
            buffer.setReadCursorRelease(50);
            assertEquals(100, buffer.getWriteCursorAcquire());
            assertEquals(50, buffer.getReadCursorAcquire());
            assertThrows(AetherException.Corrupt.class, () -> new AetherConsumer(buffer));
            buffer.setWriteCursorRelease(0);
            buffer.setReadCursorRelease(0);
            AetherProducer producer = new AetherProducer(buffer);
            for (long id = 0; id < 3; id++) {
                producer.offer(id, 0, id);
            }
            assertThrows(AetherException.RoleTaken.class, () -> buffer.setWriteCursorRelease(0));
            producer.close();
            buffer.setReadCursorRelease(24);
            buffer.setWriteCursorRelease(48);
            AetherConsumer consumer = new AetherConsumer(buffer);
            assertThrows(AetherException.RoleTaken.class, () -> buffer.setReadCursorRelease(0));
            assertEquals(24, consumer.getReadCursor());
            assertEquals(48, consumer.getWriteCursor());
            assertEquals(24, consumer.getAvailableBytes());
            assertEquals(List.of(1L), ids(consumer));
            assertEquals(48, buffer.getReadCursorAcquire());
        }
    }

    @Test
    void a_corrupt_record_is_reported_with_its_place_after_the_good_ones_before_it() throws Exception {
        try (AetherBuffer buffer = AetherBuffer.options().capacity(1024).classic(true).create(ring);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            for (long id = 0; id < 3; id++) {
                producer.offer(id, 0, id);
            }
            try (RandomAccessFile file = new RandomAccessFile(ring.toFile(), "rw")) {
                file.seek(0x180 + 48 + 8);
                file.writeInt(0);
            }
            assertEquals(2, consumer.drain((id, type, payload) -> true, 10));
            for (int attempt = 0; attempt < 2; attempt++) {
                AetherException.Corrupt error =
                        assertThrows(AetherException.Corrupt.class, () -> consumer.poll((id, type, payload) -> true));
                assertEquals(48, error.position());
                assertEquals(0, error.lane());
            }
            assertThrows(AetherException.Corrupt.class, () -> consumer.batch(1));
            assertEquals(48, buffer.getReadCursorAcquire());
        }
    }

    @Test
    void a_consumer_that_was_outrun_is_told_once_how_much_is_lost() {
        try (AetherBuffer buffer =
                        AetherBuffer.options().capacity(1024).overflow(Overflow.DROP_OLDEST).create(ring);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            for (long id = 0; id < 100; id++) {
                assertTrue(producer.offer(id, 0, id));
            }
            AetherException.Lagged lagged =
                    assertThrows(AetherException.Lagged.class, () -> consumer.drain((id, type, p) -> true, 1000));
            List<Long> rest = ids(consumer);
            assertEquals(100, lagged.bytes() / 24 + rest.size());
            assertEquals(99, rest.getLast());
        }
    }

    @Test
    void many_producers_and_consumers_with_and_without_names_share_a_ring() throws Exception {
        AetherOptions options = AetherBuffer.options().capacity(4096).producers(2).consumers(3).sequence(true);
        try (AetherBuffer bus = options.create(ring)) {
            AetherConsumer audit = new AetherConsumer(bus, "audit");
            AetherConsumer passing = new AetherConsumer(bus);
            AetherProducer first = new AetherProducer(bus);
            AetherProducer second = new AetherProducer(bus);
            assertThrows(AetherException.RoleTaken.class, () -> new AetherProducer(bus));
            assertThrows(AetherException.RoleTaken.class, () -> new AetherConsumer(bus, "audit"));
            assertEquals(1, second.lane());
            first.put(-1, 1, 10L);
            second.put(-1, 2, 20L);
            audit.close();
            first.put(-1, 1, 30L);
            passing.setMerge(Merge.BY_ID);
            assertEquals(List.of(0L, 1L, 2L), ids(passing));
            audit = new AetherConsumer(bus, "audit");
            audit.setMerge(Merge.BY_ID);
            List<String> seen = new ArrayList<>();
            audit.drain(message -> {
                seen.add(message.id() + "/" + message.lane() + "/" + message.getLong(0));
                return Flow.CONTINUE;
            }, 10);
            assertEquals(List.of("0/0/10", "1/1/20", "2/0/30"), seen);
            assertThrows(AetherException.RoleTaken.class, () -> bus.forget("audit"));
            audit.close();
            bus.forget("audit");
            assertThrows(AetherException.Name.class, () -> bus.forget("audit"));
            assertThrows(AetherException.Name.class, () -> new AetherConsumer(bus, ""));
            assertThrows(IllegalArgumentException.class, () -> new AetherConsumer(bus, "a\0b"));
            assertThrows(AetherException.Options.class, () -> bus.setReadCursorRelease(0));
        }
        try (AetherBuffer plain = new AetherBuffer(folder.resolve("plain"), 1024)) {
            assertThrows(AetherException.Name.class, () -> new AetherConsumer(plain, "audit"));
        }
    }

    @Test
    void an_untrusting_consumer_reads_copies() {
        try (AetherBuffer buffer = new AetherBuffer(ring, 65536);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            consumer.setUntrusted(true);
            byte[] large = new byte[20_000];
            large[19_999] = 5;
            producer.offer(1, 0, 7L);
            producer.offer(2, 0, large);
            long[] sum = {0};
            assertEquals(2, consumer.drain(message -> {
                sum[0] += message.getByte(message.length() == 8 ? 0 : 19_999);
                return Flow.CONTINUE;
            }, 10));
            assertEquals(12, sum[0]);
        }
    }

    @Test
    void a_capacity_that_is_no_power_of_two_is_refused_with_its_value() {
        for (int capacity : new int[] {1000, 0, -1024, 1025, Integer.MIN_VALUE}) {
            IllegalArgumentException error =
                    assertThrows(IllegalArgumentException.class, () -> new AetherBuffer(ring, capacity));
            assertEquals("Capacity must be power-of-two: " + capacity, error.getMessage());
        }
        IllegalArgumentException small = assertThrows(IllegalArgumentException.class, () -> new AetherBuffer(ring, 512));
        assertTrue(small.getMessage().contains("512") && small.getMessage().contains("1024"), small.getMessage());
        assertFalse(Files.exists(ring));
    }

    @Test
    void opening_fails_with_the_exception_for_the_reason() throws Exception {
        assertThrows(AetherException.NotFound.class, () -> new AetherBuffer(ring));
        assertThrows(AetherException.NotAFile.class, () -> new AetherBuffer(folder));
        AetherException timedOut = assertThrows(
                AetherException.TimedOut.class, () -> AetherBuffer.connect(ring, Duration.ofMillis(2)));
        assertTrue(timedOut.getMessage().contains("waiting for the ring to be made"), timedOut.getMessage());
        Path junk = Files.write(folder.resolve("junk"), new byte[5000]);
        AetherException noRing = assertThrows(AetherException.NotARing.class, () -> new AetherBuffer(junk));
        assertTrue(noRing.getMessage().contains(junk.toString()), noRing.getMessage());
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024)) {
            assertThrows(AetherException.Mismatch.class, () -> new AetherBuffer(ring, 2048));
            assertThrows(
                    AetherException.AlreadyExists.class,
                    () -> AetherBuffer.options().capacity(1024).createNew(ring));
            assertThrows(
                    AetherException.Options.class,
                    () -> AetherBuffer.options().capacity(1024).classic(true).producers(2).create(junk));
            assertThrows(IllegalArgumentException.class, () -> AetherBuffer.options().producers(0));
            try (AetherBuffer again = AetherBuffer.connect(ring, Duration.ofSeconds(10))) {
                assertEquals(1024, again.getCapacity());
            }
        }
        try (AetherBuffer huge = AetherBuffer.options().capacity(1L << 31).prefault(false).create(folder.resolve("huge"))) {
            assertEquals(1L << 31, huge.capacity());
            assertThrows(ArithmeticException.class, huge::getCapacity);
        }
    }

    @Test
    void the_mode_is_that_of_the_options() throws Exception {
        try (AetherBuffer buffer = AetherBuffer.options().capacity(1024).mode(0640).prefault(true).create(ring)) {
            buffer.sync();
        }
        assertEquals("rw-r-----", java.nio.file.attribute.PosixFilePermissions.toString(Files.getPosixFilePermissions(ring)));
    }

    @Test
    void closing_twice_is_fine_and_use_after_close_throws() throws Exception {
        AetherBuffer buffer = new AetherBuffer(ring, 1024);
        AetherProducer producer = new AetherProducer(buffer);
        AetherConsumer consumer = new AetherConsumer(buffer);
        MemorySegment[] kept = new MemorySegment[1];
        producer.put(1, 1, bytes("kept"));
        consumer.poll((id, type, payload) -> {
            kept[0] = payload;
            return true;
        });
        assertFalse(buffer.isClosed());
        buffer.close();
        buffer.close();
        producer.close();
        consumer.close();
        assertTrue(buffer.isClosed());
        for (org.junit.jupiter.api.function.Executable use : List.<org.junit.jupiter.api.function.Executable>of(
                () -> producer.offer(1, 1, 1L),
                () -> producer.put(1, 1, bytes("x")),
                () -> producer.tryClaim(1),
                () -> producer.position(),
                () -> consumer.poll((id, type, payload) -> true),
                () -> consumer.drain(message -> Flow.CONTINUE, 1),
                () -> consumer.batch(1),
                () -> consumer.await(),
                () -> consumer.getReadCursor(),
                () -> consumer.getWriteCursor(),
                () -> buffer.getReadCursorAcquire(),
                () -> buffer.setWriteCursorRelease(0),
                () -> buffer.sync(),
                () -> buffer.forget("x"),
                () -> new AetherProducer(buffer),
                () -> new AetherConsumer(buffer),
                () -> kept[0].get(ValueLayout.JAVA_BYTE, 0))) {
            assertThrows(IllegalStateException.class, use);
        }
        // The roles are free.
        try (AetherBuffer again = new AetherBuffer(ring)) {
            new AetherProducer(again).put(1, 1, 1L);
            assertEquals(List.of(1L), ids(new AetherConsumer(again)));
        }
    }
}
