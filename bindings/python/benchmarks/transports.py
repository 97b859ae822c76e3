"""The ways from one process to another that are compared. Each is used as its own documentation shows, with whatever
it has for being fast: bytes instead of pickles, batches, memory without a copy.

A link goes one way. It is made in the process that starts the two others, is sent to both, and opened once in each.
"""

import ctypes
import multiprocessing
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aether_ipc as aether
import numpy as np
from numpy.typing import NDArray

SPAWN = multiprocessing.get_context("spawn")

Numbers = NDArray[np.uint64]


def numbers(buffer: Any) -> Numbers:
    """The numbers in memory of any kind, not copied."""
    return np.frombuffer(buffer, np.uint64)


class WrongError(Exception):
    """What arrived is not what was sent."""


class Sender:
    """The end of a link that sends."""

    # Puts one payload into the link, waiting for space.
    put: Callable[[bytes], object]

    def stream(self, payloads: Sequence[bytes], laps: int) -> None:
        """Send all payloads, so many times."""
        put = self.put
        for _ in range(laps):
            for payload in payloads:
                put(payload)

    def put_array(self, array: Numbers) -> None:
        """Send an array as one message."""
        self.put(array.tobytes())

    def put_filled(self, count: int, fill: Callable[[Numbers], None]) -> None:
        """Send an array of so many numbers that `fill` writes, as one message, with as few copies as there can be."""
        array = np.empty(count, np.uint64)
        fill(array)
        self.put_array(array)

    def records(self, records: Numbers, laps: int) -> None:
        """Send records of two numbers, so many times."""
        for _ in range(laps):
            self.put_array(records)


class Receiver:
    """The end of a link that receives."""

    # Takes one payload out of the link, waiting for it.
    get: Callable[[], bytes]

    def stream(self, payloads: Sequence[bytes], laps: int) -> None:
        """Receive all payloads, so many times, and look at every byte."""
        get = self.get
        for _ in range(laps):
            for payload in payloads:
                if get() != payload:
                    raise WrongError

    def look(self, check: Callable[[Numbers], None]) -> None:
        """Receive an array and show it to `check`, with as few copies as there can be."""
        check(numbers(self.get()))

    def records(self, expected: Numbers, laps: int) -> None:
        """Receive records of two numbers, so many times, and look at every byte."""

        def check(received: Numbers) -> None:
            if not np.array_equal(received, expected):
                raise WrongError

        for _ in range(laps):
            self.look(check)


class Link:
    """One way from one process to another."""

    # What pip calls it, if it is not a part of Python.
    package: str | None = None

    def __init__(self, folder: Path, name: str, capacity: int, largest: int) -> None:
        self.path = str(folder / name)
        # Bytes of the ring or queue, and of the largest message.
        self.capacity = capacity
        self.largest = largest

    @classmethod
    def is_there(cls) -> bool:
        return cls.package is None or find_spec(cls.package.replace("-", "_")) is not None

    def sender(self) -> Sender:
        raise NotImplementedError

    def receiver(self) -> Receiver:
        raise NotImplementedError


# This package.


class AetherSender(Sender):
    def __init__(self, producer: aether.Producer) -> None:
        self.producer = producer
        self.put = lambda payload: producer.put(0, payload)

    def stream(self, payloads: Sequence[bytes], laps: int) -> None:
        put = self.producer.put
        for _ in range(laps):
            for id, payload in enumerate(payloads):
                put(id, payload)

    def put_filled(self, count: int, fill: Callable[[Numbers], None]) -> None:
        size = count * 8
        self.producer.wait_for_space(size)
        with self.producer.claim(size) as claim:
            fill(numbers(claim))
            claim.commit(0)

    def records(self, records: Numbers, laps: int) -> None:
        for _ in range(laps):
            self.producer.put_array(0, records.reshape(-1, 2))


class AetherReceiver(Receiver):
    def __init__(self, consumer: aether.Consumer) -> None:
        self.consumer = consumer
        self.get = lambda: consumer.receive().payload

    def stream(self, payloads: Sequence[bytes], laps: int) -> None:
        for _ in range(laps):
            for payload, message in zip(payloads, self.consumer, strict=False):
                if message.payload != payload:
                    raise WrongError
        message.release()

    def look(self, check: Callable[[Numbers], None]) -> None:
        with self.consumer.receive() as message:
            check(numbers(message))

    def records(self, expected: Numbers, laps: int) -> None:
        # Each record is a message; they come in as large pieces as they are there.
        count = len(expected) // 2
        twice = np.concatenate([expected, expected])
        at, left = 0, laps * count
        while left > 0:
            records = self.consumer.receive_array(("u8", 2), min(left, count))
            if not np.array_equal(records.reshape(-1), twice[2 * at : 2 * (at + len(records))]):
                raise WrongError
            at, left = (at + len(records)) % count, left - len(records)


