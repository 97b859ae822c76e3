/*
 * Aether-IPC: a ring of messages in a file that processes map and share. The guide is docs/c.md.
 *
 * Generated from the Rust sources by `cargo xtask header`; not to be edited.
 *
 * Every function returns an `aether_status`, and writes its results only if that is AETHER_STATUS_OK (and
 * `aether_observer_peek` as it says). After anything else, `aether_last_error` has the details and the words.
 *
 * - A handle comes from this library and is used until it is freed. Threads may share a buffer; every other handle is
 *   used by one thread at a time.
 * - A null handle, null memory for a result, or null text is AETHER_STATUS_ARGUMENT, except where null is allowed.
 *   Other pointers are valid for as many bytes or values as the call says.
 * - Text is UTF-8 and ends with a zero. Times are in nanoseconds.
 */


#ifndef AETHER_H
#define AETHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a time is asked for: without an end. */
#define AETHER_FOREVER UINT64_MAX
/* A cursor of a consumer that is not there. */
#define AETHER_AWAY UINT64_MAX

/* A failure that goes unnoticed is a message that is lost. */
#if defined(__cplusplus) && __cplusplus >= 201703L
#define AETHER_MUST_USE [[nodiscard]]
#elif defined(__GNUC__)
#define AETHER_MUST_USE __attribute__((warn_unused_result))
#else
#define AETHER_MUST_USE
#endif

/// The number in the library's file name: a library with another one is not called in the same way.
#define AETHER_ABI 0

/// Bytes of a record before its payload: the id (8 bytes), the length (4) and the type (4), all little-endian. The
/// length counts the header, the payload, and the checksum if the ring has one.
#define AETHER_HEADER_SIZE 16

/// Every record starts at a multiple of this; the bytes between one and the next are padding.
#define AETHER_ALIGNMENT 8

/// Set in a bell while somebody sleeps, and so has to be woken: see `aether_direct`.
#define AETHER_ASLEEP 1

/// What came of a call. The numbers never change; later versions may add some.
typedef enum {
    /// Done.
    AETHER_STATUS_OK = 0,
    /// The ring has no space for the message now: back-pressure. Nothing was written.
    AETHER_STATUS_FULL = 1,
    /// The payload is larger than an empty ring could ever take; the error's `value` is the largest possible.
    AETHER_STATUS_TOO_LARGE = 2,
    /// The ring is full and no consumer is there; see `aether_producer_require_consumer`.
    AETHER_STATUS_NO_CONSUMER = 3,
    /// The ring is empty and no producer is there; see `aether_consumer_require_producer`.
    AETHER_STATUS_CLOSED = 4,
    /// A wait ended without what it waited for.
    AETHER_STATUS_TIMED_OUT = 5,
    /// The handle was inherited through `fork`: open the buffer again in the child.
    AETHER_STATUS_FORKED = 6,
    /// Messages were overwritten before they were read; the error's `value` is how many bytes. Reported once.
    AETHER_STATUS_LAGGED = 7,
    /// The bytes in the ring break the format, at the error's `lane` and `position`. Nothing was delivered.
    AETHER_STATUS_CORRUPT = 8,
    /// Another process or another handle holds the role.
    AETHER_STATUS_ROLE_TAKEN = 9,
    /// The capacity is not one that a ring can have.
    AETHER_STATUS_CAPACITY = 10,
    /// A combination of options that no ring can have.
    AETHER_STATUS_OPTIONS = 11,
    /// The name of a consumer is not possible or not known.
    AETHER_STATUS_NAME = 12,
    /// The file is a ring of another shape than the one asked for.
    AETHER_STATUS_MISMATCH = 13,
    /// The file is no ring.
    AETHER_STATUS_NOT_A_RING = 14,
    /// The file's format version is not known to this library.
    AETHER_STATUS_VERSION = 15,
    /// The file is shorter than its header says.
    AETHER_STATUS_TRUNCATED = 16,
    /// No file at that path.
    AETHER_STATUS_NOT_FOUND = 17,
    /// `aether_buffer_create_new` found a file there.
    AETHER_STATUS_ALREADY_EXISTS = 18,
    /// The path names something that is no regular file.
    AETHER_STATUS_NOT_A_FILE = 19,
    /// The system refuses access.
    AETHER_STATUS_PERMISSION = 20,
    /// The file system has no space for the ring.
    AETHER_STATUS_NO_SPACE = 21,
    /// Anything else that the system reported; the error's `os_error` has its number.
    AETHER_STATUS_IO = 22,
    /// Bytes that are no whole number of records.
    AETHER_STATUS_LAYOUT = 23,
    /// What was written into reserved space is not whole records; the error's `value` is where.
    AETHER_STATUS_RECORD = 24,
    /// An argument is null, out of its range or not UTF-8, or the call does not fit what was called before.
    AETHER_STATUS_ARGUMENT = 25,
    /// A bug in this library, caught before it reached the caller.
    AETHER_STATUS_INTERNAL = 26,
} aether_status;

