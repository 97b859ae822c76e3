"""A payload kept past its release is an error: never stale bytes, never a crash."""

import gc
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import aether_ipc as aether
import numpy as np
import pyarrow
import pytest
from conftest import WATCHDOG, Child, finish


@pytest.fixture
def message(producer: aether.Producer, consumer: aether.Consumer) -> aether.Message:
    producer.put(1, b"12345678")
    producer.put(2, b"abcdefgh")
    return consumer.receive()


def test_views_are_released_with_their_message(message: aether.Message, consumer: aether.Consumer) -> None:
    views = [message.view, message.view]
    assert bytes(views[0]) == b"12345678"
    assert consumer.receive().payload == b"abcdefgh"
    for view in views:
        with pytest.raises(ValueError, match="released memoryview"):
            bytes(view)
    for use in (lambda: message.payload, lambda: message.view, lambda: memoryview(message)):
        with pytest.raises(aether.BorrowError, match="the message was released"):
            use()
    # What the message said of itself stays known.
    assert (message.id, len(message)) == (1, 8)
    message.release()
    message.keep()
    assert consumer.try_receive() is None


@pytest.mark.parametrize(
    "keep",
    [
        memoryview,
        lambda message: message.view[2:],
        lambda message: memoryview(message.view),
        lambda message: message.view.cast("H"),
        lambda message: np.frombuffer(message, "u1"),
        lambda message: np.frombuffer(message.view, "u1")[2:].reshape(2, 3),
        pyarrow.py_buffer,
    ],
    ids=["memoryview", "slice", "view of the view", "cast", "array", "slice of an array", "arrow"],
)
@pytest.mark.parametrize(
    "end",
    [
        lambda message, consumer: message.release(),
        lambda message, consumer: message.keep(),
        lambda message, consumer: consumer.receive(),
        lambda message, consumer: consumer.try_receive(),
        lambda message, consumer: consumer.wait(0),
        lambda message, consumer: consumer.poll(print),
        lambda message, consumer: consumer.receive_array("u1", 1),
        lambda message, consumer: consumer.receive_many(1),
        lambda message, consumer: aether.wait([consumer]),
        lambda message, consumer: consumer.close(),
        lambda message, consumer: consumer.__exit__(None, None, None),
    ],
    ids=[
        "release",
        "keep",
        "receive",
        "try_receive",
        "wait",
        "poll",
        "receive_array",
        "receive_many",
        "wait for many",
        "close",
        "with",
    ],
)
def test_while_an_array_or_a_slice_is_kept_its_message_can_not_go(  # type: ignore[no-untyped-def]
    message: aether.Message, consumer: aether.Consumer, keep, end
) -> None:
    kept = keep(message)
    for _ in range(2):
        with pytest.raises(aether.BorrowError, match="still in use"):
            end(message, consumer)
        # It is still this message's, and the place in the ring still taken.
        assert memoryview(kept).tobytes() in b"12345678"
        assert not consumer.closed
    del kept
    consumer.close()
    assert consumer.closed


def test_a_payload_that_was_copied_is_everybodys(message: aether.Message, consumer: aether.Consumer) -> None:
    payload = message.payload
    consumer.close()
    assert payload == b"12345678"


def test_nobody_can_write_into_a_message(message: aether.Message) -> None:
    assert message.view.readonly
    with pytest.raises(TypeError):
        message.view[0] = 1
    assert not np.frombuffer(message.view, "u1").flags.writeable


@pytest.mark.parametrize("keep", [memoryview, lambda claim: np.frombuffer(claim, "u1"), lambda claim: claim.view[1:]])
@pytest.mark.parametrize(
    "end",
    [
        lambda claim, producer: claim.commit(1),
        lambda claim, producer: claim.abort(),
        lambda claim, producer: claim.__exit__(None, None, None),
        lambda claim, producer: producer.close(),
    ],
    ids=["commit", "abort", "with", "close"],
)
def test_while_an_array_of_a_claim_is_kept_it_can_not_end(producer: aether.Producer, keep, end) -> None:  # type: ignore[no-untyped-def]
    claim = producer.claim(8)
    kept = keep(claim)
    with pytest.raises(aether.BorrowError, match="still in use"):
        end(claim, producer)
    assert (producer.offered, producer.closed) == (0, False)
    del kept
    claim.view[:] = b"12345678"
    claim.commit(1)
    assert producer.offered == 1


def test_the_views_of_a_claim_are_released_when_it_ends(producer: aether.Producer) -> None:
    ends: list[Callable[[aether.Claim], None]] = [
        lambda claim: claim.commit(1),
        lambda claim: claim.abort(),
        lambda _: producer.close(),
    ]
    for end in ends:
        claim = producer.claim(8)
        view = claim.view
        end(claim)
        with pytest.raises(ValueError, match="released memoryview"):
            view[0] = 1
        for use in (lambda claim: claim.view, memoryview):
            with pytest.raises(aether.BorrowError):
                use(claim)
    with pytest.raises(aether.HandleClosedError):
        claim.commit(1)


def test_an_array_keeps_what_it_needs_alive_after_all_else_was_forgotten(path: Path) -> None:
    buffer = aether.Buffer.create(path, 1024)
    buffer.producer().put(1, b"12345678")
    consumer = buffer.consumer()
    array = np.frombuffer(memoryview(consumer.receive()), "u1")
    alive = weakref.ref(consumer)
    del consumer
    buffer.close()
    del buffer
    gc.collect()
    assert array.tobytes() == b"12345678"
    assert alive() is not None
    # Its place is still held, and its message not released.
    with aether.Buffer.open(path) as again:
        with pytest.raises(aether.RoleTakenError):
            again.consumer()
        del array
        gc.collect()
        assert alive() is None
        with again.consumer() as successor:
            assert successor.receive().payload == b"12345678"


