// Sends a thousand messages: producer RING

#include <aether.hpp>
#include <iostream>
#include <string>

int main(int argc, char **argv) try {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " RING\n";
        return 2;
    }
    aether::buffer buffer = aether::buffer::create(argv[1], aether::options(1 << 20));
    aether::producer producer = buffer.producer();
    for (int id = 1; id <= 1000; id++) {
        producer.put(id, 7, "message " + std::to_string(id));
    }
    return 0;
} catch (const aether::error &error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return 1;
}
