"""The folder of what is installed. Each part is complete or absent, and never changes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.backends import places

PINNED = Path(__file__).parent / "pinned"


def place(name: str, version: str) -> Path:
    """Return where `name` is or will be. When its pinned files change, it is another place."""
    pinned = PINNED / name
    suffix = f"-{fingerprint(pinned)}" if pinned.is_dir() else ""
    return places.cache() / f"{name}-{version}{suffix}"


def fingerprint(folder: Path) -> str:
    """Return eight hexadecimal digits that follow from the names and bytes in `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def bring(name: str, version: str, make: Callable[[Path], None], say: str) -> Path:
    """The place of `name`, where `make(folder)` has put it if it was not there before.

    `make` fills a folder beside it that is renamed when all is done; two that come at the same
    time do it once.
    """
    there = place(name, version)
    if there.exists():
        return there
    there.parent.mkdir(parents=True, exist_ok=True)
    with locked(there.parent / f"{name}.lock"):
        if not there.exists():
            _make(there, make, f"{name} {version}: {say}")
    return there


def _make(there: Path, make: Callable[[Path], None], what: str) -> None:
    print(f"{what} ...", flush=True)
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f".{there.name}.", dir=there.parent))
    try:
        make(folder)
        folder.chmod(0o755)
        folder.rename(there)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"  took {time.monotonic() - started:.1f} s; it is in {there}", flush=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock among all processes of this machine, and wait for it first."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
