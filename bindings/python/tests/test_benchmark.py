"""The benchmark measures what it says, and its page is what it has measured."""

import faulthandler
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY, WATCHDOG

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import page  # noqa: E402
import transports  # noqa: E402
import work  # noqa: E402


def test_every_way_is_measured_and_the_page_shows_it(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--rounds", "1", "--seconds", "0.001"]
    command += ["--json", str(tmp_path / "json"), "--page", str(tmp_path / "page")]
    # It starts twenty processes, which takes a while where others work too.
    faulthandler.dump_traceback_later(6 * WATCHDOG, exit=True, file=sys.__stderr__ or sys.stderr)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=5 * WATCHDOG, check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "json").read_text())
    assert [table["name"] for table in report["tables"]] == ["stream", "round_trip", "records", "arrays"]
    for table in report["tables"]:
        links = {row["link"]: row for row in table["rows"]}
        assert {"Aether", "Iceoryx2", "FasterFifo", "Pipe", "SimpleQueue", "Queue", "ZeroMq"} <= set(links)
        for link, row in links.items():
            if getattr(transports, link).is_there():
                assert row["figure"]["median"] > 0, (table["name"], link)
                assert all(ratio["median"] > 0 for ratio in row["ratios"])
            else:
                assert f"{getattr(transports, link).package} is not installed" in ended.stderr
    assert [call["name"] for call in report["calls"]] == [call.name for call in work.CALLS]
    assert all(call[side]["median"] > 0 for call in report["calls"] for side in ("send", "receive"))
    assert (tmp_path / "page").read_text() == ended.stdout == page.render(report)


def test_no_figure_in_the_documents_was_written_by_hand() -> None:
    committed = json.loads((REPOSITORY / "docs/python-benchmarks.json").read_text())
    assert (REPOSITORY / "docs/python-benchmarks.md").read_text() == page.render(committed)
    assert None not in [row["figure"] for table in committed["tables"] for row in table["rows"]]


class Wrong(transports.Receiver):
    """Receives what was sent, but for one byte."""

    def __init__(self, payloads: Iterator[bytes]) -> None:
        self.payloads = payloads
        self.get = self.get_wrong

    def get_wrong(self) -> bytes:
        payload = next(self.payloads)
        return payload[:-1] + bytes([payload[-1] ^ 1])


def test_a_byte_that_is_wrong_is_noticed() -> None:
    with pytest.raises(transports.WrongError):
        Wrong(iter(work.MESSAGES)).stream(work.MESSAGES, 1)
    with pytest.raises(transports.WrongError):
        Wrong(iter([work.RECORDS.tobytes()])).records(work.RECORDS, 1)
