// Calls every function of aether.h and checks what it does: functions FOLDER

#define _XOPEN_SOURCE 700

#include "check.h"

#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *folder;

// The path of a file in the folder; good until the next call.
static const char *in_folder(const char *name) {
    static char path[4096];
    CHECK(snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path);
    return path;
}

static aether_buffer *create(const char *name, aether_options options) {
    options.size = sizeof options;
    if (options.capacity == 0) {
        options.capacity = 4096;
    }
    aether_buffer *buffer = NULL;
    OK(aether_buffer_create_new(in_folder(name), &options, &buffer));
    return buffer;
}

static aether_producer *producer_of(aether_buffer *buffer) {
    aether_producer *producer = NULL;
    OK(aether_buffer_producer(buffer, &producer));
    return producer;
}

static aether_consumer *consumer_of(aether_buffer *buffer) {
    aether_consumer *consumer = NULL;
    OK(aether_buffer_consumer(buffer, &consumer));
    return consumer;
}

static aether_producer_stats producer_stats(const aether_producer *producer) {
    aether_producer_stats stats;
    OK(aether_producer_read_stats(producer, &stats));
    return stats;
}

static aether_consumer_stats consumer_stats(const aether_consumer *consumer) {
    aether_consumer_stats stats;
    OK(aether_consumer_read_stats(consumer, &stats));
    return stats;
}

// Checks that the next messages have these ids, and releases them.
static void expect_ids(aether_consumer *consumer, size_t expected, const int64_t *ids) {
    size_t seen = 0;
    for (;;) {
        aether_message messages[8];
        size_t count = 99;
        OK(aether_consumer_peek(consumer, messages, 8, &count));
        for (size_t i = 0; i < count; i++) {
            CHECK(seen < expected && messages[i].id == ids[seen]);
            seen++;
        }
        OK(aether_consumer_release(consumer, count));
        if (count == 0) {
            break;
        }
    }
    CHECK(seen == expected);
}

