// Sends records by the hundred and reads them likewise, one call a batch: batch RING

#include <aether.h>
#include <inttypes.h>
#include <stdio.h>

typedef struct {
    double bid;
    double ask;
} quote;

static aether_status send(aether_producer *producer) {
    static quote quotes[1000];
    for (int i = 0; i < 1000; i++) {
        quotes[i] = (quote){.bid = i, .ask = i + 0.5};
    }
    size_t sent = 0;
    while (sent < 1000) {
        size_t taken = 0;
        aether_status status = aether_producer_offer_array(producer, (int64_t)sent, 7, sizeof(quote), &quotes[sent],
                                                           (1000 - sent) * sizeof(quote), &taken);
        if (status != AETHER_STATUS_OK) {
            return status;
        }
        if (taken == 0) {
            return AETHER_STATUS_FULL;
        }
        sent += taken;
    }
    // Messages of different sizes, published together as well.
    aether_record records[] = {
        {.id = 1000, .payload = "end of", .length = 6, .message_type = 8},
        {.id = 1001, .payload = "day", .length = 3, .message_type = 8},
    };
    size_t taken = 0;
    aether_status status = aether_producer_offer_batch(producer, records, 2, &taken);
    return status == AETHER_STATUS_OK && taken < 2 ? AETHER_STATUS_FULL : status;
}

static aether_status receive(aether_consumer *consumer) {
    aether_message messages[100];
    size_t count = 0;
    double spread = 0;
    int64_t quotes = 0;
    do {
        aether_status status = aether_consumer_peek(consumer, messages, 100, &count);
        if (status != AETHER_STATUS_OK) {
            return status;
        }
        for (size_t i = 0; i < count; i++) {
            if (messages[i].message_type == 7) {
                const quote *quote = messages[i].payload;
                spread += quote->ask - quote->bid;
                quotes++;
            } else {
                printf("%.*s\n", (int)messages[i].length, (const char *)messages[i].payload);
            }
        }
        status = aether_consumer_release(consumer, count);
        if (status != AETHER_STATUS_OK) {
            return status;
        }
    } while (count > 0);
    printf("%" PRId64 " quotes, spread %.1f\n", quotes, spread);
    return AETHER_STATUS_OK;
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
        status = send(producer);
    }
    if (status == AETHER_STATUS_OK) {
        status = receive(consumer);
    }
    if (status != AETHER_STATUS_OK) {
        fprintf(stderr, "%s: status %d: %s\n", argv[0], (int)status, aether_last_error()->message);
    }
    aether_consumer_free(consumer);
    aether_producer_free(producer);
    aether_buffer_free(buffer);
    return status == AETHER_STATUS_OK ? 0 : 1;
}
