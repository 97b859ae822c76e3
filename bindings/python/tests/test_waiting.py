"""Waiting: time-outs, Ctrl-C, threads, and who is there to wait for."""

import signal
import threading
import time
from pathlib import Path

import aether_ipc as aether
import pytest
from conftest import Child, Task, finish

STRATEGIES = ["spin", "yield", "backoff", "park"]


def test_a_wait_ends_when_its_time_is_over(path: Path) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer() as producer, buffer.consumer() as consumer:
        for wait in (
            consumer.receive,
            consumer.wait,
            lambda timeout: consumer.receive_array("u1", 1, timeout=timeout),
            lambda timeout: consumer.receive_many(1, timeout=timeout),
        ):
            for timeout in (0, 0.001, 0.05):
                started = time.monotonic()
                with pytest.raises(TimeoutError) as late:
                    wait(timeout)
                assert time.monotonic() - started >= timeout
                assert isinstance(late.value, aether.TimedOutError)
                assert late.value.waited >= timeout
                assert late.value.awaited == "a message"
        producer.put(1, bytes(1000))
        with pytest.raises(aether.TimedOutError, match="space in the ring"):
            producer.put(2, b"", timeout=0.05)
        with pytest.raises(aether.TimedOutError, match="space in the ring"):
            producer.wait_for_space(0, 0.05)
        assert producer.offered == 1


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e300])
def test_a_time_that_there_is_not_is_refused(consumer: aether.Consumer, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be seconds"):
        consumer.receive(timeout)


@pytest.mark.parametrize("wait", STRATEGIES)
def test_whoever_waits_lets_other_threads_run_and_is_woken_by_them(path: Path, wait: str) -> None:
    with (
        aether.Buffer.create(path, 1024) as buffer,
        buffer.producer(wait=wait) as producer,  # type: ignore[arg-type]
        buffer.consumer(wait=wait) as consumer,  # type: ignore[arg-type]
    ):
        count = 200
        reader = Task(lambda: [consumer.receive().id for _ in range(count)])
        for id in range(count):
            producer.put(id, bytes(500))
        assert reader.outcome() == list(range(count))


def test_an_unknown_choice_names_the_known_ones(buffer: aether.Buffer, path: Path) -> None:
    with pytest.raises(ValueError, match="'sleep' is none of 'spin', 'yield', 'backoff' and 'park'"):
        buffer.producer(wait="sleep")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'fair' and 'by-id'"):
        buffer.consumer(merge="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'wait' and 'drop-oldest'"):
        aether.Buffer.create(path, 1024, overflow="x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        "consumer.receive()",
        "consumer.wait()",
        "next(consumer)",
        "consumer.receive_array('u1', 1)",
        "consumer.receive_many(1)",
        "aether.wait([consumer])",
        "producer.put(2, b'')",
        "producer.put_many(2, [b''])",
        "producer.put_array(2, b'12', record_size=1)",
        "producer.wait_for_space(0)",
        "aether.Buffer.connect(sys.argv[1] + '.not')",
    ],
)
def test_ctrl_c_ends_a_wait_and_nothing_is_lost(path: Path, child: Child, call: str) -> None:
    waiting = child(
        f"""
import numpy, signal
buffer = aether.Buffer.create(sys.argv[1], 1024)
consumer, producer = buffer.consumer(), buffer.producer()
if {call.startswith("producer")}:
    producer.put(1, bytes(1000))
# A shell has what it starts in the background ignore the signal, and so everything below.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    print("waits", flush=True)
    {call}
except KeyboardInterrupt:
    print(producer.offered, consumer.received)
""",
        path,
    )
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "waits\n"
    waiting.send_signal(signal.SIGINT)
    assert finish(waiting) == f"{int(call.startswith('producer'))} 0\n"


def test_closing_in_another_thread_ends_a_wait(buffer: aether.Buffer) -> None:
    consumer = buffer.consumer()
    reader = Task(consumer.receive)
    until_busy(consumer)
    consumer.close()
    with pytest.raises(aether.HandleClosedError):
        reader.outcome()
    buffer.consumer().close()


