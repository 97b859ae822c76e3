// Checks aether.hpp without exceptions: no_exceptions FOLDER

#define AETHER_NO_EXCEPTIONS
#include <aether.hpp>

#include <cstring>
#include <string>

#include "check.h"

static aether::result<std::size_t> receive(aether::consumer &consumer) {
    aether::result<aether::run> run = consumer.peek();
    if (!run) {
        return run.error();
    }
    std::size_t bytes = 0;
    for (aether::message message : *run) {
        bytes += message.payload().size();
    }
    if (aether::result<void> released = run->release(); !released) {
        return released.error();
    }
    return bytes;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const std::string folder = argv[1];

    aether::result<aether::buffer> none = aether::buffer::open(folder + "/none");
    CHECK(!none && !none.has_value() && none.error().status() == AETHER_STATUS_NOT_FOUND);
    CHECK(std::strstr(none.error().what(), "/none") != nullptr);

    aether::result<aether::buffer> created = aether::buffer::create(folder + "/ring", aether::options(1024));
    CHECK(created);
    aether::buffer buffer = std::move(created).value();
    aether::producer producer = buffer.producer().value();
    aether::consumer consumer = buffer.consumer().value();
    CHECK(buffer.producer().error().status() == AETHER_STATUS_ROLE_TAKEN);

    CHECK(producer.offer(1, 7, "hello").value());
    aether::result<void> put = producer.put(2, 7, std::string(2000, 'x'));
    CHECK(!put && put.error().status() == AETHER_STATUS_TOO_LARGE && put.error().value() == 1008);
    auto claim = producer.claim(8);
    CHECK(claim && *claim);
    claim.value()->array<double>()[0] = 0.5;
    CHECK(claim.value()->commit(3, 8));
    CHECK(!producer.claim(1000).value());
    CHECK(receive(consumer).value() == 5 + 8);
    CHECK(consumer.wait_for(std::chrono::nanoseconds(0)).value() == aether::waited::timed_out);
    CHECK(consumer.stats()->received == 2);
    return 0;
}
