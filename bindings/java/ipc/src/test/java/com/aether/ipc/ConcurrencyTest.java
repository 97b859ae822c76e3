package com.aether.ipc;

import static com.aether.ipc.Support.run;
import static com.aether.ipc.Support.until;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.aether.ipc.AetherConsumer.PollResult;
import com.aether.ipc.Support.Running;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What several threads see. */
class ConcurrencyTest {
    @TempDir
    Path folder;

    Path ring;

    @BeforeEach
    void nameRing() {
        ring = folder.resolve("ring");
    }

    @Test
    void messages_between_threads_arrive_in_order_once_each_whatever_the_wait() throws Exception {
        for (Wait wait : new Wait[] {Wait.YIELD, Wait.BACKOFF, Wait.PARK}) {
            int messages = 100_000;
            try (AetherBuffer buffer = new AetherBuffer(folder.resolve(wait.name()), 1 << 14);
                    AetherProducer producer = new AetherProducer(buffer);
                    AetherConsumer consumer = new AetherConsumer(buffer)) {
                producer.setWait(wait);
                consumer.setWait(wait);
                Running<Void> sending = run(() -> {
                    for (long id = 0; id < messages; id++) {
                        producer.put(id, (int) id, id * 3);
                    }
                    return null;
                });
                Running<Long> receiving = run(() -> {
                    long[] next = {0};
                    while (next[0] < messages) {
                        assertTrue(consumer.await(Duration.ofSeconds(Support.WATCHDOG_SECONDS)));
                        consumer.drain((id, type, payload) -> {
                            assertEquals(next[0], id);
                            assertEquals((int) id, type);
                            assertEquals(id * 3, payload.get(Support.LITTLE_LONG, 0));
                            next[0]++;
                            return true;
                        }, 1000);
                    }
                    return next[0];
                });
                sending.result();
                assertEquals(messages, receiving.result());
                assertEquals(0, consumer.getAvailableBytes());
            }
        }
    }

    @Test
    void many_threads_with_a_producer_each_lose_nothing() throws Exception {
        int producers = 4;
        int messages = 20_000;
        try (AetherBuffer bus = AetherBuffer.options().capacity(1 << 13).producers(producers).create(ring);
                AetherConsumer consumer = new AetherConsumer(bus)) {
            List<Running<Void>> running = new ArrayList<>();
            for (int p = 0; p < producers; p++) {
                int type = p;
                running.add(run(() -> {
                    try (AetherProducer producer = new AetherProducer(bus)) {
                        for (long id = 0; id < messages; id++) {
                            producer.put(id, type, id);
                        }
                    }
                    return null;
                }));
            }
            long[] next = new long[producers];
            for (int total = 0; total < producers * messages; ) {
                assertTrue(consumer.await(Duration.ofSeconds(Support.WATCHDOG_SECONDS)));
                total += consumer.drain((id, type, payload) -> {
                    assertEquals(next[type]++, id);
                    return true;
                }, 500);
            }
            for (Running<Void> one : running) {
                one.result();
            }
        }
    }

    /** Fills the ring. */
    private static long fill(AetherProducer producer) {
        long count = 0;
        while (producer.offer(count, 0, count)) {
            count++;
        }
        return count;
    }

    @Test
    void an_interrupt_ends_a_put_that_waits_and_nothing_was_written() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            long full = fill(producer);
            Running<Void> waiting = run(() -> {
                producer.put(99, 99, 99L);
                return null;
            });
            waiting.untilItSleeps();
            waiting.thread.interrupt();
            ExecutionException ended = assertThrows(ExecutionException.class, waiting::result);
            assertSame(InterruptedException.class, ended.getCause().getClass());
            assertEquals(full, AetherIpcTest.ids(consumer).size());
            assertEquals(full, producer.offered());

            Thread.currentThread().interrupt();
            assertThrows(InterruptedException.class, () -> producer.put(1, 1, 1L));
            assertFalse(Thread.currentThread().isInterrupted());
            Thread.currentThread().interrupt();
            assertThrows(InterruptedException.class, () -> consumer.await());
            Thread.currentThread().interrupt();
            assertThrows(InterruptedException.class, () -> producer.claim(8));
            assertEquals(PollResult.EMPTY, consumer.poll((id, type, payload) -> true));

