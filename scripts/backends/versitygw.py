"""Versity's gateway, which speaks the API of S3 on a folder. Tests of that API use it.

python3 -m scripts.backends.versitygw    builds it, and prints where it is
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from scripts.backends import modules, store, versions
from scripts.backends.instance import Failed


def here() -> str | None:
    """Return where it is: on PATH, or built beside the backends."""
    built = store.place("versitygw", versions.VERSITYGW) / "versitygw"
    return shutil.which("versitygw") or (str(built) if built.exists() else None)


def program() -> Path:
    """Build it, unless that has been done. Raises Failed."""
    return modules.bring(
        "versitygw", versions.VERSITYGW, "github.com/versity/versitygw/cmd/versitygw"
    )


if __name__ == "__main__":
    try:
        print(program())
    except Failed as error:
        sys.exit(str(error))