/// What a producer does when the ring has no space.
typedef enum {
    /// It waits, or reports `AETHER_STATUS_FULL`: nothing is ever lost.
    AETHER_OVERFLOW_WAIT = 0,
    /// It overwrites the oldest messages; a consumer that falls behind gets `AETHER_STATUS_LAGGED`.
    AETHER_OVERFLOW_DROP_OLDEST = 1,
} aether_overflow;

/// How a call waits.
typedef enum {
    /// Looks again and again: wakes after a cache miss, costs a core.
    AETHER_WAIT_SPIN = 0,
    /// Looks, and lets others run in between.
    AETHER_WAIT_YIELD = 1,
    /// Spins, then yields, then sleeps longer and longer, up to a millisecond.
    AETHER_WAIT_BACKOFF = 2,
    /// Spins briefly, then sleeps until the other side wakes it. The default.
    AETHER_WAIT_PARK = 3,
} aether_wait;

/// The order in which messages of several lanes come. Within a lane it is always the order of commits.
typedef enum {
    /// Lanes take turns, so that none starves. The default.
    AETHER_MERGE_FAIR = 0,
    /// The smallest id first: one total order, for lanes whose ids grow. A peek then shows one message.
    AETHER_MERGE_BY_ID = 1,
} aether_merge;

/// A ring of messages in a file that processes map and share. Threads may share it.
typedef struct aether_buffer aether_buffer;

/// Reads messages from a ring and releases them. One thread at a time.
typedef struct aether_consumer aether_consumer;

/// Looks at a ring: takes no role, moves no cursor, holds nobody back. One thread at a time.
typedef struct aether_observer aether_observer;

/// Writes messages into a ring. One thread at a time.
typedef struct aether_producer aether_producer;

/// Follows what passes through a ring without ever holding it back. One thread at a time.
typedef struct aether_tail aether_tail;

/// The last failure of a thread.
typedef struct {
    /// What it was; `AETHER_STATUS_OK` if there was none yet.
    aether_status status;
    /// The system's error number; 0 if the system had no part in it.
    int32_t os_error;
    /// Where, for `AETHER_STATUS_CORRUPT`.
    uint32_t lane;
    /// Where, for `AETHER_STATUS_CORRUPT`: in bytes since the ring was made.
    uint64_t position;
    /// A number for some of the statuses, which say what it means.
    uint64_t value;
    /// In words: what was found, what was expected, where, and what to do. UTF-8, never null.
    const char *message;
} aether_error;

