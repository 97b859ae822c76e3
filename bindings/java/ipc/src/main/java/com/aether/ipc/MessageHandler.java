package com.aether.ipc;

import java.lang.foreign.MemorySegment;

/**
 * Handles a message.
 *
 * <p>Called with payloads up to {@value AetherConsumer#COPIED} bytes, nothing is allocated: they are copied to where a
 * segment of their length is kept. For larger ones, which stay in the ring, a segment is made each time. A
 * {@link MessageView.Handler} needs neither.
 */
@FunctionalInterface
public interface MessageHandler {
    /**
     * Handles a message.
     *
     * @param messageId the sender's id
     * @param messageType the sender's type
     * @param payload the bytes, read-only, valid during this call: what is to be kept must be copied, as by
     *     {@link MemorySegment#toArray}. Later it may have the bytes of another message, and throws
     *     {@link IllegalStateException} when the consumer was closed. {@link AetherConsumer#batch} has segments that
     *     throw as soon as their message is gone.
     * @return whether the message is done; otherwise it stays in the ring and comes again, and this ends the batch
     */
    boolean handle(long messageId, int messageType, MemorySegment payload);
}
