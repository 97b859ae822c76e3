package com.aether.ipc;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * A message that is being written where it will be read. Closing it without {@link #commit} aborts it: it never existed.
 *
 * <p>It belongs to the thread that made it.
 */
public final class AetherClaim implements AutoCloseable {
    private final AetherProducer producer;
    private final Arena arena = Arena.ofConfined();
    private final MemorySegment payload;

    AetherClaim(AetherProducer producer, long address, long length) {
        this.producer = producer;
        this.payload = MemorySegment.ofAddress(address).reinterpret(length, arena, null);
    }

    /**
     * {@return the payload, aligned to 8, with whatever stood there before} After the claim's end, its use is an
     * {@link IllegalStateException}.
     */
    public MemorySegment payload() {
        return payload;
    }

    /**
     * Commits the message.
     *
     * @param messageId the application's id
     * @param messageType the application's type
     * @throws IllegalStateException if it was committed or aborted before
     */
    public void commit(long messageId, int messageType) {
        // From here on nobody writes there.
        arena.close();
        producer.commit(messageId, messageType, payload.address(), payload.byteSize());
    }

    /** Aborts the message, unless it was committed. */
    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
            producer.abort();
        }
    }
}