/// How a ring is made or opened. Zero means the default for every field but the first:
///
///     aether_options options = {.size = sizeof options, .capacity = 1 << 20};
typedef struct {
    /// `sizeof(aether_options)`: later versions may add fields.
    size_t size;
    /// Size of the data section in bytes, a power of two, at least 1 KiB. A new ring needs it; one that is opened must
    /// have it, unless it is 0.
    uint64_t capacity;
    /// Access rights of a new file; 0600 by default. Ignored on Windows.
    uint32_t mode;
    /// How many producers a new ring has room for, each with a lane of its own: 1 by default, at most 256.
    uint32_t producers;
    /// How many consumers a new ring has room for: 1 by default, at most 1024. With more than one, each sees every
    /// message from when it joined, and only named ones are waited for while they are away.
    uint32_t consumers;
    /// What producers of a new ring do when it is full, an `aether_overflow`.
    int32_t overflow;
    /// Not 0: a new file that the reference implementation can open: up to 1 GiB, one producer, one consumer.
    uint8_t classic;
    /// Not 0: brings every page into memory when opening, so that no message waits for it.
    uint8_t prefault;
    /// Not 0: a CRC-32C for each record of a new ring, checked by whoever reads it.
    uint8_t checksums;
    /// Not 0: all producers of a new ring share a sequence that stamps the ids; those given with a message are not
    /// used.
    uint8_t sequence;
    /// Zeros.
    uint8_t reserved[4];
} aether_options;

/// A message to be put into a ring.
typedef struct {
    /// The application's id.
    int64_t id;
    /// The bytes; may be null if there are none.
    const void *payload;
    /// How many.
    size_t length;
    /// The application's type.
    int32_t message_type;
} aether_record;

/// What stands where, for callers who write or read records by themselves and move the cursor too, since even one call a
/// message would cost them more than the message: see `aether_producer_window` and `aether_consumer_direct`. It stays
/// there as long as the producer or consumer does. Cursors are 64-bit words, moved by release stores and looked at by
/// acquire loads; the bell and the disturbances are 32-bit words. All is null in rings in which this can't be done: those
/// with checksums or a shared sequence, those that drop messages, and for consumers those with several lanes or with
/// producers that are not trusted.
typedef struct {
    /// The cursor behind the last record committed.
    void *write_cursor;
    /// The cursor of this consumer, behind the last record released; null for a producer.
    void *read_cursor;
    /// To be looked at after a cursor was moved, never before: if `AETHER_ASLEEP` is set, somebody has to be woken by
    /// `aether_producer_ring` or `aether_consumer_ring`.
    const void *bell;
    /// Changes when something happened that only this library can judge: a fork, or a file that was cut short. To be
    /// compared before a cursor is moved; the next call finds out.
    const void *disturbances;
    /// Where the data of the lane is mapped: what a position stands for is at its remainder by the capacity.
    void *data;
    /// Bytes mapped there: twice the capacity where records that run over the end go on behind it, else the capacity.
    size_t mapped;
    /// Size of the data section.
    uint64_t capacity;
    /// Where the cursor of the producer or consumer stands now.
    uint64_t position;
} aether_direct;

/// Space for records that the caller writes and publishes by itself.
typedef struct {
    /// Where it is, aligned to 8.
    void *base;
    /// How many bytes.
    size_t length;
    /// The position that `base` stands for.
    uint64_t position;
} aether_window;

/// How a producer stands; an instant's truth.
typedef struct {
    /// Size of the data section in bytes.
    uint64_t capacity;
    /// The largest payload that the empty ring can take, in bytes.
    uint64_t max_payload;
    /// Where the next message goes: bytes committed in this lane since the ring was made.
    uint64_t position;
    /// Bytes that the slowest consumer has not released yet.
    uint64_t lag;
    /// Bytes that are free, headers and padding to be counted.
    uint64_t free_bytes;
    /// Messages committed by this producer since it was taken.
    uint64_t offered;
    /// The lane that it writes; 0 in a ring with one.
    uint32_t lane;
    /// Bytes of the checksum that follows each payload: 4 in a ring with checksums, else 0.
    uint32_t trailer;
} aether_producer_stats;

/// A message in the ring, borrowed.
typedef struct {
    /// The application's id.
    int64_t id;
    /// The bytes, aligned to 8; never null.
    const void *payload;
    /// How many.
    size_t length;
    /// Where it stands in its lane: in bytes since the ring was made.
    uint64_t position;
    /// The application's type.
    int32_t message_type;
    /// The lane that it came through.
    uint32_t lane;
} aether_message;

