"""What `doctor` looks at: each check tells what it found and, where that is wrong, what to do."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import re
import resource
import shlex
import shutil
import sqlite3
import ssl
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cecochat.adapters import build
from cecochat.cli import ports, target
from cecochat.domain.errors import CecochatError
from cecochat.ports.discovery import SERVICES, Unproven
from cecochat.runtime import private
from cecochat.runtime.settings import Settings

NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "vboxsf", "afs", "ceph")
FREE_LITTLE_BYTES, FREE_TOO_LITTLE_BYTES = 2 << 30, 100 << 20
FSYNC_SLOW_MS = 20.0
FSYNCS = 20
OPEN_FILES_FEW = 4_096
YEAR_2025_S = 1_735_689_600
CLOCK_BACK_S = 60
READY_TIMEOUT_S = 2.0


class Finding(NamedTuple):
    """`mend`: what to do; empty where nothing is wrong."""

    check: str
    result: Literal["ok", "warning", "wrong"]
    found: str
    mend: str = ""


def examine(data: Path, loaded: Settings) -> list[Finding]:
    """Every check, in the order in which they explain each other."""
    known = target.last_up()
    checks: list[Callable[[], Finding]] = [
        python_version,
        packages,
        lambda: folder(data),
        lambda: rights(data),
        lambda: secrets(loaded),
        lambda: file_system(data),
        lambda: free_space(data),
        lambda: fsync_latency(data),
        lambda: holes(data),
        lambda: clock(data, time.time()),
        open_files,
        lambda: free_ports({loaded.host, loaded.internal_host}, known),
        lambda: registrations(loaded),
        lambda: last_up_ready(known),
    ]
    return [check() for check in checks]


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


def file_system(data: Path) -> Finding:
    """SQLite's write-ahead log needs shared memory, which a network file system does not give."""
    kind = _file_system_of(data)
    if kind.startswith(NETWORK_FILE_SYSTEMS):
        mend = "put the data on a local disk with `cecochat up --data DIR`"
        return Finding("file system", "wrong", f"{kind}: SQLite is not safe on it", mend)
    if kind in ("tmpfs", "ramfs"):
        mend = "use it for trials only; `cecochat up --data DIR` puts the data on a disk"
        return Finding("file system", "warning", f"{kind}: lost when the machine stops", mend)
    return Finding("file system", "ok", kind)


def _file_system_of(data: Path) -> str:
    """From Linux's table of mounts; elsewhere: unknown."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    real = data.resolve()
    over = [(len(m[1]), m[2]) for m in mounts if real.is_relative_to(m[1].replace("\\040", " "))]
    return max(over)[1] if over else "unknown"


def free_space(data: Path) -> Finding:
    """Room for the log and the history."""
    free_bytes = shutil.disk_usage(_existing(data)).free
    found = f"{free_bytes / (1 << 30):.1f} GiB free"
    mend = "free some space: with a full disk nothing is acknowledged"
    if free_bytes < FREE_TOO_LITTLE_BYTES:
        return Finding("disk", "wrong", found, mend)
    if free_bytes < FREE_LITTLE_BYTES:
        return Finding("disk", "warning", found, mend)
    return Finding("disk", "ok", found)


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def fsync_latency(data: Path) -> Finding:
    """How long a commit takes: no message is acknowledged before."""
    try:
        with tempfile.TemporaryFile(dir=data) as file:
            median_ms = statistics.median(_fsync_ms(file.fileno()) for _ in range(FSYNCS))
    except OSError as error:
        return Finding("fsync", "wrong", f"{error.strerror}", "see the data folder above")
    found = f"{median_ms:.2f} ms (median of {FSYNCS})"
    if median_ms > FSYNC_SLOW_MS:
        mend = "put the data on a faster disk: every acknowledgement waits for this"
        return Finding("fsync", "warning", found, mend)
    return Finding("fsync", "ok", found)


def _fsync_ms(descriptor: int) -> float:
    os.write(descriptor, bytes(4_096))
    begun_s = time.perf_counter()
    os.fsync(descriptor)
    return (time.perf_counter() - begun_s) * 1_000


def holes(data: Path) -> Finding:
    """Whether the history here lacks what was acknowledged, and nobody has said that they know."""
    file = data / "history.db"
    try:
        open_ones = _open_holes(file) if file.exists() else []
    except sqlite3.Error as error:
        return Finding("holes", "wrong", f"{file}: {error}", "see the data folder above")
    if not open_ones:
        return Finding("holes", "ok", "none that nobody knows of")
    name, reason, text = open_ones[0]
    found = f"{len(open_ones)} not acknowledged, the first {name}: {reason}, {text}"
    return Finding("holes", "wrong", found, "see `cecochat holes list`, then `cecochat holes ack`")


def _open_holes(file: Path) -> list[tuple[str, str, str]]:
    """Read by itself, since a folder of a version before has no such table."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        tables = "SELECT 1 FROM sqlite_master WHERE name = 'holes'"
        if connection.execute(tables).fetchone() is None:
            return []
        select = """SELECT partition || ':' || first_offset, reason, text FROM holes
            WHERE acknowledged_at_ms = 0 ORDER BY partition, first_offset"""
        return connection.execute(select).fetchall()


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


def registrations(loaded: Settings) -> Finding:
    """Whether Consul, where there is one, tells of servers that are not of this cluster."""
    if not loaded.consul:
        return Finding("registrations", "ok", "none: CECOCHAT_CONSUL names no cluster")
    try:
        live, unproven = asyncio.run(_registered(loaded))
    except CecochatError as error:
        return Finding("registrations", "wrong", str(error), "see the settings")
    if unproven:
        names = ", ".join(f"{each.registered_id} at {each.address}" for each in unproven)
        mend = "see docs/runbook.md, A registration that nobody signed"
        found = f"not signed with the secret of this cluster: {names}"
        return Finding("registrations", "wrong", found, mend)
    return Finding("registrations", "ok", f"{live} servers of this cluster, and no others")


async def _registered(loaded: Settings) -> tuple[int, tuple[Unproven, ...]]:
    async with build.discovery(loaded) as discovery:
        return sum(len(discovery.live(each)) for each in SERVICES), discovery.unproven


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
