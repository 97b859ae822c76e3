// Sends a thousand messages: producer RING

#include <aether.h>
#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s RING\n", argv[0]);
        return 2;
    }
    aether_buffer *buffer = NULL;
    aether_producer *producer = NULL;

    aether_options options = {.size = sizeof options, .capacity = 1 << 20};
    aether_status status = aether_buffer_create(argv[1], &options, &buffer);
    if (status == AETHER_STATUS_OK) {
        status = aether_buffer_producer(buffer, &producer);
    }
    for (int64_t id = 1; status == AETHER_STATUS_OK && id <= 1000; id++) {
        char text[32];
        int length = snprintf(text, sizeof text, "message %" PRId64, id);
        status = aether_producer_put(producer, id, 7, text, (size_t)length, AETHER_FOREVER);
    }

    if (status != AETHER_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", argv[0], aether_last_error()->message);
    }
    aether_producer_free(producer);
    aether_buffer_free(buffer);
    return status == AETHER_STATUS_OK ? 0 : 1;
}