/// Messages that stand one after the other in memory, as records: a header (see `AETHER_HEADER_SIZE`), the payload, the
/// checksum if the ring has one, and padding.
typedef struct {
    /// Where the first record stands, aligned to 8; null if there is none.
    const void *base;
    /// Bytes of all records together.
    size_t length;
    /// How many records they are.
    size_t count;
    /// The position of the first, in bytes since the ring was made.
    uint64_t position;
    /// The lane that they came through.
    uint32_t lane;
    /// Bytes of the checksum that follows each payload, counted by the record's length: 4 or 0.
    uint32_t trailer;
} aether_run;

/// How a consumer stands; an instant's truth.
typedef struct {
    /// Bytes committed in all lanes that were not released.
    uint64_t available_bytes;
    /// What was released of lane 0, in bytes since the ring was made.
    uint64_t position;
    /// Messages released since this consumer was taken.
    uint64_t received;
} aether_consumer_stats;

/// One lane of a ring.
typedef struct {
    /// Bytes ever committed.
    uint64_t write_cursor;
    /// Records from here on have not been written over; 0 in classic files, which do not say.
    uint64_t oldest;
    /// Whether a producer is there now.
    bool is_held;
    /// Its process id; 0 if it left none.
    uint32_t pid;
} aether_lane;

/// One consumer of a ring.
typedef struct {
    /// The name of a durable consumer among many, else null.
    const char *name;
    /// Bytes that wait for it, in all lanes together.
    uint64_t lag;
    /// Bytes ever released, for each lane; `AETHER_AWAY` in a lane that it has not joined.
    const uint64_t *read_cursors;
    /// Its number, from 0.
    uint32_t slot;
    /// Whether its place is kept while it is away.
    bool durable;
    /// Whether it is there now.
    bool is_held;
    /// Its process id; 0 if it left none.
    uint32_t pid;
} aether_place;

/// What a ring is and how it stands; an instant's truth.
typedef struct {
    /// The path by which it was opened.
    const char *path;
    /// Bytes of each lane's data section.
    uint64_t capacity;
    /// Where the first lane's data starts in the file.
    uint64_t data_offset;
    /// Length of the file in bytes.
    uint64_t file_size;
    /// Bytes that it takes on the disk, where the system says so.
    uint64_t disk_size;
    /// Bytes that wait for the slowest consumer.
    uint64_t available_bytes;
    /// The version in an extended header; 0 in a classic file.
    uint32_t version;
    /// How many consumers the ring has room for.
    uint32_t consumer_slots;
    /// Whether the file has the header of the reference implementation.
    bool classic;
    /// Whether each record carries a checksum.
    bool checksums;
    /// Whether ids are stamped from a sequence shared by all producers.
    bool sequence;
    /// What producers do when the ring is full.
    aether_overflow overflow;
    /// The lanes, one for each producer.
    const aether_lane *lanes;
    /// How many there are.
    size_t lane_count;
    /// The consumers that hold producers back or read now.
    const aether_place *consumers;
    /// How many there are.
    size_t consumer_count;
} aether_info;

/// One thing that is wrong in a ring.
typedef struct {
    /// What and where, in words.
    const char *text;
    /// The position, in bytes since the ring was made.
    uint64_t position;
    /// The lane.
    uint32_t lane;
    /// The slot of the consumer whose cursor is wrong; -1 if a record is.
    int32_t consumer;
} aether_problem;

/// What `aether_verify` found.
typedef struct {
    /// Messages that wait and are whole.
    uint64_t messages;
    /// Bytes that they take.
    uint64_t bytes;
    /// Everything that is wrong.
    const aether_problem *problems;
    /// How many that are; 0 for a sound ring.
    size_t problem_count;
} aether_report;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The version of the library, as in "0.1.0".
const char *aether_version(void);

/// `AETHER_ABI`, as the library has it.
uint32_t aether_abi(void);

