// Checks every part of aether.hpp as it is with exceptions: layer FOLDER

#include <aether.hpp>

#include <array>
#include <cstring>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

#include "check.h"

using namespace std::chrono_literals;

static std::string folder;

// Each owner is moved and not copied; nobody assigns over a claim or a run, which would end it in silence.
template <class T>
constexpr bool is_moved_only = std::is_nothrow_move_constructible_v<T> && !std::is_copy_constructible_v<T> &&
                               !std::is_copy_assignable_v<T>;
static_assert(is_moved_only<aether::buffer> && is_moved_only<aether::producer> && is_moved_only<aether::consumer>);
static_assert(is_moved_only<aether::observer> && is_moved_only<aether::tail> && is_moved_only<aether::report>);
static_assert(is_moved_only<aether::claim> && !std::is_move_assignable_v<aether::claim>);
static_assert(is_moved_only<aether::run> && !std::is_move_assignable_v<aether::run>);
static_assert(std::is_nothrow_copy_constructible_v<aether::error>);

struct quote {
    double bid;
    double ask;
};

template <class Call>
static aether::error error_of(Call call) {
    try {
        call();
    } catch (const aether::error &error) {
        return error;
    }
    CHECK(!"an error was thrown");
    std::abort();
}

static std::vector<std::int64_t> ids(aether::run run) {
    std::vector<std::int64_t> ids;
    for (aether::message message : run) {
        ids.push_back(message.id());
    }
    return ids;
}

using list = std::vector<std::int64_t>;

static void errors_are_thrown_with_their_details() {
    aether::error error = error_of([] { aether::buffer::open(folder + "/none"); });
    CHECK(error.status() == AETHER_STATUS_NOT_FOUND);
    CHECK(std::strstr(error.what(), "/none") != nullptr);
    CHECK(error.os_error() == 0 && error.lane() == 0 && error.position() == 0 && error.value() == 0);
    // It keeps its words, whatever fails after it.
    error_of([] { aether::buffer::create(folder + "/bad", aether::options(1000)); });
    CHECK(std::strstr(error.what(), "/none") != nullptr);
    const std::exception &general = error;
    CHECK(general.what() == std::string(error.what()));
    CHECK(error_of([] { aether::buffer::connect(folder + "/none", 1ms); }).status() == AETHER_STATUS_TIMED_OUT);
    CHECK(error_of([] { aether::observer::open(folder + "/none"); }).status() == AETHER_STATUS_NOT_FOUND);
    CHECK(error_of([] { aether::verify(folder + "/none"); }).status() == AETHER_STATUS_NOT_FOUND);
}

static void payloads_of_every_kind_are_sent_and_read() {
    aether::buffer buffer = aether::buffer::create_new(folder + "/kinds", aether::options(4096));
    CHECK(buffer.capacity() == 4096 && buffer.path() == folder + "/kinds");
    buffer.sync();
    aether::producer producer = buffer.producer();
    aether::consumer consumer = buffer.consumer();
    const char *pointer = "pointer";
    const quote value{1.25, 1.5};
    CHECK(producer.offer(1, 7, "literal"));
    CHECK(producer.offer(2, 7, pointer));
    CHECK(producer.offer(3, 7, std::string("string")));
    CHECK(producer.offer(4, 7, std::string_view("a view")));
    CHECK(producer.offer(5, 7, aether::bytes::of(value)));
    CHECK(producer.offer(6, 7, std::array<int, 3>{1, 2, 3}));
    CHECK(producer.offer(7, 7, std::vector<quote>{value, value}));
    CHECK(producer.offer(8, -7, aether::bytes()));

    aether::run run = consumer.peek();
    CHECK(run.size() == 8 && !run.empty());
    CHECK(run[0].text() == "literal" && run[1].text() == "pointer" && run[2].text() == "string");
    CHECK(run[3].text() == "a view" && run[3].id() == 4 && run[3].type() == 7 && run[3].lane() == 0);
    CHECK(run[1].position() == 24 && run[1].payload().size() == 7);
    CHECK(run[4].as<quote>()->ask == 1.5 && run[4].as<double>() == nullptr);
    CHECK(run[5].array<int>()->size() == 3 && (*run[5].array<int>())[2] == 3 && !run[5].array<double>());
    CHECK(run[6].array<quote>()->size() == 2 && run[6].array<quote>()->data()[1].bid == 1.25);
    CHECK(run[7].payload().empty() && run[7].type() == -7 && run[7].array<quote>()->empty());
#if __cplusplus >= 202002L
    std::span<const std::byte> span = run[0].payload();
    CHECK(span.size() == 7 && span[0] == std::byte{'l'});
#endif
    run.release();
    CHECK(run.empty() && consumer.stats().received == 8);
}

