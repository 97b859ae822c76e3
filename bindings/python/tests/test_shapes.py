"""Many producers and consumers, rings that drop, looking on, and checking."""

from pathlib import Path

import aether_ipc as aether
import pytest
from conftest import REPOSITORY


def ids(consumer: aether.Consumer) -> list[int]:
    return [message.id for message in iter(consumer.try_receive, None)]


def test_each_producer_has_a_lane_and_each_consumer_sees_all(path: Path) -> None:
    with aether.Buffer.create(path, 1024, producers=2, consumers=3) as bus:
        consumers = [bus.consumer(), bus.consumer(merge="by-id")]
        producers = [bus.producer(), bus.producer()]
        assert [producer.lane for producer in producers] == [0, 1]
        with pytest.raises(BlockingIOError) as taken:
            bus.producer()
        assert isinstance(taken.value, aether.RoleTakenError)
        assert taken.value.role == "producer"
        for id in (1, 3, 5):
            producers[0].put(id, b"odd")
        for id in (2, 4, 6):
            producers[1].put(id, b"even")
        assert sorted(ids(consumers[0])) == [1, 2, 3, 4, 5, 6]
        # Lane 1 has a producer that might still send something smaller than the next of lane 0.
        assert ids(consumers[1])[:5] == [1, 2, 3, 4, 5]


def test_a_shared_sequence_gives_the_ids_and_their_order(path: Path) -> None:
    with aether.Buffer.create(path, 1024, producers=2, consumers=2, sequence=True) as bus:
        consumers = [bus.consumer(merge="by-id"), bus.consumer(merge="by-id")]
        producers = [bus.producer(), bus.producer()]
        for turn in range(10):
            producers[turn % 2].put(-1, b"%d" % turn)
        for consumer in consumers:
            assert [(m.id, m.payload) for m in iter(consumer.try_receive, None)] == [(n, b"%d" % n) for n in range(10)]


def test_the_place_of_a_consumer_with_a_name_is_kept(path: Path) -> None:
    with aether.Buffer.create(path, 1024, consumers=4) as bus, bus.producer() as producer:
        bus.consumer("audit").close()
        producer.put(1, b"while audit was away")
        with bus.consumer("audit") as audit:
            assert ids(audit) == [1]
            with pytest.raises(aether.RoleTakenError, match="audit"):
                bus.consumer("audit")
            with pytest.raises(aether.RoleTakenError):
                bus.forget("audit")
        (info,) = bus.info().consumers
        assert (info.name, info.durable, info.holder, info.lag) == ("audit", True, None, 0)
        bus.forget("audit")
        assert bus.info().consumers == []
        for name in ("audit", "", "x" * 65, "a\nb"):
            with pytest.raises(aether.ConsumerNameError):
                bus.forget(name)


def test_a_ring_that_drops_tells_what_was_lost(path: Path) -> None:
    with (
        aether.Buffer.create(path, 1024, overflow="drop-oldest") as buffer,
        buffer.producer() as producer,
        buffer.consumer() as consumer,
    ):
        for id in range(100):
            assert producer.offer(id, b"12345678")
        with pytest.raises(aether.LaggedError) as lagged:
            consumer.receive()
        left = ids(consumer)
        assert left == list(range(left[0], 100))
        assert lagged.value.bytes == left[0] * 24


def test_a_loss_between_messages_is_told_by_the_next_call(path: Path) -> None:
    with (
        aether.Buffer.create(path, 1024, overflow="drop-oldest") as buffer,
        buffer.producer() as producer,
        buffer.consumer() as consumer,
    ):
        producer.put(0, b"12345678")

        def handler(message: aether.Message) -> None:
            for id in range(100):
                producer.put(id, message.payload)

        assert consumer.drain(handler, 10) == 1
        with pytest.raises(aether.LaggedError):
            consumer.try_receive()
        assert ids(consumer)[-1] == 99


def test_an_untrusting_consumer_reads_the_same(buffer: aether.Buffer, producer: aether.Producer) -> None:
    producer.put(1, b"12345678")
    with buffer.consumer(untrusted=True) as consumer:
        message = consumer.receive()
        assert bytes(message.view) == message.payload == b"12345678"


