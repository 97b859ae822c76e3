package com.aether.ipc.benchmark;

import com.aether.ipc.AetherBatch;
import com.aether.ipc.AetherBuffer;
import com.aether.ipc.AetherClaim;
import com.aether.ipc.AetherConsumer;
import com.aether.ipc.AetherProducer;
import com.aether.ipc.Flow;
import com.aether.ipc.MessageBatch;
import com.aether.ipc.MessageHandler;
import com.aether.ipc.MessageView;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * What a call costs, in one thread. Each sends a thousand longs and receives them; what differs is how. The time is that
 * of one message, both ways.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@OperationsPerInvocation(CallBenchmark.MESSAGES)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 10, time = 1)
public class CallBenchmark {
    static final int MESSAGES = 1000;

    private static final ValueLayout.OfLong LITTLE_LONG =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private Path folder;
    private AetherBuffer buffer;
    private AetherProducer producer;
    private AetherConsumer consumer;
    private AetherBatch batch;
    private long sum;
    private final MessageHandler segments = (id, type, payload) -> {
        sum += payload.get(LITTLE_LONG, 0);
        return true;
    };
    private final MessageView.Handler views = message -> {
        sum += message.getLong(0);
        return Flow.CONTINUE;
    };

    @Setup
    public void open() throws IOException {
        folder = Folder.create();
        buffer = AetherBuffer.options().capacity(1 << 16).prefault(true).create(folder.resolve("ring"));
        producer = new AetherProducer(buffer);
        consumer = new AetherConsumer(buffer);
        batch = producer.batch();
    }

    @TearDown
    public void close() throws IOException {
        batch.close();
        buffer.close();
        Folder.delete(folder);
    }

    private void offerAll() {
        for (long id = 0; id < MESSAGES; id++) {
            if (!producer.offer(id, 1, id)) {
                throw new AssertionError("the ring is full");
            }
        }
    }

    private void drainAll() {
        if (consumer.drain(views, MESSAGES) != MESSAGES) {
            throw new AssertionError("messages are missing");
        }
    }

    /** A ring that was emptied, and one that was filled, before each call. */
    @State(Scope.Thread)
    public static class Prepared {
        private CallBenchmark ring;

        @Setup
        public void open() throws IOException {
            ring = new CallBenchmark();
            ring.open();
        }

        @TearDown
        public void close() throws IOException {
            ring.close();
        }
    }

    /** See {@link Prepared}. */
    @State(Scope.Thread)
    public static class Empty extends Prepared {
        @Setup(Level.Invocation)
        public void empty() {
            super.ring.consumer.drain(super.ring.views, MESSAGES);
        }
    }

    /** See {@link Prepared}. */
    @State(Scope.Thread)
    public static class Filled extends Prepared {
        @Setup(Level.Invocation)
        public void fill() {
            super.ring.offerAll();
        }
    }

    @Benchmark
    public void offer(Empty empty) {
        ((Prepared) empty).ring.offerAll();
    }

    @Benchmark
    public void drainViews(Filled filled) {
        ((Prepared) filled).ring.drainAll();
    }

    @Benchmark
    public void drainSegments(Filled filled) {
        CallBenchmark ring = ((Prepared) filled).ring;
        if (ring.consumer.drain(ring.segments, MESSAGES) != MESSAGES) {
            throw new AssertionError("messages are missing");
        }
    }

    @Benchmark
    public void pollSegments(Filled filled) {
        CallBenchmark ring = ((Prepared) filled).ring;
        for (int i = 0; i < MESSAGES; i++) {
            ring.consumer.poll(ring.segments);
        }
    }

    @Benchmark
    public long offerAndDrainViews() {
        offerAll();
        drainAll();
        return sum;
    }

    /** Payloads whose life ends with a batch of up to 256. */
    @Benchmark
    public long offerAndReceiveBatches() {
        offerAll();
        for (int i = 0; i < MESSAGES; ) {
            try (MessageBatch received = consumer.batch(MESSAGES - i)) {
                for (MessageView message : received) {
                    sum += message.payload().get(LITTLE_LONG, 0);
                }
                i += received.size();
            }
        }
        return sum;
    }

    /** Payloads each with a life of its own. */
    @Benchmark
    public long offerAndReceiveOneByOneInBatches() {
        offerAll();
        for (int i = 0; i < MESSAGES; i++) {
            try (MessageBatch received = consumer.batch(1)) {
                for (MessageView message : received) {
                    sum += message.payload().get(LITTLE_LONG, 0);
                }
            }
        }
        return sum;
    }

    @Benchmark
    public long claimAndDrainViews() {
        for (long id = 0; id < MESSAGES; id++) {
            try (AetherClaim claim = producer.tryClaim(Long.BYTES)) {
                claim.payload().set(LITTLE_LONG, 0, id);
                claim.commit(id, 1);
            }
        }
        drainAll();
        return sum;
    }

    @Benchmark
    public long batchAndDrainViews() {
        for (long id = 0; id < MESSAGES; id++) {
            batch.add(id, 1, id);
        }
        batch.commit();
        drainAll();
        return sum;
    }
}
