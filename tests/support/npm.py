"""What npm packages of this repository need, as their lock files say."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cecochat" / "npm"
COMMAND = ("npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error")


def installed(package: Path) -> Path:
    """Install what the lock file of a package names, unless that has been done. Returns its
    `node_modules`. Workers that run at once wait for each other.
    """
    modules, lock = package / "node_modules", package / "package-lock.json"
    with package.joinpath("package.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stamp = modules / ".installed"
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            subprocess.run(
                COMMAND, cwd=package, check=True, env={**os.environ, "npm_config_cache": str(CACHE)}
            )
            stamp.write_bytes(lock.read_bytes())
    return modules
