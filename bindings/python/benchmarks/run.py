"""Measures aether_ipc beside other ways from one Python process to another: `python run.py --help`.

Two processes, each on a processor of its own. All ways are opened first; then each round runs every one of them for a
short while, one after the other, so that what disturbs the machine disturbs all alike. What is told is the median of
the rounds, and of the ratios within each round.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import page
import transports
import work
from transports import SPAWN, Link

# Seconds in which any single measurement is over, if it is not stuck.
WATCHDOG = 60


@dataclass(frozen=True)
class Workload:
    """What is measured with several links, and compared."""

    name: str
    title: str
    # What the figures are of: nanoseconds are divided by it, once each lap.
    unit: str
    per_lap: float
    links: tuple[type[Link], ...]
    # With whose figures all are compared.
    references: tuple[type[Link], ...]


t = transports
OTHERS = (t.Iceoryx2, t.FasterFifo, t.Pipe, t.SimpleQueue, t.Queue, t.ZeroMq)
WORKLOADS = (
    Workload(
        "stream",
        "Messages of 64 bytes, as fast as they go",
        "ns a message",
        len(work.MESSAGES),
        (t.Aether, t.AetherBatches, t.FasterFifoBatches, *OTHERS),
        (t.Aether, t.AetherBatches),
    ),
    Workload(
        "round_trip",
        "One message of 64 bytes there, and one back",
        "µs",
        1000 * len(work.MESSAGES),
        (t.Aether, t.AetherSpinning, *OTHERS),
        (t.Aether, t.AetherSpinning),
    ),
    Workload(
        "records",
        "Records of 16 bytes, from and to NumPy arrays of 4096",
        "ns a record",
        len(work.RECORDS) // 2,
        (t.Aether, t.AetherWhole, *OTHERS),
        (t.Aether, t.AetherWhole),
    ),
    Workload(
        "arrays",
        "Arrays of 8 MiB, computed by one process and summed up by the other",
        "µs an array",
        1000,
        (t.Aether, *OTHERS),
        (t.Aether,),
    ),
)


def serve(
    side: type[work.First] | type[work.Second], processor: int, links: work.Links, orders: "Connection[Any, Any]"
) -> None:
    """What either process does: the jobs that it is told, until it is told no more."""
    os.sched_setaffinity(0, {processor})
    orders.recv()
    end = side(links)
    orders.send(None)
    while (order := orders.recv()) is not None:
        job, argument = order
        run: Callable[[int], None] = getattr(end, job)
        orders.send(None)
        started = time.perf_counter_ns()
        run(argument)
        orders.send((started, time.perf_counter_ns()))


class Pair:
    """Two processes and the links of one kind between them."""

    def __init__(self, kind: type[Link], folder: Path, processors: list[int]) -> None:
        self.kind = kind
        # Kept: what they need of the system goes with them.
        self.links = work.Links(kind, folder)
        self.processes = []
        self.orders = []
        for side, processor in ((work.Second, processors[1]), (work.First, processors[0])):
            mine, its = SPAWN.Pipe()
            process = SPAWN.Process(target=serve, args=(side, processor, self.links, its), daemon=True)
            process.start()
            its.close()
            self.processes.append(process)
            self.orders.append(mine)

    def open(self) -> None:
        """Open the links: the receiver first, as some give it nothing of what was sent before it was there."""
        for side in (0, 1):
            self.orders[side].send(None)
            self.answer(side)

    def answer(self, side: int) -> Any:
        if not self.orders[side].poll(WATCHDOG):
            raise SystemExit(f"{self.kind.__name__}: nothing happened for {WATCHDOG} seconds")
        try:
            return self.orders[side].recv()
        except (EOFError, ConnectionResetError):
            raise SystemExit(f"{self.kind.__name__}: a process ended") from None

    def together(self, job: str, laps: int) -> int:
        """Both sides at once: nanoseconds from the first thing sent to the last one checked, on either side."""
        for side in (0, 1):
            self.orders[side].send((job, laps))
            self.answer(side)
        (_, received), (sent, finished) = self.answer(0), self.answer(1)
        return int(max(received, finished) - sent)

    def in_turn(self, number: int) -> tuple[int, int]:
        """One side after the other: nanoseconds of each, the sender's first."""
        times = []
        for side in (1, 0):
            self.orders[side].send(("call", number))
            self.answer(side)
            started, finished = self.answer(side)
            times.append(finished - started)
        return times[0], times[1]

    def end(self) -> None:
        for orders in self.orders:
            orders.send(None)
        for process in self.processes:
            process.join(WATCHDOG)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()