def test_after_an_exception_views_in_its_traceback_do_not_hide_it(
    buffer: aether.Buffer, producer: aether.Producer
) -> None:
    producer.put(1, b"12345678")

    def use() -> None:
        with buffer.consumer() as consumer, consumer.receive() as message:
            array = np.frombuffer(message.view, "u1")
            raise LookupError(array.sum())

    with pytest.raises(LookupError):
        use()
    gc.collect()
    with buffer.consumer() as consumer:
        assert consumer.receive().payload == b"12345678"


def test_memory_that_was_cut_off_the_file_does_not_end_a_guarded_process(path: Path, child: Child) -> None:
    guarded = child(
        """
import os
aether.guard_bus_errors()
with aether.Buffer.create(sys.argv[1], 1 << 20) as buffer:
    producer, consumer = buffer.producer(), buffer.consumer()
    producer.put(1, bytes(100_000))
    message = consumer.receive()
    os.truncate(sys.argv[1], 0)
    bytes(message.view)
    try:
        message.release()
    except aether.TruncatedError as error:
        print(error.found, type(error).__mro__[2].__name__, error.filename == sys.argv[1])
""",
        path,
    )
    assert finish(guarded) == "0 OSError True\n"


EXIT = """
import numpy, atexit, threading
buffer = aether.Buffer.create(sys.argv[1], 1 << 16)
producer, consumer = buffer.producer(), buffer.consumer()
producer.put(1, b"12345678")
message = consumer.receive()
view, part, array = message.view, memoryview(message)[1:], numpy.frombuffer(message, "u1")
claim = producer.claim(8)
written = numpy.frombuffer(claim, "u1")
"""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "atexit.register(lambda: print(bytes(part)))",
        "sys.kept = array, view, part, written",
        "import builtins; builtins.kept = [message, array]; builtins.kept.append(builtins.kept)",
        "raise SystemExit(0)",
        "threading.Thread(target=lambda: aether.Buffer.connect('no/such/ring'), daemon=True).start()",
        "del array, part, written; claim.abort(); threading.Thread(target=lambda: list(consumer), daemon=True).start()",
    ],
)
def test_an_interpreter_ends_well_whatever_is_kept(path: Path, child: Child, end: str) -> None:
    ended = child(EXIT + end, path)
    out, err = ended.communicate(timeout=WATCHDOG)
    assert (ended.returncode, err) == (0, "")
    assert out in ("", "b'2345678'\n")
    with aether.Buffer.open(path) as buffer, buffer.consumer() as consumer:
        # Without a `with`, nothing was said to be done.
        message = consumer.try_receive()
        assert (message is None) == ("list(consumer)" in end) or (message is not None and message.id == 1)


def test_what_a_child_inherits_through_a_fork_stays_the_parents(path: Path, child: Child) -> None:
    forking = child(
        """
import os, traceback, warnings
warnings.simplefilter("ignore")
buffer = aether.Buffer.create(sys.argv[1], 1 << 16)
producer, consumer = buffer.producer(), buffer.consumer()
producer.put(1, b"12345678")
message = consumer.receive()
view = message.view
claim = producer.claim(8)

def refuses(error, work):
    try:
        work()
    except error:
        return
    raise AssertionError(work)

pid = os.fork()
if pid == 0:
    try:
        refuses(aether.BorrowError, lambda: message.payload)
        refuses(aether.BorrowError, lambda: claim.commit(1))
        refuses(aether.BorrowError, lambda: claim.view)
        refuses(aether.ForkedError, consumer.try_receive)
        refuses(aether.ForkedError, lambda: consumer.receive(1))
        refuses(aether.ForkedError, lambda: consumer.receive_many(1))
        claim.abort()
        refuses(aether.ForkedError, lambda: producer.put(1, b"x"))
        refuses(aether.ForkedError, lambda: producer.put_many(1, [b"x"]))
        refuses(aether.ForkedError, lambda: producer.put_array(1, b"x", record_size=1))
        consumer.close()
        producer.close()
        with aether.Buffer.open(sys.argv[1]) as own:
            refuses(aether.RoleTakenError, own.consumer)
            refuses(aether.RoleTakenError, own.producer)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert bytes(view) == b"12345678"
claim.view[:] = b"from me!"
claim.commit(2)
assert consumer.receive().payload == b"from me!"
print("well")
""",
        path,
    )
    assert finish(forking) == "well\n"


def test_a_killed_consumer_leaves_its_message_to_the_next(path: Path, child: Child) -> None:
    with aether.Buffer.create(path, 1 << 16) as buffer, buffer.producer() as producer:
        producer.put(1, b"12345678")
        victim = child(
            "m = aether.Buffer.open(sys.argv[1]).consumer().receive(); print('has it', flush=True); sys.stdin.read()",
            path,
        )
        assert victim.stdout is not None
        assert victim.stdout.readline() == "has it\n"
        with pytest.raises(aether.RoleTakenError) as taken:
            buffer.consumer()
        assert taken.value.holders == [victim.pid]
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        with buffer.consumer() as consumer:
            assert consumer.receive().payload == b"12345678"


def test_importing_the_package_brings_neither_numpy_nor_asyncio() -> None:
    program = "import aether_ipc, sys; sys.exit(bool({'numpy', 'asyncio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
