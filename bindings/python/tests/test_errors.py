"""One hierarchy that mirrors the Rust library's errors."""

import errno
import pickle
import re
from pathlib import Path

import aether_ipc as aether
import pytest
from aether_ipc import errors
from conftest import REPOSITORY, Child, finish

# Where the name in Rust says too little, or is the built-in's.
RENAMED = {
    "Name": "ConsumerNameError",
    "Permission": "PermissionDeniedError",
    "Io": "SystemCallError",
}
# What only this package knows.
OWN = {"AetherError", "HandleClosedError", "BusyError", "BorrowError"}


def test_each_error_of_rust_has_its_class_and_its_fields() -> None:
    source = (REPOSITORY / "crates/aether-ipc/src/error.rs").read_text()
    body = re.search(r"^pub enum Error \{\n(.*?)^\}", source, flags=re.MULTILINE | re.DOTALL)
    assert body is not None
    variants = re.findall(r"^    (\w+)(?: \{\n(.*?)^    \}|\(.*?\))?,$", body[1], flags=re.MULTILINE | re.DOTALL)
    assert len(variants) > 20
    mapping = (REPOSITORY / "bindings/python/src/failure.rs").read_text()
    classes = {RENAMED.get(variant, f"{variant}Error"): (variant, fields) for variant, fields in variants}
    assert {name for name, item in vars(errors).items() if isinstance(item, type) and name.endswith("Error")} == (
        set(classes) | OWN
    )
    for name, (variant, fields) in classes.items():
        raised = re.search(rf'Error::{variant}\b.*?"(\w+Error)"', mapping, flags=re.DOTALL)
        assert raised is not None
        assert raised[1] == name
        error = getattr(errors, name)
        said = set(re.findall(r"^        (\w+): ", fields, flags=re.MULTILINE))
        if issubclass(error, OSError) and name not in ("RoleTakenError", "TimedOutError"):
            # These two are `filename` and `errno`.
            said -= {"path", "source"}
        assert set(error.__annotations__ if "__annotations__" in vars(error) else ()) == said, name


def test_all_are_exported_and_have_one_base() -> None:
    for name, item in vars(errors).items():
        if isinstance(item, type) and issubclass(item, aether.AetherError):
            assert getattr(aether, name) is item
            assert name in aether.__all__
            assert item.__mro__[1] in (aether.AetherError, Exception)


def test_an_error_of_the_system_is_as_python_itself_would_raise_it(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        aether.Buffer.open(path)
    assert isinstance(missing.value, aether.NotFoundError)
    assert (missing.value.errno, missing.value.filename) == (errno.ENOENT, str(path))
    assert str(missing.value).startswith(f"{path}: no such file")
    aether.Buffer.create(path, 1024)
    with pytest.raises(FileExistsError) as there:
        aether.Buffer.create(path, 1024, exclusive=True)
    assert (there.value.errno, there.value.filename) == (errno.EEXIST, str(path))
    with pytest.raises(aether.NotAFileError) as folder:
        aether.Observer.open(tmp_path)
    assert isinstance(folder.value, OSError)
    assert "directory" in folder.value.found


def test_what_is_forbidden_is_a_permission_error(path: Path, child: Child) -> None:
    aether.Buffer.create(path, 1024, mode=0o400)
    path.parent.chmod(0o755)
    forbidden = child(
        """
import os
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    # Nothing is forbidden to root.
    os.setgroups([])
    os.setuid(65534)
try:
    aether.Buffer.open("ring")
except PermissionError as error:
    print(type(error) is aether.PermissionDeniedError, error.errno, error.filename)
""",
        path.parent,
    )
    assert finish(forbidden) == f"True {errno.EACCES} ring\n"


def test_what_a_file_or_an_argument_is_not_is_a_value_error(path: Path) -> None:
    with pytest.raises(aether.CapacityError) as capacity:
        aether.Buffer.create(path, 1000)
    assert (capacity.value.capacity, capacity.value.min) == (1000, 1024)
    with pytest.raises(aether.OptionsError, match="classic"):
        aether.Buffer.create(path, 1024, classic=True, producers=2)
    with pytest.raises(aether.ConsumerNameError) as name, aether.Buffer.create(path, 1024) as buffer:
        buffer.consumer("x")
    assert name.value.name == "x"
    with pytest.raises(aether.MismatchError) as mismatch:
        aether.Buffer.open(path, capacity=2048)
    assert (mismatch.value.path, mismatch.value.found, mismatch.value.expected) == (path, 1024, 2048)
    with aether.Buffer.open(path) as buffer, buffer.producer() as producer:
        with pytest.raises(aether.TooLargeError) as large:
            producer.put(1, bytes(2000))
        assert (large.value.payload, large.value.max) == (2000, producer.max_payload)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(aether.TruncatedError) as truncated:
        aether.Buffer.open(path)
    assert (truncated.value.found, truncated.value.expected) == (len(content) - 1, len(content))
    path.write_bytes(b"text" * 1000)
    with pytest.raises(aether.NotARingError) as other:
        aether.Buffer.open(path)
    assert other.value.path == path
    assert "0x74786574" in other.value.reason
    for error in (capacity, name, mismatch, large, other):
        assert isinstance(error.value, ValueError)


def test_an_error_can_be_sent_to_another_process(path: Path) -> None:
    with pytest.raises(aether.NotFoundError) as missing:
        aether.Buffer.open(path)
    with pytest.raises(aether.CapacityError) as capacity:
        aether.Buffer.create(path, 1000)
    for error in (missing.value, capacity.value):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert pickle.loads(pickle.dumps(missing.value)).filename == str(path)
