package com.aether.ipc.benchmark;

import com.aether.ipc.AetherBatch;
import com.aether.ipc.AetherBuffer;
import com.aether.ipc.AetherConsumer;
import com.aether.ipc.AetherConsumer.PollResult;
import com.aether.ipc.AetherProducer;
import com.aether.ipc.MessageHandler;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/** A long to another thread and back, and longs one way: through rings, and through a TCP socket on loopback. */
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 10, time = 1)
public class IpcBenchmark {
    static final int BATCH = 100;

    private static final ValueLayout.OfLong LITTLE_LONG =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /** Two rings, and a thread that sends back what it gets. */
    @State(Scope.Benchmark)
    public static class Rings {
        private Path folder;
        private AetherBuffer there;
        private AetherBuffer back;
        private AetherProducer producer;
        private AetherConsumer consumer;
        private Thread echo;
        private final Flag stop = new Flag();
        private long sent;
        private long received;
        private final MessageHandler take = (id, type, payload) -> {
            received = payload.get(LITTLE_LONG, 0);
            return true;
        };

        @Setup
        public void start() throws IOException {
            Cores.pin(0);
            folder = Folder.create();
            there = new AetherBuffer(folder.resolve("there"), 1 << 16);
            back = new AetherBuffer(folder.resolve("back"), 1 << 16);
            producer = new AetherProducer(there);
            consumer = new AetherConsumer(back);
            AetherConsumer hears = new AetherConsumer(there);
            AetherProducer answers = new AetherProducer(back);
            echo = new Thread(() -> {
                Cores.pin(1);
                MessageHandler answer = (id, type, payload) -> answers.offer(id, type, payload.get(LITTLE_LONG, 0));
                while (!stop.isRaised()) {
                    hears.poll(answer);
                }
            });
            echo.start();
        }

        long roundTrip() {
            long value = ++sent;
            producer.offer(value, 1, value);
            while (consumer.poll(take) != PollResult.SUCCESS) {
                Thread.onSpinWait();
            }
            if (received != value) {
                throw new AssertionError(received + " came back, not " + value);
            }
            return received;
        }

        @TearDown
        public void end() throws Exception {
            stop.raise();
            echo.join();
            there.close();
            back.close();
            Folder.delete(folder);
        }
    }

    /** One ring, and a thread that drains it in batches. */
    @State(Scope.Benchmark)
    public static class OneWay {
        private Path folder;
        private AetherBuffer buffer;
        private AetherProducer producer;
        private AetherBatch batch;
        private Thread drain;
        private final Flag stop = new Flag();
        private volatile Throwable failure;
        private long sent;

        @Setup
        public void start() throws IOException {
            Cores.pin(0);
            folder = Folder.create();
            buffer = new AetherBuffer(folder.resolve("ring"), 1 << 20);
            producer = new AetherProducer(buffer);
            batch = producer.batch();
            AetherConsumer consumer = new AetherConsumer(buffer);
            drain = new Thread(() -> {
                Cores.pin(1);
                long[] next = {0};
                MessageHandler inOrder = (id, type, payload) -> {
                    if (payload.get(LITTLE_LONG, 0) != next[0]++) {
                        throw new AssertionError("message " + id + " is out of order");
                    }
                    return true;
                };
                try {
                    while (!stop.isRaised()) {
                        consumer.drain(inOrder, 1000);
                    }
                } catch (Throwable problem) {
                    failure = problem;
                }
            });
            drain.start();
        }

        void send() {
            while (!producer.offer(sent, 1, sent)) {
                if (failure != null) {
                    throw new AssertionError(failure);
                }
                Thread.onSpinWait();
            }
            sent++;
        }

        void sendBatch() {
            for (int i = 0; i < BATCH; i++) {
                batch.add(sent, 1, sent);
                sent++;
            }
            while (batch.size() > 0) {
                batch.commit();
                if (failure != null) {
                    throw new AssertionError(failure);
                }
            }
        }

        @TearDown
        public void end() throws Exception {
            batch.close();
            stop.raise();
            drain.join();
            buffer.close();
            Folder.delete(folder);
            if (failure != null) {
                throw new AssertionError(failure);
            }
        }
    }

    /** A connection on loopback, and a thread that sends back what it gets. */
    @State(Scope.Benchmark)
    public static class Tcp {
        private ServerSocket server;
        private Socket socket;
        private DataInputStream input;
        private DataOutputStream output;
        private Thread echo;
        private long sent;

        @Setup
        public void start() throws IOException {
            Cores.pin(0);
            server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
            socket = new Socket(server.getInetAddress(), server.getLocalPort());
            socket.setTcpNoDelay(true);
            Socket other = server.accept();
            other.setTcpNoDelay(true);
            input = new DataInputStream(socket.getInputStream());
            output = new DataOutputStream(socket.getOutputStream());
            echo = new Thread(() -> {
                Cores.pin(1);
                byte[] bytes = new byte[Long.BYTES];
                try (other) {
                    while (other.getInputStream().readNBytes(bytes, 0, bytes.length) == bytes.length) {
                        other.getOutputStream().write(bytes);
                    }
                } catch (IOException closed) {
                    // The end.
                }
            });
            echo.start();
        }

        long roundTrip() throws IOException {
            output.writeLong(++sent);
            long received = input.readLong();
            if (received != sent) {
                throw new AssertionError(received + " came back, not " + sent);
            }
            return received;
        }

        @TearDown
        public void end() throws Exception {
            socket.close();
            echo.join();
            server.close();
        }
    }

    @Benchmark
    @BenchmarkMode(Mode.AverageTime)
    @OutputTimeUnit(TimeUnit.MICROSECONDS)
    public long benchmarkAetherIpcRoundTrip(Rings rings) {
        return rings.roundTrip();
    }

    @Benchmark
    @BenchmarkMode(Mode.AverageTime)
    @OutputTimeUnit(TimeUnit.MICROSECONDS)
    public long benchmarkTcpSocketRoundTrip(Tcp tcp) throws IOException {
        return tcp.roundTrip();
    }

    @Benchmark
    @BenchmarkMode(Mode.Throughput)
    @OutputTimeUnit(TimeUnit.SECONDS)
    @OperationsPerInvocation(BATCH)
    public void benchmarkAetherIpcThroughput(OneWay oneWay) {
        for (int i = 0; i < BATCH; i++) {
            oneWay.send();
        }
    }

    @Benchmark
    @BenchmarkMode(Mode.Throughput)
    @OutputTimeUnit(TimeUnit.SECONDS)
    @OperationsPerInvocation(BATCH)
    public void benchmarkAetherIpcBatchThroughput(OneWay oneWay) {
        oneWay.sendBatch();
    }
}
