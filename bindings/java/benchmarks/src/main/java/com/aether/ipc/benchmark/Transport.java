package com.aether.ipc.benchmark;

import com.aether.ipc.AetherBuffer;
import com.aether.ipc.AetherConsumer;
import com.aether.ipc.AetherProducer;
import com.aether.ipc.Flow;
import com.aether.ipc.MessageView;
import io.aeron.Aeron;
import io.aeron.FragmentAssembler;
import io.aeron.Publication;
import io.aeron.Subscription;
import io.aeron.driver.MediaDriver;
import io.aeron.driver.ThreadingMode;
import io.aeron.logbuffer.FragmentHandler;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.function.LongConsumer;
import net.openhft.chronicle.bytes.Bytes;
import net.openhft.chronicle.queue.ChronicleQueue;
import net.openhft.chronicle.queue.ExcerptAppender;
import net.openhft.chronicle.queue.ExcerptTailer;
import org.agrona.concurrent.UnsafeBuffer;
import org.agrona.concurrent.ringbuffer.ManyToOneRingBuffer;
import org.agrona.concurrent.ringbuffer.OneToOneRingBuffer;
import org.agrona.concurrent.ringbuffer.RingBuffer;
import org.agrona.concurrent.ringbuffer.RingBufferDescriptor;
import org.jctools.queues.SpscArrayQueue;

/** A way for longs from one thread to another. */
interface Transport extends AutoCloseable {
    /** Sends a long; false if there is no space now. */
    boolean send(long value);

    /** Gives up to {@code limit} longs to the sink. Returns how many. */
    int receive(LongConsumer sink, int limit);

    @Override
    void close() throws Exception;

    int CAPACITY = 1 << 20;

    static Transport open(String name, Path folder, String file) throws IOException {
        return switch (name) {
            case "aether" -> new Aether(folder.resolve(file));
            case "agronaOneToOne" -> new Agrona(new OneToOneRingBuffer(map(folder.resolve(file))));
            case "agronaManyToOne" -> new Agrona(new ManyToOneRingBuffer(map(folder.resolve(file))));
            case "aeron" -> new AeronIpc(folder.resolve(file));
            case "chronicle" -> new Chronicle(folder.resolve(file));
            case "jctools" -> new JcTools();
            default -> throw new IllegalArgumentException(name);
        };
    }

    private static UnsafeBuffer map(Path file) throws IOException {
        long size = CAPACITY + RingBufferDescriptor.TRAILER_LENGTH;
        try (FileChannel channel = FileChannel.open(
                file, StandardOpenOption.CREATE_NEW, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer mapped = channel.map(FileChannel.MapMode.READ_WRITE, 0, size);
            return new UnsafeBuffer(mapped);
        }
    }

    /** This library. */
    final class Aether implements Transport {
        private final AetherBuffer buffer;
        private final AetherProducer producer;
        private final AetherConsumer consumer;
        private LongConsumer sink;
        private final MessageView.Handler handler = message -> {
            sink.accept(message.getLong(0));
            return Flow.CONTINUE;
        };

        Aether(Path file) {
            buffer = new AetherBuffer(file, CAPACITY);
            producer = new AetherProducer(buffer);
            consumer = new AetherConsumer(buffer);
        }

        @Override
        public boolean send(long value) {
            return producer.offer(value, 1, value);
        }

        @Override
        public int receive(LongConsumer sink, int limit) {
            this.sink = sink;
            return consumer.drain(handler, limit);
        }

        @Override
        public void close() {
            buffer.close();
        }
    }

    /** A ring buffer in a mapped file. */
    final class Agrona implements Transport {
        private final RingBuffer ring;
        private final UnsafeBuffer message = new UnsafeBuffer(ByteBuffer.allocateDirect(Long.BYTES));
        private LongConsumer sink;
        private final org.agrona.concurrent.MessageHandler handler =
                (type, buffer, index, length) -> sink.accept(buffer.getLong(index));

        Agrona(RingBuffer ring) {
            this.ring = ring;
        }

        @Override
        public boolean send(long value) {
            message.putLong(0, value);
            return ring.write(1, message, 0, Long.BYTES);
        }

        @Override
        public int receive(LongConsumer sink, int limit) {
            this.sink = sink;
            return ring.read(handler, limit);
        }

        @Override
        public void close() {
            // The map goes with the buffer.
        }
    }

    /** Aeron IPC, with a media driver in this process that has its own threads, as embedded ones have. */
    final class AeronIpc implements Transport {
        private final MediaDriver driver;
        private final Aeron aeron;
        private final Publication publication;
        private final Subscription subscription;
        private final UnsafeBuffer message = new UnsafeBuffer(ByteBuffer.allocateDirect(Long.BYTES));
        private LongConsumer sink;
        private final FragmentHandler handler =
                new FragmentAssembler((buffer, offset, length, header) -> sink.accept(buffer.getLong(offset)));

        AeronIpc(Path folder) {
            driver = MediaDriver.launchEmbedded(new MediaDriver.Context()
                    .aeronDirectoryName(folder.toString())
                    .threadingMode(ThreadingMode.SHARED)
                    .ipcTermBufferLength(CAPACITY)
                    .dirDeleteOnShutdown(true));
            aeron = Aeron.connect(new Aeron.Context().aeronDirectoryName(driver.aeronDirectoryName()));
            subscription = aeron.addSubscription("aeron:ipc", 1);
            publication = aeron.addExclusivePublication("aeron:ipc", 1);
            while (!publication.isConnected()) {
                Thread.onSpinWait();
            }
        }

        @Override
        public boolean send(long value) {
            message.putLong(0, value);
            return publication.offer(message, 0, Long.BYTES) > 0;
        }

        @Override
        public int receive(LongConsumer sink, int limit) {
            this.sink = sink;
            return subscription.poll(handler, limit);
        }

        @Override
        public void close() {
            aeron.close();
            driver.close();
        }
    }

    /** A queue that keeps everything on disk; an appender and a tailer. */
    final class Chronicle implements Transport {
        private final ChronicleQueue queue;
        private final Bytes<?> out = Bytes.allocateElasticDirect(Long.BYTES);
        private final Bytes<?> in = Bytes.allocateElasticDirect(Long.BYTES);
        private ExcerptAppender appender;
        private ExcerptTailer tailer;

        Chronicle(Path folder) {
            queue = ChronicleQueue.singleBuilder(folder).blockSize(64 << 20).build();
        }

        // Each belongs to the thread that makes it.
        @Override
        public boolean send(long value) {
            if (appender == null) {
                appender = queue.createAppender();
            }
            out.clear();
            out.writeLong(value);
            appender.writeBytes(out);
            return true;
        }

        @Override
        public int receive(LongConsumer sink, int limit) {
            if (tailer == null) {
                tailer = queue.createTailer();
            }
            int count = 0;
            in.clear();
            while (count < limit && tailer.readBytes(in)) {
                sink.accept(in.readLong());
                in.clear();
                count++;
            }
            return count;
        }

        @Override
        public void close() {
            queue.close();
        }
    }

    /** A queue on the heap, for threads only: what a process boundary costs. */
    final class JcTools implements Transport {
        private final SpscArrayQueue<Long> queue = new SpscArrayQueue<>(CAPACITY / 16);

        @Override
        public boolean send(long value) {
            return queue.offer(value);
        }

        @Override
        public int receive(LongConsumer sink, int limit) {
            int count = 0;
            Long value;
            while (count < limit && (value = queue.poll()) != null) {
                sink.accept(value);
                count++;
            }
            return count;
        }

        @Override
        public void close() {
            queue.clear();
        }
    }
}