/// Turns a bus error in a mapped ring into `AETHER_STATUS_TRUNCATED`. It occurs when somebody cuts the file short
/// while it is mapped, and ends the process otherwise. Installs a signal handler for the whole process: a matter of the
/// program, not of a library. Bus errors elsewhere go to the handler that was there before.
AETHER_MUST_USE aether_status aether_guard_bus_errors(void);

/// The last failure of the calling thread. It stays as it is until the next call of this thread that fails; calls that
/// succeed don't touch it. Never null, and not to be freed.
const aether_error *aether_last_error(void);

/// Creates the ring, or opens the one that is there if it has the shape asked for. An existing file keeps its messages.
AETHER_MUST_USE
aether_status aether_buffer_create(const char *path,
                                   const aether_options *options,
                                   aether_buffer **buffer);

/// Creates the ring; `AETHER_STATUS_ALREADY_EXISTS` if there is a file already.
AETHER_MUST_USE
aether_status aether_buffer_create_new(const char *path,
                                       const aether_options *options,
                                       aether_buffer **buffer);

/// Opens an existing ring. Of the options, a capacity must agree, and `prefault` is done; `options` may be null.
AETHER_MUST_USE
aether_status aether_buffer_open(const char *path,
                                 const aether_options *options,
                                 aether_buffer **buffer);

/// As `aether_buffer_open`, waiting until the other side has made the ring.
AETHER_MUST_USE
aether_status aether_buffer_connect(const char *path,
                                    const aether_options *options,
                                    uint64_t timeout_ns,
                                    aether_buffer **buffer);

/// Frees the handle; null is nothing to do. Producers, consumers and observers that were taken from it live on.
aether_status aether_buffer_free(aether_buffer *buffer);

/// Takes a producer's role: a free lane, continued where its last producer stopped.
AETHER_MUST_USE aether_status aether_buffer_producer(const aether_buffer *buffer, aether_producer **producer);

/// Takes a consumer's role. In a ring with one consumer, it goes on where the last one stopped. In a ring with more, it
/// sees every message committed from now on, and holds producers back until it is freed or dies.
AETHER_MUST_USE aether_status aether_buffer_consumer(const aether_buffer *buffer, aether_consumer **consumer);

/// Takes the role of the durable consumer called `name`, in a ring with room for more than one: its place is kept while
/// it is away, and holds producers back. The first time, it starts with what is committed from now on.
AETHER_MUST_USE
aether_status aether_buffer_consumer_named(const aether_buffer *buffer,
                                           const char *name,
                                           aether_consumer **consumer);

/// Gives up the place of the durable consumer called `name`, so that it holds nobody back any more.
AETHER_MUST_USE aether_status aether_buffer_forget(const aether_buffer *buffer, const char *name);

/// A look at the ring that takes no role and disturbs nobody.
AETHER_MUST_USE aether_status aether_buffer_observer(const aether_buffer *buffer, aether_observer **observer);

/// Size of the data section in bytes, of each lane.
AETHER_MUST_USE aether_status aether_buffer_capacity(const aether_buffer *buffer, uint64_t *capacity);

/// Where the messages of a lane stand, unless a consumer shows copies: the first byte, and how many are mapped from there
/// on, until this buffer and everything that was taken from it is freed. For languages that must know which memory they
/// may read.
AETHER_MUST_USE
aether_status aether_buffer_memory(const aether_buffer *buffer,
                                   uint32_t lane,
                                   const void **base,
                                   size_t *length);

/// Where the cursors of the first lane stand: bytes ever committed, and bytes ever released by the consumer that is
/// furthest back, or the first number once more if no consumer is there.
AETHER_MUST_USE
aether_status aether_buffer_cursors(const aether_buffer *buffer,
                                    uint64_t *write_cursor,
                                    uint64_t *read_cursor);

/// Sets the write cursor of a ring with one producer and one consumer, to mend it by hand while neither is there: else
/// `AETHER_STATUS_ROLE_TAKEN`. The value is not checked here, but by whoever takes a role next.
AETHER_MUST_USE aether_status aether_buffer_set_write_cursor(const aether_buffer *buffer, uint64_t value);

