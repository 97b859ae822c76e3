"""An Arrow table, written into the ring and read from it where it stands."""

import tempfile
from pathlib import Path

import aether_ipc as aether
import pyarrow as pa


def send(producer: aether.Producer, id: int, table: pa.Table) -> None:
    # How long it will be: Arrow writes it to nowhere.
    nowhere = pa.MockOutputStream()
    write(nowhere, table)
    with producer.claim(nowhere.size()) as claim:
        ring = pa.FixedSizeBufferWriter(pa.py_buffer(claim))
        write(ring, table)
        ring.close()
        del ring
        claim.commit(id)


def write(sink: pa.NativeFile, table: pa.Table) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def receive(consumer: aether.Consumer) -> float:
    with consumer.receive() as message:
        # No copy: the columns are in the ring, and so must be gone before the message is.
        table = pa.ipc.open_stream(pa.py_buffer(message)).read_all()
        total = sum(table["price"].to_pylist())
        del table
        return float(total)


def main() -> None:
    table = pa.table({"symbol": ["ABC", "DEF", "GHI"], "price": [1.25, 2.5, 4.0]})
    with (
        tempfile.TemporaryDirectory() as folder,
        aether.Buffer.create(Path(folder) / "tables", 1 << 20) as buffer,
        buffer.producer() as producer,
        buffer.consumer() as consumer,
    ):
        send(producer, 1, table)
        print(receive(consumer))


if __name__ == "__main__":
    main()
