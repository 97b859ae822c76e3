"""What the tests have in common."""

import faulthandler
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import aether_ipc as aether
import pytest

# Longer than anything takes that is not stuck.
WATCHDOG = 60

REPOSITORY = Path(__file__).resolve().parents[3]
COMMAND = Path(sysconfig.get_path("scripts")) / "aether"


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    """End a test that is stuck, and say where."""
    assert sys.__stderr__ is not None
    faulthandler.dump_traceback_later(WATCHDOG, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ring"


@pytest.fixture
def buffer(path: Path) -> Iterator[aether.Buffer]:
    with aether.Buffer.create(path, 1 << 16) as buffer:
        yield buffer


@pytest.fixture
def producer(buffer: aether.Buffer) -> Iterator[aether.Producer]:
    with buffer.producer() as producer:
        yield producer


@pytest.fixture
def consumer(buffer: aether.Buffer) -> Iterator[aether.Consumer]:
    with buffer.consumer() as consumer:
        yield consumer


Child = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def child() -> Iterator[Child]:
    """Start Python programs in processes of their own, which end with the test at the latest."""
    with ExitStack() as stack:

        def start(program: str, *arguments: object) -> "subprocess.Popen[str]":
            command = [sys.executable, "-c", "import aether_ipc as aether, sys\n" + program, *map(str, arguments)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return stack.enter_context(process)

        yield start


def finish(process: "subprocess.Popen[str]") -> str:
    """Wait for the end of a process that is to succeed, and return what it wrote."""
    out, err = process.communicate(timeout=WATCHDOG)
    assert process.returncode == 0, err
    return out


class Task(threading.Thread):
    """A thread whose result or exception comes out of `join`."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error

    def outcome(self) -> object:
        self.join()
        if self.error is not None:
            raise self.error
        return self.result
