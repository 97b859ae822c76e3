// Calls every function of aether.h with null and with values that are none: arguments FOLDER

#include "check.h"

#include <stdint.h>

int main(int argc, char **argv) {
    CHECK(argc == 2);
    char path[4096];
    CHECK(snprintf(path, sizeof path, "%s/ring", argv[1]) < (int)sizeof path);
    const char *not_utf8 = "\xff\xfe";

    aether_options options = {.size = sizeof options, .capacity = 4096, .consumers = 2};
    aether_buffer *buffer = NULL;
    aether_producer *producer = NULL;
    aether_consumer *consumer = NULL;
    aether_observer *observer = NULL;
    aether_tail *tail = NULL;
    aether_report *report = NULL;
    const aether_info *info = NULL;
    const char *text = NULL;
    void *address = NULL;
    const void *memory = NULL;
    size_t size = 0;
    uint64_t number = 0;
    bool flag = false;
    aether_message message;
    aether_run run;
    aether_producer_stats producer_stats;
    aether_consumer_stats consumer_stats;

#define BAD(call) STATUS(AETHER_STATUS_ARGUMENT, call)
    BAD(aether_buffer_create(NULL, &options, &buffer));
    BAD(aether_buffer_create(not_utf8, &options, &buffer));
    BAD(aether_buffer_create(path, &options, NULL));
    BAD(aether_buffer_create_new(NULL, &options, &buffer));
    BAD(aether_buffer_create_new(path, &options, NULL));
    BAD(aether_buffer_open(NULL, NULL, &buffer));
    BAD(aether_buffer_open(path, NULL, NULL));
    BAD(aether_buffer_connect(NULL, NULL, 0, &buffer));
    BAD(aether_buffer_connect(path, NULL, 0, NULL));
    OK(aether_buffer_create(path, &options, &buffer));

    BAD(aether_buffer_producer(NULL, &producer));
    BAD(aether_buffer_producer(buffer, NULL));
    BAD(aether_buffer_consumer(NULL, &consumer));
    BAD(aether_buffer_consumer(buffer, NULL));
    BAD(aether_buffer_consumer_named(NULL, "name", &consumer));
    BAD(aether_buffer_consumer_named(buffer, NULL, &consumer));
    BAD(aether_buffer_consumer_named(buffer, not_utf8, &consumer));
    BAD(aether_buffer_consumer_named(buffer, "name", NULL));
    BAD(aether_buffer_forget(NULL, "name"));
    BAD(aether_buffer_forget(buffer, NULL));
    BAD(aether_buffer_forget(buffer, not_utf8));
    BAD(aether_buffer_observer(NULL, &observer));
    BAD(aether_buffer_observer(buffer, NULL));
    BAD(aether_buffer_capacity(NULL, &number));
    BAD(aether_buffer_capacity(buffer, NULL));
    BAD(aether_buffer_path(NULL, &text));
    BAD(aether_buffer_path(buffer, NULL));
    BAD(aether_buffer_memory(NULL, 0, &memory, &size));
    BAD(aether_buffer_memory(buffer, 0, NULL, &size));
    BAD(aether_buffer_memory(buffer, 0, &memory, NULL));
    BAD(aether_buffer_cursors(NULL, &number, &number));
    BAD(aether_buffer_cursors(buffer, NULL, &number));
    BAD(aether_buffer_cursors(buffer, &number, NULL));
    BAD(aether_buffer_set_write_cursor(NULL, 0));
    BAD(aether_buffer_set_read_cursor(NULL, 0));
    BAD(aether_buffer_sync(NULL));
    // None of the refused calls took the role.
    OK(aether_buffer_producer(buffer, &producer));
    OK(aether_buffer_consumer(buffer, &consumer));
    OK(aether_buffer_observer(buffer, &observer));

    aether_record record = {.id = 1, .payload = NULL, .length = 1, .message_type = 0};
    BAD(aether_producer_offer(NULL, 1, 0, "", 0));
    BAD(aether_producer_offer(producer, 1, 0, NULL, 1));
    BAD(aether_producer_offer(producer, 1, 0, "", SIZE_MAX));
    BAD(aether_producer_put(NULL, 1, 0, "", 0, 0));
    BAD(aether_producer_put(producer, 1, 0, NULL, 1, 0));
    BAD(aether_producer_offer_array(NULL, 1, 0, 1, "", 1, &size));
    BAD(aether_producer_offer_array(producer, 1, 0, 1, NULL, 1, &size));
    BAD(aether_producer_offer_array(producer, 1, 0, 1, "", 1, NULL));
    BAD(aether_producer_offer_batch(NULL, &record, 1, &size));
    BAD(aether_producer_offer_batch(producer, NULL, 1, &size));
    BAD(aether_producer_offer_batch(producer, &record, 1, &size));
    BAD(aether_producer_offer_batch(producer, &record, SIZE_MAX, &size));
    BAD(aether_producer_offer_batch(producer, &record, 1, NULL));
    BAD(aether_producer_claim(NULL, 1, &address));
    BAD(aether_producer_claim(producer, 1, NULL));
    BAD(aether_producer_commit(NULL, 1, 0));
    BAD(aether_producer_commit(producer, 1, 0));
    BAD(aether_producer_abort(NULL));
    aether_direct direct;
    aether_window window;
    BAD(aether_producer_direct(NULL, &direct));
    BAD(aether_producer_direct(producer, NULL));
    BAD(aether_producer_window(NULL, 16, &window));
    BAD(aether_producer_window(producer, 16, NULL));
    BAD(aether_producer_settle(NULL, 0, 0));
    BAD(aether_producer_ring(NULL));
    BAD(aether_consumer_direct(NULL, &direct));
    BAD(aether_consumer_direct(consumer, NULL));
    BAD(aether_consumer_settle(NULL, 0, 0));
    BAD(aether_consumer_ring(NULL));
    BAD(aether_producer_reserve(NULL, 16, 16, &address, &size));
    BAD(aether_producer_reserve(producer, 16, 16, NULL, &size));
    BAD(aether_producer_reserve(producer, 16, 16, &address, NULL));
    BAD(aether_producer_commit_reserved(NULL, 16, &size));
    BAD(aether_producer_commit_reserved(producer, 16, NULL));
    BAD(aether_producer_wait_for_space(NULL, 1, 0));
    BAD(aether_producer_set_wait(NULL, AETHER_WAIT_SPIN));
    BAD(aether_producer_set_wait(producer, -1));
    BAD(aether_producer_set_wait(producer, 4));
    BAD(aether_producer_require_consumer(NULL, true));
    BAD(aether_producer_has_consumer(NULL, &flag));
    BAD(aether_producer_has_consumer(producer, NULL));
    BAD(aether_producer_read_stats(NULL, &producer_stats));
    BAD(aether_producer_read_stats(producer, NULL));
    OK(aether_producer_read_stats(producer, &producer_stats));
    CHECK(producer_stats.offered == 0 && producer_stats.position == 0);

    BAD(aether_consumer_peek(NULL, &message, 1, &size));
    BAD(aether_consumer_peek(consumer, NULL, 1, &size));
    BAD(aether_consumer_peek(consumer, &message, SIZE_MAX, &size));
    BAD(aether_consumer_peek(consumer, &message, 1, NULL));
    BAD(aether_consumer_peek_raw(NULL, 1, &run));
    BAD(aether_consumer_peek_raw(consumer, 1, NULL));
    BAD(aether_consumer_release(NULL, 0));
    BAD(aether_consumer_release(consumer, 1));
    BAD(aether_consumer_wait(NULL, 0));
    BAD(aether_consumer_set_wait(NULL, AETHER_WAIT_SPIN));
    BAD(aether_consumer_set_wait(consumer, 4));
    BAD(aether_consumer_require_producer(NULL, true));
    BAD(aether_consumer_set_merge(NULL, AETHER_MERGE_FAIR));
    BAD(aether_consumer_set_merge(consumer, 2));
    BAD(aether_consumer_set_untrusted(NULL, true));
    BAD(aether_consumer_has_producer(NULL, &flag));
    BAD(aether_consumer_has_producer(consumer, NULL));
    BAD(aether_consumer_read_stats(NULL, &consumer_stats));
    BAD(aether_consumer_read_stats(consumer, NULL));

    BAD(aether_observer_open(NULL, &observer));
    BAD(aether_observer_open(not_utf8, &observer));
    BAD(aether_observer_open(path, NULL));
    BAD(aether_observer_info(NULL, &info));
    BAD(aether_observer_info(observer, NULL));
    BAD(aether_observer_peek(NULL, &message, 1, &size));
    BAD(aether_observer_peek(observer, NULL, 1, &size));
    BAD(aether_observer_peek(observer, &message, 1, NULL));
    BAD(aether_observer_count_messages(NULL, &number));
    BAD(aether_observer_count_messages(observer, NULL));
    BAD(aether_observer_tail(NULL, false, &tail));
    BAD(aether_observer_tail(observer, false, NULL));
    OK(aether_observer_tail(observer, false, &tail));
    BAD(aether_tail_poll(NULL, &message, 1, &size));
    BAD(aether_tail_poll(tail, NULL, 1, &size));
    BAD(aether_tail_poll(tail, &message, 1, NULL));
    BAD(aether_verify(NULL, &report));
    BAD(aether_verify(not_utf8, &report));
    BAD(aether_verify(path, NULL));

    // There is nothing to free in null, as for `free`.
    OK(aether_buffer_free(NULL));
    OK(aether_producer_free(NULL));
    OK(aether_consumer_free(NULL));
    OK(aether_observer_free(NULL));
    OK(aether_tail_free(NULL));
    OK(aether_report_free(NULL));
    OK(aether_tail_free(tail));
    OK(aether_observer_free(observer));
    OK(aether_consumer_free(consumer));
    OK(aether_producer_free(producer));
    OK(aether_buffer_free(buffer));
    return 0;
}
