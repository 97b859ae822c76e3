#!/usr/bin/env bash
# Builds the wheel, installs it into a virtual environment in .venv, and runs all tests of the package there.
set -euo pipefail
cd "$(dirname "$0")"
source environment.sh

.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
# PyO3 adds an `__all__`. Before 3.12, Python has no names for the buffer protocol.
.venv/bin/stubtest --concise --ignore-unused-allowlist --allowlist <(echo '.*\.__((release_)?buffer|all)__') aether_ipc
.venv/bin/pytest "$@"