/// As `aether_buffer_set_write_cursor`, for the read cursor.
AETHER_MUST_USE aether_status aether_buffer_set_read_cursor(const aether_buffer *buffer, uint64_t value);

/// The path by which the ring was opened. It is the handle's own and lives as long.
AETHER_MUST_USE aether_status aether_buffer_path(const aether_buffer *buffer, const char **path);

/// Waits until everything committed so far is on the disk. Nothing else here waits for a disk.
AETHER_MUST_USE aether_status aether_buffer_sync(const aether_buffer *buffer);

/// Puts one message into the ring if there is space, else `AETHER_STATUS_FULL`. Never waits.
AETHER_MUST_USE
aether_status aether_producer_offer(aether_producer *producer,
                                    int64_t id,
                                    int32_t message_type,
                                    const void *payload,
                                    size_t length);

/// Puts one message into the ring, waiting for space at most `timeout_ns` nanoseconds, or `AETHER_FOREVER`.
AETHER_MUST_USE
aether_status aether_producer_put(aether_producer *producer,
                                  int64_t id,
                                  int32_t message_type,
                                  const void *payload,
                                  size_t length,
                                  uint64_t timeout_ns);

/// Puts as many records of `record_size` bytes each, one after the other in `bytes`, into the ring as there is space
/// for: each a message of its own, with ids counting up from `first_id`, all published at once. `*taken` is how many;
/// 0 if the ring is full.
AETHER_MUST_USE
aether_status aether_producer_offer_array(aether_producer *producer,
                                          int64_t first_id,
                                          int32_t message_type,
                                          size_t record_size,
                                          const void *bytes,
                                          size_t length,
                                          size_t *taken);

/// Puts as many of `count` messages into the ring as there is space for, all published at once. `*taken` is how many;
/// 0 if the ring is full. A message that can never be put there ends the batch before it, and is an error when it comes
/// first.
AETHER_MUST_USE
aether_status aether_producer_offer_batch(aether_producer *producer,
                                          const aether_record *records,
                                          size_t count,
                                          size_t *taken);

/// Reserves a message of `length` bytes, to be written in place: `*payload` is where, aligned to 8, with whatever stood
/// there before. Nobody sees it before `aether_producer_commit`. Whatever this producer is asked to write in another
/// way ends it.
AETHER_MUST_USE aether_status aether_producer_claim(aether_producer *producer, size_t length, void **payload);

/// Commits the message that was claimed.
AETHER_MUST_USE aether_status aether_producer_commit(aether_producer *producer, int64_t id, int32_t message_type);

/// Gives up what was claimed or reserved; nothing to do if that is nothing.
AETHER_MUST_USE aether_status aether_producer_abort(aether_producer *producer);

/// Reserves space for records that the caller writes by itself, for languages in which a call costs more than a
/// message: `*base` is where, aligned to 8, and `*length` how much, at least `least` and at most `most` bytes (both
/// rounded up to whole records). Each record is a header (see `AETHER_HEADER_SIZE`), the payload, the checksum's bytes
/// if the ring has one (`trailer`; this library fills them in, as it does the ids of a shared sequence), and padding.
/// Whatever this producer is asked to write in another way ends the reservation.
AETHER_MUST_USE
aether_status aether_producer_reserve(aether_producer *producer,
                                      size_t least,
                                      size_t most,
                                      void **base,
                                      size_t *length);

/// Publishes the records in the first `length` bytes of what was reserved, and gives up the rest. `*count` is how many
/// they are. If these bytes are not whole records, each with its padding, nothing is published, and the status is
/// `AETHER_STATUS_RECORD`.
AETHER_MUST_USE aether_status aether_producer_commit_reserved(aether_producer *producer, size_t length, size_t *count);

/// What stands where, to publish what is written into an `aether_producer_window`.
AETHER_MUST_USE aether_status aether_producer_direct(const aether_producer *producer, aether_direct *direct);

