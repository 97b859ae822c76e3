"""Sending and receiving, one by one and in batches."""

import array
import ctypes
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aether_ipc as aether
import pytest
from conftest import WATCHDOG, Child, Task, finish

LEAST, MOST = -(2**63), 2**63 - 1


def test_what_is_put_arrives_with_its_id_type_and_payload(producer: aether.Producer, consumer: aether.Consumer) -> None:
    sent = [(1, 7, b"hello"), (LEAST, -(2**31), b""), (MOST, 2**31 - 1, bytes(range(256)))]
    for id, type, payload in sent:
        producer.put(id, payload, type=type)
    received = [(m.id, m.type, m.payload) for m in iter(consumer.try_receive, None)]
    assert received == sent
    assert (producer.offered, producer.position) == (3, 24 + 16 + 272)


@pytest.mark.parametrize(("id", "type"), [(MOST + 1, 0), (LEAST - 1, 0), (0, 2**31), (0, -(2**31) - 1)])
def test_a_number_that_does_not_fit_is_refused(producer: aether.Producer, id: int, type: int) -> None:
    with pytest.raises(OverflowError):
        producer.put(id, b"", type=type)
    assert producer.position == 0


@pytest.mark.parametrize(
    "payload",
    [
        b"12345678",
        bytearray(b"12345678"),
        memoryview(b"12345678"),
        memoryview(b"0123456789")[1:9],
        array.array("B", b"12345678"),
        ctypes.create_string_buffer(b"12345678", 8),
    ],
    ids=lambda payload: type(payload).__name__,
)
def test_a_payload_is_any_contiguous_buffer(
    producer: aether.Producer, consumer: aether.Consumer, payload: bytes
) -> None:
    producer.put(1, payload)
    assert producer.offer(2, payload)
    assert producer.offer_many(3, [payload]) == 1
    assert [m.payload for m in iter(consumer.try_receive, None)] == [b"12345678"] * 3


@pytest.mark.parametrize("payload", ["text", 5, None, [1, 2]])
def test_what_has_no_bytes_is_a_type_error(producer: aether.Producer, payload: object) -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        producer.put(1, payload)  # type: ignore[arg-type]


def test_a_payload_with_gaps_is_refused(producer: aether.Producer) -> None:
    with pytest.raises(BufferError):
        producer.put(1, memoryview(b"12345678")[::2])
    assert producer.position == 0


def test_offer_says_false_at_a_full_ring_and_claim_raises(path: Path) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer:
        count = 0
        while producer.offer(count, b"12345678"):
            count += 1
        assert count == 1024 // 24
        assert producer.free_bytes == 1024 % 24
        with pytest.raises(aether.FullError):
            producer.claim(8)
        assert (producer.offered, producer.lag) == (count, count * 24)


def test_a_message_stays_until_the_next_one_is_asked_for(producer: aether.Producer, consumer: aether.Consumer) -> None:
    producer.put(1, b"one")
    producer.put(2, b"two")
    first = consumer.receive()
    assert (consumer.received, consumer.position, producer.lag) == (0, 0, 48)
    assert (first.payload, len(first), first.lane, first.position) == (b"one", 3, 0, 0)
    second = consumer.receive()
    assert (consumer.received, consumer.position, producer.lag) == (1, 24, 24)
    second.release()
    second.release()
    assert (consumer.received, consumer.position, producer.lag) == (2, 48, 0)


def test_a_message_that_is_kept_comes_again(producer: aether.Producer, consumer: aether.Consumer) -> None:
    producer.put(1, b"again")
    consumer.receive().keep()
    assert consumer.received == 0
    with consumer.receive() as message:
        assert message.payload == b"again"
    assert consumer.received == 1


def fail() -> None:
    raise RuntimeError("no")


def test_after_an_exception_a_message_comes_again(buffer: aether.Buffer, producer: aether.Producer) -> None:
    producer.put(1, b"again")
    with buffer.consumer() as consumer:
        for _ in range(2):
            with pytest.raises(RuntimeError), consumer.receive():
                fail()
    with pytest.raises(RuntimeError), buffer.consumer() as consumer:
        consumer.receive()
        fail()
    with buffer.consumer() as consumer:
        assert consumer.receive().payload == b"again"
    with buffer.consumer() as consumer:
        assert consumer.try_receive() is None


def test_poll_gives_one_message_and_releases_it(producer: aether.Producer, consumer: aether.Consumer) -> None:
    producer.put(1, b"one")
    seen = []
    assert consumer.poll(lambda message: seen.append(message.payload))
    assert not consumer.poll(lambda message: seen.append(message.payload))
    assert seen == [b"one"]


