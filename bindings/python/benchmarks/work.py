"""What is measured: the work of either process. Every payload byte is written by the one and read by the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aether_ipc as aether
import numpy as np
from transports import AetherReceiver, AetherSender, Link, Numbers, Receiver, Sender, WrongError


def payloads(size: int, count: int) -> list[bytes]:
    """Payloads of which each differs from its neighbours."""
    return [bytes((number + index) % 251 for index in range(size)) for number in range(count)]


MESSAGES = payloads(64, 256)
# Records of two numbers each.
RECORDS = np.arange(2 * 4096, dtype=np.uint64)
# 8 MiB.
ARRAY = np.arange(1 << 20, dtype=np.uint64)
ARRAY_SUM = int(ARRAY.sum())


class Links:
    """All links between one process and the other."""

    def __init__(self, kind: type[Link], folder: Path) -> None:
        name = kind.__name__
        self.kind = kind
        self.there = kind(folder, f"{name}-there", 1 << 20, len(MESSAGES[0]))
        self.back = kind(folder, f"{name}-back", 1 << 20, len(MESSAGES[0]))
        self.records = kind(folder, f"{name}-records", 1 << 20, RECORDS.nbytes)
        self.arrays = kind(folder, f"{name}-arrays", 32 << 20, ARRAY.nbytes)


class First:
    """The process that sends."""

    def __init__(self, links: Links) -> None:
        self.there: Sender = links.there.sender()
        self.back: Receiver = links.back.receiver()
        self.of_records: Sender = links.records.sender()
        self.of_arrays: Sender = links.arrays.sender()

    def stream(self, laps: int) -> None:
        self.there.stream(MESSAGES, laps)

    def round_trip(self, laps: int) -> None:
        put, get = self.there.put, self.back.get
        for _ in range(laps):
            for payload in MESSAGES:
                put(payload)
                if get() != payload:
                    raise WrongError

    def records(self, laps: int) -> None:
        self.of_records.records(RECORDS, laps)

    def arrays(self, laps: int) -> None:
        for number in range(laps):
            self.of_arrays.put_filled(len(ARRAY), partial(np.add, ARRAY, np.uint64(number)))

    def call(self, number: int) -> None:
        call = CALLS[number]
        sender = self.of_arrays if call.large else self.there
        assert isinstance(sender, AetherSender)
        call.send(sender.producer)


class Second:
    """The process that receives."""

    def __init__(self, links: Links) -> None:
        self.there: Receiver = links.there.receiver()
        self.back: Sender = links.back.sender()
        self.of_records: Receiver = links.records.receiver()
        self.of_arrays: Receiver = links.arrays.receiver()

    def stream(self, laps: int) -> None:
        self.there.stream(MESSAGES, laps)

    def round_trip(self, laps: int) -> None:
        put, get = self.back.put, self.there.get
        for _ in range(laps):
            for payload in MESSAGES:
                received = get()
                if received != payload:
                    raise WrongError
                put(received)

    def records(self, laps: int) -> None:
        self.of_records.records(RECORDS, laps)

    def arrays(self, laps: int) -> None:
        for number in range(laps):
            expected = (ARRAY_SUM + number * len(ARRAY)) % 2**64

            def check(array: Numbers, expected: int = expected) -> None:
                if int(array.sum()) != expected:
                    raise WrongError

            self.of_arrays.look(check)

    def call(self, number: int) -> None:
        call = CALLS[number]
        receiver = self.of_arrays if call.large else self.there
        assert isinstance(receiver, AetherReceiver)
        call.receive(receiver.consumer)


# What a call costs: one process sends all while the other waits, then the other one receives all.


@dataclass(frozen=True)
class Call:
    """Two calls of this package, one for either side."""

    name: str
    count: int
    send: Callable[[aether.Producer], None]
    receive: Callable[[aether.Consumer], None]
    large: bool = False


def put_each(producer: aether.Producer, payloads: Sequence[bytes]) -> None:
    put = producer.put
    for id, payload in enumerate(payloads):
        put(id, payload)


def take_each(consumer: aether.Consumer, payloads: Sequence[bytes]) -> None:
    receive = consumer.receive
    for _ in payloads:
        receive()
    consumer.try_receive()


def receive_each(consumer: aether.Consumer, payloads: Sequence[bytes]) -> None:
    receive = consumer.receive
    for payload in payloads:
        if receive().payload != payload:
            raise WrongError
    consumer.try_receive()


def loop_over(consumer: aether.Consumer, payloads: Sequence[bytes]) -> None:
    for payload, message in zip(payloads, consumer, strict=False):
        if message.payload != payload:
            raise WrongError
    message.release()


def receive_many(consumer: aether.Consumer, payloads: Sequence[bytes], limit: int) -> None:
    for start in range(0, len(payloads), limit):
        for (_, _, found), payload in zip(consumer.receive_many(limit), payloads[start : start + limit], strict=True):
            if found != payload:
                raise WrongError


def put_many(producer: aether.Producer, payloads: Sequence[bytes], limit: int) -> None:
    for start in range(0, len(payloads), limit):
        producer.put_many(start, payloads[start : start + limit])


def put_array(producer: aether.Producer) -> None:
    producer.put_array(0, RECORDS.reshape(-1, 2))


def receive_array(consumer: aether.Consumer) -> None:
    if not np.array_equal(consumer.receive_array(("u8", 2), len(RECORDS)).reshape(-1), RECORDS):
        raise WrongError


def hand_over(producer: aether.Producer, size: int, count: int) -> None:
    for id in range(count):
        with producer.claim(size) as claim:
            assert len(claim.view) == size
            claim.commit(id)


def take_over(consumer: aether.Consumer, size: int, count: int) -> None:
    for _ in range(count):
        with consumer.receive() as message:
            assert len(message.view) == size


def nothing_each(payloads: Sequence[bytes]) -> None:
    for _ in enumerate(payloads):
        pass


PUT_RECEIVE = "`put`; `receive`: 64 bytes"
PUT_PAYLOAD = "`put`; `receive` and `payload`: 64 bytes"
HANDED_OVER = [
    f"`claim`, `view`, `commit`; `receive`, `view`, `release`: {size}, not touched" for size in ("64 bytes", "8 MiB")
]


def calls() -> list[Call]:
    found = []
    for size in (8, 64, 1024):
        # What half of the small ring takes.
        some = payloads(size, min(4096, (1 << 19) // (size + 16)))
        each, many = partial(put_each, payloads=some), partial(put_many, payloads=some, limit=256)
        for name, send, receive in (
            ("`put`; `receive`", each, partial(take_each, payloads=some)),
            ("`put`; `receive` and `payload`", each, partial(receive_each, payloads=some)),
            ("`put`; `for message in consumer` and `payload`", each, partial(loop_over, payloads=some)),
            ("`put_many`; `receive_many`, 256 at a time", many, partial(receive_many, payloads=some, limit=256)),
        ):
            found.append(Call(f"{name}: {size} bytes", len(some), send, receive))
    some = MESSAGES * 16
    records = len(RECORDS) // 2
    found += [
        Call("the loops alone", len(some), lambda _: nothing_each(some), lambda _: nothing_each(some)),
        Call("`put_array`; `receive_array`: records of 16 bytes", records, put_array, receive_array),
    ]
    # As many of either as there is space for.
    for name, size in zip(HANDED_OVER, (64, 8 << 20), strict=True):
        send, receive = partial(hand_over, size=size, count=3), partial(take_over, size=size, count=3)
        found.append(Call(name, 3, send, receive, large=True))
    return found


CALLS = calls()
