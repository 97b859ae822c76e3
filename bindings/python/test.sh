#!/usr/bin/env bash
# Builds the wheel, installs it into a virtual environment in .venv, and runs all tests of the package there.
set -euo pipefail
cd "$(dirname "$0")"

python=$(bash find-python.sh)
if ! command -v cargo >/dev/null; then
    echo "cargo is missing; get it from https://rustup.rs" >&2
    exit 1
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1

# One of another Python, or one that was moved, is made anew.
version='import sys; print(sys.version_info)'
if [ "$(.venv/bin/python -c "$version" 2>/dev/null)" != "$("$python" -c "$version")" ]; then
    "$python" -m venv --clear .venv
fi
.venv/bin/python -m pip install --quiet --requirement requirements.txt
.venv/bin/python -m pip install --quiet --force-reinstall --no-deps .

.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
# PyO3 adds an `__all__`. Before 3.12, Python has no names for the buffer protocol.
.venv/bin/stubtest --concise --ignore-unused-allowlist --allowlist <(echo '.*\.__((release_)?buffer|all)__') aether_ipc
.venv/bin/pytest "$@"
