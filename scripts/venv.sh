#!/bin/sh
# Make .venv, or bring it up to date, from a lock: scripts/venv.sh requirements.lock
# Nothing is installed but what the lock and that of the build tools name with hashes, and this checkout (editable).
# PYTHON=... chooses the interpreter; otherwise the first that will do is taken.
set -eu
cd "$(dirname "$0")/.."
lock=$1
export PIP_CACHE_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/cecochat/pip" PIP_DISABLE_PIP_VERSION_CHECK=1

# Those that the test suite was seen to pass on, as `requires-python` in pyproject.toml says.
supported="Python 3.11, 3.12, 3.13 or 3.14 (but not 3.13.0, which crashes)"
will_do="import sys, venv, ensurepip
sys.exit(not (3, 11) <= sys.version_info < (3, 15) or sys.version_info[:3] == (3, 13, 0))"

install() {
    .venv/bin/python -m pip install --quiet "$@"
}

find_python() {
    candidates=${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}
    tried=
    for candidate in $candidates; do
        if "$candidate" -c "$will_do" 2>/dev/null; then
            echo "$candidate"
            return
        fi
        tried="$tried, $candidate ($("$candidate" --version 2>/dev/null || echo "not found"))"
    done
    echo "CecoChat needs $supported with the module venv. Tried: ${tried#, }." >&2
    echo "Debian or Ubuntu: apt-get install python3 python3-venv; elsewhere: https://www.python.org/downloads/" >&2
    echo "Or name one: make setup PYTHON=/path/to/python3" >&2
    return 1
}

# A checkout that was moved, or a Python that was removed, leaves a .venv that cannot work.
if ! .venv/bin/python -c "$will_do" 2>/dev/null || ! .venv/bin/pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi
echo "Installing what $lock names (the first time takes half a minute) ..."
# What is imported is compiled then: in all 1 s, against 7 s for all that is installed.
install --no-compile --require-hashes -r "$lock"
install --no-compile --require-hashes -r requirements-build.lock
install --no-deps --no-build-isolation -e .
