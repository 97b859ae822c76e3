"""A process that sends ticks as arrays, and one that receives them as arrays."""

import multiprocessing
import tempfile
from pathlib import Path

import aether_ipc as aether
import numpy as np

TICK = np.dtype([("price", "<f8"), ("volume", "<u4")])
COUNT = 1_000_000


def send(path: str) -> None:
    ticks = np.zeros(COUNT, TICK)
    ticks["price"] = 100 + np.sin(np.arange(COUNT) / 1000)
    ticks["volume"] = 1
    with aether.Buffer.open(path) as buffer, buffer.producer() as producer:
        producer.put_array(0, ticks)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "ticks")
        with aether.Buffer.create(path, 1 << 20) as buffer, buffer.consumer() as consumer:
            sender = multiprocessing.get_context("spawn").Process(target=send, args=(path,))
            sender.start()
            volume = 0
            turnover = 0.0
            while volume < COUNT:
                ticks = consumer.receive_array(TICK, COUNT)
                volume += int(ticks["volume"].sum())
                turnover += float((ticks["price"] * ticks["volume"]).sum())
            sender.join()
    print(f"{volume} traded, at {turnover / volume:.3f} on average")


if __name__ == "__main__":
    main()
