#!/usr/bin/env bash
# Measures the package beside others, and writes docs/python-benchmarks.md and .json; `--help` says what else it can do.
set -euo pipefail
cd "$(dirname "$0")"
source environment.sh

docs=../../docs/python-benchmarks
if [ $# = 0 ]; then
    set -- --page "$docs.md" --json "$docs.json"
fi
exec .venv/bin/python benchmarks/run.py "$@"
