#!/usr/bin/env bash
# Prints the path of a Python that can build and test the package; $PYTHON, if that is set.
set -euo pipefail

for name in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
    if [ -n "$name" ] && "$name" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        "$name" -c 'import sys; print(sys.executable)'
        exit
    fi
    if [ -n "$name" ] && [ "$name" = "${PYTHON:-}" ]; then
        echo "$PYTHON is not a Python 3.11 or newer with the modules venv and ensurepip" >&2
        exit 1
    fi
done
echo "Python 3.11 or newer, with the modules venv and ensurepip, is missing; on Debian: apt-get install python3-venv" >&2
exit 1