#define EXPECT_IDS(consumer, ...)                                                                                     \
    expect_ids(consumer, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

static void expect_cursors(const aether_buffer *buffer, uint64_t expected_write, uint64_t expected_read) {
    uint64_t write = 99, read = 99;
    OK(aether_buffer_cursors(buffer, &write, &read));
    CHECK(write == expected_write && read == expected_read);
}

static void cursors_are_set_by_hand_while_nobody_is_there(aether_buffer *buffer) {
    aether_producer *producer = producer_of(buffer);
    OK(aether_producer_offer(producer, 1, 0, "one", 3));
    OK(aether_producer_offer(producer, 2, 0, "two", 3));
    expect_cursors(buffer, 48, 0);
    STATUS(AETHER_STATUS_ROLE_TAKEN, aether_buffer_set_write_cursor(buffer, 24));
    OK(aether_producer_free(producer));
    OK(aether_buffer_set_read_cursor(buffer, 24));
    expect_cursors(buffer, 48, 24);
    aether_consumer *consumer = consumer_of(buffer);
    EXPECT_IDS(consumer, 2);
    STATUS(AETHER_STATUS_ROLE_TAKEN, aether_buffer_set_read_cursor(buffer, 0));
    OK(aether_consumer_free(consumer));
    OK(aether_buffer_set_read_cursor(buffer, 0));
    OK(aether_buffer_set_write_cursor(buffer, 24));
    consumer = consumer_of(buffer);
    EXPECT_IDS(consumer, 1);
    OK(aether_consumer_free(consumer));
    expect_cursors(buffer, 24, 24);
}

static void the_library_says_what_it_is(void) {
    CHECK(aether_abi() == AETHER_ABI);
    int major, minor, patch, end = 0;
    CHECK(sscanf(aether_version(), "%d.%d.%d%n", &major, &minor, &patch, &end) == 3);
    CHECK((size_t)end == strlen(aether_version()));
    CHECK(aether_last_error()->status == AETHER_STATUS_OK && strcmp(aether_last_error()->message, "") == 0);
}

static void a_ring_is_created_and_opened(void) {
    aether_options options = {.size = sizeof options, .capacity = 8192};
    aether_buffer *buffer = NULL, *other = NULL;
    STATUS(AETHER_STATUS_NOT_FOUND, aether_buffer_open(in_folder("ring"), NULL, &buffer));
    CHECK(strstr(aether_last_error()->message, in_folder("ring")) != NULL);
    STATUS(AETHER_STATUS_TIMED_OUT, aether_buffer_connect(in_folder("ring"), NULL, 1000000, &buffer));
    OK(aether_buffer_create(in_folder("ring"), &options, &buffer));
    OK(aether_buffer_create(in_folder("ring"), &options, &other));
    OK(aether_buffer_free(other));
    STATUS(AETHER_STATUS_ALREADY_EXISTS, aether_buffer_create_new(in_folder("ring"), &options, &other));
    OK(aether_buffer_open(in_folder("ring"), NULL, &other));
    OK(aether_buffer_free(other));
    OK(aether_buffer_open(in_folder("ring"), &options, &other));
    OK(aether_buffer_free(other));
    OK(aether_buffer_connect(in_folder("ring"), &options, AETHER_FOREVER, &other));
    OK(aether_buffer_free(other));

    uint64_t capacity = 0;
    OK(aether_buffer_capacity(buffer, &capacity));
    CHECK(capacity == 8192);
    const char *path = NULL;
    OK(aether_buffer_path(buffer, &path));
    CHECK(strcmp(path, in_folder("ring")) == 0);
    OK(aether_buffer_sync(buffer));
    cursors_are_set_by_hand_while_nobody_is_there(buffer);

    options.capacity = 4096;
    STATUS(AETHER_STATUS_MISMATCH, aether_buffer_open(in_folder("ring"), &options, &other));
    options.capacity = 1000;
    STATUS(AETHER_STATUS_CAPACITY, aether_buffer_create(in_folder("other"), &options, &other));
    STATUS(AETHER_STATUS_OPTIONS, aether_buffer_create(in_folder("other"), NULL, &other));
    STATUS(AETHER_STATUS_NOT_A_FILE, aether_buffer_open(folder, NULL, &other));
    OK(aether_buffer_free(buffer));
}

static void options_of_other_versions_are_understood_or_refused(void) {
    aether_buffer *buffer = NULL;
    // An older caller, who knows the first two fields.
    struct {
        size_t size;
        uint64_t capacity;
    } older = {sizeof older, 4096};
    OK(aether_buffer_create(in_folder("older"), (const aether_options *)(const void *)&older, &buffer));
    OK(aether_buffer_free(buffer));
    // A newer one, whose new fields matter only if they are set.
    struct {
        aether_options options;
        uint64_t new_field;
    } newer = {{.size = sizeof newer, .capacity = 4096}, 0};
    OK(aether_buffer_create(in_folder("newer"), &newer.options, &buffer));
    OK(aether_buffer_free(buffer));
    newer.new_field = 1;
    STATUS(AETHER_STATUS_ARGUMENT, aether_buffer_create(in_folder("newer"), &newer.options, &buffer));

    aether_options options = {.size = 0, .capacity = 4096};
    STATUS(AETHER_STATUS_ARGUMENT, aether_buffer_create(in_folder("sized"), &options, &buffer));
    options.size = sizeof options;
    options.overflow = 2;
    STATUS(AETHER_STATUS_ARGUMENT, aether_buffer_create(in_folder("sized"), &options, &buffer));
    options.overflow = AETHER_OVERFLOW_WAIT;
    options.reserved[3] = 1;
    STATUS(AETHER_STATUS_ARGUMENT, aether_buffer_create(in_folder("sized"), &options, &buffer));
    options.reserved[3] = 0;
    options.classic = 1;
    options.consumers = 2;
    STATUS(AETHER_STATUS_OPTIONS, aether_buffer_create(in_folder("sized"), &options, &buffer));
}

static void messages_are_offered_until_the_ring_is_full_and_put_when_there_is_space(void) {
    aether_buffer *buffer = create("offered", (aether_options){.capacity = 1024});
    aether_producer *producer = producer_of(buffer), *second = NULL;
    STATUS(AETHER_STATUS_ROLE_TAKEN, aether_buffer_producer(buffer, &second));
    aether_producer_stats stats = producer_stats(producer);
    CHECK(stats.capacity == 1024 && stats.max_payload == 1008 && stats.position == 0 && stats.lag == 0);
    CHECK(stats.free_bytes == 1024 && stats.offered == 0 && stats.lane == 0 && stats.trailer == 0);

    char large[1009] = {0};
    STATUS(AETHER_STATUS_TOO_LARGE, aether_producer_offer(producer, 1, 0, large, sizeof large));
    CHECK(aether_last_error()->value == 1008);
    int64_t id = 0;
    aether_status status = AETHER_STATUS_OK;
    while ((status = aether_producer_offer(producer, id, -7, &id, sizeof id)) == AETHER_STATUS_OK) {
        id++;
    }
    CHECK(status == AETHER_STATUS_FULL && aether_last_error()->status == AETHER_STATUS_FULL && id == 42);
    stats = producer_stats(producer);
    CHECK(stats.position == 1008 && stats.lag == 1008 && stats.free_bytes == 16 && stats.offered == 42);
    OK(aether_producer_offer(producer, id, 0, NULL, 0));
    STATUS(AETHER_STATUS_TIMED_OUT, aether_producer_put(producer, 43, 0, "late", 4, 1000000));
    STATUS(AETHER_STATUS_TIMED_OUT, aether_producer_wait_for_space(producer, 4, 1000000));

    bool there = true;
    OK(aether_producer_has_consumer(producer, &there));
    CHECK(!there);
    OK(aether_producer_require_consumer(producer, true));
    STATUS(AETHER_STATUS_NO_CONSUMER, aether_producer_put(producer, 43, 0, "nobody", 6, AETHER_FOREVER));
    OK(aether_producer_require_consumer(producer, false));

    aether_consumer *consumer = consumer_of(buffer), *third = NULL;
    STATUS(AETHER_STATUS_ROLE_TAKEN, aether_buffer_consumer(buffer, &third));
    OK(aether_producer_has_consumer(producer, &there));
    CHECK(there);
    aether_message message;
    size_t count = 0;
    OK(aether_consumer_peek(consumer, &message, 1, &count));
    CHECK(count == 1 && message.id == 0 && message.message_type == -7 && message.length == 8);
    CHECK(message.lane == 0 && message.position == 0 && (uintptr_t)message.payload % 8 == 0);
    CHECK(*(const int64_t *)message.payload == 0);
    OK(aether_consumer_release(consumer, 1));
    OK(aether_producer_wait_for_space(producer, 8, AETHER_FOREVER));
    OK(aether_producer_put(producer, 43, 0, "now", 3, AETHER_FOREVER));

    for (int32_t wait = AETHER_WAIT_SPIN; wait <= AETHER_WAIT_PARK; wait++) {
        OK(aether_producer_set_wait(producer, wait));
        STATUS(AETHER_STATUS_TIMED_OUT, aether_producer_put(producer, 44, 0, "late", 4, 1000000));
        OK(aether_consumer_set_wait(consumer, wait));
    }
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
}

static void messages_are_peeked_and_released(void) {
    aether_buffer *buffer = create("peeked", (aether_options){0});
    aether_producer *producer = producer_of(buffer);
    aether_consumer *consumer = consumer_of(buffer);
    // They live without the buffer.
    OK(aether_buffer_free(buffer));

    aether_message messages[8];
    size_t count = 99;
    OK(aether_consumer_peek(consumer, messages, 8, &count));
    CHECK(count == 0);
    OK(aether_consumer_release(consumer, 0));
    STATUS(AETHER_STATUS_TIMED_OUT, aether_consumer_wait(consumer, 0));
    for (int64_t id = 0; id < 6; id++) {
        OK(aether_producer_offer(producer, id, 0, "0123456789", (size_t)id));
    }
    OK(aether_consumer_wait(consumer, AETHER_FOREVER));
    CHECK(consumer_stats(consumer).available_bytes == 16 + 5 * 24);
    OK(aether_consumer_peek(consumer, messages, 4, &count));
    CHECK(count == 4);
    for (size_t i = 0; i < count; i++) {
        CHECK(messages[i].id == (int64_t)i && messages[i].length == i && memcmp(messages[i].payload, "0123", i) == 0);
    }
    OK(aether_consumer_release(consumer, 1));
    OK(aether_consumer_release(consumer, 1));
    STATUS(AETHER_STATUS_ARGUMENT, aether_consumer_release(consumer, 3));
    CHECK(consumer_stats(consumer).received == 2 && consumer_stats(consumer).position == 40);
    // What was not released comes again, also from copies.
    OK(aether_consumer_set_untrusted(consumer, true));
    EXPECT_IDS(consumer, 2, 3, 4, 5);
    STATUS(AETHER_STATUS_ARGUMENT, aether_consumer_release(consumer, 1));

    bool there = false;
    OK(aether_consumer_has_producer(consumer, &there));
    CHECK(there);
    OK(aether_producer_free(producer));
    OK(aether_consumer_has_producer(consumer, &there));
    CHECK(!there);
    OK(aether_consumer_require_producer(consumer, true));
    STATUS(AETHER_STATUS_CLOSED, aether_consumer_wait(consumer, AETHER_FOREVER));
    OK(aether_consumer_free(consumer));
}

static void messages_are_claimed_and_written_in_place(void) {
    aether_buffer *buffer = create("claimed", (aether_options){.checksums = 1});
    aether_producer *producer = producer_of(buffer);
    aether_consumer *consumer = consumer_of(buffer);
    void *payload = NULL;
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_commit(producer, 1, 0));
    OK(aether_producer_claim(producer, 5, &payload));
    CHECK((uintptr_t)payload % 8 == 0);
    memcpy(payload, "claim", 5);
    OK(aether_producer_commit(producer, 1, -2));
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_commit(producer, 1, -2));
    OK(aether_producer_claim(producer, 100, &payload));
    OK(aether_producer_abort(producer));
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_commit(producer, 2, 0));
    // Another message ends the claim.
    OK(aether_producer_claim(producer, 100, &payload));
    OK(aether_producer_offer(producer, 3, 0, "", 0));
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_commit(producer, 2, 0));
    // So does one that came to nothing: it may have been written before the fault was found.
    aether_record records[] = {{.payload = "over the claim", .length = 14}, {.payload = NULL, .length = 1}};
    size_t taken = 0;
    OK(aether_producer_claim(producer, 100, &payload));
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_offer_batch(producer, records, 2, &taken));
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_commit(producer, 2, 0));
    // A claim is not committed as if it were reserved.
    size_t count = 0;
    OK(aether_producer_claim(producer, 0, &payload));
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_commit_reserved(producer, 16, &count));
    STATUS(AETHER_STATUS_TOO_LARGE, aether_producer_claim(producer, SIZE_MAX, &payload));
    STATUS(AETHER_STATUS_TOO_LARGE, aether_producer_claim(producer, 4096 - 19, &payload));
    STATUS(AETHER_STATUS_FULL, aether_producer_claim(producer, 4096 - 20, &payload));

    aether_message message;
    OK(aether_consumer_peek(consumer, &message, 1, &count));
    CHECK(count == 1 && message.id == 1 && message.message_type == -2 && message.length == 5);
    CHECK(memcmp(message.payload, "claim", 5) == 0);
    OK(aether_consumer_release(consumer, 1));
    EXPECT_IDS(consumer, 3);
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
}

