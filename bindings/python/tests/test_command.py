"""The command `aether`, which came with the package, as the other process."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aether_ipc as aether
from conftest import COMMAND, WATCHDOG


def run(*arguments: object, stdin: bytes = b"", code: int = 0) -> bytes:
    command = [str(COMMAND), *map(str, arguments)]
    ended = subprocess.run(command, input=stdin, capture_output=True, timeout=WATCHDOG, check=False)
    assert ended.returncode == code, ended.stderr.decode()
    return ended.stdout


def test_the_wheel_brings_the_command_of_its_version() -> None:
    assert run("--version").decode() == f"aether {aether.__version__}\n"


@contextmanager
def started(*arguments: object) -> Iterator["subprocess.Popen[bytes]"]:
    command = [str(COMMAND), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
            assert process.wait(WATCHDOG) == 0
        finally:
            process.kill()


def test_python_receives_what_the_command_sends(path: Path) -> None:
    lines = [b"line %d" % number for number in range(1000)]
    with aether.Buffer.create(path, 1024) as buffer, buffer.consumer() as consumer:
        with started("send", path, "--type", 7, "--first-id", 5) as sender:
            assert sender.stdin is not None
            sender.stdin.write(b"\n".join(lines))
            sender.stdin.close()
            messages = [(m.id, m.type, m.payload) for m in (consumer.receive(WATCHDOG) for _ in lines)]
    assert messages == [(5 + number, 7, line) for number, line in enumerate(lines)]


def test_the_command_receives_what_python_sends(path: Path) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer:
        with started("recv", path, "--json") as receiver:
            for number in range(300):
                producer.put(number, b"line %d" % number, type=number % 3, timeout=WATCHDOG)
            producer.close()
            assert receiver.stdout is not None
            received = [json.loads(line) for line in receiver.stdout]
    assert [(row["id"], row["type"], row["payload"]) for row in received] == [
        (number, number % 3, f"line {number}") for number in range(300)
    ]


def test_the_command_repairs_what_python_can_not_read(path: Path) -> None:
    with aether.Buffer.create(path, 1024, checksums=True) as buffer, buffer.producer() as producer:
        producer.offer_many(1, [b"12345678"] * 3)
        position = buffer.info().data_offset + 32 + 16
    run("verify", path)
    with path.open("r+b") as file:
        file.seek(position)
        file.write(b"x")
    run("verify", path, code=3)
    assert len(aether.verify(path).problems) == 1
