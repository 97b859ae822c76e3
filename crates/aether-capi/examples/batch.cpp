// Sends records by the thousand and reads them likewise, one call a batch: batch RING

#include <aether.hpp>
#include <iostream>
#include <vector>

struct quote {
    double bid;
    double ask;
};

int main(int argc, char **argv) try {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " RING\n";
        return 2;
    }
    aether::buffer buffer = aether::buffer::create(argv[1], aether::options(1 << 16));
    aether::producer producer = buffer.producer();
    aether::consumer consumer = buffer.consumer();

    std::vector<quote> quotes;
    for (int i = 0; i < 1000; i++) {
        quotes.push_back({i + 0.0, i + 0.5});
    }
    if (producer.offer_all(0, 7, quotes) < quotes.size()) {
        std::cerr << "the ring is full\n";
        return 1;
    }

    double spread = 0;
    std::size_t count = 0;
    for (aether::message message : consumer.peek(1000)) {
        if (const quote *quote = message.as<::quote>()) {
            spread += quote->ask - quote->bid;
            count++;
        }
    }
    std::cout << count << " quotes, spread " << spread << '\n';
    return 0;
} catch (const aether::error &error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return 1;
}
