"""Builds Porcupine, a checker of linearizability, with our model of a chat.

It judges the histories that the tests of faults write.

python3 -m scripts.backends.porcupine    builds it, and prints where it is
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.backends import modules, store, versions
from scripts.backends.instance import Failed


def here() -> Path | None:
    """Return the program that is built from the model as it is now."""
    program = store.place("porcupine", versions.PORCUPINE) / "porcupine"
    return program if program.exists() else None


def program() -> Path:
    """Build it, unless that has been done. Raises Failed."""
    return modules.bring("porcupine", versions.PORCUPINE, ".")


if __name__ == "__main__":
    try:
        print(program())
    except Failed as error:
        sys.exit(str(error))
