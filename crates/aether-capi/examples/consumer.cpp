// Prints what comes until the producer has gone: consumer RING

#include <aether.hpp>
#include <iostream>

int main(int argc, char **argv) try {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " RING\n";
        return 2;
    }
    using namespace std::chrono_literals;
    aether::buffer buffer = aether::buffer::connect(argv[1], 10s);
    aether::consumer consumer = buffer.consumer();
    consumer.require_producer(true);
    while (consumer.wait() == aether::waited::ready) {
        for (aether::message message : consumer.peek()) {
            std::cout << message.id() << ' ' << message.type() << ' ' << message.text() << '\n';
        }
    }
    return 0;
} catch (const aether::error &error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return 1;
}