def until_busy(consumer: aether.Consumer) -> None:
    while True:
        try:
            consumer.has_producer()
        except aether.BusyError:
            return
        threading.Event().wait(0.001)


def test_two_threads_do_not_use_one_consumer(buffer: aether.Buffer, producer: aether.Producer) -> None:
    consumer = buffer.consumer()
    reader = Task(consumer.receive)
    until_busy(consumer)
    with pytest.raises(aether.BusyError, match="in use, by another thread"):
        consumer.try_receive()
    producer.put(1, b"x")
    message = reader.outcome()
    assert isinstance(message, aether.Message)
    assert message.payload == b"x"


def test_a_loop_ends_when_no_producer_is_left(buffer: aether.Buffer, child: Child, path: Path) -> None:
    writer = child(
        """
buffer = aether.Buffer.open(sys.argv[1])
producer = buffer.producer()
for id in range(1000):
    producer.put(id, b"x")
print("done", flush=True)
sys.stdin.read()
""",
        path,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "done\n"
    with buffer.consumer(require_producer=True) as consumer:
        ids = Task(lambda: [message.id for message in consumer])
        writer.send_signal(signal.SIGKILL)
        assert ids.outcome() == list(range(1000))
        with pytest.raises(EOFError) as closed:
            consumer.receive()
        assert isinstance(closed.value, aether.ClosedError)
        assert not consumer.has_producer()


def test_a_put_at_a_full_ring_that_nobody_consumes_says_so(path: Path) -> None:
    with aether.Buffer.create(path, 1024) as buffer, buffer.producer(require_consumer=True) as producer:
        producer.put(1, bytes(1000))
        with pytest.raises(BrokenPipeError) as alone:
            producer.put(2, b"x")
        assert isinstance(alone.value, aether.NoConsumerError)
        assert not producer.has_consumer()


def test_connect_waits_for_the_ring_to_be_made(path: Path) -> None:
    with pytest.raises(aether.TimedOutError, match="the ring to be made"):
        aether.Buffer.connect(path, 0.03)
    opened = Task(lambda: aether.Buffer.connect(path).capacity)
    aether.Buffer.create(path, 2048).close()
    assert opened.outcome() == 2048


def test_many_rings_are_waited_for_together(tmp_path: Path) -> None:
    buffers = [aether.Buffer.create(tmp_path / str(index), 1024) for index in range(3)]
    consumers = [buffer.consumer() for buffer in buffers]
    producers = [buffer.producer() for buffer in buffers]
    assert aether.wait(consumers, 0) == []
    assert aether.wait(consumers, 0.01) == []
    for chosen in (2, 0, 1):
        found = Task(lambda: aether.wait(consumers))
        producers[chosen].put(chosen, b"x")
        assert found.outcome() == [consumers[chosen]]
        assert consumers[chosen].receive().id == chosen
    producers[0].put(3, b"x")
    producers[2].put(4, b"x")
    assert aether.wait(iter(consumers), 1) == [consumers[0], consumers[2]]
    with pytest.raises(ValueError, match="no consumer"):
        aether.wait([])
    # One that is given twice could only be woken once.
    with pytest.raises(aether.BusyError):
        aether.wait([consumers[1], consumers[1]], 0)
    assert aether.wait([consumers[1]], 0) == []


def test_a_ring_that_is_closed_for_good_counts_as_ready_and_hides_no_other(tmp_path: Path) -> None:
    ended, going = (aether.Buffer.create(tmp_path / name, 1024) for name in ("ended", "going"))
    with ended.consumer(require_producer=True) as first, going.consumer() as second, going.producer() as producer:
        assert aether.wait([first, second]) == [first]
        producer.put(1, b"x")
        assert aether.wait([first, second]) == [first, second]
        with pytest.raises(aether.ClosedError):
            first.receive()
        assert second.receive().id == 1


def test_a_role_is_free_again_when_its_process_ends(path: Path, buffer: aether.Buffer, child: Child) -> None:
    finish(child("b = aether.Buffer.open(sys.argv[1]); b.producer().put(1, b'x'); b.consumer()", path))
    with buffer.producer() as producer, buffer.consumer() as consumer:
        assert (producer.lag, consumer.available_bytes) == (24, 24)
