"""Everything that can go wrong: one hierarchy, whose members are also what Python itself calls such an error.

What an error says is also there as attributes, under the names of the fields of the Rust library's error.
"""

import queue
from pathlib import Path


class AetherError(Exception):
    """The base of all."""

    def __str__(self) -> str:
        # Of an OSError the second argument; the words name the file already.
        return str(self.args[-1]) if self.args else ""


class FullError(AetherError, queue.Full):
    """The ring has no space for the message now: back-pressure. Nothing was written."""


class TooLargeError(AetherError, ValueError):
    """The payload is larger than an empty ring could ever take. Nothing was written."""

    payload: int
    max: int


class NoConsumerError(AetherError, BrokenPipeError):
    """The ring is full and no process consumes; see `require_consumer` of `Buffer.producer`."""


class ClosedError(AetherError, EOFError):
    """The ring is empty and no process produces; see `require_producer` of `Buffer.consumer`."""


class TimedOutError(AetherError, TimeoutError):
    """A wait ended without what it waited for."""

    waited: float
    awaited: str


class ForkedError(AetherError, RuntimeError):
    """The handle was inherited through a fork: its role stays with the parent. Open the buffer again in the child."""


class LaggedError(AetherError):
    """Messages were written over before they were read. Raised once; reading goes on at the oldest whole message."""

    bytes: int


class CorruptError(AetherError, ValueError):
    """The bytes in the ring break the format. Nothing was delivered."""

    lane: int
    position: int
    reason: str


class RoleTakenError(AetherError, BlockingIOError):
    """Another process, or another handle in this one, has the role."""

    path: Path
    role: str
    holders: list[int]


class CapacityError(AetherError, ValueError):
    """No ring can have that capacity."""

    capacity: int
    min: int
    max: int


class OptionsError(AetherError, ValueError):
    """No ring can have that combination of options."""


class ConsumerNameError(AetherError, ValueError):
    """The name of a consumer is empty or too long, nobody has it, or the ring keeps no names."""

    name: str
    reason: str


class MismatchError(AetherError, ValueError):
    """The file is a ring of another shape than the one asked for."""

    path: Path
    field: str
    found: int
    expected: int


class NotARingError(AetherError, ValueError):
    """The file is no ring."""

    path: Path
    reason: str


class VersionError(AetherError, ValueError):
    """The file's format is newer than this package."""

    path: Path
    found: int
    known: int


class TruncatedError(AetherError, OSError):
    """The file is shorter than its header says."""

    found: int
    expected: int


class NotFoundError(AetherError, FileNotFoundError):
    """No file at that path, or no directory to create it in."""


class AlreadyExistsError(AetherError, FileExistsError):
    """`Buffer.create` with `exclusive` found a file there."""


class NotAFileError(AetherError, OSError):
    """The path names something that is no regular file."""

    found: str


class PermissionDeniedError(AetherError, PermissionError):
    """The system refuses access."""

    operation: str


class NoSpaceError(AetherError, OSError):
    """The file system has no space for the ring. No file was left behind."""

    size: int


class SystemCallError(AetherError, OSError):
    """Anything else that the system reported."""

    operation: str


class RecordError(AetherError, ValueError):
    """Bytes that were to be published are not whole records. Nothing was."""

    offset: int
    reason: str


class LayoutError(AetherError, ValueError):
    """The payload has not the size asked for."""

    payload: int
    expected: int


class HandleClosedError(AetherError, ValueError):
    """The buffer, producer or consumer was closed."""


class BusyError(AetherError, RuntimeError):
    """Another thread, or the handler that is running, uses the producer or consumer."""


class BorrowError(AetherError, BufferError):
    """A view or array of a payload is in use, or was used after the payload's release."""