static void messages_are_offered_together(void) {
    aether_buffer *buffer = create("together", (aether_options){.capacity = 1024});
    aether_producer *producer = producer_of(buffer);
    aether_consumer *consumer = consumer_of(buffer);
    uint64_t values[50] = {0};
    size_t taken = 99;
    STATUS(AETHER_STATUS_LAYOUT, aether_producer_offer_array(producer, 0, 0, 0, values, 8, &taken));
    STATUS(AETHER_STATUS_LAYOUT, aether_producer_offer_array(producer, 0, 0, 8, values, 12, &taken));
    OK(aether_producer_offer_array(producer, 100, 0, 8, values, sizeof values, &taken));
    CHECK(taken == 42);
    OK(aether_producer_offer_array(producer, 100, 0, 8, values, sizeof values, &taken));
    CHECK(taken == 0);
    OK(aether_producer_offer_array(producer, 100, 0, 8, NULL, 0, &taken));
    CHECK(taken == 0);
    aether_message messages[50];
    size_t count = 0;
    OK(aether_consumer_peek(consumer, messages, 50, &count));
    CHECK(count == 42 && messages[41].id == 141);
    OK(aether_consumer_release(consumer, 42));

    char large[2000] = {0};
    aether_record records[] = {
        {.id = 1, .payload = "one", .length = 3, .message_type = 5},
        {.id = 2, .payload = NULL, .length = 0, .message_type = 6},
        {.id = 3, .payload = large, .length = sizeof large, .message_type = 7},
    };
    OK(aether_producer_offer_batch(producer, records, 3, &taken));
    CHECK(taken == 2);
    STATUS(AETHER_STATUS_TOO_LARGE, aether_producer_offer_batch(producer, &records[2], 1, &taken));
    OK(aether_producer_offer_batch(producer, NULL, 0, &taken));
    CHECK(taken == 0);
    // One that is no record: nothing of the batch is published.
    records[1].length = 1;
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_offer_batch(producer, records, 2, &taken));
    // One by one: the first stands over the end of the ring, and so comes alone.
    OK(aether_consumer_peek(consumer, messages, 1, &count));
    CHECK(count == 1 && messages[0].id == 1 && messages[0].message_type == 5);
    CHECK(memcmp(messages[0].payload, "one", 3) == 0);
    OK(aether_consumer_release(consumer, 1));
    OK(aether_consumer_peek(consumer, messages, 1, &count));
    CHECK(count == 1 && messages[0].id == 2 && messages[0].message_type == 6 && messages[0].length == 0);
    OK(aether_consumer_release(consumer, 1));
    expect_ids(consumer, 0, NULL);
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
}

