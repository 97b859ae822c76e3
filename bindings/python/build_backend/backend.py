"""Builds the wheel as maturin does, and puts the command `aether` into it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import maturin
from maturin import get_requires_for_build_editable, get_requires_for_build_wheel

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

HERE = Path(__file__).resolve().parent.parent
# In the folder that `[tool.maturin] data` names.
SCRIPTS = HERE / "target" / "wheel-data" / "scripts"


def build_wheel(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    build_command()
    return str(maturin.build_wheel(directory, settings, metadata))


def build_editable(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    build_command()
    return str(maturin.build_editable(directory, settings, metadata))


def build_sdist(_directory: str, _settings: Any = None) -> str:
    raise SystemExit(
        "the package is built from a checkout of the repository, whose other parts it needs: build a wheel"
    )


def prepare_metadata_for_build_wheel(directory: str, settings: Any = None) -> str:
    # Maturin looks for it already here.
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    return str(maturin.prepare_metadata_for_build_wheel(directory, settings))


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_command() -> None:
    manifest = HERE.parent.parent / "Cargo.toml"
    command = [os.environ.get("CARGO", "cargo"), "build", "--release", "--package", "aether-cli"]
    command += ["--manifest-path", str(manifest), "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    messages = map(json.loads, built.stdout.splitlines())
    executable = next(message["executable"] for message in messages if message.get("executable"))
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    shutil.copy2(executable, SCRIPTS)
    subprocess.run(["strip", "-S", SCRIPTS / Path(executable).name], check=True)
