"""Records of one size, sent and received as arrays."""

import array
import ctypes
import sys
from pathlib import Path

import aether_ipc as aether
import numpy as np
import pytest
from conftest import WATCHDOG, Task

TICK = np.dtype([("price", "<f8"), ("volume", "<u4"), ("side", "S1")])


def ticks(count: int) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    records = np.zeros(count, TICK)
    records["price"] = np.arange(count) / 4
    records["volume"] = np.arange(count)
    records["side"] = b"b"
    return records


def test_an_array_of_records_goes_through_the_ring_whole(producer: aether.Producer, consumer: aether.Consumer) -> None:
    sent = ticks(1000)
    assert producer.offer_array(10, sent, type=3) == 1000
    received = consumer.receive_array(TICK, 10_000)
    assert received.dtype == TICK
    assert np.array_equal(received, sent)
    assert consumer.received == 1000
    # It is a copy, and everybody's.
    received["price"] = 0
    assert producer.lag == 0


def test_complex_numbers_are_no_pointers(producer: aether.Producer, consumer: aether.Consumer) -> None:
    sent = np.array([1 + 2j, 3 - 4j])
    view = memoryview(sent)  # type: ignore[arg-type]
    assert (view.format, producer.offer_array(10, view)) == ("Zd", 2)
    assert np.array_equal(consumer.receive_array("c16", 10), sent)


def test_each_record_is_a_message_of_its_own(producer: aether.Producer, consumer: aether.Consumer) -> None:
    producer.offer_array(10, ticks(3), type=3)
    messages = [(m.id, m.type, m.payload) for m in iter(consumer.try_receive, None)]
    assert messages == [(10 + index, 3, tick.tobytes()) for index, tick in enumerate(ticks(3))]


