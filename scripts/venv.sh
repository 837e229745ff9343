#!/bin/sh
# Make .venv, or bring it up to date, from a lock: scripts/venv.sh requirements.lock
# Nothing is installed but what the lock names with its hash, and this checkout (editable).
# PYTHON=... chooses the interpreter; otherwise the first that will do is taken.
set -eu
cd "$(dirname "$0")/.."
lock=$1
pip="env PIP_CACHE_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/cecochat/pip PIP_DISABLE_PIP_VERSION_CHECK=1
    .venv/bin/python -m pip install --quiet"

find_python() {
    candidates=${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}
    for candidate in $candidates; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer that can make a virtual environment (tried: $candidates)." >&2
    echo "Debian or Ubuntu: apt-get install python3 python3-venv; elsewhere: https://www.python.org/downloads/" >&2
    echo "Or name one: make setup PYTHON=/path/to/python3" >&2
    return 1
}

# A checkout that was moved, or a Python that was removed, leaves a .venv that cannot work.
if ! .venv/bin/pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi
echo "Installing what $lock names (the first time takes half a minute) ..."
# What is imported is compiled then: in all 1 s, against 7 s for all that is installed.
$pip --no-compile --require-hashes -r "$lock"
$pip --no-deps --no-build-isolation -e .
