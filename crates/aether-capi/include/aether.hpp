/// Aether-IPC for C++17: the interface of aether.h with owners, views and iterators. The guide is docs/c.md.
///
/// Every owner can be moved and not be copied. A failure is thrown as an `aether::error`; with AETHER_NO_EXCEPTIONS
/// defined, everything that can fail returns an `aether::result` instead, and nothing here throws.
#ifndef AETHER_HPP
#define AETHER_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "aether.h"

namespace aether {

/// A failure: what `aether_last_error` said about it.
class error
#ifndef AETHER_NO_EXCEPTIONS
    : public std::exception
#endif
{
public:
    explicit error(const aether_error &last)
        : details_(last), message_(std::make_shared<const std::string>(last.message)) {}

    aether_status status() const noexcept { return details_.status; }
    int os_error() const noexcept { return details_.os_error; }
    std::uint32_t lane() const noexcept { return details_.lane; }
    std::uint64_t position() const noexcept { return details_.position; }
    std::uint64_t value() const noexcept { return details_.value; }
    /// In words.
    const char *what() const noexcept { return message_->c_str(); }

private:
    aether_error details_;
    // Shared, so that copying a thrown error does not throw.
    std::shared_ptr<const std::string> message_;
};

#ifdef AETHER_NO_EXCEPTIONS

/// A value, or the error for which there is none.
template <class T>
class [[nodiscard]] result {
public:
    result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
    result(aether::error error) : content_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return content_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    /// The value; ends the program if there is none.
    T &value() & { return *found(std::get_if<0>(&content_)); }
    T &&value() && { return std::move(*found(std::get_if<0>(&content_))); }
    T &operator*() & { return value(); }
    T *operator->() { return &value(); }
    /// The error; ends the program if there is none.
    const aether::error &error() const { return *found(std::get_if<1>(&content_)); }

private:
    template <class U>
    static U *found(U *pointer) {
        if (pointer == nullptr) {
            std::terminate();
        }
        return pointer;
    }

    std::variant<T, aether::error> content_;
};

template <>
class [[nodiscard]] result<void> {
public:
    result() = default;
    result(aether::error error) : error_(std::move(error)) {}

    bool has_value() const noexcept { return !error_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }
    /// The error; ends the program if there is none.
    const aether::error &error() const {
        if (!error_) {
            std::terminate();
        }
        return *error_;
    }

private:
    std::optional<aether::error> error_;
};

/// What a function returns that can fail.
template <class T>
using outcome = result<T>;

#define AETHER_FAIL return ::aether::error(*::aether_last_error())

#else

/// What a function returns that can fail: what it makes, as failures are thrown.
template <class T>
using outcome = T;

#define AETHER_FAIL throw ::aether::error(*::aether_last_error())

#endif

namespace detail {

inline outcome<void> done(aether_status status) {
    if (status != AETHER_STATUS_OK) {
        AETHER_FAIL;
    }
    return outcome<void>();
}

/// Whether it was done, where one status is no failure.
inline outcome<bool> done_unless(aether_status expected, aether_status status) {
    if (status != AETHER_STATUS_OK && status != expected) {
        AETHER_FAIL;
    }
    return status == AETHER_STATUS_OK;
}

template <class Make>
auto make(aether_status status, Make make) -> outcome<decltype(make())> {
    if (status != AETHER_STATUS_OK) {
        AETHER_FAIL;
    }
    return make();
}

template <class Handle, aether_status (*Free)(Handle *)>
struct deleter {
    void operator()(Handle *handle) const noexcept { Free(handle); }
};

template <class Handle, aether_status (*Free)(Handle *)>
using owner = std::unique_ptr<Handle, deleter<Handle, Free>>;

/// Less than none is none: it would be for ever otherwise.
inline std::uint64_t count(std::chrono::nanoseconds timeout) noexcept {
    return timeout.count() < 0 ? 0 : static_cast<std::uint64_t>(timeout.count());
}

template <class T>
constexpr bool is_plain = std::is_trivially_copyable_v<T> && alignof(T) <= AETHER_ALIGNMENT;

}  // namespace detail

/// Elements one after the other, owned by somebody else; `std::span` for C++17. A `std::span` can be made of it.
template <class T>
class view {
public:
    constexpr view() noexcept = default;
    constexpr view(T *data, std::size_t size) noexcept : data_(data), size_(size) {}

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/// A payload to be sent: text, or whatever has `std::data` and `std::size` and elements that are plain bytes.
class bytes : public view<const std::byte> {
public:
    constexpr bytes() noexcept = default;
    bytes(const void *data, std::size_t size) noexcept : view(static_cast<const std::byte *>(data), size) {}
    /// Up to the terminating zero, as for any other `const char *`.
    bytes(const char *text) noexcept : bytes(std::string_view(text)) {}
    template <std::size_t N>
    bytes(const char (&text)[N]) noexcept : bytes(std::string_view(text)) {}
    template <class C, class E = std::remove_pointer_t<decltype(std::data(std::declval<const C &>()))>,
              class = std::enable_if_t<std::is_trivially_copyable_v<E>>>
    bytes(const C &elements) noexcept : bytes(std::data(elements), std::size(elements) * sizeof(E)) {}

