"""What `cecochat doctor` checks in a data folder."""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from cecochat.settings import private
from cecochat.settings.backends import Finding

NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "vboxsf", "afs", "ceph")
FREE_LITTLE_BYTES, FREE_TOO_LITTLE_BYTES = 2 << 30, 100 << 20
FSYNC_SLOW_MS = 20.0
FSYNCS = 20


def file_system(data: Path) -> Finding:
    """Check the file system: SQLite's write-ahead log needs shared memory, which a network file
    system does not have.
    """
    kind = _file_system_of(data)
    if kind.startswith(NETWORK_FILE_SYSTEMS):
        mend = "put the data on a local disk with `cecochat up --data DIR`"
        return Finding("file system", "wrong", f"{kind}, on which SQLite is not safe", mend)
    if kind in ("tmpfs", "ramfs"):
        mend = "use it for trials only; `cecochat up --data DIR` puts the data on a disk"
        found = f"{kind}, which is lost when the machine stops"
        return Finding("file system", "warning", found, mend)
    return Finding("file system", "ok", kind)


def _file_system_of(data: Path) -> str:
    """Return the type of the file system in Linux's table of mounts; on other systems "unknown"."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    real = data.resolve()
    over = [(len(m[1]), m[2]) for m in mounts if real.is_relative_to(m[1].replace("\\040", " "))]
    return max(over)[1] if over else "unknown"


def free_space(data: Path) -> Finding:
    """Check whether there is room for the log and the history."""
    free_bytes = shutil.disk_usage(private.nearest(data)).free
    found = f"{free_bytes / (1 << 30):.1f} GiB free"
    mend = "free some space: no message is acknowledged while the disk is full"
    if free_bytes < FREE_TOO_LITTLE_BYTES:
        return Finding("disk", "wrong", found, mend)
    if free_bytes < FREE_LITTLE_BYTES:
        return Finding("disk", "warning", found, mend)
    return Finding("disk", "ok", found)


def fsync_latency(data: Path) -> Finding:
    """Check how long a commit takes, since no message is acknowledged before."""
    try:
        with tempfile.TemporaryFile(dir=private.nearest(data)) as file:
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


def databases(data: Path) -> Finding:
    """Check each database with SQLite's quick check, which reads all of it."""
    files = [data / name for name in private.DATABASES if (data / name).exists()]
    found = [f"{file.name}: {error}" for file in files if (error := _damage(file))]
    if found:
        mend = "`cecochat restore COPY --data NEW` makes a new data folder from a copy"
        return Finding("databases", "wrong", f"damaged: {'; '.join(found)}", mend)
    return Finding("databases", "ok", f"{len(files)} are intact")


def _damage(file: Path) -> str:
    try:
        with closing(_read_only(file)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return "" if found == "ok" else str(found)


def _read_only(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


def holes(data: Path) -> Finding:
    """Check whether the history has holes that no operator has acknowledged."""
    file = data / "history.db"
    try:
        open_ones = _open_holes(file) if file.exists() else []
    except sqlite3.Error as error:
        return Finding("holes", "wrong", f"{file}: {error}", "see the data folder above")
    if not open_ones:
        return Finding("holes", "ok", "there are none, or all are acknowledged")
    name, reason, text = open_ones[0]
    found = f"{len(open_ones)} are not acknowledged, the first is {name}: {reason}, {text}"
    return Finding("holes", "wrong", found, "see `cecochat holes list`, then `cecochat holes ack`")


def _open_holes(file: Path) -> list[tuple[str, str, str]]:
    """Read the table on its own, since a folder of an earlier version does not have it."""
    with closing(_read_only(file)) as connection:
        tables = "SELECT 1 FROM sqlite_master WHERE name = 'holes'"
        if connection.execute(tables).fetchone() is None:
            return []
        select = """SELECT partition || ':' || first_offset, reason, text FROM holes
            WHERE acknowledged_at_ms = 0 ORDER BY partition, first_offset"""
        return connection.execute(select).fetchall()
