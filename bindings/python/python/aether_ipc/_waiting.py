"""Waiting for many rings."""

import time
from collections.abc import Iterable
from threading import Event

from aether_ipc._native import Consumer


def wait(consumers: Iterable[Consumer], timeout: float | None = None) -> list[Consumer]:
    """Wait until a message is there for any of `consumers`, at most `timeout` seconds, and return all for which one is.

    A consumer whose own wait would end with an error is returned too; the next call for a message raises it. When the
    time is over, the list is empty. Releases the last message of each.
    """
    consumers = list(consumers)
    if not consumers:
        raise ValueError("there is no consumer to wait for")
    deadline = None if timeout is None else time.monotonic() + timeout
    woken = Event()
    while True:
        woken.clear()
        sleeping = []
        try:
            for consumer in consumers:
                if consumer._wake_when_readable(woken.set):
                    sleeping.append(consumer)
            if len(sleeping) < len(consumers):
                return [consumer for consumer in consumers if consumer not in sleeping]
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not woken.wait(left):
                return []
        finally:
            for consumer in sleeping:
                consumer._stop_waiting()