    /// The bytes of one value.
    template <class T, class = std::enable_if_t<std::is_trivially_copyable_v<T>>>
    static bytes of(const T &value) noexcept {
        return bytes(&value, sizeof value);
    }
    /// The bytes would be gone before they are sent.
    template <class T, class = std::enable_if_t<!std::is_lvalue_reference_v<T>>>
    static bytes of(const T &&value) = delete;
};

/// A message, borrowed: it lives as long as the run that it came with.
class message {
public:
    explicit message(const aether_message &raw) noexcept : raw_(&raw) {}

    std::int64_t id() const noexcept { return raw_->id; }
    std::int32_t type() const noexcept { return raw_->message_type; }
    std::uint32_t lane() const noexcept { return raw_->lane; }
    /// Where it stands in its lane, in bytes since the ring was made.
    std::uint64_t position() const noexcept { return raw_->position; }
    /// The bytes, in place and aligned to 8.
    view<const std::byte> payload() const noexcept {
        return {static_cast<const std::byte *>(raw_->payload), raw_->length};
    }
    std::string_view text() const noexcept { return {static_cast<const char *>(raw_->payload), raw_->length}; }
    /// The payload as a value in place; null if it has another size.
    template <class T>
    const T *as() const noexcept {
        static_assert(detail::is_plain<T>, "a value whose bytes are all there is, aligned to no more than 8");
        return raw_->length == sizeof(T) ? static_cast<const T *>(raw_->payload) : nullptr;
    }
    /// The payload as values in place; nothing if it is no whole number of them.
    template <class T>
    std::optional<view<const T>> array() const noexcept {
        static_assert(detail::is_plain<T>, "values whose bytes are all there is, aligned to no more than 8");
        if (raw_->length % sizeof(T) != 0) {
            return std::nullopt;
        }
        return view<const T>(static_cast<const T *>(raw_->payload), raw_->length / sizeof(T));
    }

private:
    const aether_message *raw_;
};

/// Copies of messages that an observer was shown. They live until it is asked for the next ones.
class messages {
public:
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = message;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = message;

        explicit iterator(const aether_message *at) noexcept : at_(at) {}
        message operator*() const noexcept { return message(*at_); }
        iterator &operator++() noexcept {
            ++at_;
            return *this;
        }
        iterator operator++(int) noexcept { return iterator(at_++); }
        bool operator==(const iterator &other) const noexcept { return at_ == other.at_; }
        bool operator!=(const iterator &other) const noexcept { return at_ != other.at_; }

    private:
        const aether_message *at_;
    };

    messages(const aether_message *first, std::size_t size) noexcept : first_(first), size_(size) {}

    iterator begin() const noexcept { return iterator(first_); }
    iterator end() const noexcept { return iterator(first_ + size_); }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    message operator[](std::size_t index) const noexcept { return message(first_[index]); }

private:
    const aether_message *first_;
    std::size_t size_;
};

/// Messages borrowed in place from a consumer, which must not be asked for more meanwhile.
///
/// When it goes, those that a loop has come to are released: all of them after a loop that ran to its end, and those up
/// to the one at hand after a `break`. After `keep`, or if it goes because of an exception, none are: they come again.
class run {
public:
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = message;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = message;