/// As `aether_producer_reserve`, but the caller also publishes the records, one or more at a time: by storing the
/// position behind them into the write cursor. The window has room for a message of `least` bytes, or its length is 0 if
/// there such a message would not stand in one piece: it has to be offered. Before this producer is asked anything else,
/// `aether_producer_settle` has to be told what was published. Only where `aether_producer_direct` gives what that needs.
AETHER_MUST_USE
aether_status aether_producer_window(aether_producer *producer,
                                     size_t least,
                                     aether_window *window);

/// Ends an `aether_producer_window`, of which the caller has published the first `length` bytes, `count` messages.
AETHER_MUST_USE aether_status aether_producer_settle(aether_producer *producer, size_t length, uint64_t count);

/// Wakes consumers that sleep: to be called when the bell says so after the write cursor was moved.
AETHER_MUST_USE aether_status aether_producer_ring(const aether_producer *producer);

/// Waits until a message of `length` bytes has space, at most `timeout_ns` nanoseconds, or `AETHER_FOREVER`.
AETHER_MUST_USE
aether_status aether_producer_wait_for_space(aether_producer *producer,
                                             size_t length,
                                             uint64_t timeout_ns);

/// How waiting calls wait, an `aether_wait`: `AETHER_WAIT_PARK` unless set.
AETHER_MUST_USE aether_status aether_producer_set_wait(aether_producer *producer, int32_t wait);

/// Whether a full ring without any consumer is reported as `AETHER_STATUS_NO_CONSUMER`, also while waiting. Off unless
/// set: a consumer may come later.
AETHER_MUST_USE aether_status aether_producer_require_consumer(aether_producer *producer, bool required);

/// Whether any process consumes now. Asks the system.
AETHER_MUST_USE aether_status aether_producer_has_consumer(const aether_producer *producer, bool *has_consumer);

/// How the producer stands.
AETHER_MUST_USE aether_status aether_producer_read_stats(const aether_producer *producer, aether_producer_stats *stats);

/// Frees the lane for the next producer; null is nothing to do. What was claimed is aborted.
aether_status aether_producer_free(aether_producer *producer);

/// Borrows up to `limit` messages of one lane in place and writes them to `messages`, an array of so many; `*count` is
/// how many, 0 if none is there. Their payloads stay as they are until they are released, or until the next peek. What
/// was not released comes again.
AETHER_MUST_USE
aether_status aether_consumer_peek(aether_consumer *consumer,
                                   aether_message *messages,
                                   size_t limit,
                                   size_t *count);

/// As `aether_consumer_peek`, for languages in which a call costs more than a message: says where the records stand,
/// and the caller walks over them by itself. All are checked.
AETHER_MUST_USE aether_status aether_consumer_peek_raw(aether_consumer *consumer, size_t limit, aether_run *run);

/// Releases the first `count` of the messages that the last peek showed and that were not released yet: their space
/// goes back to the producer. Those that remain may be released by further calls.
AETHER_MUST_USE aether_status aether_consumer_release(aether_consumer *consumer, size_t count);

/// What stands where, for a caller that reads records and moves the read cursor by itself: those from its position to
/// what an acquire load of the write cursor finds, which may be no more than the capacity further; a record ends no later
/// than that, and is no shorter than its header. If any of that does not hold, the next call reports what is wrong. Before
/// this consumer is asked anything else, `aether_consumer_settle` has to be told. To be asked for anew after
/// `aether_consumer_set_untrusted`.
AETHER_MUST_USE
aether_status aether_consumer_direct(const aether_consumer *consumer,
                                     aether_direct *direct);

/// Takes note that the caller has read `count` messages by itself and released them, up to `position`.
AETHER_MUST_USE aether_status aether_consumer_settle(aether_consumer *consumer, uint64_t position, uint64_t count);

/// Wakes producers that sleep: to be called when the bell says so after the read cursor was moved.
AETHER_MUST_USE aether_status aether_consumer_ring(const aether_consumer *consumer);