static void what_a_loop_came_to_is_released() {
    aether::buffer buffer = aether::buffer::create(folder + "/loops", aether::options(4096));
    aether::producer producer = buffer.producer();
    aether::consumer consumer = buffer.consumer();
    std::array<std::uint64_t, 9> values{};
    CHECK(producer.offer_all(0, 0, values) == 9);
    for (aether::message message : consumer.peek()) {
        if (message.id() == 1) {
            break;
        }
    }
    CHECK(consumer.stats().received == 2);
    try {
        for (aether::message message : consumer.peek()) {
            CHECK(message.id() == 2);
            throw std::runtime_error("not this one");
        }
    } catch (const std::runtime_error &) {
    }
    CHECK(consumer.stats().received == 2);
    {
        aether::run run = consumer.peek();
        CHECK(ids(std::move(run)) == (list{2, 3, 4, 5, 6, 7, 8}) && run.empty());
    }
    CHECK(consumer.stats().received == 9);

    producer.offer_all(9, 0, values);
    {
        aether::run run = consumer.peek(4);
        auto first = run.begin();
        CHECK((*first++).id() == 9 && (*first).id() == 10);
        run.keep();
    }
    CHECK(consumer.stats().received == 9);
    // Not come to: not released.
    CHECK(consumer.peek(4).size() == 4 && consumer.stats().received == 9);
    CHECK(ids(consumer.peek(2)) == (list{9, 10}));
    // A run that was moved is released once.
    {
        aether::run run = consumer.peek(1);
        CHECK(run[0].id() == 11);
        aether::run moved = std::move(run);
        CHECK(moved.size() == 1 && run.size() == 0);
    }
    CHECK(consumer.stats().received == 12);
    // A loop within the unwinding of something else still releases.
    struct loops {
        aether::consumer &consumer;
        ~loops() { ids(consumer.peek(1)); }
    };
    try {
        loops unwound{consumer};
        throw std::runtime_error("elsewhere");
    } catch (const std::runtime_error &) {
    }
    CHECK(consumer.stats().received == 13);
}

static void messages_are_claimed_or_aborted() {
    aether::buffer buffer = aether::buffer::create(folder + "/claims", aether::options(1024));
    aether::producer producer = buffer.producer();
    aether::consumer consumer = buffer.consumer();
    {
        std::optional<aether::claim> aborted = producer.claim(100);
        CHECK(aborted && aborted->payload().size() == 100);
    }
    std::optional<aether::claim> claim = producer.claim(24);
    CHECK(claim && claim->array<double>().size() == 3);
    aether::claim moved = std::move(*claim);
    claim.reset();
    moved.array<double>()[2] = 2.5;
    moved.commit(1, 2);
    CHECK(error_of([&] { moved.commit(2, 2); }).status() == AETHER_STATUS_ARGUMENT);
    CHECK(producer.stats().offered == 1);
    CHECK(!producer.claim(1000));
    CHECK(error_of([&] { producer.claim(1009); }).value() == 1008);
    aether::run run = consumer.peek();
    CHECK(run.size() == 1 && (*run[0].array<double>())[2] == 2.5);
}

static void a_full_ring_is_no_error() {
    aether::buffer buffer = aether::buffer::create(folder + "/full", aether::options(1024));
    aether::producer producer = buffer.producer();
    CHECK(producer.offer(1, 0, std::string(1000, 'x')));
    CHECK(!producer.offer(2, 0, "y"));
    CHECK(!producer.put_for(1ms, 2, 0, "y"));
    CHECK(!producer.put_for(-1ms, 2, 0, "y"));
    CHECK(!producer.wait_for_space(1, 1ms));
    CHECK(!producer.has_consumer());
    producer.require_consumer(true);
    CHECK(error_of([&] { producer.put(2, 0, "y"); }).status() == AETHER_STATUS_NO_CONSUMER);
    producer.require_consumer(false);
    producer.set_wait(aether::wait::backoff);

    std::thread reader([&] {
        aether::consumer consumer = buffer.consumer();
        consumer.set_wait(aether::wait::yield);
        consumer.require_producer(true);
        std::size_t count = 0;
        while (consumer.wait() == aether::waited::ready) {
            count += ids(consumer.peek()).size();
        }
        CHECK(count == 3 && !consumer.has_producer());
        CHECK(consumer.wait_for(1ms) == aether::waited::closed);
    });
    producer.put(2, 0, std::string(1000, 'y'));
    producer.wait_for_space(1000);
    CHECK(producer.put_for(60s, 3, 0, "z"));
    { aether::producer gone = std::move(producer); }
    reader.join();
    CHECK(buffer.consumer().wait_for(1ms) == aether::waited::timed_out);
}

