// Two producers, and three consumers that each see everything, one of them even while it is away: many_consumers RING

#include <aether.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

// Ends the program with the words of the last failure; the system frees the roles.
static void check(aether_status status) {
    if (status != AETHER_STATUS_OK) {
        fprintf(stderr, "many_consumers: %s\n", aether_last_error()->message);
        exit(1);
    }
}

static void print_all(const char *who, aether_consumer *consumer) {
    // In the order of the shared sequence, whatever lane a message came through.
    check(aether_consumer_set_merge(consumer, AETHER_MERGE_BY_ID));
    for (;;) {
        aether_message messages[16];
        size_t count = 0;
        check(aether_consumer_peek(consumer, messages, 16, &count));
        if (count == 0) {
            return;
        }
        for (size_t i = 0; i < count; i++) {
            printf("%s: %" PRId64 " %.*s\n", who, messages[i].id, (int)messages[i].length,
                   (const char *)messages[i].payload);
        }
        check(aether_consumer_release(consumer, count));
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s RING\n", argv[0]);
        return 2;
    }
    aether_options options = {
        .size = sizeof options, .capacity = 1 << 16, .producers = 2, .consumers = 8, .sequence = 1};
    aether_buffer *buffer = NULL;
    check(aether_buffer_create(argv[1], &options, &buffer));

    aether_producer *east = NULL, *west = NULL;
    check(aether_buffer_producer(buffer, &east));
    check(aether_buffer_producer(buffer, &west));
    aether_consumer *one = NULL, *two = NULL, *audit = NULL;
    check(aether_buffer_consumer(buffer, &one));
    check(aether_buffer_consumer(buffer, &two));
    check(aether_buffer_consumer_named(buffer, "audit", &audit));

    // A named consumer's place is kept while it is away.
    aether_consumer_free(audit);
    check(aether_producer_offer(east, 0, 7, "from the east", 13));
    check(aether_producer_offer(west, 0, 7, "from the west", 13));
    check(aether_buffer_consumer_named(buffer, "audit", &audit));

    print_all("one", one);
    print_all("two", two);
    print_all("audit", audit);

    aether_consumer_free(one);
    aether_consumer_free(two);
    aether_consumer_free(audit);
    check(aether_buffer_forget(buffer, "audit"));
    aether_producer_free(east);
    aether_producer_free(west);
    aether_buffer_free(buffer);
    return 0;
}
