"""The volume of a backend: copied while it is stopped, and an older copy put back in its place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from scripts.backends.launch import Backend


def copy(backend: Backend, to: Path) -> None:
    """Stop it, copy its data, start it again."""
    backend.stop()
    subprocess.run(["cp", "--archive", "--sparse=always", backend.instance.data, to], check=True)
    backend.start()


def put_back(backend: Backend, older: Path, folder: str = "") -> None:
    """The data of a backend that does not run is that of before again: all of it, or one folder."""
    current = backend.instance.data / folder
    shutil.rmtree(current)
    subprocess.run(["cp", "--archive", "--sparse=always", older / folder, current], check=True)
