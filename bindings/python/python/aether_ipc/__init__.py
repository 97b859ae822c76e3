"""Messages from one process to another on the same machine, through a ring in a memory-mapped file.

One process:

    with aether_ipc.Buffer.create("/dev/shm/quotes", 1 << 20) as buffer, buffer.producer() as producer:
        producer.put(1, b"hello", type=7)

Another one:

    with aether_ipc.Buffer.open("/dev/shm/quotes") as buffer, buffer.consumer() as consumer:
        for message in consumer:
            print(message.id, message.type, message.payload)
"""

from aether_ipc._native import (
    Buffer,
    Claim,
    Consumer,
    ConsumerInfo,
    Flow,
    Info,
    LaneInfo,
    Message,
    Observer,
    Problem,
    Producer,
    Report,
    Tail,
    __version__,
    guard_bus_errors,
    verify,
)
from aether_ipc._waiting import wait
from aether_ipc.errors import (
    AetherError,
    AlreadyExistsError,
    BorrowError,
    BusyError,
    CapacityError,
    ClosedError,
    ConsumerNameError,
    CorruptError,
    ForkedError,
    FullError,
    HandleClosedError,
    LaggedError,
    LayoutError,
    MismatchError,
    NoConsumerError,
    NoSpaceError,
    NotAFileError,
    NotARingError,
    NotFoundError,
    OptionsError,
    PermissionDeniedError,
    RecordError,
    RoleTakenError,
    SystemCallError,
    TimedOutError,
    TooLargeError,
    TruncatedError,
    VersionError,
)

__all__ = [
    "AetherError",
    "AlreadyExistsError",
    "BorrowError",
    "Buffer",
    "BusyError",
    "CapacityError",
    "Claim",
    "ClosedError",
    "Consumer",
    "ConsumerInfo",
    "ConsumerNameError",
    "CorruptError",
    "Flow",
    "ForkedError",
    "FullError",
    "HandleClosedError",
    "Info",
    "LaggedError",
    "LaneInfo",
    "LayoutError",
    "Message",
    "MismatchError",
    "NoConsumerError",
    "NoSpaceError",
    "NotAFileError",
    "NotARingError",
    "NotFoundError",
    "Observer",
    "OptionsError",
    "PermissionDeniedError",
    "Problem",
    "Producer",
    "RecordError",
    "Report",
    "RoleTakenError",
    "SystemCallError",
    "Tail",
    "TimedOutError",
    "TooLargeError",
    "TruncatedError",
    "VersionError",
    "__version__",
    "guard_bus_errors",
    "verify",
    "wait",
]
