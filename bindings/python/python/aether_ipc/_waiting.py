"""Waiting for many rings."""

import math
import select
import time
from collections.abc import Iterable

from aether_ipc._native import Consumer

# The longest sleep, in milliseconds: a signal such as that of Ctrl-C that comes just before one does not end it.
LOOK = 100


def wait(consumers: Iterable[Consumer], timeout: float | None = None) -> list[Consumer]:
    """Wait until a message is there for any of `consumers`, at most `timeout` seconds, and return all for which one is.

    A consumer whose own wait would end with an error is returned too; the next call for a message raises it. When the
    time is over, the list is empty. Releases the last message of each.
    """
    consumers = list(consumers)
    if not consumers:
        raise ValueError("there is no consumer to wait for")
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        woken = select.poll()
        sleeping = []
        try:
            for consumer in consumers:
                if (descriptor := consumer._wake_when_readable()) is not None:
                    sleeping.append(consumer)
                    woken.register(descriptor, select.POLLIN)
            if len(sleeping) < len(consumers):
                return [consumer for consumer in consumers if consumer not in sleeping]
            left = LOOK if deadline is None else 0
            while not woken.poll(left):
                if deadline is not None:
                    left = min(LOOK, math.ceil(1000 * (deadline - time.monotonic())))
                    if left <= 0:
                        return []
        finally:
            for consumer in sleeping:
                consumer._stop_waiting()
