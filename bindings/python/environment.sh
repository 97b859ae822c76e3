# Sourced by the other scripts: makes a virtual environment in .venv, with the package and what its tests need.

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

# What the benchmark compares with. Nobody should have to compile it: what has no wheel for this system is left out.
while read -r peer; do
    if ! said=$(.venv/bin/python -m pip install --quiet --only-binary :all: "$peer" 2>&1); then
        if ! grep -q "No matching distribution" <<<"$said"; then
            echo "$said" >&2
            exit 1
        fi
        echo "there is no wheel of $peer for this system" >&2
    fi
done < <(grep -v '^#' benchmarks/requirements.txt)

.venv/bin/python -m pip install --quiet --force-reinstall --no-deps .
