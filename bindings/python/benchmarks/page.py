"""The figures as a page for people."""

from typing import Any

HEAD = """\
# Benchmarks of the Python package

Written by `cargo xtask bench-python`, which measures everything anew: no figure is copied by hand. The same for
programs: [`python-benchmarks.json`](python-benchmarks.json).
"""

# What each way is called, and what is used of it for each work.
NAMES = {
    "Aether": "**aether_ipc**",
    "AetherSpinning": "**aether_ipc**",
    "AetherBatches": "**aether_ipc**",
    "AetherWhole": "**aether_ipc**",
    "Iceoryx2": "iceoryx2",
    "FasterFifo": "faster-fifo",
    "FasterFifoBatches": "faster-fifo",
    "Pipe": "`multiprocessing.Pipe`",
    "SimpleQueue": "`multiprocessing.SimpleQueue`",
    "Queue": "`multiprocessing.Queue`",
    "ZeroMq": "pyzmq over `ipc://`",
}
USED = {
    "Aether": "`put`, `for message in consumer`",
    "AetherSpinning": '`put`, `receive`, `wait="spin"`',
    "AetherBatches": "`put_many`, `receive_many`, 256 at a time",
    "AetherWhole": "`claim`, `receive`: 4096 records are one message",
    "Iceoryx2": "a copy into a loaned sample, `receive` in a loop",
    "FasterFifo": "`put`, `get` of bytes",
    "FasterFifoBatches": "`put_many`, `get_many` of bytes, 256 at a time",
    "Pipe": "`send_bytes`, `recv_bytes`",
    "SimpleQueue": "`put`, `get`",
    "Queue": "`put`, `get`",
    "ZeroMq": "`PUSH`, `PULL`",
}
USED_FOR = {
    ("round_trip", "Aether"): "`put`, `receive`",
    ("records", "Iceoryx2"): "4096 records are one message, as with all below",
    ("records", "Aether"): "`put_array`, `receive_array`: each record is a message",
    ("arrays", "Aether"): "`claim`, `receive`, in place",
    ("arrays", "Iceoryx2"): "a loaned sample, in place",
    ("arrays", "ZeroMq"): "`PUSH`, `PULL`, `copy=False`",
}


SHORT = """\
What stands in the way of the rest: a copied payload is a bytes object, which Python makes, looks up as an attribute and
frees; `receive_many` saves the looking up. pyzmq gathers what is sent into large writes while the receiver is behind,
and a hundredth of what it takes then is less than an empty turn of a loop in Python. iceoryx2 lends the array that was
used last again, which is still in the processor's cache, while a ring goes on to the next one.
"""


def render(report: dict[str, Any]) -> str:
    parts = [HEAD, how(report)]
    parts += [table(one) for one in report["tables"]]
    parts.append(calls(report["calls"]))
    parts += [goals(report["goals"]), SHORT]
    return "\n".join(part for part in parts if part)


def how(report: dict[str, Any]) -> str:
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    build = "" if machine["python_optimized"] else ", built without `--enable-optimizations`"
    first, second = machine["processors"]
    rounds, seconds = report["rounds"], report["seconds"]
    where = f"{machine['processor']} ({machine['architecture']}), Linux {machine['kernel']}"
    return f"""\
Two processes, on processors {first} and {second} of {where}.
CPython {machine["python"]}{build}; {versions}.

One process writes every byte of every payload; the other one compares or adds up every byte that arrives. The loops
that do so in Python are a part of the figures. Each way is measured for {seconds} s, one after the other, and all that
{rounds} times over. A figure is the median of these rounds; a ratio is the median of the ratios within each round, with
the lowest and the highest, and says how many times as long it takes as what stands at the head of its column.
"""


def table(one: dict[str, Any]) -> str:
    references = one["references"]
    several = len(references) > 1
    heads = [f"to {USED_FOR.get((one['name'], name), USED[name])}" if several else "ratio" for name in references]
    lines = [f"## {one['title']}", "", f"| | | {one['unit']} | {' | '.join(heads)} |"]
    lines.append("|---|---|---:|" + "---:|" * len(heads))
    for row in one["rows"]:
        link = row["link"]
        if row["figure"] is None:
            cells = ["not installed"] + [""] * len(heads)
        else:
            ratios = zip(references, row["ratios"], strict=True)
            cells = [number(row["figure"]["median"]), *(ratio(link, name, found) for name, found in ratios)]
        lines.append(f"| {NAMES[link]} | {USED_FOR.get((one['name'], link), USED[link])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ratio(link: str, reference: str, found: dict[str, float]) -> str:
    if link == reference:
        return "1"
    return f"{number(found['median'])} ({number(found['lowest'])} to {number(found['highest'])})"


def calls(rows: list[dict[str, Any]]) -> str:
    lines = [
        "## What a call costs",
        "",
        "One process sends some thousand messages, then the other one receives them, so that nobody waits. Nanoseconds",
        "a message, with the loop in Python around the calls; what that takes alone has a line of its own.",
        "",
        "| | sending | receiving |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {row['name']} | {number(row['send']['median'])} | {number(row['receive']['median'])} |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def goals(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = ["## Goals", "", "| | goal | measured | |", "|---|---:|---:|---|"]
    for row in rows:
        sign = "at least" if row["at_least"] else "at most"
        met = row["value"] >= row["goal"] if row["at_least"] else row["value"] <= row["goal"]
        words = "met" if met else "**missed**"
        lines.append(f"| {row['name']} | {sign} {number(row['goal'])} | {number(row['value'])} | {words} |")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 99.95 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
