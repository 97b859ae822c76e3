"""Whatever a program does: no crash, no hang, no message lost in silence."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aether_ipc as aether
import numpy as np
import pytest
from conftest import WATCHDOG, Child, Task, finish


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda producer, _: producer.claim(-1), OverflowError),
        (lambda producer, _: producer.claim(2**64), OverflowError),
        (lambda producer, _: producer.claim(2**64 - 1), aether.TooLargeError),
        (lambda producer, _: producer.claim(sys.maxsize), aether.TooLargeError),
        (lambda producer, _: producer.claim(producer.max_payload + 1), aether.TooLargeError),
        (lambda producer, _: producer.wait_for_space(sys.maxsize), aether.TooLargeError),
        (lambda producer, _: producer.wait_for_space(-1), OverflowError),
        (lambda producer, _: producer.wait_for_space(2**64 - 1, 0), aether.TooLargeError),
        (lambda producer, _: producer.offer_array(1, b"1234", record_size=0), ValueError),
        (lambda producer, _: producer.offer_array(1, b"1234", record_size=-1), OverflowError),
        (lambda producer, _: producer.offer_array(1, b"1234", record_size=sys.maxsize), aether.LayoutError),
        (lambda producer, _: producer.put_array(1, b"1234", record_size=2**64 - 1), aether.LayoutError),
        (lambda producer, _: producer.put_many(2**63, [b""]), OverflowError),
        (lambda producer, _: producer.put_many(1, None), TypeError),
        (lambda producer, _: producer.put_many(1, 5), TypeError),
        (lambda producer, _: producer.put(1, np.zeros((2, 3)).T), (BufferError, ValueError)),
        (lambda producer, _: producer.put(1, np.zeros(8)[::2]), (BufferError, ValueError)),
        (lambda producer, _: producer.put(None, b""), TypeError),
        (lambda producer, _: producer.put(1.5, b""), TypeError),
        (lambda producer, _: producer.put(1, b"", timeout="soon"), TypeError),
        (lambda _, consumer: consumer.receive("soon"), TypeError),
        (lambda _, consumer: consumer.receive_into(bytearray(8), record_size=-1), OverflowError),
        (lambda _, consumer: consumer.receive_array("no type", 1), TypeError),
        (lambda _, consumer: consumer.receive_array(f"V{2**31 - 1}", sys.maxsize, timeout=0), aether.TimedOutError),
        (lambda _, consumer: consumer.poll(None), TypeError),
        (lambda _, consumer: consumer.drain(lambda: None, 1), TypeError),
    ],
    ids=str,
)
def test_an_argument_that_can_not_be_is_an_error_and_nothing_is_written(  # type: ignore[no-untyped-def]
    producer: aether.Producer, consumer: aether.Consumer, call, error
) -> None:
    asks_handler = "poll" in call.__code__.co_names or "drain" in call.__code__.co_names
    if asks_handler:
        producer.put(0, b"for the handler")
    with pytest.raises(error):
        call(producer, consumer)
    assert producer.offered == int(asks_handler)
    producer.put(1, b"goes on")
    assert [id for id, _, _ in consumer.receive_many(10)][-1] == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"capacity": -1}, OverflowError),
        ({"capacity": 2**64}, OverflowError),
        ({"capacity": 2**63}, ValueError),
        ({"capacity": 0}, aether.CapacityError),
        ({"producers": 0}, ValueError),
        ({"producers": 2**32 - 1}, ValueError),
        ({"producers": 2**32}, OverflowError),
        ({"consumers": 0}, ValueError),
        ({"consumers": 2**32 - 1}, ValueError),
        ({"mode": -1}, OverflowError),
        ({"overflow": "drop-newest"}, ValueError),
    ],
    ids=str,
)
def test_a_ring_that_can_not_be_leaves_no_file(path: Path, options: dict[str, Any], error: type[BaseException]) -> None:
    with pytest.raises(error):
        aether.Buffer.create(path, **{"capacity": 1024, **options})
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["with\0zero", "x" * 5000, ""])
def test_a_path_that_can_not_be_is_an_error(name: str) -> None:
    with pytest.raises((OSError, ValueError)):
        aether.Buffer.create(name, 1024)
    with pytest.raises((OSError, ValueError)):
        aether.Buffer.open(name)


def test_a_payload_of_no_bytes_is_a_message_in_every_way(producer: aether.Producer, consumer: aether.Consumer) -> None:
    producer.put(1, b"")
    producer.put(2, np.zeros(0))  # type: ignore[arg-type]
    producer.put_many(3, [b"", bytearray()])
    with producer.claim(0) as claim:
        assert (len(claim), len(claim.view), len(memoryview(claim))) == (0, 0, 0)
        claim.commit(5)
    message = consumer.receive()
    assert (message.id, message.payload, bytes(message.view), len(message), bool(message)) == (1, b"", b"", 0, True)
    assert consumer.drain(lambda message: np.asarray(memoryview(message)).sum(), 0) == 0
    assert consumer.receive_many(10) == [(id, 0, b"") for id in (2, 3, 4, 5)]


def test_a_payload_is_let_go_of_however_a_call_ends(path: Path) -> None:
    payload = bytearray(600)
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer:
        producer.put(1, payload)
        assert not producer.offer(2, payload)
        with pytest.raises(aether.TimedOutError):
            producer.put(2, payload, timeout=0.01)
        with pytest.raises(aether.TimedOutError):
            producer.put_many(2, [payload], timeout=0.01)
        with pytest.raises(aether.TimedOutError):
            producer.put_array(2, payload, record_size=600, timeout=0.01)
    # While it is lent, it could not grow.
    payload.append(1)


@pytest.mark.parametrize("keep", [memoryview, lambda message: np.frombuffer(message, "u1"), lambda m: m.view[1:]])
def test_a_handler_that_keeps_the_payload_is_told_and_the_message_comes_again(  # type: ignore[no-untyped-def]
    producer: aether.Producer, consumer: aether.Consumer, keep
) -> None:
    producer.offer_many(1, [b"one!", b"two!"])
    kept: list[Any] = []

    def handler(message: aether.Message) -> None:
        kept.append(keep(message) if message.id == 2 else message)

    with pytest.raises(aether.BorrowError, match="still in use"):
        consumer.drain(handler, 10)
    assert consumer.received == 1
    with pytest.raises(aether.BorrowError, match="was released"):
        memoryview(kept[0])
    with pytest.raises(aether.BorrowError, match="still in use"):
        consumer.receive()
    assert memoryview(kept[1]).tobytes() in b"two!"
    kept.clear()
    assert consumer.receive_many(10) == [(2, 0, b"two!")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_whatever_a_handler_raises_its_message_stays(
    producer: aether.Producer, consumer: aether.Consumer, error: type[BaseException]
) -> None:
    producer.offer_many(1, [b"x"] * 3)

    def handler(message: aether.Message) -> None:
        if message.id == 2:
            raise error

    with pytest.raises(error):
        consumer.drain(handler, 10)
    assert [id for id, _, _ in consumer.receive_many(10)] == [2, 3]


def test_a_signal_handler_can_not_use_the_consumer_that_waits(consumer: aether.Consumer) -> None:
    def use(_signal: int, _frame: object) -> None:
        consumer.try_receive()

    def interrupt() -> None:
        until_busy(consumer)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, use)
    try:
        # Once the wait has begun: before, the handler would find the consumer free, and the wait go on.
        Task(interrupt)
        with pytest.raises(aether.BusyError):
            consumer.receive(WATCHDOG)
    finally:
        signal.signal(signal.SIGUSR1, before)


def until_busy(consumer: aether.Consumer) -> None:
    while True:
        try:
            consumer.has_producer()
        except aether.BusyError:
            return
        threading.Event().wait(0.001)


def test_threads_that_fight_for_one_producer_and_one_consumer_lose_nothing(path: Path) -> None:
    count, threads = 2000, 4

    def retry(work: Callable[[], Any]) -> Any:
        while True:
            try:
                return work()
            except aether.BusyError:
                threading.Event().wait(0)

    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
        received: list[int] = []

        def send(first: int) -> None:
            for id in range(first, first + count):
                retry(partial(producer.put, id, b"12345678"))

        def receive() -> None:
            while len(received) < count * threads:
                found = retry(lambda: consumer.receive_many(100, timeout=0.01) if consumer.available_bytes else [])
                received.extend(id for id, _, _ in found)

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            tasks = [Task(partial(send, first * count)) for first in range(threads)]
            tasks += [Task(receive), Task(receive)]
            for task in tasks:
                task.outcome()
        finally:
            sys.setswitchinterval(before)
        assert sorted(received) == list(range(count * threads))


def test_a_finalizer_that_runs_in_a_call_can_not_disturb_it(buffer: aether.Buffer, producer: aether.Producer) -> None:
    class Closes:
        def __init__(self, consumer: aether.Consumer) -> None:
            self.consumer = consumer
            self.itself = self

        def __del__(self) -> None:
            self.consumer.close()

    consumer = buffer.consumer()
    producer.offer_many(0, [b"x"] * 500)
    seen = []

    def handler(message: aether.Message) -> None:
        seen.append(message.id)
        if message.id == 100:
            Closes(consumer)
            gc.collect()

    assert consumer.drain(handler, 1000) == 101
    assert (seen, consumer.closed) == (list(range(101)), True)
    with buffer.consumer() as next_one:
        assert next_one.receive().id == 101


def test_a_forked_child_can_wait_in_tasks_of_its_own(path: Path, child: Child) -> None:
    forking = child(
        """