class Progress:
    """What is going on, for people on a terminal."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done = 0
        self.shown = sys.stderr.isatty()

    def step(self, what: str) -> None:
        self.done += 1
        if self.shown:
            print(f"\r\x1b[K{self.done}/{self.steps} {what}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def measure(pairs: dict[type[Link], Pair], workloads: list[Workload], rounds: int, seconds: float) -> dict[str, Any]:
    jobs = [(workload, kind) for workload in workloads for kind in workload.links if kind in pairs]
    progress = Progress((rounds + 1) * (len(jobs) + len(work.CALLS)))
    laps = {}
    for workload, kind in jobs:
        progress.step(f"warming up: {kind.__name__}, {workload.name}")
        # Twice as many until it takes long enough to say how many make the time wanted.
        count, time_taken = 1, pairs[kind].together(workload.name, 1)
        while time_taken < seconds * 1e9 / 2:
            count *= 2
            time_taken = pairs[kind].together(workload.name, count)
        laps[workload, kind] = max(1, round(count * seconds * 1e9 / time_taken))
    for number in range(len(work.CALLS)):
        progress.step("warming up: calls")
        pairs[t.Aether].in_turn(number)
    times: dict[tuple[Workload, type[Link]], list[float]] = {job: [] for job in jobs}
    calls: list[list[tuple[float, float]]] = [[] for _ in work.CALLS]
    for number in range(rounds):
        for workload, kind in jobs:
            progress.step(f"round {number + 1} of {rounds}: {kind.__name__}, {workload.name}")
            count = laps[workload, kind]
            taken = pairs[kind].together(workload.name, count)
            times[workload, kind].append(taken / count / workload.per_lap)
        for index, call in enumerate(work.CALLS):
            progress.step(f"round {number + 1} of {rounds}: calls")
            # Short: the best of a few is not taken, their middle is.
            turns = [pairs[t.Aether].in_turn(index) for _ in range(5)]
            calls[index].append(
                tuple(statistics.median(turn[side] for turn in turns) / call.count for side in (0, 1))  # type: ignore[arg-type]
            )
    progress.end()
    figures = {
        "tables": [table(workload, times) for workload in workloads],
        "calls": [
            {"name": call.name, "send": spread([a for a, _ in rows]), "receive": spread([b for _, b in rows])}
            for call, rows in zip(work.CALLS, calls, strict=True)
        ],
    }
    return {**figures, "goals": goals(figures)}


def table(workload: Workload, times: dict[tuple[Workload, type[Link]], list[float]]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for kind in workload.links:
        if (workload, kind) not in times:
            rows.append({"link": kind.__name__, "figure": None, "ratios": []})
            continue
        mine = times[workload, kind]
        ratios = [
            spread([a / b for a, b in zip(mine, times[workload, reference], strict=True)])
            for reference in workload.references
        ]
        rows.append({"link": kind.__name__, "figure": spread(mine), "ratios": ratios})
    return {
        "name": workload.name,
        "title": workload.title,
        "unit": workload.unit,
        "references": [reference.__name__ for reference in workload.references],
        "rows": rows,
    }


def goals(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at, and how near it is."""
    tables = {one["name"]: one for one in figures["tables"]}
    calls = {call["name"]: call for call in figures["calls"]}

    def find(workload: str, link: type[Link]) -> dict[str, Any] | None:
        rows = tables[workload]["rows"] if workload in tables else []
        return next((row for row in rows if row["link"] == link.__name__ and row["figure"]), None)

    rows: list[dict[str, Any]] = []

    def goal(name: str, goal: float, value: float, at_least: bool = False) -> None:
        rows.append({"name": name, "goal": goal, "value": value, "at_least": at_least})

    def times(name: str, goal_of_it: float, workload: str, link: type[Link], reference: int = 0) -> None:
        if (row := find(workload, link)) is not None:
            goal(name, goal_of_it, row["ratios"][reference]["median"], at_least=True)

    goal("`put` of 64 bytes, in ns", 100, calls[work.PUT_RECEIVE]["send"]["median"])
    goal("`receive` of 64 bytes, in ns", 100, calls[work.PUT_RECEIVE]["receive"]["median"])
    goal("`receive` of 64 bytes and a copy of them, in ns", 100, calls[work.PUT_PAYLOAD]["receive"]["median"])
    times("times as fast as iceoryx2, one by one", 10, "stream", t.Iceoryx2)
    times("times as fast as faster-fifo, both in batches", 10, "stream", t.FasterFifoBatches, 1)
    times("times as fast as `multiprocessing.Pipe`, one by one", 10, "stream", t.Pipe)
    times("times as fast as `multiprocessing.SimpleQueue`, one by one", 10, "stream", t.SimpleQueue)
    times("times as fast as `multiprocessing.Queue`, one by one", 10, "stream", t.Queue)
    times("times as fast as pyzmq, there and back", 100, "round_trip", t.ZeroMq)
    times("times as fast as pyzmq, one by one, as fast as they go", 100, "stream", t.ZeroMq)
    if (row := find("records", t.Aether)) is not None:
        goal("million records a second with NumPy", 50, 1000 / row["figure"]["median"], at_least=True)
    handed = [calls[name][side]["median"] for side in ("send", "receive") for name in work.HANDED_OVER]
    goal(
        "times as long to hand over 8 MiB as 64 bytes, which a copy would make 100,000",
        2,
        (handed[1] + handed[3]) / (handed[0] + handed[2]),
    )
    return rows


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def machine(processors: list[int]) -> dict[str, Any]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    versions = {"aether_ipc": importlib.metadata.version("aether-ipc")} if installed("aether-ipc") else {}
    versions["numpy"] = importlib.metadata.version("numpy")
    for kind in OTHERS:
        if kind.package is not None and kind.is_there():
            versions[kind.package] = importlib.metadata.version(kind.package)
    return {
        "processor": model,
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "processors": processors,
        "python": platform.python_version(),
        "python_optimized": optimized,
        "versions": versions,
    }


def installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="how often each measurement is repeated (9)")
    parser.add_argument("--seconds", type=float, default=0.05, help="how long a measurement takes (0.05)")
    parser.add_argument("--only", choices=[workload.name for workload in WORKLOADS], help="measure this alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page for people there")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not 0 < arguments.seconds < WATCHDOG:
        parser.error("expected at least one round, of more than 0 and less than 60 seconds")
    processors = sorted(os.sched_getaffinity(0))[:2]
    if len(processors) < 2:
        raise SystemExit("this process may use one processor, and two are needed")

    workloads = [workload for workload in WORKLOADS if arguments.only in (None, workload.name)]
    kinds: list[type[Link]] = list(
        dict.fromkeys([t.Aether, *(kind for workload in workloads for kind in workload.links)])
    )
    pairs: dict[type[Link], Pair] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="aether-") as folder:
        try:
            for kind in kinds:
                if kind.is_there():
                    pairs[kind] = Pair(kind, Path(folder), processors)
                else:
                    print(f"{kind.package} is not installed: left out", file=sys.stderr)
            for pair in pairs.values():
                pair.open()
            figures = measure(pairs, workloads, arguments.rounds, arguments.seconds)
            for pair in pairs.values():
                pair.end()
        finally:
            for pair in pairs.values():
                pair.kill()
    report = {
        "machine": machine(processors),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        **figures,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.page:
        arguments.page.write_text(page.render(report))
    print(page.render(report), end="")


if __name__ == "__main__":
    main()