def test_a_handler_says_what_becomes_of_its_message(producer: aether.Producer, consumer: aether.Consumer) -> None:
    assert producer.offer_many(1, [b"x"] * 6) == 6
    released = []

    def handler(message: aether.Message) -> aether.Flow:
        released.append((message.id, consumer_position()))
        return {1: aether.Flow.CONTINUE, 2: aether.Flow.COMMIT, 4: aether.Flow.BREAK}.get(
            message.id, aether.Flow.CONTINUE
        )

    def consumer_position() -> int:
        return producer.lag

    assert consumer.drain(handler, 10) == 4
    assert released == [(1, 144), (2, 144), (3, 96), (4, 96)]
    assert not consumer.poll(lambda _: aether.Flow.KEEP)
    assert consumer.drain(lambda _: aether.Flow.KEEP, 10) == 0
    assert consumer.receive().id == 5


def test_when_a_handler_raises_those_before_are_released_and_its_message_stays(
    producer: aether.Producer, consumer: aether.Consumer
) -> None:
    producer.offer_many(1, [b"x"] * 3)

    def handler(message: aether.Message) -> None:
        if message.id == 2:
            fail()

    with pytest.raises(RuntimeError, match="no"):
        consumer.drain(handler, 10)
    assert consumer.received == 1
    assert consumer.receive().id == 2


def test_a_handler_that_returns_something_else_is_told(producer: aether.Producer, consumer: aether.Consumer) -> None:
    producer.put(1, b"x")
    with pytest.raises(TypeError, match="a handler returns a Flow or None, not 5"):
        consumer.poll(lambda _: 5)  # type: ignore[arg-type,return-value]
    assert consumer.receive().id == 1


def test_a_handler_can_not_use_its_consumer_but_can_close_it(
    producer: aether.Producer, consumer: aether.Consumer
) -> None:
    producer.offer_many(1, [b"x"] * 3)
    with pytest.raises(aether.BusyError):
        consumer.poll(lambda _: consumer.try_receive() and None)

    def close(_: aether.Message) -> None:
        consumer.close()

    assert consumer.drain(close, 10) == 1
    assert consumer.closed
    with pytest.raises(aether.HandleClosedError):
        consumer.try_receive()


def test_drain_takes_more_than_one_run_and_no_more_than_the_limit(
    producer: aether.Producer, consumer: aether.Consumer
) -> None:
    count = 1000
    assert producer.offer_many(0, [b"x"] * count) == count
    ids: list[int] = []
    handler = lambda message: ids.append(message.id)  # noqa: E731
    assert consumer.drain(handler, 700) == 700
    assert consumer.drain(handler, 700) == 300
    assert consumer.drain(handler, 700) == 0
    assert ids == list(range(count))


def test_many_are_offered_up_to_the_space_there_is(path: Path) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer:
        assert producer.offer_many(5, [b"12345678"] * 100) == 42
        assert producer.offer_many(5, [b"12345678"] * 100) == 0
        assert producer.offer_many(5, []) == 0
        with buffer.consumer() as consumer:
            assert [m.id for m in iter(consumer.try_receive, None)] == list(range(5, 47))


def test_of_many_none_is_put_if_one_can_not_be(producer: aether.Producer) -> None:
    with pytest.raises(TypeError):
        producer.offer_many(1, [b"good", "bad"])  # type: ignore[list-item]
    with pytest.raises(aether.TooLargeError):
        producer.offer_many(1, [b"good", bytes(producer.max_payload + 1)])
    with pytest.raises(TypeError):
        # What an iterator gave for which there is no space would be lost.
        producer.offer_many(1, iter([b"good"]))  # type: ignore[arg-type]
    assert (producer.offered, producer.position) == (0, 0)


def test_many_are_put_as_space_comes(path: Path) -> None:
    payloads = [b"%d" % number * (number % 50) for number in range(1000)]
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
        sender = Task(lambda: producer.put_many(5, payloads, type=3))
        received: list[tuple[int, int, bytes]] = []
        while len(received) < len(payloads):
            received += consumer.receive_many(100, timeout=WATCHDOG)
        sender.outcome()
        assert received == [(5 + number, 3, payload) for number, payload in enumerate(payloads)]
        producer.put_many(0, [])
        assert producer.offered == 1000


def test_many_that_have_no_space_in_time_are_put_in_part_and_counted(path: Path) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
        with pytest.raises(aether.TimedOutError, match="space in the ring"):
            producer.put_many(0, [b"12345678"] * 100, timeout=0.01)
        assert producer.offered == 42
        assert [id for id, _, _ in consumer.receive_many(1000)] == list(range(42))
        assert consumer.try_receive() is None


@pytest.mark.parametrize(
    ("bad", "error"), [("text", TypeError), (bytes(2000), aether.TooLargeError)], ids=["no bytes", "too large"]
)
def test_of_many_those_before_one_that_can_not_be_put_are_put(
    path: Path, bad: bytes, error: type[BaseException]
) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
        with pytest.raises(error):
            producer.put_many(1, [b"one", b"two", bad, b"three"])
        assert (producer.offered, consumer.receive_many(10)) == (2, [(1, 0, b"one"), (2, 0, b"two")])
        with pytest.raises(error):
            producer.put_many(1, [bad])
        assert producer.offered == 2


