// Prints what comes until the producer has gone: consumer RING

#include <aether.h>
#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s RING\n", argv[0]);
        return 2;
    }
    aether_buffer *buffer = NULL;
    aether_consumer *consumer = NULL;

    const uint64_t ten_seconds = 10 * UINT64_C(1000000000);
    aether_status status = aether_buffer_connect(argv[1], NULL, ten_seconds, &buffer);
    if (status == AETHER_STATUS_OK) {
        status = aether_buffer_consumer(buffer, &consumer);
    }
    if (status == AETHER_STATUS_OK) {
        status = aether_consumer_require_producer(consumer, true);
    }
    while (status == AETHER_STATUS_OK) {
        aether_message messages[64];
        size_t count = 0;
        status = aether_consumer_peek(consumer, messages, 64, &count);
        for (size_t i = 0; i < count; i++) {
            const aether_message *message = &messages[i];
            printf("%" PRId64 " %" PRId32 " %.*s\n", message->id, message->message_type, (int)message->length,
                   (const char *)message->payload);
        }
        if (status == AETHER_STATUS_OK) {
            status = aether_consumer_release(consumer, count);
        }
        if (status == AETHER_STATUS_OK && count == 0) {
            status = aether_consumer_wait(consumer, AETHER_FOREVER);
        }
    }

    if (status != AETHER_STATUS_CLOSED) {
        fprintf(stderr, "%s: %s\n", argv[0], aether_last_error()->message);
    }
    aether_consumer_free(consumer);
    aether_buffer_free(buffer);
    return status == AETHER_STATUS_CLOSED ? 0 : 1;
}