        iterator(run *owner, std::size_t at) noexcept : owner_(owner), at_(at) {}
        message operator*() const noexcept { return (*owner_)[at_]; }
        iterator &operator++() noexcept {
            ++at_;
            return *this;
        }
        iterator operator++(int) noexcept { return iterator(owner_, at_++); }
        bool operator==(const iterator &other) const noexcept { return at_ == other.at_; }
        bool operator!=(const iterator &other) const noexcept { return at_ != other.at_; }

    private:
        run *owner_;
        std::size_t at_;
    };

    run(aether_consumer *consumer, const aether_message *first, std::size_t size) noexcept
        : consumer_(consumer), first_(first), size_(size) {}
    run(run &&other) noexcept
        : consumer_(std::exchange(other.consumer_, nullptr)),
          first_(other.first_),
          size_(std::exchange(other.size_, 0)),
          seen_(std::exchange(other.seen_, 0)),
          unwinding_(other.unwinding_) {}
    run &operator=(run &&) = delete;
    ~run() {
        if (consumer_ != nullptr && seen_ > 0 && std::uncaught_exceptions() == unwinding_) {
            // What can fail here, a fork or a file cut short, fails again with the next call on the consumer.
            static_cast<void>(aether_consumer_release(consumer_, seen_) == AETHER_STATUS_OK);
        }
    }

    iterator begin() noexcept { return iterator(this, 0); }
    iterator end() noexcept { return iterator(this, size_); }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    /// A message; it counts as come to, with all before it.
    message operator[](std::size_t index) noexcept {
        if (index >= seen_) {
            seen_ = index + 1;
        }
        return message(first_[index]);
    }

    /// Releases none: they come again.
    void keep() noexcept { consumer_ = nullptr; }
    /// Releases now, and says if that fails. The messages are gone.
    outcome<void> release() {
        size_ = 0;
        aether_consumer *consumer = std::exchange(consumer_, nullptr);
        return detail::done(consumer == nullptr ? AETHER_STATUS_OK : aether_consumer_release(consumer, seen_));
    }

private:
    aether_consumer *consumer_;
    const aether_message *first_;
    std::size_t size_;
    std::size_t seen_ = 0;
    int unwinding_ = std::uncaught_exceptions();
};

/// A message that is being written in place. It is aborted when it goes without `commit`.
class claim {
public:
    claim(aether_producer *producer, void *payload, std::size_t size) noexcept
        : producer_(producer), payload_(payload), size_(size) {}
    claim(claim &&other) noexcept
        : producer_(std::exchange(other.producer_, nullptr)), payload_(other.payload_), size_(other.size_) {}
    claim &operator=(claim &&) = delete;
    ~claim() {
        if (producer_ != nullptr) {
            static_cast<void>(aether_producer_abort(producer_) == AETHER_STATUS_OK);
        }
    }

    /// The bytes, aligned to 8, with whatever stood there before.
    view<std::byte> payload() const noexcept { return {static_cast<std::byte *>(payload_), size_}; }
    /// The payload as values; those that fit.
    template <class T>
    view<T> array() const noexcept {
        static_assert(detail::is_plain<T>, "values whose bytes are all there is, aligned to no more than 8");
        return {static_cast<T *>(payload_), size_ / sizeof(T)};
    }

    /// Commits the message, and ends the claim.
    outcome<void> commit(std::int64_t id, std::int32_t type) {
        return detail::done(aether_producer_commit(std::exchange(producer_, nullptr), id, type));
    }

private:
    aether_producer *producer_;
    void *payload_;
    std::size_t size_;
};

enum class wait : std::int32_t {
    spin = AETHER_WAIT_SPIN,
    yield = AETHER_WAIT_YIELD,
    backoff = AETHER_WAIT_BACKOFF,
    park = AETHER_WAIT_PARK
};

enum class merge : std::int32_t { fair = AETHER_MERGE_FAIR, by_id = AETHER_MERGE_BY_ID };

/// How a wait for messages ended.
enum class waited { ready, timed_out, closed };

/// Writes messages into a ring. One thread at a time.
class producer {
public:
    /// Takes over a handle.
    explicit producer(aether_producer *handle) noexcept : handle_(handle) {}