@pytest.mark.parametrize(
    ("sent", "dtype"),
    [
        (np.arange(5), np.int64),
        (np.arange(6.0).reshape(2, 3), ("f8", 3)),
        (np.arange(24, dtype="u1").reshape(2, 3, 4), ("u1", (3, 4))),
        (np.array(["2020-01-01", "NaT"], "M8[D]"), "M8[D]"),
        (np.array([1 + 2j]), "c16"),
        (np.array([True, False]), bool),
        (np.array([b"ab", b"c"]), "S2"),
        (np.array(["ab", "c"]), "U2"),
        (np.array([], "f8"), "f8"),
        (np.arange(10)[3:6], int),
        (np.ma.masked_array([1, 2], mask=[0, 1]), int),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_any_kind_of_numbers(producer, consumer, sent, dtype) -> None:  # type: ignore[no-untyped-def]
    sent = np.asarray(sent)
    assert producer.offer_array(1, sent) == len(sent)
    if len(sent) == 0:
        assert consumer.try_receive() is None
        return
    received = consumer.receive_array(dtype, 100)
    assert (received.shape, received.dtype) == (sent.shape, sent.dtype)
    assert received.tobytes() == sent.tobytes()


def test_other_buffers_are_records_too(producer: aether.Producer, consumer: aether.Consumer) -> None:
    assert producer.offer_array(1, array.array("d", [1.0, 2.0])) == 2
    assert producer.offer_array(3, b"abcdef", record_size=2) == 3
    assert producer.offer_array(6, (ctypes.c_uint16 * 3)(7, 8, 9)) == 3
    assert producer.offer_array(9, np.arange(4, dtype="u2"), record_size=4) == 2
    payloads = [m.payload for m in iter(consumer.try_receive, None)]
    floats = [np.float64(1).tobytes(), np.float64(2).tobytes()]
    shorts = [np.array(s, "u2").tobytes() for s in (7, 8, 9, [0, 1], [2, 3])]
    assert payloads == [*floats, b"ab", b"cd", b"ef", *shorts]


class Structure(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p),)


@pytest.mark.parametrize(
    ("records", "record_size", "error", "words"),
    [
        (b"plain", None, ValueError, "record_size"),
        (b"12345", 2, aether.LayoutError, "payload of 5 bytes"),
        (b"", 0, ValueError, "at least 1 byte"),
        (np.zeros(3, "V0"), None, ValueError, "at least 1 byte"),
        (np.zeros((3, 0)), None, ValueError, "at least 1 byte"),
        (np.arange(6)[::2], None, ValueError, "not C-contiguous"),
        (np.zeros((3, 2)).T, None, ValueError, "not C-contiguous"),
        (np.array([object()]), None, TypeError, "objects of Python's"),
        (np.zeros(1, [("a", "i4"), ("b", "O")]), None, TypeError, "objects of Python's"),
        ((Structure * 2)(), None, TypeError, "objects of Python's"),
        (Structure(), None, TypeError, "one value"),
        ([1, 2, 3], None, TypeError, "bytes-like"),
    ],
    ids=str,
)
def test_what_is_no_array_of_records_is_refused(producer, records, record_size, error, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=words):
        producer.offer_array(1, records, record_size=record_size)
    assert producer.offered == 0


def test_as_many_are_taken_as_there_is_space_for(path: Path) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
        assert producer.offer_array(0, ticks(100)) == 1024 // 32
        assert producer.offer_array(0, ticks(100)) == 0
        assert len(consumer.receive_array(TICK, 10)) == 10
        assert producer.offer_array(0, ticks(100)) == 10


def test_an_array_larger_than_the_ring_is_put_as_space_comes(path: Path) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
        sender = Task(lambda: producer.put_array(7, ticks(1000), type=2))
        messages: list[tuple[int, int, bytes]] = []
        while len(messages) < 1000:
            messages += consumer.receive_many(1000, timeout=WATCHDOG)
        sender.outcome()
        assert messages == [(7 + index, 2, tick.tobytes()) for index, tick in enumerate(ticks(1000))]
        producer.put_array(0, ticks(0))
        producer.put_array(1, b"123456", record_size=2)
        assert consumer.receive_many(10) == [(1, 0, b"12"), (2, 0, b"34"), (3, 0, b"56")]
        with pytest.raises(aether.TimedOutError):
            producer.put_array(0, ticks(100), timeout=0.01)
        assert len(consumer.receive_array(TICK, 1000)) == 1024 // 32
        with pytest.raises(aether.TooLargeError):
            producer.put_array(0, np.zeros((1, 2000), "u1"))
        assert consumer.try_receive() is None


def test_an_array_ends_before_a_message_of_another_size(producer: aether.Producer, consumer: aether.Consumer) -> None:
    producer.offer_array(1, np.arange(3))
    producer.put(4, b"other")
    producer.offer_array(5, np.arange(2))
    assert len(consumer.receive_array("i8", 10)) == 3
    for _ in range(2):
        with pytest.raises(aether.LayoutError) as misfit:
            consumer.receive_array("i8", 10)
        assert (misfit.value.payload, misfit.value.expected) == (5, 8)
    assert consumer.receive().payload == b"other"
    assert consumer.receive_array("i8", 10).tolist() == [0, 1]


def test_a_limit_that_is_huge_takes_no_memory(producer: aether.Producer, consumer: aether.Consumer) -> None:
    producer.offer_array(1, np.arange(3))
    assert consumer.receive_array("i8", sys.maxsize).tolist() == [0, 1, 2]
    assert len(consumer.receive_array("i8", 0)) == 0
    with pytest.raises(aether.TimedOutError):
        consumer.receive_array("i8", sys.maxsize, timeout=0)


@pytest.mark.parametrize("dtype", ["V0", "O", [("a", "O")]], ids=str)
def test_a_dtype_without_bytes_of_its_own_is_refused(consumer: aether.Consumer, dtype: str) -> None:
    with pytest.raises((TypeError, ValueError), match="at least 1|only their bytes"):
        consumer.receive_array(dtype, 1, timeout=0)


def test_an_array_is_received_into_memory_that_is_there(producer: aether.Producer, consumer: aether.Consumer) -> None:
    producer.offer_array(1, ticks(5))
    room = np.zeros(3, TICK)
    assert consumer.receive_into(room) == 3
    assert np.array_equal(room, ticks(5)[:3])
    other = bytearray(64)
    assert consumer.receive_into(other, record_size=TICK.itemsize) == 2
    assert other.startswith(ticks(5)[3:].tobytes())
    with pytest.raises(aether.TimedOutError):
        consumer.receive_into(room, timeout=0)
    with pytest.raises(TypeError, match="read-only"):
        consumer.receive_into(b"1234", record_size=4)
    room.flags.writeable = False
    with pytest.raises(TypeError, match="read-only"):
        consumer.receive_into(room)


def test_an_array_is_received_into_a_claim_of_the_same_ring(
    producer: aether.Producer, consumer: aether.Consumer
) -> None:
    producer.offer_array(1, np.arange(4))
    claim = producer.claim(32)
    assert consumer.receive_into(claim, record_size=8) == 4
    claim.commit(5)
    assert np.frombuffer(consumer.receive().payload, "i8").tolist() == [0, 1, 2, 3]


def test_eight_mebibytes_are_handed_over_in_place(path: Path) -> None:
    size = 8 << 20
    with aether.Buffer.create(path, 2 * size) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
        with producer.claim(size) as claim:
            written = np.frombuffer(claim.view, "f8")
            written[:] = np.arange(len(written))
            at = written.ctypes.data
            del written
            claim.commit(1)
        with consumer.receive() as message:
            read = np.frombuffer(message.view, "f8")
            assert read[-1] == len(read) - 1
            # Both see the one map of this process.
            assert read.ctypes.data == at
            del read
