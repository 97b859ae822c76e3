package com.aether.ipc;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The code of the reference's own documentation, with files in a folder of the test. What it shows of its inner workings,
 * such as writing a record's header by hand, is done by the core here; beside those samples stands what a user does.
 */
class ReferenceSamplesTest {
    @TempDir
    Path folder;

    @Test
    void the_producer_and_the_consumer_of_the_quick_start() throws Exception {
        PrintStream console = System.out;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed, true));
        try {
            produce(folder.resolve("aether-ipc.mmap"));
            consume(folder.resolve("aether-ipc.mmap"));
        } finally {
            System.setOut(console);
        }
        assertTrue(printed.toString().contains(", payload=1234567890\n"), printed::toString);
        assertTrue(printed.toString().endsWith("Message read successfully\nProcessed 1 messages in batch\n"),
                printed::toString);
    }

    private static void produce(Path sharedFile) throws Exception {
        // Create or open shared memory buffer
        try (AetherBuffer buffer = new AetherBuffer(sharedFile, 1024 * 1024);
                AetherProducer producer = new AetherProducer(buffer)) {
            long messageId = System.nanoTime();
            int messageType = 1;
            // put() blocks until space is available and is interruptible
            producer.put(messageId, messageType, 1234567890L);
            // offer() is non-blocking; check the boolean to detect backpressure
            if (!producer.offer(messageId + 1, messageType, "payload".getBytes())) {
                // react to backpressure deterministically (e.g., drop or retry later)
                throw new AssertionError("an empty ring has space");
            }
        }
    }

    private static void consume(Path sharedFile) {
        // Open existing shared memory buffer
        AetherBuffer buffer = new AetherBuffer(sharedFile);
        AetherConsumer consumer = new AetherConsumer(buffer);
        ValueLayout.OfLong LITTLE_LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
        AetherConsumer.PollResult result = consumer.poll((messageId, messageType, payload) -> {
            if (payload.byteSize() == Long.BYTES) {
                long value = payload.get(LITTLE_LONG, 0);
                System.out.println("Received: messageId=" + messageId + ", payload=" + value);
                return true;
            }
            return false; // message stays in the buffer for retry
        });
        if (result == AetherConsumer.PollResult.SUCCESS) {
            System.out.println("Message read successfully");
        }
        // Batch processing (reduces cache coherency traffic)
        int batchSize = 100;
        int processed = consumer.drain((messageId, messageType, payload) -> {
            byte[] data = payload.toArray(ValueLayout.JAVA_BYTE);
            assertEquals("payload", new String(data));
            return true;
        }, batchSize);
        System.out.println("Processed " + processed + " messages in batch");
        buffer.close();
        assertTrue(consumer.isClosed());
    }

    @Test
    void the_example_with_two_threads() throws Exception {
        Path sharedFile = folder.resolve("aether-ipc-example.mmap");
        AtomicLong all = new AtomicLong();
        // Producer thread
        Thread producerThread = new Thread(() -> {
            try (AetherBuffer buffer = new AetherBuffer(sharedFile, 1024 * 1024);
                    AetherProducer producer = new AetherProducer(buffer)) {
                for (long i = 0; i < 1_000_000; i++) {
                    if (!producer.offer(i, 1, i * 1000)) {
                        producer.put(i, 1, i * 1000); // fall back to blocking put()
                    }
                }
            } catch (Exception e) {
                e.printStackTrace();
            }
        });
        // Consumer thread
        Thread consumerThread = new Thread(() -> {
            // Wait for buffer to be created
            try (AetherBuffer buffer = AetherBuffer.connect(sharedFile, java.time.Duration.ofSeconds(60));
                    AetherConsumer consumer = new AetherConsumer(buffer)) {
                long received = 0;
                while (received < 1_000_000) {
                    int batch = consumer.drain((id, type, payload) -> {
                        // Process message
                        return payload.get(Support.LITTLE_LONG, 0) == id * 1000;
                    }, 1000); // Batch size: 1000
                    received += batch;
                    if (batch == 0) {
                        Thread.yield();
                    }
                }
                all.set(received);
            } catch (Exception e) {
                e.printStackTrace();
            }
        });
        producerThread.setDaemon(true);
        consumerThread.setDaemon(true);
        producerThread.start();
        consumerThread.start();
        producerThread.join(1000 * Support.WATCHDOG_SECONDS);
        consumerThread.join(1000 * Support.WATCHDOG_SECONDS);
        assertEquals(1_000_000, all.get());
    }

    @Test
    void a_position_maps_to_the_ring_by_a_mask() {
        long capacity = 1024;
        long position = 1025;
        assertEquals(1, position & (capacity - 1));
    }

    @Test
    void a_capacity_must_be_a_power_of_two() {
        IllegalArgumentException error =
                assertThrows(IllegalArgumentException.class, () -> new AetherBuffer(folder.resolve("odd"), 1000));
        assertTrue(error.getMessage().startsWith("Capacity must be power-of-two"), error.getMessage());
    }

    @Test
    void a_message_is_written_in_place_and_exists_from_its_commit_on() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(folder.resolve("ring"), 1024);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            // Producer
            try (AetherClaim claim = producer.claim(3)) {
                MemorySegment.copy(new byte[] {1, 2, 3}, 0, claim.payload(), ValueLayout.JAVA_BYTE, 0, 3); // Plain write
                assertEquals(0, buffer.getWriteCursorAcquire());
                claim.commit(7, 1); // RELEASE FENCE - commits all writes
            }
            // Consumer
            long writeCursor = buffer.getWriteCursorAcquire(); // ACQUIRE FENCE - sees all writes
            assertEquals(24, writeCursor);
            assertEquals(AetherConsumer.PollResult.SUCCESS, consumer.poll((id, type, payload) -> id == 7));
        }
    }

    @Test
    void a_consumer_recovers_by_moving_the_read_cursor() throws Exception {
        Path file = folder.resolve("damaged");
        try (AetherBuffer buffer = AetherBuffer.options().capacity(1024).classic(true).create(file);
                AetherProducer producer = new AetherProducer(buffer)) {
            producer.put(1, 1, 1L);
            producer.put(2, 1, 2L);
            // A length that no record can have.
            try (java.io.RandomAccessFile raw = new java.io.RandomAccessFile(file.toFile(), "rw")) {
                raw.seek(0x180 + 8);
                raw.writeInt(0);
            }
        }
        // Consumer with crash recovery
        try (AetherBuffer buffer = new AetherBuffer(file)) {
            long readCursor = buffer.getReadCursorAcquire();
            long recoveryPosition = readCursor;
            try (AetherConsumer consumer = new AetherConsumer(buffer)) {
                AetherException.Corrupt corrupt = assertThrows(
                        AetherException.Corrupt.class, () -> consumer.poll((id, type, payload) -> true));
                // Corrupted - go on behind it
                recoveryPosition = corrupt.position() + 24;
            }
            buffer.setReadCursorRelease(recoveryPosition);
            try (AetherConsumer consumer = new AetherConsumer(buffer)) {
                assertEquals(1, consumer.drain((id, type, payload) -> id == 2, 10));
            }
        }
    }
}