// A record at `at`; returns where the next one goes.
static unsigned char *write_record(unsigned char *at, int64_t id, uint32_t length, int32_t type, const char *payload) {
    memcpy(at, &id, 8);
    memcpy(at + 8, &length, 4);
    memcpy(at + 12, &type, 4);
    memcpy(at + AETHER_HEADER_SIZE, payload, strlen(payload));
    return at + (length + AETHER_ALIGNMENT - 1) / AETHER_ALIGNMENT * AETHER_ALIGNMENT;
}

static void records_are_written_and_read_by_address(aether_options options) {
    aether_buffer *buffer = create(options.checksums ? "raw, checked" : "raw", options);
    aether_producer *producer = producer_of(buffer);
    aether_consumer *consumer = consumer_of(buffer);
    const uint32_t trailer = producer_stats(producer).trailer;
    CHECK(trailer == (options.checksums ? 4 : 0));
    aether_run run;
    OK(aether_consumer_peek_raw(consumer, 100, &run));
    CHECK(run.count == 0 && run.length == 0 && run.base == NULL);

    void *base = NULL;
    size_t length = 0, count = 0;
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_commit_reserved(producer, 8, &count));
    OK(aether_producer_reserve(producer, 64, SIZE_MAX, &base, &length));
    CHECK(length == 4096 && (uintptr_t)base % 8 == 0);
    OK(aether_producer_reserve(producer, 64, 1000, &base, &length));
    CHECK(length == 1000);
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_commit_reserved(producer, 1008, &count));
    OK(aether_producer_reserve(producer, 64, 1000, &base, &length));
    unsigned char *end = write_record(base, 1, 16 + 5 + trailer, 7, "first");
    end = write_record(end, 2, 16 + trailer, -8, "");
    OK(aether_producer_commit_reserved(producer, (size_t)(end - (unsigned char *)base), &count));
    CHECK(count == 2);

    OK(aether_producer_reserve(producer, 64, 64, &base, &length));
    end = write_record(base, 3, 16 + trailer, 0, "");
    write_record(end, 4, 15, 0, "");
    STATUS(AETHER_STATUS_RECORD, aether_producer_commit_reserved(producer, 64, &count));
    CHECK(aether_last_error()->value == (uint64_t)(end - (unsigned char *)base));
    OK(aether_producer_reserve(producer, 64, 64, &base, &length));
    OK(aether_producer_abort(producer));
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_commit_reserved(producer, 16, &count));

    OK(aether_consumer_peek_raw(consumer, 100, &run));
    const void *memory = NULL;
    size_t mapped = 0;
    OK(aether_buffer_memory(buffer, 0, &memory, &mapped));
    CHECK(mapped >= 4096 && memory == run.base);
    STATUS(AETHER_STATUS_ARGUMENT, aether_buffer_memory(buffer, 1, &memory, &mapped));
    CHECK(run.count == 2 && run.trailer == trailer && run.position == 0 && run.lane == 0);
    const unsigned char *at = run.base;
    int64_t id = 0;
    uint32_t size = 0;
    int32_t type = 0;
    memcpy(&id, at, 8);
    memcpy(&size, at + 8, 4);
    memcpy(&type, at + 12, 4);
    CHECK(id == 1 && size == 16 + 5 + trailer && type == 7 && memcmp(at + 16, "first", 5) == 0);
    CHECK(run.length == (trailer == 0 ? 24 + 16 : 32 + 24));
    OK(aether_consumer_release(consumer, 1));
    EXPECT_IDS(consumer, 2);
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
}