class Aether(Link):
    """`put`, and a loop over the consumer."""

    wait = "park"

    def sender(self) -> Sender:
        return AetherSender(aether.Buffer.create(self.path, self.capacity).producer(wait=self.wait))  # type: ignore[arg-type]

    def receiver(self) -> Receiver:
        return AetherReceiver(aether.Buffer.create(self.path, self.capacity).consumer(wait=self.wait))  # type: ignore[arg-type]


class AetherSpinning(Aether):
    """As before, but who waits takes the whole core."""

    wait = "spin"


class AetherWholeSender(AetherSender):
    def records(self, records: Numbers, laps: int) -> None:
        for _ in range(laps):
            self.put_filled(len(records), lambda room: np.copyto(room, records))


class AetherWholeReceiver(AetherReceiver):
    def records(self, expected: Numbers, laps: int) -> None:
        Receiver.records(self, expected, laps)


class AetherWhole(Link):
    """An array is one message, as it is with the others."""

    def sender(self) -> Sender:
        return AetherWholeSender(aether.Buffer.create(self.path, self.capacity).producer())

    def receiver(self) -> Receiver:
        return AetherWholeReceiver(aether.Buffer.create(self.path, self.capacity).consumer())


class AetherBatchSender(AetherSender):
    def stream(self, payloads: Sequence[bytes], laps: int) -> None:
        for _ in range(laps):
            self.producer.put_many(0, payloads)


class AetherBatchReceiver(AetherReceiver):
    def stream(self, payloads: Sequence[bytes], laps: int) -> None:
        for _ in range(laps):
            expected = iter(payloads)
            left = len(payloads)
            while left > 0:
                messages = self.consumer.receive_many(left)
                left -= len(messages)
                for (_, _, found), payload in zip(messages, expected, strict=False):
                    if found != payload:
                        raise WrongError


class AetherBatches(Link):
    """`put_many` and `receive_many`."""

    def sender(self) -> Sender:
        return AetherBatchSender(aether.Buffer.create(self.path, self.capacity).producer())

    def receiver(self) -> Receiver:
        return AetherBatchReceiver(aether.Buffer.create(self.path, self.capacity).consumer())


# What Python has.


class PipeSender(Sender):
    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self.put = connection.send_bytes

    def put_array(self, array: Numbers) -> None:
        self.put(array.data.cast("B"))  # type: ignore[arg-type]


class PipeReceiver(Receiver):
    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self.get = connection.recv_bytes


class Pipe(Link):
    """`multiprocessing.Pipe`, with `send_bytes` and `recv_bytes`."""

    def __init__(self, folder: Path, name: str, capacity: int, largest: int) -> None:
        super().__init__(folder, name, capacity, largest)
        self.out, self.into = SPAWN.Pipe(duplex=False)

    def sender(self) -> Sender:
        return PipeSender(self.into)

    def receiver(self) -> Receiver:
        return PipeReceiver(self.out)


class QueueSender(Sender):
    def __init__(self, queue: Any) -> None:
        self.put = queue.put

    def put_array(self, array: Numbers) -> None:
        self.put(array)  # type: ignore[arg-type]


class QueueReceiver(Receiver):
    def __init__(self, queue: Any) -> None:
        self.get = queue.get

    def look(self, check: Callable[[Numbers], None]) -> None:
        check(self.get())  # type: ignore[arg-type]


class SimpleQueue(Link):
    """`multiprocessing.SimpleQueue`."""

    def __init__(self, folder: Path, name: str, capacity: int, largest: int) -> None:
        super().__init__(folder, name, capacity, largest)
        self.queue: Any = SPAWN.SimpleQueue()

    def sender(self) -> Sender:
        return QueueSender(self.queue)

    def receiver(self) -> Receiver:
        return QueueReceiver(self.queue)


class Queue(SimpleQueue):
    """`multiprocessing.Queue`."""

    def __init__(self, folder: Path, name: str, capacity: int, largest: int) -> None:
        super().__init__(folder, name, capacity, largest)
        self.queue = SPAWN.Queue()


# Packages.


def as_it_is(payload: Any) -> Any:
    return payload


class FasterFifoReceiver(QueueReceiver):
    def look(self, check: Callable[[Numbers], None]) -> None:
        check(numbers(self.get()))


class FasterFifoSender(QueueSender):
    def put_array(self, array: Numbers) -> None:
        self.put(array.tobytes())


class FasterFifo(Link):
    """`put` and `get`, of bytes without pickling them."""

    package = "faster-fifo"

    def __init__(self, folder: Path, name: str, capacity: int, largest: int) -> None:
        super().__init__(folder, name, capacity, largest)
        faster_fifo: Any = import_module("faster_fifo")
        self.queue = faster_fifo.Queue(capacity, loads=bytes, dumps=as_it_is)

    def sender(self) -> Sender:
        return FasterFifoSender(self.queue)

    def receiver(self) -> Receiver:
        return FasterFifoReceiver(self.queue)


