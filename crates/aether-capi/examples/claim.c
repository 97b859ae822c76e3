// Writes numbers in place and reads them in place; no byte is copied: claim RING

#include <aether.h>
#include <stdio.h>

enum { NUMBERS = 1000 };

static aether_status write_in_place(aether_producer *producer) {
    void *payload = NULL;
    aether_status status = aether_producer_claim(producer, NUMBERS * sizeof(double), &payload);
    if (status != AETHER_STATUS_OK) {
        return status;
    }
    double *numbers = payload;
    for (int i = 0; i < NUMBERS; i++) {
        numbers[i] = 0.5 * i;
    }
    return aether_producer_commit(producer, 1, 8);
}

static aether_status read_in_place(aether_consumer *consumer) {
    aether_message message;
    size_t count = 0;
    aether_status status = aether_consumer_peek(consumer, &message, 1, &count);
    if (status != AETHER_STATUS_OK || count == 0) {
        return status;
    }
    const double *numbers = message.payload;
    double sum = 0;
    for (size_t i = 0; i < message.length / sizeof(double); i++) {
        sum += numbers[i];
    }
    printf("sum %.1f\n", sum);
    return aether_consumer_release(consumer, count);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s RING\n", argv[0]);
        return 2;
    }
    aether_buffer *buffer = NULL;
    aether_producer *producer = NULL;
    aether_consumer *consumer = NULL;
    aether_options options = {.size = sizeof options, .capacity = 1 << 16};

    aether_status status = aether_buffer_create(argv[1], &options, &buffer);
    if (status == AETHER_STATUS_OK) {
        status = aether_buffer_producer(buffer, &producer);
    }
    if (status == AETHER_STATUS_OK) {
        status = aether_buffer_consumer(buffer, &consumer);
    }
    if (status == AETHER_STATUS_OK) {
        status = write_in_place(producer);
    }
    if (status == AETHER_STATUS_OK) {
        status = read_in_place(consumer);
    }
    if (status != AETHER_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", argv[0], aether_last_error()->message);
    }
    aether_consumer_free(consumer);
    aether_producer_free(producer);
    aether_buffer_free(buffer);
    return status == AETHER_STATUS_OK ? 0 : 1;
}