    /// Puts one message into the ring. Returns false if there is no space now.
    outcome<bool> offer(std::int64_t id, std::int32_t type, bytes payload) {
        return detail::done_unless(AETHER_STATUS_FULL,
                                   aether_producer_offer(get(), id, type, payload.data(), payload.size()));
    }
    /// Puts one message into the ring, waiting for space.
    outcome<void> put(std::int64_t id, std::int32_t type, bytes payload) {
        return detail::done(
            aether_producer_put(get(), id, type, payload.data(), payload.size(), AETHER_FOREVER));
    }
    /// As `put`. Returns false if there was no space in time.
    outcome<bool> put_for(std::chrono::nanoseconds timeout, std::int64_t id, std::int32_t type, bytes payload) {
        return detail::done_unless(
            AETHER_STATUS_TIMED_OUT,
            aether_producer_put(get(), id, type, payload.data(), payload.size(), detail::count(timeout)));
    }
    /// Puts as many elements into the ring as there is space for, each a message of its own, with ids counting up, all
    /// published at once. Returns how many.
    template <class C>
    outcome<std::size_t> offer_all(std::int64_t first_id, std::int32_t type, const C &elements) {
        using element = std::remove_pointer_t<decltype(std::data(elements))>;
        static_assert(std::is_trivially_copyable_v<element>, "elements whose bytes are all there is");
        std::size_t taken = 0;
        aether_status status = aether_producer_offer_array(
            get(), first_id, type, sizeof(element), std::data(elements), std::size(elements) * sizeof(element), &taken);
        return detail::make(status, [&] { return taken; });
    }
    /// Puts as many messages of any size into the ring as there is space for, all published at once. Returns how many.
    outcome<std::size_t> offer_batch(view<const aether_record> records) {
        std::size_t taken = 0;
        aether_status status = aether_producer_offer_batch(get(), records.data(), records.size(), &taken);
        return detail::make(status, [&] { return taken; });
    }
    /// Reserves a message of `size` bytes, to be written in place. Nothing if there is no space now.
    outcome<std::optional<aether::claim>> claim(std::size_t size) {
        void *payload = nullptr;
        aether_status status = aether_producer_claim(get(), size, &payload);
        using optional = std::optional<aether::claim>;
        return detail::make(status == AETHER_STATUS_FULL ? AETHER_STATUS_OK : status, [&] {
            return status == AETHER_STATUS_FULL ? optional() : optional(aether::claim(get(), payload, size));
        });
    }
    /// Waits until a message of `size` bytes has space.
    outcome<void> wait_for_space(std::size_t size) {
        return detail::done(aether_producer_wait_for_space(get(), size, AETHER_FOREVER));
    }
    /// As `wait_for_space`. Returns false if there was no space in time.
    outcome<bool> wait_for_space(std::size_t size, std::chrono::nanoseconds timeout) {
        return detail::done_unless(AETHER_STATUS_TIMED_OUT,
                                   aether_producer_wait_for_space(get(), size, detail::count(timeout)));
    }

    outcome<void> set_wait(wait how) {
        return detail::done(aether_producer_set_wait(get(), static_cast<std::int32_t>(how)));
    }
    outcome<void> require_consumer(bool required) {
        return detail::done(aether_producer_require_consumer(get(), required));
    }
    outcome<bool> has_consumer() const {
        bool found = false;
        aether_status status = aether_producer_has_consumer(get(), &found);
        return detail::make(status, [&] { return found; });
    }
    outcome<aether_producer_stats> stats() const {
        aether_producer_stats stats{};
        aether_status status = aether_producer_read_stats(get(), &stats);
        return detail::make(status, [&] { return stats; });
    }

    /// The handle, for the functions of aether.h.
    aether_producer *get() const noexcept { return handle_.get(); }

private:
    detail::owner<aether_producer, aether_producer_free> handle_;
};

/// Reads messages from a ring and releases them. One thread at a time.
class consumer {
public:
    /// Takes over a handle.
    explicit consumer(aether_consumer *handle) noexcept : handle_(handle) {}

    /// Borrows up to `limit` messages in place: see `run`.
    outcome<run> peek(std::size_t limit = 256) {
        if (room_.size() < limit) {
            room_.resize(limit);
        }
        std::size_t count = 0;
        aether_status status = aether_consumer_peek(get(), room_.data(), limit, &count);
        return detail::make(status, [&] { return run(get(), room_.data(), count); });
    }
    /// Waits until a message is there; or, after `require_producer`, until none can come any more.
    outcome<waited> wait() { return wait_at_most(AETHER_FOREVER); }
    /// As `wait`, at most for `timeout`.
    outcome<waited> wait_for(std::chrono::nanoseconds timeout) { return wait_at_most(detail::count(timeout)); }

