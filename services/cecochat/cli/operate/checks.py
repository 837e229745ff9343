"""What `doctor` looks at: each check tells what it found and, where that is wrong, what to do."""

from __future__ import annotations

import importlib.metadata
import re
import resource
import shlex
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from cecochat.cli import ports, target
from cecochat.settings import backends, private
from cecochat.settings.backends import Finding
from cecochat.settings.settings import Settings

OPEN_FILES_FEW = 4_096
YEAR_2025_S = 1_735_689_600
CLOCK_BACK_S = 60
READY_TIMEOUT_S = 2.0


def examine(data: Path, loaded: Settings) -> list[Finding]:
    """Every check, in the order in which they explain each other."""
    known, examined = target.last_up(), replace(loaded, data_dir=data)
    return [
        python_version(),
        packages(),
        folder(data),
        rights(data),
        secrets(loaded),
        *(finding for backend in backends.found() for finding in backend.examine(examined)),
        clock(data, time.time()),
        open_files(),
        free_ports({loaded.host, loaded.internal_host}, known),
        last_up_ready(known),
    ]


def python_version() -> Finding:
    """Python itself."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - what pip was told not to check
        return Finding("python", "wrong", found, "install Python 3.11 or newer, then `make setup`")
    return Finding("python", "ok", found)


def packages() -> Finding:
    """What the package requires."""
    required = importlib.metadata.requires("cecochat") or []
    names = [re.split(r"[^A-Za-z0-9._-]", each)[0] for each in required if "extra ==" not in each]
    missing = [name for name in names if not _installed(name)]
    if missing:
        return Finding("packages", "wrong", f"missing: {', '.join(missing)}", "run `make setup`")
    return Finding("packages", "ok", f"all {len(names)} are there")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return name == "uvloop" and sys.platform == "win32"
    return True


def folder(data: Path) -> Finding:
    """Whether the data can be written."""
    try:
        private.make_folder(data)
        with tempfile.TemporaryFile(dir=data) as file:
            file.write(b"x")
    except OSError as error:
        return Finding(
            "data folder",
            "wrong",
            f"{data}: {error.strerror}",
            "make it writable for this user, or choose another with `cecochat up --data DIR`",
        )
    return Finding("data folder", "ok", str(data))


def rights(data: Path) -> Finding:
    """Whether anybody else has a right to the messages here."""
    if not (found := private.exposed(data) if data.is_dir() else []):
        return Finding("rights", "ok", "the data folder is its owner's alone")
    names = ", ".join(str(path) for path in found[:3]) + (" ..." if found[3:] else "")
    mend = f"chmod -R go= {shlex.quote(str(data))}, or start `cecochat up` once"
    return Finding("rights", "wrong", f"others have rights to {names}", mend)


def secrets(loaded: Settings) -> Finding:
    """Whether everybody can read a secret that the settings name, or write any of their files."""
    found = [(variable, str(path)) for variable, path, _ in private.open_files(loaded)]
    if not found:
        return Finding("secrets", "ok", "none that the settings name is open to everybody")
    names = ", ".join(f"{path} ({variable})" for variable, path in found)
    mend = f"chmod o= {shlex.join(path for _, path in found)}"
    return Finding("secrets", "wrong", f"everybody has rights to {names}", mend)


def clock(data: Path, now_s: float) -> Finding:
    """Message ids and tokens follow the clock."""
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    mend = "set the clock (timedatectl set-ntp true)"
    if now_s < YEAR_2025_S:
        return Finding("clock", "wrong", found, mend)
    newest_s = max((f.stat().st_mtime for f in data.glob("*.db*")), default=0.0)
    if newest_s > now_s + CLOCK_BACK_S:
        back = f"{found}, {newest_s - now_s:.0f} s before the data was last written"
        return Finding("clock", "wrong", back, mend)
    return Finding("clock", "ok", found)


def open_files() -> Finding:
    """A connection costs a file descriptor; servers take as many as are allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < OPEN_FILES_FEW:
        mend = f"for thousands of connections: ulimit -Hn {OPEN_FILES_FEW}"
        return Finding("open files", "warning", f"at most {hard}", mend)
    return Finding("open files", "ok", f"at most {hard if hard >= 0 else 'unlimited'}")


def free_ports(hosts: Collection[str], known: dict[str, Any] | None) -> Finding:
    """The default ports; those of a system that runs are not in the way."""
    row = range(ports.DEFAULT_BASE, ports.DEFAULT_BASE + len(ports.NAMES))
    own = str(known) if known else ""
    busy = [port for port in row if not ports.is_free(hosts, port) and f":{port}" not in own]
    span = f"{row[0]} to {row[-1]}"
    if busy:
        mend = "`cecochat up` takes others by itself; choose them with --port-base"
        return Finding("ports", "warning", f"in use: {', '.join(map(str, busy))}", mend)
    return Finding("ports", "ok", f"{span} are free, or of the system that runs")


def last_up_ready(known: dict[str, Any] | None) -> Finding:
    """Whether what `up` started last serves."""
    if known is None:
        return Finding("last up", "ok", "none yet; start one with `cecochat up`")
    faults = [fault for name, url in known["health"].items() if (fault := _not_ready(name, url))]
    if faults:
        mend = f"start it again: cecochat up --data {shlex.quote(known['data'])}"
        return Finding("last up", "wrong", "; ".join(faults), mend)
    return Finding("last up", "ok", f"ready at {known['connect']}")


def _of_anybody() -> ssl.SSLContext:
    """It is asked whether it is ready, not who it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _not_ready(name: str, url: str) -> str:
    try:
        # A URL of our own making, from the file that `up` wrote.
        with urllib.request.urlopen(  # noqa: S310
            f"{url}/readyz", timeout=READY_TIMEOUT_S, context=_of_anybody()
        ):
            return ""
    except urllib.error.HTTPError as error:
        return f"{name} is not ready: {error.read(300).decode(errors='replace')}"
    except OSError as error:
        return f"{name} does not answer at {url} ({getattr(error, 'reason', error)})"
