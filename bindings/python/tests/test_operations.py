"""What the command with all its parts writes, read by the tools that people have for it."""

import os
import re
import subprocess
import urllib.request
from pathlib import Path

import aether_ipc as aether
import numpy
import pyarrow.compute
import pyarrow.parquet
import pytest
from conftest import REPOSITORY, WATCHDOG
from prometheus_client.parser import text_string_to_metric_families

TICK = numpy.dtype([("price", "f8"), ("volume", "u4")])


@pytest.fixture(scope="session")
def command() -> Path:
    """The command as it is released, with journals and metrics, which the one in the wheel has not."""
    if "AETHER_COMMAND" in os.environ:
        return Path(os.environ["AETHER_COMMAND"])
    build = ["cargo", "build", "--quiet", "--package", "aether-cli", "--features", "operations"]
    subprocess.run(build, cwd=REPOSITORY, check=True)
    return REPOSITORY / "target" / "debug" / "aether"


def run(*arguments: object) -> None:
    ended = subprocess.run([str(word) for word in arguments], capture_output=True, timeout=WATCHDOG, check=False)
    assert ended.returncode == 0, ended.stderr.decode()


def test_a_journal_is_read_into_arrow_and_numpy(command: Path, path: Path, tmp_path: Path) -> None:
    ticks = numpy.zeros(1000, TICK)
    ticks["price"] = numpy.arange(1000) / 8
    ticks["volume"] = numpy.arange(1000) * 3
    journal, exported = tmp_path / "journal", tmp_path / "ticks.parquet"
    with aether.Buffer.create(path, 1 << 16) as buffer, buffer.producer() as producer:
        assert producer.offer_array(100, ticks, type=7) == 1000
    run(command, "record", path, "-o", journal, "--until-idle", "0s", "--block", "4KiB", "--roll-size", "8KiB")
    run(command, "journal", "export", journal, "-o", exported, "--from", "200")

    table = pyarrow.parquet.read_table(exported)
    assert table.schema.names == ["time", "id", "type", "lane", "position", "payload"]
    assert table.schema.field("time").type == pyarrow.timestamp("ns", tz="UTC")
    assert table["id"].to_pylist() == list(range(200, 1100))
    assert pyarrow.compute.unique(table["type"]).to_pylist() == [7]
    times = table["time"].to_numpy()
    assert times.dtype == numpy.dtype("M8[ns]")
    assert (numpy.diff(times) >= numpy.timedelta64(0)).all()
    names = {"numpy": numpy, "pyarrow": pyarrow, "table": table, "tick": TICK}
    exec(snippet("docs/journal.md"), names)
    numpy.testing.assert_array_equal(names["ticks"], ticks[100:])


def snippet(page: str) -> str:
    """The only block of Python on a page."""
    text = (REPOSITORY / page).read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(block)


def test_prometheus_own_parser_reads_the_metrics(command: Path, path: Path) -> None:
    with aether.Buffer.create(path, 1024, consumers=2) as buffer, buffer.producer() as producer:
        audit = buffer.consumer(name='a "name"')
        producer.offer(1, b"x" * 48)
        arguments = [str(command), "metrics", "--listen", "127.0.0.1:0", str(path)]
        with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as exporter:
            try:
                assert exporter.stderr is not None
                address = exporter.stderr.readline().split()[-1]
                with urllib.request.urlopen(address + "metrics", timeout=WATCHDOG) as answer:
                    text = answer.read().decode()
            finally:
                exporter.terminate()
        audit.close()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["aether_ring_up"].type == "gauge"
    assert families["aether_ring_written_bytes"].type == "counter"
    assert all(family.documentation and family.samples for family in families.values())
    lag = families["aether_ring_consumer_lag_bytes"].samples[0]
    assert lag.labels == {"ring": str(path), "slot": "0", "name": 'a "name"'}
    assert lag.value == 64
