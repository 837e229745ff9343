#!/bin/sh
# Makes .venv, or brings it up to date, from a lock: scripts/venv.sh requirements.lock
# It only installs what the lock and that of the build tools name with hashes, and this checkout (editable).
# PYTHON=... chooses the interpreter. By default, the first suitable one is taken.
set -eu
cd "$(dirname "$0")/.."
lock=$1
export PIP_CACHE_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/cecochat/pip" PIP_DISABLE_PIP_VERSION_CHECK=1

# The test suite passes on these versions, which `requires-python` in pyproject.toml allows.
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
    echo "CecoChat needs $supported with the module venv. These were tried: ${tried#, }." >&2
    echo "On Debian or Ubuntu: apt-get install python3 python3-venv; elsewhere see https://www.python.org/downloads/" >&2
    echo "Or name one: make setup PYTHON=/path/to/python3" >&2
    return 1
}

# If the checkout was moved, or its Python was removed, .venv does not work any more.
if ! .venv/bin/python -c "$will_do" 2>/dev/null || ! .venv/bin/pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv
fi
echo "Installing what $lock names (the first time takes half a minute) ..."
# Modules are compiled when they are imported, which takes 1 s in all, instead of 7 s for everything.
install --no-compile --require-hashes -r "$lock"
install --no-compile --require-hashes -r requirements-build.lock
install --no-deps --no-build-isolation -e .
