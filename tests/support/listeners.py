"""The process of a server of this machine, whoever started it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from cecochat.ports.discovery import Instance


def pid_of(server: Instance) -> int:
    """Of the process that listens where its health is asked (proc(5), net/tcp)."""
    inode = ""
    port = f"{urlsplit(server.health_url).port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port}") and fields[3] == "0A":
            inode = f"socket:[{fields[9]}]"
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with suppress(OSError):
                if inode and inode in map(target_of, (process / "fd").iterdir()):
                    return int(process.name)
    raise AssertionError(f"nobody listens at {server.health_url}")


def target_of(descriptor: Path) -> str:
    """What it stands for; nothing if it was closed meanwhile."""
    with suppress(OSError):
        return str(descriptor.readlink())
    return ""


async def kill(server: Instance) -> None:
    """SIGKILL."""
    os.kill(pid_of(server), signal.SIGKILL)
