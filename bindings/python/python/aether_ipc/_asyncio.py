"""The async half: while a task waits, a thread of the library's sleeps for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING

from aether_ipc._native import Consumer, Message, Producer
from aether_ipc.errors import ClosedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Messages that a task takes before others have their turn.
TURN = 64


async def messages(consumer: Consumer) -> AsyncIterator[Message]:
    """What `async for` goes over."""
    while True:
        for _ in range(TURN):
            try:
                yield await receive(consumer)
            except ClosedError:
                return
        await asyncio.sleep(0)


async def receive(consumer: Consumer) -> Message:
    """Take the next message, waiting for it."""
    while (message := consumer.try_receive()) is None:
        await sleep(consumer, consumer._wake_when_readable)
    return message


async def put(producer: Producer, id: int, payload: "ReadableBuffer", type: int) -> None:
    """Put one message into the ring, waiting for space."""
    while not producer.offer(id, payload, type=type):
        await sleep(producer, partial(producer._wake_when_writable, memoryview(payload).nbytes))


async def sleep(handle: Consumer | Producer, wake_later: Callable[[], int | None]) -> None:
    """Let the event loop go on until there may be something to do."""
    descriptor = wake_later()
    if descriptor is None:
        await asyncio.sleep(0)
        return
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def finish() -> None:
        if not woken.done():
            woken.set_result(None)

    try:
        loop.add_reader(descriptor, finish)
        try:
            await woken
        finally:
            loop.remove_reader(descriptor)
    finally:
        handle._stop_waiting()