static void records_are_published_and_released_without_a_call(void) {
    aether_buffer *buffer = create("direct", (aether_options){.capacity = 1 << 16});
    aether_producer *producer = producer_of(buffer);
    aether_consumer *consumer = consumer_of(buffer);
    OK(aether_producer_offer(producer, 0, 0, "", 0));
    aether_direct out, in;
    OK(aether_producer_direct(producer, &out));
    OK(aether_consumer_direct(consumer, &in));
    CHECK(out.write_cursor == in.write_cursor && out.read_cursor == NULL && in.read_cursor != NULL);
    CHECK(out.data == in.data && out.capacity == 1 << 16 && out.mapped >= out.capacity);
    CHECK(out.position == 16 && in.position == 0 && out.bell != in.bell && out.disturbances == in.disturbances);
    uint64_t *write = out.write_cursor, *read = in.read_cursor;
    const uint32_t *bell = in.bell;

    aether_window window;
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_settle(producer, 0, 0));
    STATUS(AETHER_STATUS_TOO_LARGE, aether_producer_window(producer, 1 << 16, &window));
    OK(aether_producer_window(producer, 5, &window));
    CHECK(window.position == 16 && window.length >= 24 && (char *)window.base == (char *)out.data + 16);
    unsigned char *end = write_record(window.base, 1, 16 + 5, 7, "first");
    __atomic_store_n(write, 16 + 24, __ATOMIC_RELEASE);
    write_record(end, 2, 16, 8, "");
    __atomic_store_n(write, 16 + 24 + 16, __ATOMIC_RELEASE);
    OK(aether_producer_ring(producer));
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_settle(producer, window.length + 8, 2));
    OK(aether_producer_window(producer, 0, &window));
    // Not told: what was published would be written over.
    CHECK(window.position == 16);
    OK(aether_producer_settle(producer, 24 + 16, 2));
    CHECK(producer_stats(producer).position == 56 && producer_stats(producer).offered == 3);
    OK(aether_producer_offer(producer, 3, 0, "", 0));

    CHECK(__atomic_load_n((uint64_t *)in.write_cursor, __ATOMIC_ACQUIRE) == 72);
    // The first two.
    __atomic_store_n(read, 40, __ATOMIC_RELEASE);
    CHECK((*bell & AETHER_ASLEEP) == 0);
    OK(aether_consumer_ring(consumer));
    STATUS(AETHER_STATUS_ARGUMENT, aether_consumer_settle(consumer, 41, 2));
    OK(aether_consumer_settle(consumer, 40, 2));
    aether_consumer_stats stats;
    OK(aether_consumer_read_stats(consumer, &stats));
    CHECK(stats.position == 40 && stats.received == 2 && stats.available_bytes == 32);
    EXPECT_IDS(consumer, 2, 3);
    OK(aether_consumer_set_untrusted(consumer, true));
    OK(aether_consumer_direct(consumer, &in));
    CHECK(in.read_cursor == NULL && in.data == NULL && in.mapped == 0);
    STATUS(AETHER_STATUS_ARGUMENT, aether_consumer_settle(consumer, 72, 0));
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));

    buffer = create("not direct", (aether_options){.checksums = 1});
    producer = producer_of(buffer);
    consumer = consumer_of(buffer);
    OK(aether_producer_direct(producer, &out));
    OK(aether_consumer_direct(consumer, &in));
    CHECK(out.write_cursor == NULL && in.write_cursor == NULL);
    STATUS(AETHER_STATUS_ARGUMENT, aether_producer_window(producer, 0, &window));
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
}