    outcome<void> set_wait(aether::wait how) {
        return detail::done(aether_consumer_set_wait(get(), static_cast<std::int32_t>(how)));
    }
    outcome<void> require_producer(bool required) {
        return detail::done(aether_consumer_require_producer(get(), required));
    }
    outcome<void> set_merge(merge order) {
        return detail::done(aether_consumer_set_merge(get(), static_cast<std::int32_t>(order)));
    }
    outcome<void> set_untrusted(bool untrusted) {
        return detail::done(aether_consumer_set_untrusted(get(), untrusted));
    }
    outcome<bool> has_producer() const {
        bool found = false;
        aether_status status = aether_consumer_has_producer(get(), &found);
        return detail::make(status, [&] { return found; });
    }
    outcome<aether_consumer_stats> stats() const {
        aether_consumer_stats stats{};
        aether_status status = aether_consumer_read_stats(get(), &stats);
        return detail::make(status, [&] { return stats; });
    }

    /// The handle, for the functions of aether.h.
    aether_consumer *get() const noexcept { return handle_.get(); }

private:
    outcome<waited> wait_at_most(std::uint64_t timeout) {
        switch (aether_consumer_wait(get(), timeout)) {
            case AETHER_STATUS_OK: return waited::ready;
            case AETHER_STATUS_TIMED_OUT: return waited::timed_out;
            case AETHER_STATUS_CLOSED: return waited::closed;
            default: AETHER_FAIL;
        }
    }

    detail::owner<aether_consumer, aether_consumer_free> handle_;
    std::vector<aether_message> room_;
};

/// Follows what passes through a ring without ever holding it back. One thread at a time.
class tail {
public:
    /// Takes over a handle.
    explicit tail(aether_tail *handle) noexcept : handle_(handle) {}

    /// Copies of up to `limit` messages that were committed since the last call.
    outcome<messages> poll(std::size_t limit = 256) {
        room_.resize(limit);
        std::size_t count = 0;
        aether_status status = aether_tail_poll(get(), room_.data(), limit, &count);
        return detail::make(status, [&] { return messages(room_.data(), count); });
    }

    /// The handle, for the functions of aether.h.
    aether_tail *get() const noexcept { return handle_.get(); }

private:
    detail::owner<aether_tail, aether_tail_free> handle_;
    std::vector<aether_message> room_;
};

/// Looks at a ring: takes no role, moves no cursor, holds nobody back. One thread at a time.
class observer {
public:
    /// Takes over a handle.
    explicit observer(aether_observer *handle) noexcept : handle_(handle) {}

    /// Opens a ring for looking on; needs permission to read the file, no more.
    static outcome<observer> open(const std::string &path) {
        aether_observer *handle = nullptr;
        aether_status status = aether_observer_open(path.c_str(), &handle);
        return detail::make(status, [&] { return observer(handle); });
    }

    /// What the ring is and how it stands. It lives until this is called again.
    outcome<const aether_info *> info() {
        const aether_info *info = nullptr;
        aether_status status = aether_observer_info(get(), &info);
        return detail::make(status, [&] { return info; });
    }
    /// Copies of up to `limit` messages that wait for the slowest consumer.
    outcome<messages> peek(std::size_t limit = 256) {
        room_.resize(limit);
        std::size_t count = 0;
        aether_status status = aether_observer_peek(get(), room_.data(), limit, &count);
        return detail::make(status, [&] { return messages(room_.data(), count); });
    }
    outcome<std::uint64_t> count_messages() const {
        std::uint64_t count = 0;
        aether_status status = aether_observer_count_messages(get(), &count);
        return detail::make(status, [&] { return count; });
    }
    /// Follows what is committed from now on; with `from_oldest`, what is still whole in the ring too.
    outcome<aether::tail> tail(bool from_oldest = false) const {
        aether_tail *handle = nullptr;
        aether_status status = aether_observer_tail(get(), from_oldest, &handle);
        return detail::make(status, [&] { return aether::tail(handle); });
    }

    /// The handle, for the functions of aether.h.
    aether_observer *get() const noexcept { return handle_.get(); }

private:
    detail::owner<aether_observer, aether_observer_free> handle_;
    std::vector<aether_message> room_;
};

