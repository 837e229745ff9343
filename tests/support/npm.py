"""What npm packages of this repository need, as their lock files say."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cecochat" / "npm"
COMMAND = ("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error")


def installed(package: Path) -> Path:
    """Install what the lock file of a package names, unless that has been done. Returns its
    `node_modules`.
    """
    modules, lock = package / "node_modules", package / "package-lock.json"
    with alone(package):
        stamp = modules / ".installed"
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            _run(package, *COMMAND)
            stamp.write_bytes(lock.read_bytes())
    return modules


@cache
def compiled(package: Path) -> Path:
    """Install what a package needs, and compile it. Returns the package. A worker that finds it
    compiled writes nothing, since others may be running it.
    """
    installed(package)
    with alone(package):
        _run(package, "npm", "run", "--silent", "build")
    return package


@cache
def bundled(package: Path) -> bytes:
    """Return the whole client in one script, as `bundle.js` of a package makes it."""
    compiled(package)
    with alone(package):
        _run(package, "npm", "run", "--silent", "bundle")
        return package.joinpath("dist", "cecochat.js").read_bytes()


@contextmanager
def alone(package: Path) -> Iterator[None]:
    """Workers that run at once wait for each other."""
    with package.joinpath("package.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _run(package: Path, *words: str) -> None:
    env = {**os.environ, "npm_config_cache": str(CACHE)}
    subprocess.run(words, cwd=package, check=True, env=env)
