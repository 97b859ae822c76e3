package com.aether.ipc;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/** Waits that end, threads and processes that end with their test. */
final class Support {
    /** Nothing here takes a tenth of it; what waits so long has hung. */
    static final long WATCHDOG_SECONDS = 60;

    static final ValueLayout.OfLong LITTLE_LONG =
            ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private Support() {}

    static Path repository(String path) {
        return Path.of(System.getProperty("repository.root")).resolve(path);
    }

    static String text(MemorySegment payload) {
        return new String(payload.toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static void until(String what, BooleanSupplier condition) {
        long start = System.nanoTime();
        while (!condition.getAsBoolean()) {
            assertTrue(System.nanoTime() - start < WATCHDOG_SECONDS * 1_000_000_000, () -> "waited in vain until " + what);
            Thread.onSpinWait();
        }
    }

    /** A thread whose result or failure somebody waits for. */
    static final class Running<T> {
        private final FutureTask<T> task;
        final Thread thread;

        private Running(Callable<T> body) {
            task = new FutureTask<>(body);
            thread = new Thread(task);
            thread.setDaemon(true);
            thread.start();
        }

        T result() throws Exception {
            return task.get(WATCHDOG_SECONDS, TimeUnit.SECONDS);
        }

        boolean isDone() {
            return task.isDone();
        }

        void untilItSleeps() {
            // In native code a thread is runnable for the virtual machine; the system knows better.
            until("the thread waits in the kernel", () -> isDone() || isAsleep());
        }

        private boolean isAsleep() {
            String wanted = thread.getName().substring(0, Math.min(15, thread.getName().length()));
            try (var tasks = Files.newDirectoryStream(Path.of("/proc/self/task"))) {
                for (Path task : tasks) {
                    if (read(task.resolve("comm")).strip().equals(wanted)) {
                        String stat = read(task.resolve("stat"));
                        return stat.startsWith("S", stat.lastIndexOf(')') + 2);
                    }
                }
                return false;
            } catch (IOException problem) {
                throw new UncheckedIOException(problem);
            }
        }

        /** Nothing, of a thread that has ended meanwhile. */
        private static String read(Path file) {
            try {
                return Files.readString(file);
            } catch (IOException gone) {
                return "";
            }
        }
    }

    static <T> Running<T> run(Callable<T> body) {
        return new Running<>(body);
    }

    /** A process of its own; killed when closed. */
    static final class Child implements AutoCloseable {
        final Process process;
        private final BufferedReader output;
        private final Path errors;

        Child(List<String> command) {
            try {
                errors = Files.createTempFile("child", ".err");
                process = new ProcessBuilder(command).redirectError(errors.toFile()).start();
                output = process.inputReader(StandardCharsets.UTF_8);
            } catch (IOException problem) {
                throw new UncheckedIOException(problem);
            }
        }

        String line() {
            try {
                String line = run(output::readLine).result();
                return line == null ? fail("ended: " + errors()) : line;
            } catch (Exception problem) {
                throw new AssertionError(problem);
            }
        }

        /** The rest of its output, after it has ended by itself, with 0. */
        List<String> end() {
            try {
                List<String> lines = run(() -> output.lines().toList()).result();
                assertTrue(process.waitFor(WATCHDOG_SECONDS, TimeUnit.SECONDS), "does not end");
                assertTrue(process.exitValue() == 0, () -> process.exitValue() + ": " + errors());
                return lines;
            } catch (Exception problem) {
                throw new AssertionError(errors(), problem);
            }
        }

        void writeAndClose(String input) throws IOException {
            try (var writer = process.outputWriter(StandardCharsets.UTF_8)) {
                writer.write(input);
            }
        }

        void kill() throws InterruptedException {
            process.destroyForcibly();
            assertTrue(process.waitFor(WATCHDOG_SECONDS, TimeUnit.SECONDS), "does not die");
        }

        String errors() {
            try {
                return Files.readString(errors);
            } catch (IOException problem) {
                throw new UncheckedIOException(problem);
            }
        }

        @Override
        public void close() throws Exception {
            kill();
            Files.delete(errors);
        }
    }

    /** A program of these tests in a virtual machine of its own. */
    static Child java(Class<?> program, String... arguments) {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-XX:TieredStopAtLevel=1",
                "--class-path",
                System.getProperty("surefire.test.class.path", System.getProperty("java.class.path")),
                program.getName()));
        command.addAll(List.of(arguments));
        return new Child(command);
    }

    /** The command {@code aether}. */
    static Child aether(String... arguments) {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("cargo.target"), "release", "aether").toString());
        command.addAll(List.of(arguments));
        return new Child(command);
    }

    /** A program in Python, which has the package {@code aether_ipc}. */
    static Child python(String program, String... arguments) {
        List<String> command = new ArrayList<>(List.of(System.getProperty("aether.python"), "-c", program));
        command.addAll(List.of(arguments));
        return new Child(command);
    }
}
