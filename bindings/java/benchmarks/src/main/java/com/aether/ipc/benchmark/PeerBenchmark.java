package com.aether.ipc.benchmark;

import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import java.util.function.LongConsumer;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * A long to another thread and back, and longs one way, through this library and its peers: each in a virtual machine of
 * its own, each with the same code around. Order and values are checked.
 */
@Fork(
        value = 1,
        jvmArgsAppend = {
            "--enable-native-access=ALL-UNNAMED",
            // What Chronicle and Agrona ask for.
            "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
            "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
            "--add-exports=jdk.unsupported/sun.misc=ALL-UNNAMED",
            "--add-exports=jdk.compiler/com.sun.tools.javac.file=ALL-UNNAMED",
            "--add-opens=jdk.compiler/com.sun.tools.javac=ALL-UNNAMED",
            "--add-opens=java.base/java.lang=ALL-UNNAMED",
            "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
            "--add-opens=java.base/java.io=ALL-UNNAMED",
            "--add-opens=java.base/java.util=ALL-UNNAMED",
            "--add-opens=java.base/java.nio=ALL-UNNAMED",
            "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
            "--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED",
            "-Dchronicle.analytics.disable=true"
        })
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 10, time = 1)
public class PeerBenchmark {
    /** There, and back by a thread that answers. */
    @State(Scope.Benchmark)
    public static class Both {
        @Param({"aether", "agronaOneToOne", "agronaManyToOne", "aeron", "chronicle", "jctools"})
        String transport;

        private Path folder;
        private Transport there;
        private Transport back;
        private Thread echo;
        private final Flag stop = new Flag();
        private long sent;
        private long received;
        private final LongConsumer take = value -> received = value;

        @Setup
        public void start() throws IOException {
            Cores.pin(0);
            folder = Folder.create();
            there = Transport.open(transport, folder, "there");
            back = Transport.open(transport, folder, "back");
            echo = new Thread(() -> {
                Cores.pin(1);
                LongConsumer answer = value -> {
                    while (!back.send(value)) {
                        Thread.onSpinWait();
                    }
                };
                while (!stop.isRaised()) {
                    there.receive(answer, 1);
                }
            });
            echo.start();
        }

        long roundTrip() {
            long value = ++sent;
            while (!there.send(value)) {
                Thread.onSpinWait();
            }
            while (back.receive(take, 1) == 0) {
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

    /** One way, to a thread that receives in batches. */
    @State(Scope.Benchmark)
    public static class OneWay {
        @Param({"aether", "agronaOneToOne", "agronaManyToOne", "aeron", "chronicle", "jctools"})
        String transport;

        private Path folder;
        private Transport way;
        private Thread drain;
        private final Flag stop = new Flag();
        private volatile Throwable failure;
        private long sent;

        @Setup
        public void start() throws IOException {
            Cores.pin(0);
            folder = Folder.create();
            way = Transport.open(transport, folder, "ring");
            drain = new Thread(() -> {
                Cores.pin(1);
                long[] next = {0};
                LongConsumer inOrder = value -> {
                    if (value != next[0]++) {
                        throw new AssertionError(value + " is out of order");
                    }
                };
                try {
                    while (!stop.isRaised()) {
                        way.receive(inOrder, 1000);
                    }
                } catch (Throwable problem) {
                    failure = problem;
                }
            });
            drain.start();
        }

        void send() {
            while (!way.send(sent)) {
                if (failure != null) {
                    throw new AssertionError(failure);
                }
                Thread.onSpinWait();
            }
            sent++;
        }

        @TearDown
        public void end() throws Exception {
            stop.raise();
            drain.join();
            way.close();
            Folder.delete(folder);
            if (failure != null) {
                throw new AssertionError(failure);
            }
        }
    }

    @Benchmark
    @BenchmarkMode(Mode.AverageTime)
    @OutputTimeUnit(TimeUnit.NANOSECONDS)
    public long roundTrip(Both both) {
        return both.roundTrip();
    }

    @Benchmark
    @BenchmarkMode(Mode.Throughput)
    @OutputTimeUnit(TimeUnit.SECONDS)
    public void oneWay(OneWay oneWay) {
        oneWay.send();
    }
}