/// Waits until a message is there, at most `timeout_ns` nanoseconds, or `AETHER_FOREVER`.
AETHER_MUST_USE aether_status aether_consumer_wait(aether_consumer *consumer, uint64_t timeout_ns);

/// How `aether_consumer_wait` waits, an `aether_wait`: `AETHER_WAIT_PARK` unless set.
AETHER_MUST_USE aether_status aether_consumer_set_wait(aether_consumer *consumer, int32_t wait);

/// Whether waiting at an empty ring that no producer holds ends with `AETHER_STATUS_CLOSED`. Off unless set: a producer
/// may come later.
AETHER_MUST_USE aether_status aether_consumer_require_producer(aether_consumer *consumer, bool required);

/// The order in which messages of several lanes come, an `aether_merge`: `AETHER_MERGE_FAIR` unless set.
AETHER_MUST_USE aether_status aether_consumer_set_merge(aether_consumer *consumer, int32_t merge);

/// Reads by copying first and checking then, for producers that may mean harm: whatever they write into the ring
/// meanwhile, a payload does not change while it is looked at. Costs the copy. Off unless set, except in rings that
/// drop messages, which are always read so.
AETHER_MUST_USE aether_status aether_consumer_set_untrusted(aether_consumer *consumer, bool untrusted);

/// Whether any process produces now. Asks the system.
AETHER_MUST_USE aether_status aether_consumer_has_producer(const aether_consumer *consumer, bool *has_producer);

/// How the consumer stands.
AETHER_MUST_USE aether_status aether_consumer_read_stats(const aether_consumer *consumer, aether_consumer_stats *stats);

/// Frees the role; null is nothing to do. What was not released comes again to the next consumer, and payloads that
/// were borrowed are gone.
aether_status aether_consumer_free(aether_consumer *consumer);

/// Opens a ring for looking on. Needs permission to read the file, no more.
AETHER_MUST_USE aether_status aether_observer_open(const char *path, aether_observer **observer);

/// What the ring is and how it stands. It is the observer's own, and lives until this is called again or the observer
/// is freed.
AETHER_MUST_USE aether_status aether_observer_info(aether_observer *observer, const aether_info **info);

/// Writes copies of up to `limit` messages that wait for the slowest consumer to `messages`, an array of so many, lane
/// by lane, without taking them; `*count` is how many. They live until the next peek or until the observer is freed.
/// If a record can't be believed, the messages before it are shown, and the status is `AETHER_STATUS_CORRUPT`.
AETHER_MUST_USE
aether_status aether_observer_peek(aether_observer *observer,
                                   aether_message *messages,
                                   size_t limit,
                                   size_t *count);

/// Counts the messages that wait for the slowest consumer, by walking over them.
AETHER_MUST_USE aether_status aether_observer_count_messages(const aether_observer *observer, uint64_t *count);

/// Follows what is committed from now on, in every lane; with `from_oldest`, what is still whole in the ring too.
AETHER_MUST_USE
aether_status aether_observer_tail(const aether_observer *observer,
                                   bool from_oldest,
                                   aether_tail **tail);

/// Frees the handle; null is nothing to do.
aether_status aether_observer_free(aether_observer *observer);

/// Writes copies of up to `limit` messages that were committed since the last call to `messages`, an array of so many;
/// `*count` is how many. They live until the next poll or until the tail is freed. `AETHER_STATUS_LAGGED` if messages
/// were written over before they were shown; the next call goes on with the oldest that is whole.
AETHER_MUST_USE
aether_status aether_tail_poll(aether_tail *tail,
                               aether_message *messages,
                               size_t limit,
                               size_t *count);

/// Frees the handle; null is nothing to do.
aether_status aether_tail_free(aether_tail *tail);

/// Looks at every record that waits, and at all cursors. Takes no role. A broken ring is no error here but a report
/// with problems, which `aether recover` repairs.
AETHER_MUST_USE aether_status aether_verify(const char *path, aether_report **report);

/// Frees the report; null is nothing to do.
aether_status aether_report_free(aether_report *report);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* AETHER_H */