def test_an_observer_sees_what_waits_and_what_passes_and_takes_nothing(path: Path, buffer: aether.Buffer) -> None:
    path.chmod(0o400)
    observer = aether.Observer.open(path)
    tail = observer.tail()
    with buffer.producer() as producer, buffer.consumer() as consumer:
        producer.offer_many(1, [b"one", b"two", b"three"], type=7)
        assert [(m.id, m.type, m.payload) for m in observer.peek(2)] == [(1, 7, b"one"), (2, 7, b"two")]
        assert observer.count_messages() == 3
        seen = tail.poll(2) + tail.poll(10)
        assert [m.payload for m in seen] == [b"one", b"two", b"three"]
        assert tail.poll(10) == []
        assert [m.id for m in observer.tail(from_oldest=True).poll(10)] == [1, 2, 3]
        assert ids(consumer) == [1, 2, 3]
        # What an observer saw is a copy: it stays, whatever becomes of the ring.
        assert (bytes(seen[2].view), memoryview(seen[2]).readonly, bytes(seen[2].payload)) == (b"three", True, b"three")
        seen[2].release()
        with seen[2] as message:
            message.keep()
        assert seen[2].payload == b"three"
        assert observer.count_messages() == 0


def test_a_tail_that_is_outrun_says_so_and_goes_on(path: Path) -> None:
    with aether.Buffer.create(path, 1024, overflow="drop-oldest") as buffer, buffer.producer() as producer:
        tail = buffer.observer().tail()
        for id in range(100):
            producer.put(id, b"12345678")
        with pytest.raises(aether.LaggedError):
            tail.poll(1000)
        assert tail.poll(1000)[-1].id == 99


def test_info_says_what_the_ring_is(path: Path) -> None:
    with (
        aether.Buffer.create(path, 4096, producers=2, consumers=3, checksums=True, sequence=True) as bus,
        bus.producer() as producer,
        bus.consumer("a") as consumer,
    ):
        producer.put(0, b"1234")
        info = bus.info()
        assert (info.path, bus.path, info.format, info.version) == (path, path, "extended", 1)
        assert (info.capacity, bus.capacity, producer.capacity, info.consumer_slots) == (4096, 4096, 4096, 3)
        assert (info.checksums, info.sequence, info.overflow) == (True, True, "wait")
        assert info.file_size == path.stat().st_size
        assert info.disk_size == path.stat().st_blocks * 512
        assert 0 < info.data_offset < info.file_size
        assert [(lane.lane, lane.write_cursor, lane.oldest) for lane in info.lanes] == [(0, 24, 0), (1, 0, 0)]
        assert [lane.producer is not None for lane in info.lanes] == [True, False]
        (a,) = info.consumers
        assert (a.slot, a.name, a.read_cursors, a.lag, a.holder) == (0, "a", [0, 0], 24, info.lanes[0].producer)
        assert (info.write_cursor, info.read_cursor, info.available_bytes) == (24, 0, 24)
        assert (consumer.has_producer(), producer.has_consumer()) == (True, True)
        bus.sync()


def test_verify_finds_what_is_wrong(path: Path) -> None:
    with aether.Buffer.create(path, 1024, checksums=True) as buffer, buffer.producer() as producer:
        producer.offer_many(0, [b"12345678"] * 3)
        report = aether.verify(path)
        assert (report.problems, report.messages, report.bytes) == ([], 3, 96)
        with path.open("r+b") as file:
            file.seek(buffer.info().data_offset + 32 + 16)
            file.write(b"x")
        (problem,) = aether.verify(path).problems
        assert (problem.lane, problem.consumer, problem.position) == (0, None, 32)
        assert "checksum" in problem.reason
        with buffer.consumer() as consumer:
            assert consumer.receive().id == 0
            for _ in range(2):
                with pytest.raises(aether.CorruptError) as corrupt:
                    consumer.receive()
                assert (corrupt.value.lane, corrupt.value.position) == (0, 32)
                assert corrupt.value.reason == problem.reason


def test_one_buffer_is_shared_and_outlived(path: Path) -> None:
    with aether.Buffer.create(path, 1024, mode=0o640, prefault=True) as buffer:
        producer, consumer = buffer.producer(), buffer.consumer()
    assert buffer.closed
    assert path.stat().st_mode & 0o777 == 0o640
    producer.put(1, b"x")
    assert consumer.receive().id == 1
    for use in (buffer.producer, buffer.consumer, buffer.info, buffer.observer, buffer.sync, lambda: buffer.path):
        with pytest.raises(aether.HandleClosedError, match="buffer was closed"):
            use()


def test_the_version_is_the_librarys() -> None:
    manifest = (REPOSITORY / "Cargo.toml").read_text()
    assert f'version = "{aether.__version__}"' in manifest