import asyncio, os, warnings
warnings.simplefilter("ignore")
buffer = aether.Buffer.create(sys.argv[1], 1024)
producer, consumer = buffer.producer(), buffer.consumer()

async def take(consumer):
    return (await asyncio.wait_for(consumer.receive_async(), 30)).id

async def later():
    waits = asyncio.create_task(take(consumer))
    await asyncio.sleep(0)
    producer.put(1, b"x")
    return await waits

# The thread that sleeps for tasks runs from here on, and not in the child.
assert asyncio.run(later()) == 1
pid = os.fork()
if pid == 0:
    own = aether.Buffer.create(sys.argv[1] + ".child", 1024)
    producer, consumer = own.producer(), own.consumer()
    os._exit(0 if asyncio.run(later()) == 1 else 1)
assert os.waitpid(pid, 0)[1] == 0
assert asyncio.run(later()) == 1
print("well")
""",
        path,
    )
    assert finish(forking) == "well\n"


def test_a_second_interpreter_in_the_process_is_refused(child: Child) -> None:
    refused = child(
        """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
program = '''
import sys
sys.path[:] = %r
try:
    import aether_ipc
except ImportError as error:
    assert "subinterpreters" in str(error), error
else:
    raise AssertionError("imported")
''' % (sys.path,)
failure = interpreters.run_string(interpreters.create(), program)
assert failure is None, failure
print("well")
"""
    )
    assert finish(refused) == "well\n"


def test_a_build_of_python_without_the_lock_is_refused(child: Child) -> None:
    refused = child(
        """
for name in [name for name in sys.modules if name.startswith("aether_ipc")]:
    del sys.modules[name]
sys.abiflags = "t"
try:
    import aether_ipc
except ImportError as error:
    print(error)
"""
    )
    assert "free-threaded builds of Python are not supported" in finish(refused)


@pytest.mark.parametrize("wake", ["put(1, b'x')", "close()"])
def test_an_interpreter_ends_well_while_it_is_being_woken(path: Path, child: Child, wake: str) -> None:
    for work in (0, 1_000, 10_000):
        ended = child(
            f"""
producer = aether.Buffer.create(sys.argv[1], 1024).producer()
consumer = aether.Buffer.open(sys.argv[1]).consumer(require_producer=True)
assert consumer._wake_when_readable() is not None
producer.{wake}
sum(range({work}))
""",
            path,
        )
        assert finish(ended) == ""
        path.unlink()
