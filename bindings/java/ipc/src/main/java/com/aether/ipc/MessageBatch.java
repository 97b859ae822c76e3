package com.aether.ipc;

import java.lang.foreign.Arena;
import java.util.Iterator;
import java.util.NoSuchElementException;

/**
 * Messages borrowed where they stand: {@link AetherConsumer#batch}.
 *
 * <p>A message is done when the loop goes on behind it. Closing releases those that are; the others come again, the one at
 * hand included when a loop is left early or by an exception. From then on the use of a payload is an
 * {@link IllegalStateException}.
 *
 * <p>It belongs to the thread that made it.
 */
public final class MessageBatch implements AutoCloseable, Iterable<MessageView> {
    private final AetherConsumer consumer;
    private final Arena arena = Arena.ofConfined();
    private final int count;
    private int done;

    MessageBatch(AetherConsumer consumer, int count) {
        this.consumer = consumer;
        this.count = count;
    }

    /** {@return how many messages these are} */
    public int size() {
        return count;
    }

    /** Messages from the first on. */
    @Override
    public Iterator<MessageView> iterator() {
        return new Iterator<>() {
            private int next;

            @Override
            public boolean hasNext() {
                done = Math.max(done, next);
                return next < count;
            }

            @Override
            public MessageView next() {
                if (!hasNext()) {
                    throw new NoSuchElementException();
                }
                MessageView message = consumer.message(next, arena);
                next++;
                return message;
            }
        };
    }

    /**
     * Declares the first so many messages done, whatever was iterated over.
     *
     * @param count how many
     */
    public void done(int count) {
        if (count < 0 || count > this.count) {
            throw new IllegalArgumentException(count + " messages of " + this.count);
        }
        done = count;
    }

    /** Releases what is done. Closing again does nothing. */
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
            consumer.endBatch(done);
        }
    }
}