static void batches_are_taken_as_far_as_there_is_space() {
    aether::buffer buffer = aether::buffer::create(folder + "/batches", aether::options(1024));
    aether::producer producer = buffer.producer();
    CHECK(producer.offer_all(0, 0, std::vector<std::uint64_t>(50)) == 42);
    CHECK(producer.offer_all(0, 0, std::vector<std::uint64_t>(50)) == 0);
    CHECK(ids(buffer.consumer().peek(42)).size() == 42);
    std::array<aether_record, 2> records{};
    records[0].id = 5;
    records[1] = {6, "six", 3, 7};
    CHECK(producer.offer_batch({records.data(), records.size()}) == 2);
    list found;
    aether::consumer consumer = buffer.consumer();
    while (consumer.wait_for(0ns) == aether::waited::ready) {
        for (std::int64_t id : ids(consumer.peek())) {
            found.push_back(id);
        }
    }
    CHECK(found == (list{5, 6}));
}

static void many_share_a_ring() {
    aether::options options(4096);
    options.producers = 2;
    options.consumers = 3;
    aether::buffer buffer = aether::buffer::create(folder + "/many", options);
    aether::producer east = buffer.producer(), west = buffer.producer();
    CHECK(error_of([&] { buffer.producer(); }).status() == AETHER_STATUS_ROLE_TAKEN);
    aether::consumer consumer = buffer.consumer();
    buffer.consumer("audit");
    CHECK(east.offer(1, 0, "") && east.offer(4, 0, "") && west.offer(2, 0, "") && west.offer(3, 0, ""));
    { aether::producer gone = std::move(east), too = std::move(west); }
    aether::consumer audit = buffer.consumer("audit");
    audit.set_merge(aether::merge::by_id);
    audit.set_untrusted(true);
    list merged;
    while (audit.wait_for(0ns) == aether::waited::ready) {
        for (std::int64_t id : ids(audit.peek())) {
            merged.push_back(id);
        }
    }
    CHECK(merged == (list{1, 2, 3, 4}));
    CHECK(error_of([&] { buffer.forget("audit"); }).status() == AETHER_STATUS_ROLE_TAKEN);
    { aether::consumer gone = std::move(audit); }
    buffer.forget("audit");
    CHECK(ids(consumer.peek()) == (list{1, 4}));
}

static void observers_look_on() {
    aether::guard_bus_errors();
    aether::buffer buffer = aether::buffer::create(folder + "/observed", aether::options(4096));
    aether::producer producer = buffer.producer();
    aether::observer observer = buffer.observer();
    aether::tail tail = observer.tail();
    CHECK(producer.offer(1, 7, "one") && producer.offer(2, 7, "two"));
    aether::messages waiting = observer.peek();
    CHECK(waiting.size() == 2 && !waiting.empty() && waiting[1].text() == "two");
    CHECK(std::distance(waiting.begin(), waiting.end()) == 2 && (*waiting.begin()).text() == "one");
    CHECK(observer.count_messages() == 2 && observer.info()->available_bytes == 48);
    CHECK(tail.poll(1).size() == 1 && tail.poll()[0].id() == 2 && tail.poll().empty());
    CHECK(aether::observer::open(folder + "/observed").tail(true).poll().size() == 2);
    aether::report report = aether::verify(folder + "/observed");
    CHECK(report->messages == 2 && report->problem_count == 0);
    CHECK(buffer.get() != nullptr && producer.get() != nullptr && observer.get() != nullptr && tail.get() != nullptr);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    folder = argv[1];
    errors_are_thrown_with_their_details();
    payloads_of_every_kind_are_sent_and_read();
    what_a_loop_came_to_is_released();
    messages_are_claimed_or_aborted();
    a_full_ring_is_no_error();
    batches_are_taken_as_far_as_there_is_space();
    many_share_a_ring();
    observers_look_on();
    return 0;
}