/// How a ring is made or opened: see `aether_options`.
struct options : aether_options {
    options() noexcept : aether_options{} { size = sizeof(aether_options); }
    explicit options(std::uint64_t bytes) noexcept : options() { capacity = bytes; }
};

/// A ring of messages in a file that processes map and share. Threads may share it.
class buffer {
public:
    /// Takes over a handle.
    explicit buffer(aether_buffer *handle) noexcept : handle_(handle) {}

    /// Creates the ring, or opens the one that is there if it has the shape asked for.
    static outcome<buffer> create(const std::string &path, const options &options) {
        aether_buffer *handle = nullptr;
        aether_status status = aether_buffer_create(path.c_str(), &options, &handle);
        return detail::make(status, [&] { return buffer(handle); });
    }
    /// Creates the ring; an error if there is a file already.
    static outcome<buffer> create_new(const std::string &path, const options &options) {
        aether_buffer *handle = nullptr;
        aether_status status = aether_buffer_create_new(path.c_str(), &options, &handle);
        return detail::make(status, [&] { return buffer(handle); });
    }
    /// Opens an existing ring.
    static outcome<buffer> open(const std::string &path, const options &options = aether::options()) {
        aether_buffer *handle = nullptr;
        aether_status status = aether_buffer_open(path.c_str(), &options, &handle);
        return detail::make(status, [&] { return buffer(handle); });
    }
    /// Opens a ring, waiting until the other side has made it.
    static outcome<buffer> connect(const std::string &path, std::chrono::nanoseconds timeout,
                                   const options &options = aether::options()) {
        aether_buffer *handle = nullptr;
        aether_status status = aether_buffer_connect(path.c_str(), &options, detail::count(timeout), &handle);
        return detail::make(status, [&] { return buffer(handle); });
    }

    outcome<aether::producer> producer() const {
        aether_producer *handle = nullptr;
        aether_status status = aether_buffer_producer(get(), &handle);
        return detail::make(status, [&] { return aether::producer(handle); });
    }
    outcome<aether::consumer> consumer() const {
        aether_consumer *handle = nullptr;
        aether_status status = aether_buffer_consumer(get(), &handle);
        return detail::make(status, [&] { return aether::consumer(handle); });
    }
    /// The durable consumer of that name.
    outcome<aether::consumer> consumer(const std::string &name) const {
        aether_consumer *handle = nullptr;
        aether_status status = aether_buffer_consumer_named(get(), name.c_str(), &handle);
        return detail::make(status, [&] { return aether::consumer(handle); });
    }
    /// Gives up the place of the durable consumer of that name.
    outcome<void> forget(const std::string &name) const {
        return detail::done(aether_buffer_forget(get(), name.c_str()));
    }
    outcome<aether::observer> observer() const {
        aether_observer *handle = nullptr;
        aether_status status = aether_buffer_observer(get(), &handle);
        return detail::make(status, [&] { return aether::observer(handle); });
    }
    /// Size of the data section in bytes, of each lane.
    outcome<std::uint64_t> capacity() const {
        std::uint64_t capacity = 0;
        aether_status status = aether_buffer_capacity(get(), &capacity);
        return detail::make(status, [&] { return capacity; });
    }
    /// The path by which it was opened.
    outcome<std::string> path() const {
        const char *path = nullptr;
        aether_status status = aether_buffer_path(get(), &path);
        return detail::make(status, [&] { return std::string(path); });
    }
    /// Waits until everything committed so far is on the disk.
    outcome<void> sync() const { return detail::done(aether_buffer_sync(get())); }

    /// The handle, for the functions of aether.h.
    aether_buffer *get() const noexcept { return handle_.get(); }

private:
    detail::owner<aether_buffer, aether_buffer_free> handle_;
};

/// What `verify` found.
using report = detail::owner<aether_report, aether_report_free>;

/// Looks at every record that waits, and at all cursors. A broken ring is no failure but a report with problems.
inline outcome<report> verify(const std::string &path) {
    aether_report *found = nullptr;
    aether_status status = aether_verify(path.c_str(), &found);
    return detail::make(status, [&] { return report(found); });
}

/// Turns a bus error in a mapped ring into a failure: see `aether_guard_bus_errors`.
inline outcome<void> guard_bus_errors() {
    return detail::done(aether_guard_bus_errors());
}

#undef AETHER_FAIL

}  // namespace aether

#endif
