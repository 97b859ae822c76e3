package com.aether.ipc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is sent and received leaves no garbage. */
class AllocationTest {
    private static final int MILLION = 1_000_000;

    @TempDir
    Path folder;

    interface Body {
        void run(int messages) throws Exception;
    }

    /** Bytes that this thread allocates over a million messages, after warm-up. */
    private static long allocated(Body body) throws Exception {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        assertTrue(threads.isThreadAllocatedMemorySupported());
        long thread = Thread.currentThread().threadId();
        threads.getThreadAllocatedBytes(thread);
        body.run(MILLION / 2);
        long before = threads.getThreadAllocatedBytes(thread);
        body.run(MILLION);
        return threads.getThreadAllocatedBytes(thread) - before;
    }

    @Test
    void offering_putting_polling_and_draining_allocates_nothing() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(folder.resolve("ring"), 1 << 16);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            byte[] bytes = new byte[100];
            byte[] large = new byte[1000];
            MemorySegment segment = MemorySegment.ofArray(bytes);
            long[] sum = new long[1];
            MessageHandler handler = (id, type, payload) -> {
                sum[0] += payload.get(ValueLayout.JAVA_LONG_UNALIGNED, 0);
                return true;
            };
            assertEquals(0, allocated(messages -> {
                for (int i = 0; i < messages; i++) {
                    assertTrue(producer.offer(i, 1, (long) i));
                    consumer.poll(handler);
                }
            }), "offer and poll of longs");
            assertEquals(0, allocated(messages -> {
                for (int i = 0; i < messages; i += 10) {
                    for (int j = 0; j < 10; j++) {
                        switch (j % 3) {
                            case 0 -> producer.put(i, 1, bytes, 10, 50 + j);
                            case 1 -> producer.put(i, 1, segment);
                            default -> producer.put(i, 1, large);
                        }
                    }
                    assertEquals(10, consumer.drain(handler, 100));
                }
            }), "put and drain of bytes");
            assertTrue(sum[0] != 0);
        }
    }

    private static final class Counting implements MessageHandler, MessageView.Handler {
        private long count;

        @Override
        public boolean handle(long id, int type, MemorySegment payload) {
            count += payload.byteSize();
            return true;
        }

        @Override
        public Flow handle(MessageView message) {
            count += message.length();
            return Flow.CONTINUE;
        }
    }

    @Test
    void one_to_five_handlers_at_one_place_allocate_nothing_nor_do_views_of_large_payloads() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(folder.resolve("ring"), 1 << 20);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            long[] sums = new long[3];
            Counting counting = new Counting();
            MessageHandler[] handlers = {
                (id, type, payload) -> (sums[0] += payload.byteSize()) > 0,
                (id, type, payload) -> (sums[1] += payload.get(ValueLayout.JAVA_BYTE, 0)) >= 0,
                (id, type, payload) -> (sums[2] += id) >= 0,
                (id, type, payload) -> (sums[2] += type + payload.byteSize()) >= 0,
                counting,
            };
            for (int classes = 1; classes <= handlers.length; classes++) {
                int different = classes;
                assertEquals(0, allocated(messages -> {
                    for (int i = 0; i < messages; i += 20) {
                        for (int j = 0; j < 20; j++) {
                            assertTrue(producer.offer(i, 1, (long) j));
                        }
                        MessageHandler handler = handlers[i / 20 % different];
                        assertEquals(10, consumer.drain(handler, 10));
                        for (int j = 0; j < 10; j++) {
                            consumer.poll(handler);
                        }
                    }
                }), different + " handlers");
            }

            byte[] large = new byte[10_000];
            MessageView.Handler[] views = {
                message -> (sums[0] += message.length()) > 0 ? Flow.CONTINUE : Flow.KEEP,
                message -> (sums[1] += message.getLong(9992)) >= 0 ? Flow.CONTINUE : Flow.KEEP,
                message -> (sums[2] += message.getByte(0)) >= 0 ? Flow.COMMIT : Flow.KEEP,
                message -> (sums[2] += message.id()) >= 0 ? Flow.CONTINUE : Flow.BREAK,
                counting,
            };
            assertEquals(0, allocated(messages -> {
                for (int i = 0; i < messages; i += 20) {
                    for (int j = 0; j < 20; j++) {
                        assertTrue(producer.offer(i, 1, large));
                    }
                    assertEquals(20, consumer.drain(views[i / 20 % 5], 20));
                }
            }), "five handlers of views");
            assertTrue(counting.count > 0);
        }
    }

    @Test
    void a_batch_that_has_grown_and_arrays_of_the_heap_allocate_nothing() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(folder.resolve("ring"), 1 << 16);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer);
                AetherBatch batch = producer.batch()) {
            Counting counting = new Counting();
            assertEquals(0, allocated(messages -> {
                for (int i = 0; i < messages; i += 100) {
                    for (int j = 0; j < 100; j++) {
                        batch.add(i, 1, (long) j);
                    }
                    assertEquals(100, batch.commit());
                    assertEquals(100, consumer.drain((MessageView.Handler) counting, 100));
                }
            }), "batches");
        }
    }
}