class FasterFifoBatchSender(FasterFifoSender):
    def __init__(self, queue: Any) -> None:
        super().__init__(queue)
        self.put_many = queue.put_many

    def stream(self, payloads: Sequence[bytes], laps: int) -> None:
        for _ in range(laps):
            self.put_many(payloads)


class FasterFifoBatchReceiver(FasterFifoReceiver):
    def __init__(self, queue: Any) -> None:
        super().__init__(queue)
        self.get_many = queue.get_many

    def stream(self, payloads: Sequence[bytes], laps: int) -> None:
        for _ in range(laps):
            expected = iter(payloads)
            left = len(payloads)
            while left > 0:
                received = self.get_many(max_messages_to_get=left)
                left -= len(received)
                for found, payload in zip(received, expected, strict=False):
                    if found != payload:
                        raise WrongError


class FasterFifoBatches(FasterFifo):
    """`put_many` and `get_many`."""

    def sender(self) -> Sender:
        return FasterFifoBatchSender(self.queue)

    def receiver(self) -> Receiver:
        return FasterFifoBatchReceiver(self.queue)


class ZeroMqSender(Sender):
    def __init__(self, path: str) -> None:
        zmq: Any = import_module("zmq")
        self.socket = zmq.Context().socket(zmq.PUSH)
        self.socket.bind(f"ipc://{path}")
        self.put = self.socket.send

    def put_array(self, array: Numbers) -> None:
        self.socket.send(array, copy=False)


class ZeroMqReceiver(Receiver):
    def __init__(self, path: str) -> None:
        zmq: Any = import_module("zmq")
        self.socket = zmq.Context().socket(zmq.PULL)
        self.socket.connect(f"ipc://{path}")
        self.get = self.socket.recv

    def look(self, check: Callable[[Numbers], None]) -> None:
        check(numbers(self.socket.recv(copy=False)))


class ZeroMq(Link):
    """PUSH and PULL over `ipc://`."""

    package = "pyzmq"

    @classmethod
    def is_there(cls) -> bool:
        return find_spec("zmq") is not None

    def sender(self) -> Sender:
        return ZeroMqSender(self.path)

    def receiver(self) -> Receiver:
        return ZeroMqReceiver(self.path)


class Iceoryx2Sender(Sender):
    def __init__(self, service: Any, most: int, strategy: Any) -> None:
        self.service = service
        builder = service.publisher_builder().initial_max_slice_len(most)
        self.publisher = builder.backpressure_strategy(strategy).create()
        self.put = self.put_copy

    def put_copy(self, payload: bytes) -> None:
        sample = self.publisher.loan_slice_uninit(len(payload))
        ctypes.memmove(sample.payload_ptr, payload, len(payload))
        sample.assume_init().send()

    def put_array(self, array: Numbers) -> None:
        self.put_filled(len(array), lambda room: np.copyto(room, array))

    def put_filled(self, count: int, fill: Callable[[Numbers], None]) -> None:
        sample = self.publisher.loan_slice_uninit(count * 8)
        room = (ctypes.c_uint8 * (count * 8)).from_address(sample.payload_ptr)
        fill(numbers(room))
        sample.assume_init().send()


class Iceoryx2Receiver(Receiver):
    def __init__(self, service: Any) -> None:
        self.service = service
        self.subscriber = service.subscriber_builder().create()
        self.get = self.get_copy

    def sample(self) -> Any:
        # Waiting takes a second service, of events; looking again and again is the quicker way.
        while (sample := self.subscriber.receive()) is None:
            pass
        return sample

    def get_copy(self) -> bytes:
        sample = self.sample()
        return ctypes.string_at(sample.payload_ptr, sample.payload().len())

    def look(self, check: Callable[[Numbers], None]) -> None:
        sample = self.sample()
        check(numbers(sample.payload().as_memory_view()))


class Iceoryx2(Link):
    """Publish and subscribe of slices, in place, where the publisher waits for a subscriber that is behind."""

    package = "iceoryx2"

    def service(self) -> Any:
        iceoryx2: Any = import_module("iceoryx2")
        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        self.node = node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        # Names are the whole machine's.
        builder = node.service_builder(iceoryx2.ServiceName.new(self.path))
        messages = min(1024, self.capacity // self.largest)
        return (
            builder.publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
            .enable_safe_overflow(False)
            .subscriber_max_buffer_size(messages)
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()
        )

    def sender(self) -> Sender:
        iceoryx2: Any = import_module("iceoryx2")
        return Iceoryx2Sender(self.service(), self.largest, iceoryx2.BackpressureStrategy.RetryUntilDelivered)

    def receiver(self) -> Receiver:
        return Iceoryx2Receiver(self.service())