static void many_producers_and_consumers_share_a_ring(void) {
    aether_buffer *buffer = create("many", (aether_options){.producers = 2, .consumers = 3, .sequence = 1});
    aether_producer *east = producer_of(buffer), *west = producer_of(buffer), *third = NULL;
    STATUS(AETHER_STATUS_ROLE_TAKEN, aether_buffer_producer(buffer, &third));
    CHECK(producer_stats(east).lane == 0 && producer_stats(west).lane == 1);
    aether_consumer *consumer = consumer_of(buffer), *audit = NULL, *again = NULL;
    OK(aether_buffer_consumer_named(buffer, "audit", &audit));
    STATUS(AETHER_STATUS_ROLE_TAKEN, aether_buffer_consumer_named(buffer, "audit", &again));
    STATUS(AETHER_STATUS_ROLE_TAKEN, aether_buffer_forget(buffer, "audit"));
    STATUS(AETHER_STATUS_NAME, aether_buffer_consumer_named(buffer, "", &again));
    OK(aether_consumer_free(audit));
    OK(aether_producer_offer(east, 77, 0, "", 0));
    OK(aether_producer_offer(west, 77, 0, "", 0));
    OK(aether_producer_offer(east, 77, 0, "", 0));
    OK(aether_buffer_consumer_named(buffer, "audit", &audit));
    // Lanes take turns; in the order of ids, each message comes alone.
    EXPECT_IDS(consumer, 0, 2, 1);
    OK(aether_consumer_set_merge(audit, AETHER_MERGE_BY_ID));
    EXPECT_IDS(audit, 0, 1, 2);
    OK(aether_consumer_set_merge(audit, AETHER_MERGE_FAIR));
    OK(aether_consumer_free(audit));
    OK(aether_buffer_forget(buffer, "audit"));
    STATUS(AETHER_STATUS_NAME, aether_buffer_forget(buffer, "audit"));
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(east));
    OK(aether_producer_free(west));
    OK(aether_buffer_free(buffer));
}

static void a_consumer_that_falls_behind_is_told(void) {
    const aether_options options = {.capacity = 1024, .overflow = AETHER_OVERFLOW_DROP_OLDEST};
    aether_buffer *buffer = create("lossy", options);
    aether_producer *producer = producer_of(buffer);
    aether_consumer *consumer = consumer_of(buffer);
    for (int64_t id = 0; id < 100; id++) {
        OK(aether_producer_offer(producer, id, 0, &id, sizeof id));
    }
    aether_message messages[100];
    size_t count = 0;
    STATUS(AETHER_STATUS_LAGGED, aether_consumer_peek(consumer, messages, 100, &count));
    const uint64_t lost = aether_last_error()->value;
    CHECK(lost > 0 && lost % 24 == 0);
    OK(aether_consumer_peek(consumer, messages, 100, &count));
    CHECK(count == 100 - lost / 24 && messages[0].id == (int64_t)(lost / 24) && messages[count - 1].id == 99);
    OK(aether_consumer_release(consumer, count));
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
}

