"""Files whose bytes may not change: read, and made anew byte for byte."""

import shutil
from pathlib import Path
from typing import Any

import aether_ipc as aether
import pytest
from conftest import REPOSITORY

FILES = REPOSITORY / "testdata"
MOST = 2**63 - 1
# Id, type, and length of the payload.
Row = tuple[int, int, int]
FOUR = [(1, 7, 11), (-2, -1, 0), (MOST, -(2**31), 256), (-MOST - 1, 2**31 - 1, 9)]
LONG = [(1, 1, 300), (2, 1, 300), (3, 1, 300), (4, 1, 36)]
OVER_THE_END = [(5, 1, 200), (6, 1, 1)]


def payload(id: int, length: int) -> bytes:
    return bytes((id + k) % 256 for k in range(length))


def send(buffer: aether.Buffer, rows: list[Row]) -> None:
    with buffer.producer() as producer:
        for id, type, length in rows:
            producer.put(id, payload(id, length), type=type, timeout=0)


def receive(consumer: aether.Consumer, limit: int = 1000) -> list[Row]:
    rows = []

    def handler(message: aether.Message) -> None:
        assert bytes(message.view) == payload(message.id, len(message))
        rows.append((message.id, message.type, len(message)))

    consumer.drain(handler, limit)
    return rows


@pytest.fixture
def copy(path: Path, request: pytest.FixtureRequest) -> Path:
    shutil.copy(FILES / request.param, path)
    return path


@pytest.mark.parametrize(
    ("copy", "rows"),
    [
        ("classic.ring", FOUR[1:]),
        ("extended.ring", FOUR[1:]),
        ("classic-wrapped.ring", LONG[3:] + OVER_THE_END),
        ("extended-wrapped.ring", LONG[3:] + OVER_THE_END),
        ("checksums.ring", LONG[3:] + OVER_THE_END),
    ],
    indirect=["copy"],
)
def test_a_file_holds_what_it_always_held(copy: Path, rows: list[Row]) -> None:
    assert aether.verify(copy).problems == []
    peeked = aether.Observer.open(copy).peek(100)
    assert [(m.id, m.type, m.payload) for m in peeked] == [(id, type, payload(id, n)) for id, type, n in rows]
    with aether.Buffer.open(copy) as buffer, buffer.consumer() as consumer:
        assert receive(consumer) == rows


@pytest.mark.parametrize("copy", ["lanes.ring"], indirect=True)
def test_consumers_with_names_go_on_where_they_stopped(copy: Path) -> None:
    with aether.Buffer.open(copy) as bus:
        rows = [(0, 10, 5), (1, 11, 6), (2, 12, 100), (3, 13, 7)]
        assert receive(bus.consumer("audit", merge="by-id")) == rows
        assert receive(bus.consumer("billing", merge="by-id")) == rows[2:]


@pytest.mark.parametrize("copy", ["dropped.ring"], indirect=True)
def test_what_was_dropped_is_told(copy: Path) -> None:
    with aether.Buffer.open(copy) as buffer, buffer.consumer() as consumer:
        with pytest.raises(aether.LaggedError) as lagged:
            receive(consumer)
        assert lagged.value.bytes == 1536
        assert receive(consumer) == [(id, 3, 48) for id in range(24, 40)]


@pytest.mark.parametrize(
    ("name", "options", "first", "released", "second"),
    [
        ("classic.ring", {"classic": True}, FOUR, 1, []),
        ("classic-wrapped.ring", {"classic": True}, LONG, 3, OVER_THE_END),
        ("extended.ring", {}, FOUR, 1, []),
        ("extended-wrapped.ring", {}, LONG, 3, OVER_THE_END),
        ("checksums.ring", {"checksums": True}, LONG, 3, OVER_THE_END),
        ("dropped.ring", {"overflow": "drop-oldest"}, [(id, 3, 48) for id in range(40)], 0, []),
    ],
)
def test_a_file_comes_out_the_same_byte_for_byte_when_made_anew(
    path: Path, name: str, options: dict[str, Any], first: list[Row], released: int, second: list[Row]
) -> None:
    with aether.Buffer.create(path, 1024, **options) as buffer:
        send(buffer, first)
        if released:
            with buffer.consumer() as consumer:
                assert len(receive(consumer, released)) == released
        send(buffer, second)
    assert path.read_bytes() == (FILES / name).read_bytes()
