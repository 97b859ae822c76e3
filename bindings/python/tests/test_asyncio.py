"""Tasks that send and receive."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

import aether_ipc as aether
import pytest
from conftest import Child, finish


def runs(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@runs
async def test_messages_are_received_as_they_come(producer: aether.Producer, consumer: aether.Consumer) -> None:
    async def send() -> None:
        for id in range(300):
            if id % 3 == 0:
                await asyncio.sleep(0)
            producer.put(id, b"x")

    sender = asyncio.create_task(send())
    ids = []
    async for message in consumer:
        ids.append(message.id)
        if message.id == 299:
            break
    await sender
    assert ids == list(range(300))


@runs
async def test_a_task_is_woken_by_another_process(path: Path, child: Child) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer:
        echo = aether.Buffer.create(path.with_suffix(".echo"), 1024)
        with echo.consumer() as answers:
            program = """
import asyncio
async def main():
    there, back = (aether.Buffer.open(path) for path in sys.argv[1:])
    with there.consumer() as consumer, back.producer() as producer:
        for _ in range(100):
            message = await consumer.receive_async()
            await producer.put_async(message.id, message, type=5)
asyncio.run(main())
"""
            other = child(program, path, path.with_suffix(".echo"))
            for id in range(100):
                await producer.put_async(id, b"%d" % id)
                answer = await answers.receive_async()
                assert (answer.id, answer.type, answer.payload) == (id, 5, b"%d" % id)
            assert finish(other) == ""


@runs
async def test_a_cancelled_receive_loses_nothing(producer: aether.Producer, consumer: aether.Consumer) -> None:
    for id in range(50):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(consumer.receive_async(), 0.001)
        producer.put(id, b"x")
        # At once, and from a task that never began to wait.
        assert (await asyncio.wait_for(consumer.receive_async(), 10)).id == id
        task = asyncio.create_task(consumer.receive_async())
        await asyncio.sleep(0)
        producer.put(id + 1000, b"x")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        message = consumer.try_receive()
        assert message is not None
        assert message.id == id + 1000


@runs
async def test_a_put_waits_for_space_and_a_cancelled_one_has_put_nothing(path: Path) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
        await producer.put_async(1, bytes(1000))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(producer.put_async(2, b"late"), 0.01)
        waits = asyncio.create_task(producer.put_async(3, b"late"))
        await asyncio.sleep(0)
        assert not waits.done()
        consumer.receive().release()
        await waits
        assert (producer.offered, consumer.receive().id) == (2, 3)
        with pytest.raises(aether.TooLargeError):
            await producer.put_async(4, bytes(2000))


@runs
async def test_a_task_that_always_finds_messages_lets_others_have_their_turn(
    producer: aether.Producer, consumer: aether.Consumer
) -> None:
    other = asyncio.create_task(asyncio.sleep(0))
    producer.offer_many(0, [b"x"] * 1000)
    taken = 0
    async for _ in consumer:
        taken += 1
        if other.done():
            break
    assert taken < 200


@runs
async def test_a_loop_ends_when_no_producer_is_left(buffer: aether.Buffer) -> None:
    producer = buffer.producer()
    producer.offer_many(0, [b"x"] * 10)

    async def leave() -> None:
        await asyncio.sleep(0)
        producer.close()

    leaving = asyncio.create_task(leave())
    with buffer.consumer(require_producer=True) as consumer:
        assert [message.id async for message in consumer] == list(range(10))
        with pytest.raises(aether.ClosedError):
            await consumer.receive_async()
    await leaving


@runs
async def test_closing_ends_a_wait(buffer: aether.Buffer) -> None:
    consumer = buffer.consumer()
    waits = asyncio.create_task(consumer.receive_async())
    await asyncio.sleep(0)
    consumer.close()
    with pytest.raises(aether.HandleClosedError):
        await waits


@runs
async def test_two_tasks_do_not_wait_for_one_consumer(producer: aether.Producer, consumer: aether.Consumer) -> None:
    first = asyncio.create_task(consumer.receive_async())
    await asyncio.sleep(0)
    with pytest.raises(aether.BusyError):
        await consumer.receive_async()
    producer.put(1, b"x")
    assert (await first).id == 1


@runs
async def test_a_message_is_released_before_the_next_one_is_waited_for(
    producer: aether.Producer, consumer: aether.Consumer
) -> None:
    producer.put(1, b"x")
    message = await consumer.receive_async()
    view = memoryview(message)
    with pytest.raises(aether.BorrowError):
        await consumer.receive_async()
    view.release()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(consumer.receive_async(), 0.01)
    assert consumer.received == 1


@runs
async def test_waiting_takes_no_processor_time(consumer: aether.Consumer) -> None:
    before = time.process_time()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(consumer.receive_async(), 1)
    # A loop that spins would take most of the second, whatever else runs.
    assert time.process_time() - before < 0.3


def test_who_has_waited_leaves_no_descriptor_behind(path: Path) -> None:
    def open_ones() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def wait() -> None:
        with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
            assert aether.wait([consumer], 0) == []
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(consumer.receive_async(), 0.001)
            await producer.put_async(1, bytes(900))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(producer.put_async(2, bytes(900)), 0.001)

    counts = []
    for _ in range(4):
        asyncio.run(wait())
        path.unlink()
        counts.append(open_ones())
    assert len(set(counts)) == 1


def test_an_event_loop_that_is_gone_is_not_woken(producer: aether.Producer, consumer: aether.Consumer) -> None:
    loop = asyncio.new_event_loop()
    waits = loop.create_task(consumer.receive_async())
    loop.run_until_complete(asyncio.sleep(0))
    waits.cancel()
    loop.run_until_complete(asyncio.gather(waits, return_exceptions=True))
    loop.close()
    producer.put(1, b"x")
    assert asyncio.run(consumer.receive_async()).id == 1


def test_an_interpreter_ends_well_while_a_task_waits_and_messages_come(path: Path, child: Child) -> None:
    ended = child(
        """
import asyncio, atexit
buffer = aether.Buffer.create(sys.argv[1], 1024)
producer, consumer = buffer.producer(), buffer.consumer()
loop = asyncio.new_event_loop()
task = loop.create_task(consumer.receive_async())
loop.run_until_complete(asyncio.sleep(0))
atexit.register(producer.put, 1, b"x")
sys.stderr = None
""",
        path,
    )
    finish(ended)
