#!/usr/bin/env bash
# Builds the jar, with the native library in it, and runs every test of the Java binding, also those that talk to Python.
# Needs cargo, Maven 3.8 or newer, a JDK 22 or newer, which Maven looks for in JAVA_HOME and the usual places, and a Python.
set -euo pipefail
cd "$(dirname "$0")"

for tool in cargo mvn; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is missing; get cargo from https://rustup.rs, and Maven as the package maven of your system" >&2
        exit 1
    fi
done

python=$PWD/../python/.venv/bin/python
if ! "$python" -c 'import aether_ipc' 2>/dev/null; then
    "$(bash ../python/find-python.sh)" -m venv --clear ../python/.venv
    "$python" -m pip install --quiet --disable-pip-version-check ../python
fi

# The benchmarks too, each for a moment.
log=$(mktemp)
trap 'rm "$log"' EXIT
if ! mvn --batch-mode --no-transfer-progress -P benchmarks verify -Daether.python="$python" "$@" >"$log" 2>&1; then
    cat "$log" >&2
    if grep -q 'Cannot find matching toolchain' "$log"; then
        echo "no JDK 22 or newer was found, in JAVA_HOME or the usual places: install one, such as Debian's" \
            "openjdk-25-jdk-headless (Debian 13) or Temurin 25, and set JAVA_HOME to it" >&2
    fi
    exit 1
fi
grep -E '^\[(INFO|WARNING)\] Tests run: .*[0-9]$' "$log"
