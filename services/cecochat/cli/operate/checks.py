"""The checks of `doctor`. Each tells what it found and, if that is wrong, what to do."""

from __future__ import annotations

import importlib.metadata
import os
import re
import resource
import shlex
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from cecochat.cli import ports, systems
from cecochat.cli.systems import System
from cecochat.settings import backends, private
from cecochat.settings.backends import Finding
from cecochat.settings.settings import Settings

OPEN_FILES_FEW = 4_096
YEAR_2025_S = 1_735_689_600
CLOCK_BACK_S = 60
READY_TIMEOUT_S = 2.0


def examine(data: Path, loaded: Settings) -> list[Finding]:
    """Return the findings of all checks, in the order in which they explain each other."""
    last, examined = systems.of_data(data), replace(loaded, data_dir=data)
    return [
        python_version(),
        packages(),
        folder(data),
        rights(data),
        secrets(loaded),
        *(finding for backend in backends.found() for finding in backend.examine(examined)),
        clock(data, time.time()),
        open_files(),
        free_ports({loaded.host, loaded.internal_host}),
        last_up_ready(last),
    ]


def python_version() -> Finding:
    """Check the version of Python."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - pip may have been told not to check it
        return Finding("python", "wrong", found, "install Python 3.11 or newer, then `make setup`")
    return Finding("python", "ok", found)


def packages() -> Finding:
    """Check that the required packages are installed."""
    required = importlib.metadata.requires("cecochat") or []
    names = [re.split(r"[^A-Za-z0-9._-]", each)[0] for each in required if "extra ==" not in each]
    missing = [name for name in names if not _installed(name)]
    if missing:
        return Finding("packages", "wrong", f"missing: {', '.join(missing)}", "run `make setup`")
    return Finding("packages", "ok", f"all {len(names)} are installed")


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return name == "uvloop" and sys.platform == "win32"
    return True


def folder(data: Path) -> Finding:
    """Check that the data folder can be written, or made if it does not exist."""
    there = private.nearest(data)
    if there.is_dir() and os.access(there, os.W_OK):
        return Finding("data folder", "ok", str(data) if there == data else f"{data}, not made yet")
    why = "is not writable" if there.is_dir() else "is not a folder"
    mend = "make it writable for this user, or choose another with `cecochat up --data DIR`"
    return Finding("data folder", "wrong", f"{there} {why}", mend)


def rights(data: Path) -> Finding:
    """Check that nobody but the owner has any right to the data folder."""
    if not (found := private.exposed(data) if data.is_dir() else []):
        return Finding("rights", "ok", "only its owner has rights to the data folder")
    names = ", ".join(str(path) for path in found[:3]) + (" ..." if found[3:] else "")
    mend = f"chmod -R go= {shlex.quote(str(data))}, or start `cecochat up` once"
    return Finding("rights", "wrong", f"others have rights to {names}", mend)


def secrets(loaded: Settings) -> Finding:
    """Check the modes of the files that the settings name.

    Secrets must not be world-readable, nor any of these files world-writable.
    """
    found = [(variable, str(path)) for variable, path, _ in private.open_files(loaded)]
    if not found:
        return Finding("secrets", "ok", "no file that the settings name is open to everybody")
    names = ", ".join(f"{path} ({variable})" for variable, path in found)
    mend = f"chmod o= {shlex.join(path for _, path in found)}"
    return Finding("secrets", "wrong", f"everybody has rights to {names}", mend)


def clock(data: Path, now_s: float) -> Finding:
    """Check the clock, which message ids and tokens depend on."""
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
    """Check the limit of open files: every connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < OPEN_FILES_FEW:
        mend = f"for thousands of connections: ulimit -Hn {OPEN_FILES_FEW}"
        return Finding("open files", "warning", f"at most {hard}", mend)
    return Finding("open files", "ok", f"at most {hard if hard >= 0 else 'unlimited'}")


def free_ports(hosts: Collection[str]) -> Finding:
    """Check that nothing but the systems that run here uses the default ports."""
    row = range(ports.DEFAULT_BASE, ports.DEFAULT_BASE + len(ports.NAMES))
    own = {port for system in systems.running() for port in system.ports}
    busy = [port for port in row if port not in own and not ports.is_free(hosts, port)]
    span = f"{row[0]} to {row[-1]}"
    if busy:
        mend = "`cecochat up` takes others by itself; or choose them with --port-base"
        return Finding("ports", "warning", f"in use: {', '.join(map(str, busy))}", mend)
    return Finding("ports", "ok", f"{span} are free, or used by what runs here")


def last_up_ready(last: System | None) -> Finding:
    """Check that what `up` started last is ready."""
    if last is None:
        return Finding("last up", "ok", "none yet; start one with `cecochat up`")
    faults = [fault for name, url in last.health.items() if (fault := _not_ready(name, url))]
    if faults:
        mend = f"start it again: cecochat up --data {shlex.quote(last.data)}"
        return Finding("last up", "wrong", "; ".join(faults), mend)
    return Finding("last up", "ok", f"ready at {last.connect}")


def _without_verification() -> ssl.SSLContext:
    """The question is whether the server is ready, not who it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _not_ready(name: str, url: str) -> str:
    try:
        # The URL is from the file that `up` wrote.
        with urllib.request.urlopen(  # noqa: S310
            f"{url}/readyz", timeout=READY_TIMEOUT_S, context=_without_verification()
        ):
            return ""
    except urllib.error.HTTPError as error:
        return f"{name} is not ready: {error.read(300).decode(errors='replace')}"
    except OSError as error:
        return f"{name} does not answer at {url} ({getattr(error, 'reason', error)})"