static void an_observer_looks_and_takes_nothing(void) {
    aether_buffer *buffer = create("observed", (aether_options){.producers = 2, .consumers = 4, .checksums = 1});
    aether_producer *producer = producer_of(buffer);
    aether_consumer *consumer = NULL;
    OK(aether_buffer_consumer_named(buffer, "audit", &consumer));
    aether_observer *observer = NULL, *other = NULL;
    OK(aether_observer_open(in_folder("observed"), &observer));
    OK(aether_buffer_observer(buffer, &other));
    OK(aether_observer_free(other));
    aether_tail *tail = NULL, *whole = NULL;
    OK(aether_producer_offer(producer, 1, 7, "first", 5));
    OK(aether_observer_tail(observer, false, &tail));
    OK(aether_observer_tail(observer, true, &whole));
    OK(aether_producer_offer(producer, 2, 8, "second one", 10));

    const aether_info *info = NULL;
    OK(aether_observer_info(observer, &info));
    CHECK(strcmp(info->path, in_folder("observed")) == 0);
    CHECK(info->capacity == 4096 && info->data_offset % 65536 == 0 && info->file_size >= info->data_offset + 2 * 4096);
    CHECK(info->disk_size > 0 && info->available_bytes == 32 + 32 && info->version == 1);
    CHECK(!info->classic && info->checksums && !info->sequence && info->overflow == AETHER_OVERFLOW_WAIT);
    CHECK(info->lane_count == 2 && info->consumer_slots == 4 && info->consumer_count == 1);
    CHECK(info->lanes[0].write_cursor == 64 && info->lanes[0].oldest == 0 && info->lanes[0].is_held);
    CHECK(info->lanes[0].pid == (uint32_t)getpid() && !info->lanes[1].is_held && info->lanes[1].write_cursor == 0);
    const aether_place *place = &info->consumers[0];
    CHECK(strcmp(place->name, "audit") == 0 && place->lag == 64 && place->durable && place->is_held);
    CHECK(place->slot == 0 && place->pid == (uint32_t)getpid());
    CHECK(place->read_cursors[0] == 0 && place->read_cursors[1] == 0);

    aether_message messages[8];
    size_t count = 0;
    OK(aether_observer_peek(observer, messages, 8, &count));
    CHECK(count == 2 && messages[0].id == 1 && messages[0].message_type == 7 && messages[0].length == 5);
    CHECK(memcmp(messages[0].payload, "first", 5) == 0 && (uintptr_t)messages[0].payload % 8 == 0);
    CHECK(memcmp(messages[1].payload, "second one", 10) == 0 && messages[1].position == 32);
    OK(aether_observer_peek(observer, messages, 1, &count));
    CHECK(count == 1);
    uint64_t waiting = 0;
    OK(aether_observer_count_messages(observer, &waiting));
    CHECK(waiting == 2);
    OK(aether_tail_poll(tail, messages, 8, &count));
    CHECK(count == 1 && messages[0].id == 2);
    OK(aether_tail_poll(tail, messages, 8, &count));
    CHECK(count == 0);
    OK(aether_tail_poll(whole, messages, 8, &count));
    CHECK(count == 2 && messages[0].id == 1 && memcmp(messages[1].payload, "second one", 10) == 0);
    EXPECT_IDS(consumer, 1, 2);
    OK(aether_tail_free(tail));
    OK(aether_tail_free(whole));
    OK(aether_observer_free(observer));
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
}