def test_a_sequence_of_ones_own_that_fails_ends_the_batch_and_can_not_use_the_producer(
    producer: aether.Producer, consumer: aether.Consumer
) -> None:
    class Payloads(Sequence[bytes]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: Any) -> Any:
            if index == 2:
                producer.put(0, b"inside")
            return b"%d" % index

    with pytest.raises(aether.BusyError):
        producer.put_many(0, Payloads())
    with pytest.raises(aether.BusyError):
        producer.offer_many(0, Payloads())
    assert consumer.receive_many(10) == [(0, 0, b"0"), (1, 0, b"1")]


def test_many_are_received_up_to_the_limit_and_released_at_once(
    producer: aether.Producer, consumer: aether.Consumer
) -> None:
    assert consumer.receive_many(0) == []
    with pytest.raises(aether.TimedOutError, match="a message"):
        consumer.receive_many(10, timeout=0)
    producer.offer_many(1, [b"x", b"", bytes(1000)], type=-1)
    first = consumer.receive()
    # Asking for more releases the last one, here too.
    view = memoryview(first)
    with pytest.raises(aether.BorrowError):
        consumer.receive_many(10)
    view.release()
    assert consumer.receive_many(1) == [(2, -1, b"")]
    assert consumer.received == 2
    assert consumer.receive_many(sys.maxsize) == [(3, -1, bytes(1000))]
    assert (consumer.received, producer.lag) == (3, 0)


@pytest.mark.parametrize("limit", [-1, 2**64])
def test_a_limit_that_is_no_size_is_refused(consumer: aether.Consumer, limit: int) -> None:
    calls: list[Callable[[], object]] = [
        lambda: consumer.receive_many(limit),
        lambda: consumer.receive_array("u1", limit),
        lambda: consumer.drain(print, limit),
    ]
    for call in calls:
        with pytest.raises(OverflowError):
            call()


def test_a_claim_is_written_in_place_and_seen_when_it_is_committed(
    producer: aether.Producer, consumer: aether.Consumer
) -> None:
    with producer.claim(5) as claim:
        assert len(claim) == 5
        claim.view[:] = b"hello"
        assert consumer.try_receive() is None
        claim.commit(1, type=7)
    message = consumer.receive()
    assert (message.id, message.type, message.payload) == (1, 7, b"hello")


def test_a_claim_that_is_not_committed_never_was(producer: aether.Producer, consumer: aether.Consumer) -> None:
    with producer.claim(5):
        pass
    with pytest.raises(RuntimeError), producer.claim(5):
        fail()
    producer.claim(5)
    claim = producer.claim(5)
    claim.abort()
    claim.abort()
    with pytest.raises(aether.BorrowError, match="committed or aborted"):
        claim.commit(1)
    assert (producer.offered, consumer.try_receive()) == (0, None)


def test_while_a_claim_is_open_nothing_else_is_written(producer: aether.Producer) -> None:
    claim = producer.claim(5)
    for write in (lambda: producer.put(1, b""), lambda: producer.offer_many(1, [b""]), lambda: producer.claim(1)):
        with pytest.raises(aether.BorrowError, match="a claim is open"):
            write()
    claim.commit(1)
    producer.put(2, b"")
    assert producer.offered == 2


@pytest.mark.parametrize("options", [{"classic": True}, {"checksums": True}, {"overflow": "drop-oldest"}], ids=str)
def test_claims_and_batches_go_over_the_end_of_any_ring(path: Path, options: dict[str, bool]) -> None:
    with (
        aether.Buffer.create(path, 1024, **options) as buffer,  # type: ignore[arg-type]
        buffer.producer() as producer,
        buffer.consumer() as consumer,
    ):
        for round in range(50):
            payload = bytes((round + k) % 256 for k in range(100 + round))
            with producer.claim(len(payload)) as claim:
                claim.view[:] = payload
                claim.commit(round)
            assert producer.offer_many(round, [payload, payload]) == 2
            for _ in range(3):
                message = consumer.receive()
                assert (message.id in (round, round + 1), message.payload, bytes(message.view)) == (
                    True,
                    payload,
                    payload,
                )


def test_another_process_receives_what_this_one_puts(path: Path, child: Child) -> None:
    count = 10_000
    reader = child(
        """
with aether.Buffer.connect(sys.argv[1]) as buffer, buffer.consumer() as consumer:
    for id, message in zip(range(int(sys.argv[2])), consumer):
        assert (message.id, message.payload) == (id, b"%d" % id), message
print("all")
""",
        path,
        count,
    )
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer:
        for id in range(count):
            producer.put(id, b"%d" % id)
        assert finish(reader) == "all\n"
        assert producer.lag == 0
