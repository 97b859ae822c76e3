// Writes numbers in place and reads them in place; no byte is copied: claim RING

#include <aether.hpp>
#include <iostream>
#include <numeric>

int main(int argc, char **argv) try {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " RING\n";
        return 2;
    }
    aether::buffer buffer = aether::buffer::create(argv[1], aether::options(1 << 16));
    aether::producer producer = buffer.producer();
    aether::consumer consumer = buffer.consumer();

    if (auto claim = producer.claim(1000 * sizeof(double))) {
        double next = 0;
        for (double &number : claim->array<double>()) {
            number = next;
            next += 0.5;
        }
        claim->commit(1, 8);
    }
    for (aether::message message : consumer.peek()) {
        if (auto numbers = message.array<double>()) {
            std::cout << "sum " << std::accumulate(numbers->begin(), numbers->end(), 0.0) << '\n';
        }
    }
    return 0;
} catch (const aether::error &error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return 1;
}
