// Two producers, and three consumers that each see everything, one of them even while it is away: many_consumers RING

#include <aether.hpp>
#include <iostream>

static void print_all(const char *who, aether::consumer consumer) {
    // In the order of the shared sequence, whatever lane a message came through.
    consumer.set_merge(aether::merge::by_id);
    while (consumer.wait_for(std::chrono::nanoseconds(0)) == aether::waited::ready) {
        for (aether::message message : consumer.peek()) {
            std::cout << who << ": " << message.id() << ' ' << message.text() << '\n';
        }
    }
}

int main(int argc, char **argv) try {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " RING\n";
        return 2;
    }
    aether::options options(1 << 16);
    options.producers = 2;
    options.consumers = 8;
    options.sequence = 1;
    aether::buffer buffer = aether::buffer::create(argv[1], options);

    aether::producer east = buffer.producer();
    aether::producer west = buffer.producer();
    aether::consumer one = buffer.consumer();
    aether::consumer two = buffer.consumer();
    // A named consumer's place is kept while it is away.
    buffer.consumer("audit");
    east.put(0, 7, "from the east");
    west.put(0, 7, "from the west");

    print_all("one", std::move(one));
    print_all("two", std::move(two));
    print_all("audit", buffer.consumer("audit"));
    buffer.forget("audit");
    return 0;
} catch (const aether::error &error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return 1;
}
