// What a call costs: fills a ring and empties it again, and prints nanoseconds a message, the median of the rounds:
// cost RING [ROUNDS]

#define _POSIX_C_SOURCE 200809L

#include <aether.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LENGTH = 64, BATCH = 256, COUNT = 16 * BATCH, MOST_ROUNDS = 1000 };

static unsigned char payloads[BATCH][LENGTH];
static unsigned long sum;

static void check(aether_status status) {
    if (status != AETHER_STATUS_OK) {
        fprintf(stderr, "%s\n", aether_last_error()->message);
        exit(1);
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void offer(aether_producer *producer) {
    for (int i = 0; i < COUNT; i++) {
        check(aether_producer_offer(producer, i, 7, payloads[i % BATCH], LENGTH));
    }
}

static void claim(aether_producer *producer) {
    for (int i = 0; i < COUNT; i++) {
        void *payload = NULL;
        check(aether_producer_claim(producer, LENGTH, &payload));
        memcpy(payload, payloads[i % BATCH], LENGTH);
        check(aether_producer_commit(producer, i, 7));
    }
}

static void offer_batch(aether_producer *producer) {
    aether_record records[BATCH];
    for (int i = 0; i < COUNT; i += BATCH) {
        for (int k = 0; k < BATCH; k++) {
            records[k] = (aether_record){.id = i + k, .payload = payloads[k], .length = LENGTH, .message_type = 7};
        }
        size_t taken = 0;
        check(aether_producer_offer_batch(producer, records, BATCH, &taken));
    }
}

static void offer_array(aether_producer *producer) {
    for (int i = 0; i < COUNT; i += BATCH) {
        size_t taken = 0;
        check(aether_producer_offer_array(producer, i, 7, LENGTH, payloads, sizeof payloads, &taken));
    }
}

static void peek(aether_consumer *consumer, size_t limit) {
    aether_message messages[BATCH];
    size_t count = 0;
    do {
        check(aether_consumer_peek(consumer, messages, limit, &count));
        for (size_t i = 0; i < count; i++) {
            const unsigned char *payload = messages[i].payload;
            sum += payload[0] + payload[LENGTH - 1];
        }
        check(aether_consumer_release(consumer, count));
    } while (count > 0);
}

static void peek_one(aether_consumer *consumer) {
    peek(consumer, 1);
}

static void peek_many(aether_consumer *consumer) {
    peek(consumer, BATCH);
}

static void peek_raw(aether_consumer *consumer) {
    aether_run run;
    do {
        check(aether_consumer_peek_raw(consumer, BATCH, &run));
        const unsigned char *record = run.base;
        for (size_t i = 0; i < run.count; i++) {
            // All of one size here; else the length stands behind the id.
            sum += record[AETHER_HEADER_SIZE] + record[AETHER_HEADER_SIZE + LENGTH - 1];
            record += AETHER_HEADER_SIZE + LENGTH;
        }
        check(aether_consumer_release(consumer, run.count));
    } while (run.count > 0);
}

static const struct {
    const char *name;
    void (*send)(aether_producer *);
    void (*receive)(aether_consumer *);
} ways[] = {
    {"offer; peek and release of one", offer, peek_one},
    {"claim and commit; peek and release of 256", claim, peek_many},
    {"offer_batch of 256; peek and release of 256", offer_batch, peek_many},
    {"offer_array of 256; peek_raw and release of 256", offer_array, peek_raw},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

static double times[WAYS][2][MOST_ROUNDS];

static int ascending(const void *one, const void *other) {
    double left = *(const double *)one, right = *(const double *)other;
    return (left > right) - (left < right);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return values[count / 2];
}

int main(int argc, char **argv) {
    int rounds = argc == 3 ? atoi(argv[2]) : 200;
    if (argc < 2 || argc > 3 || rounds < 1 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "usage: %s RING [ROUNDS]\n", argv[0]);
        return 2;
    }
    aether_buffer *buffer = NULL;
    aether_producer *producer = NULL;
    aether_consumer *consumer = NULL;
    aether_options options = {.size = sizeof options, .capacity = 1 << 20};
    check(aether_buffer_create(argv[1], &options, &buffer));
    check(aether_buffer_producer(buffer, &producer));
    check(aether_buffer_consumer(buffer, &consumer));
    memset(payloads, 1, sizeof payloads);

    // The first round only warms up.
    for (int round = -1; round < rounds; round++) {
        for (int way = 0; way < WAYS; way++) {
            double start = now();
            ways[way].send(producer);
            double sent = now();
            sum = 0;
            ways[way].receive(consumer);
            double received = now();
            if (sum != 2 * COUNT) {
                fprintf(stderr, "expected %d messages, found %lu\n", COUNT, sum / 2);
                return 1;
            }
            if (round >= 0) {
                times[way][0][round] = (sent - start) / COUNT;
                times[way][1][round] = (received - sent) / COUNT;
            }
        }
    }
    printf("%-48s  send  receive\n", "ns a message of 64 bytes");
    for (int way = 0; way < WAYS; way++) {
        double send = median(times[way][0], rounds), receive = median(times[way][1], rounds);
        printf("%-48s %5.1f    %5.1f\n", ways[way].name, send, receive);
    }
    check(aether_consumer_free(consumer));
    check(aether_producer_free(producer));
    check(aether_buffer_free(buffer));
    return 0;
}