            Running<Void> receiving = run(() -> {
                consumer.await();
                return null;
            });
            receiving.untilItSleeps();
            receiving.thread.interrupt();
            ended = assertThrows(ExecutionException.class, receiving::result);
            assertSame(InterruptedException.class, ended.getCause().getClass());
        }
    }

    @Test
    void a_put_that_waits_goes_on_when_there_is_space() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024);
                AetherProducer producer = new AetherProducer(buffer);
                AetherConsumer consumer = new AetherConsumer(buffer)) {
            long full = fill(producer);
            Running<Void> waiting = run(() -> {
                producer.put(full, 0, full);
                return null;
            });
            waiting.untilItSleeps();
            assertFalse(waiting.isDone());
            assertEquals(1, consumer.drain((id, type, payload) -> true, 1));
            waiting.result();
            assertEquals(full, AetherIpcTest.ids(consumer).getLast());
        }
    }

    @Test
    void closing_while_another_thread_waits_ends_its_wait() throws Exception {
        AetherBuffer buffer = new AetherBuffer(ring, 1024);
        AetherProducer producer = new AetherProducer(buffer);
        AetherConsumer consumer = new AetherConsumer(buffer);
        Running<Void> receiving = run(() -> {
            consumer.await();
            return null;
        });
        receiving.untilItSleeps();
        consumer.close();
        ExecutionException ended = assertThrows(ExecutionException.class, receiving::result);
        assertSame(IllegalStateException.class, ended.getCause().getClass());
        fill(producer);
        Running<Void> sending = run(() -> {
            producer.put(1, 1, 1L);
            return null;
        });
        sending.untilItSleeps();
        buffer.close();
        ended = assertThrows(ExecutionException.class, sending::result);
        assertSame(IllegalStateException.class, ended.getCause().getClass());
    }

    @Test
    void a_second_thread_in_a_consumer_is_refused_and_closing_waits_for_the_handler() throws Exception {
        AetherBuffer buffer = new AetherBuffer(ring, 1024);
        AetherProducer producer = new AetherProducer(buffer);
        AetherConsumer consumer = new AetherConsumer(buffer);
        producer.offer(1, 1, 1L);
        CountDownLatch inside = new CountDownLatch(1);
        CountDownLatch goOn = new CountDownLatch(1);
        Running<PollResult> polling = run(() -> consumer.poll((id, type, payload) -> {
            inside.countDown();
            try {
                goOn.await();
            } catch (InterruptedException problem) {
                throw new AssertionError(problem);
            }
            return payload.get(ValueLayout.JAVA_BYTE, 0) == 1;
        }));
        inside.await();
        assertThrows(IllegalStateException.class, () -> consumer.poll((id, type, payload) -> true));
        assertThrows(IllegalStateException.class, () -> consumer.getReadCursor());
        Running<Void> closing = run(() -> {
            consumer.close();
            return null;
        });
        until("closing waits", () -> closing.thread.getState() == Thread.State.TIMED_WAITING);
        assertFalse(consumer.isClosed());
        goOn.countDown();
        assertEquals(PollResult.SUCCESS, polling.result());
        closing.result();
        assertTrue(consumer.isClosed());
        buffer.close();
    }

    @Test
    void a_handler_may_close_its_consumer_and_even_the_buffer_but_not_use_the_consumer() {
        for (boolean all : new boolean[] {false, true}) {
            AetherBuffer buffer = new AetherBuffer(folder.resolve("ring" + all), 1024);
            AetherProducer producer = new AetherProducer(buffer);
            AetherConsumer consumer = new AetherConsumer(buffer);
            producer.offer(1, 1, 1L);
            producer.offer(2, 2, 2L);
            assertEquals(1, consumer.drain(message -> {
                assertThrows(IllegalStateException.class, () -> consumer.poll(m -> Flow.CONTINUE));
                if (all) {
                    buffer.close();
                } else {
                    consumer.close();
                }
                assertFalse(consumer.isClosed());
                assertEquals(1, message.getLong(0));
                return Flow.BREAK;
            }, 10));
            assertTrue(consumer.isClosed());
            assertThrows(IllegalStateException.class, () -> consumer.poll(m -> Flow.CONTINUE));
            buffer.close();
        }
    }

    @Test
    void a_claim_or_a_batch_of_another_thread_must_end_before_closing_unless_that_thread_is_dead() throws Exception {
        try (AetherBuffer buffer = new AetherBuffer(ring, 1024)) {
            AetherProducer producer = new AetherProducer(buffer);
            CountDownLatch claimed = new CountDownLatch(1);
            CountDownLatch goOn = new CountDownLatch(1);
            Running<AetherClaim> claiming = run(() -> {
                AetherClaim claim = producer.claim(8);
                claimed.countDown();
                goOn.await();
                claim.payload().set(Support.LITTLE_LONG, 0, 5);
                return claim;
            });
            claimed.await();
            IllegalStateException refused = assertThrows(IllegalStateException.class, buffer::close);
            assertTrue(refused.getMessage().contains(claiming.thread.getName()), refused.getMessage());
            assertFalse(buffer.isClosed());
            goOn.countDown();
            AetherClaim claim = claiming.result();
            claiming.thread.join();
            assertThrows(WrongThreadException.class, () -> claim.commit(1, 1));
            assertThrows(WrongThreadException.class, claim::close);
            assertThrows(WrongThreadException.class, () -> claim.payload().get(ValueLayout.JAVA_BYTE, 0));
            producer.close();
            assertTrue(producer.isClosed());

            AetherProducer next = new AetherProducer(buffer);
            next.offer(7, 7, 7L);
            AetherConsumer consumer = new AetherConsumer(buffer);
            MessageBatch batch = consumer.batch(10);
            assertThrows(ExecutionException.class, run(() -> {
                consumer.close();
                return null;
            })::result);
            Running<Void> stranger = run(() -> {
                batch.close();
                return null;
            });
            assertThrows(ExecutionException.class, stranger::result);
            assertEquals(7, batch.iterator().next().getLong(0));
            consumer.close();
            assertThrows(IllegalStateException.class, () -> batch.iterator().next());
            AetherBatch confined = next.batch();
            assertThrows(ExecutionException.class, run(() -> {
                confined.add(1, 1, 1L);
                return null;
            })::result);
        }
    }

    /** Threads use and close the same things, and keep payloads: an error for them, never the virtual machine's end. */
    @Test
    void closing_in_the_middle_of_use_is_an_exception_and_never_a_crash() throws Exception {
        for (int round = 0; round < 100; round++) {
            Path path = folder.resolve("round" + round);
            AetherBuffer buffer = new AetherBuffer(path, 1 << 16);
            AetherProducer producer = new AetherProducer(buffer);
            AetherConsumer consumer = new AetherConsumer(buffer);
            AtomicBoolean closed = new AtomicBoolean();
            MemorySegment[] kept = new MemorySegment[2];
            MessageView[] view = new MessageView[1];
            List<Running<Void>> users = List.of(
                    run(() -> untilClosed(closed, () -> {
                        producer.offer(1, 1, 1L);
                        producer.offer(1, 1, new byte[5000]);
                    })),
                    run(() -> untilClosed(closed, () -> {
                        consumer.poll((id, type, payload) -> {
                            kept[payload.byteSize() == 8 ? 0 : 1] = payload;
                            return true;
                        });
                        consumer.poll(message -> {
                            view[0] = message;
                            return Flow.CONTINUE;
                        });
                    })),
                    run(() -> untilClosed(closed, () -> buffer.getReadCursorAcquire())),
                    run(() -> untilClosed(closed, () -> consumer.getAvailableBytes())),
                    run(() -> untilClosed(closed, () -> {
                        for (MemorySegment payload : kept) {
                            if (payload != null) {
                                payload.get(ValueLayout.JAVA_BYTE, 7);
                            }
                        }
                        if (view[0] != null) {
                            view[0].getByte(0);
                        }
                    })));
            int wanted = round;
            until("some messages went through", () -> producerPosition(buffer) > wanted * 500L);
            buffer.close();
            closed.set(true);
            for (Running<Void> user : users) {
                user.result();
            }
            assertTrue(producer.isClosed() && consumer.isClosed());
            java.nio.file.Files.delete(path);
        }
    }

    private static long producerPosition(AetherBuffer buffer) {
        return buffer.getWriteCursorAcquire();
    }

    private static Void untilClosed(AtomicBoolean closed, Runnable use) {
        while (!closed.get()) {
            try {
                use.run();
            } catch (IllegalStateException | IndexOutOfBoundsException refused) {
                // In use, or closed, or no message at hand.
            }
        }
        return null;
    }
}