static void a_broken_ring_is_reported_with_the_place(void) {
    aether_buffer *buffer = create("broken", (aether_options){.checksums = 1});
    aether_producer *producer = producer_of(buffer);
    for (int64_t id = 1; id <= 3; id++) {
        OK(aether_producer_offer(producer, id, 0, &id, sizeof id));
    }
    OK(aether_producer_free(producer));
    aether_report *report = NULL;
    OK(aether_verify(in_folder("broken"), &report));
    CHECK(report->messages == 3 && report->bytes == 96 && report->problem_count == 0);
    OK(aether_report_free(report));

    aether_observer *observer = NULL;
    const aether_info *info = NULL;
    OK(aether_buffer_observer(buffer, &observer));
    OK(aether_observer_info(observer, &info));
    FILE *file = fopen(in_folder("broken"), "r+b");
    CHECK(file != NULL && fseek(file, (long)info->data_offset + 32 + 16, SEEK_SET) == 0);
    CHECK(fputc('!', file) == '!' && fclose(file) == 0);

    OK(aether_verify(in_folder("broken"), &report));
    CHECK(report->messages == 1 && report->problem_count == 1);
    CHECK(report->problems[0].position == 32 && report->problems[0].lane == 0 && report->problems[0].consumer == -1);
    CHECK(strstr(report->problems[0].text, "checksum") != NULL);
    OK(aether_report_free(report));

    aether_message messages[8];
    size_t count = 0;
    STATUS(AETHER_STATUS_CORRUPT, aether_observer_peek(observer, messages, 8, &count));
    CHECK(count == 1 && messages[0].id == 1 && *(const int64_t *)messages[0].payload == 1);
    aether_tail *tail = NULL;
    OK(aether_observer_tail(observer, true, &tail));
    OK(aether_tail_poll(tail, messages, 8, &count));
    CHECK(count == 1 && messages[0].id == 1);
    STATUS(AETHER_STATUS_CORRUPT, aether_tail_poll(tail, messages, 8, &count));
    OK(aether_tail_free(tail));
    OK(aether_observer_free(observer));

    aether_consumer *consumer = consumer_of(buffer);
    OK(aether_consumer_peek(consumer, messages, 8, &count));
    CHECK(count == 1);
    OK(aether_consumer_release(consumer, 1));
    STATUS(AETHER_STATUS_CORRUPT, aether_consumer_peek(consumer, messages, 8, &count));
    CHECK(aether_last_error()->position == 32 && aether_last_error()->lane == 0);
    OK(aether_consumer_free(consumer));
    OK(aether_buffer_free(buffer));

    file = fopen(in_folder("no ring"), "wb");
    CHECK(file != NULL && fputs("something else", file) >= 0 && fclose(file) == 0);
    STATUS(AETHER_STATUS_NOT_A_RING, aether_verify(in_folder("no ring"), &report));
}

static void a_file_that_is_cut_short_is_an_error_and_no_signal(void) {
    OK(aether_guard_bus_errors());
    aether_buffer *buffer = create("cut", (aether_options){0});
    aether_producer *producer = producer_of(buffer);
    OK(aether_producer_offer(producer, 1, 0, "before", 6));
    CHECK(truncate(in_folder("cut"), 0) == 0);
    // The one that finds out goes on with memory in the place of the file; the next one reports it.
    (void)!aether_producer_offer(producer, 2, 0, "at", 2);
    STATUS(AETHER_STATUS_TRUNCATED, aether_producer_offer(producer, 3, 0, "after", 5));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
}

static void a_forked_child_has_no_role(void) {
    aether_buffer *buffer = create("forked", (aether_options){0});
    aether_producer *producer = producer_of(buffer);
    aether_consumer *consumer = consumer_of(buffer);
    OK(aether_producer_offer(producer, 1, 0, "", 0));
    aether_message message;
    size_t count = 0;
    OK(aether_consumer_peek(consumer, &message, 1, &count));
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        STATUS(AETHER_STATUS_FORKED, aether_producer_offer(producer, 2, 0, "", 0));
        STATUS(AETHER_STATUS_FORKED, aether_consumer_release(consumer, 1));
        OK(aether_producer_free(producer));
        OK(aether_consumer_free(consumer));
        OK(aether_buffer_free(buffer));
        exit(0);
    }
    int outcome = -1;
    CHECK(waitpid(child, &outcome, 0) == child && WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0);
    CHECK(consumer_stats(consumer).received == 0);
    OK(aether_consumer_release(consumer, 1));
    OK(aether_producer_offer(producer, 2, 0, "", 0));
    EXPECT_IDS(consumer, 2);
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    folder = argv[1];
    the_library_says_what_it_is();
    a_ring_is_created_and_opened();
    options_of_other_versions_are_understood_or_refused();
    messages_are_offered_until_the_ring_is_full_and_put_when_there_is_space();
    messages_are_peeked_and_released();
    messages_are_claimed_and_written_in_place();
    messages_are_offered_together();
    records_are_written_and_read_by_address((aether_options){0});
    records_are_written_and_read_by_address((aether_options){.checksums = 1});
    records_are_published_and_released_without_a_call();
    many_producers_and_consumers_share_a_ring();
    a_consumer_that_falls_behind_is_told();
    an_observer_looks_and_takes_nothing();
    a_broken_ring_is_reported_with_the_place();
    a_file_that_is_cut_short_is_an_error_and_no_signal();
    a_forked_child_has_no_role();
    return 0;
}
