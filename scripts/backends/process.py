"""Processes that outlive the one that started them, and are never taken for another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.backends.instance import Command


@dataclass(frozen=True)
class Process:
    """A process and when it began: its number alone may be another's by now."""

    pid: int
    began: str

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """What `write` has left; None if there is nothing, or nothing that can be read."""
        try:
            noted = json.loads(path.read_text())
            return cls(int(noted["pid"]), str(noted["began"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path, **beside: object) -> None:
        """Note it, and what belongs to it, all at once."""
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps({"pid": self.pid, "began": self.began, **beside}) + "\n")
        new.replace(path)

    @property
    def alive(self) -> bool:
        return began(self.pid) == self.began

    def signal(self, number: signal.Signals) -> None:
        """Nothing happens if it is gone."""
        with suppress(ProcessLookupError):  # or goes just now
            if self.alive:
                os.kill(self.pid, number)

    @property
    def memory_bytes(self) -> int:
        """Resident; 0 where that is not known."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


def start(command: Command, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start it apart from this terminal: Ctrl-C and the end of this program do not reach it."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command.argv,
            cwd=folder,
            env={**os.environ, **command.environ},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def began(pid: int) -> str:
    """When process `pid` began, in a form to compare; "" if there is none (or only its zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "" if Path("/proc/self").exists() else _began_elsewhere(pid)
    fields = stat.rpartition(")")[2].split()  # a name may hold anything, but ends with the last )
    state, threads, ticks = fields[0], int(fields[17]), fields[19]
    # Killed, its first thread is a zombie while the others still hold its ports.
    gone = state in "ZX" and threads <= 1
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "" if gone else f"{boot} {ticks}"


def _began_elsewhere(pid: int) -> str:
    """As `began`, where there is no /proc (macOS)."""
    ps = ["ps", "-o", "state=", "-o", "lstart=", "-p", str(pid)]
    said = subprocess.run(ps, capture_output=True, text=True, check=False).stdout.split()
    return "" if not said or said[0].startswith("Z") else " ".join(said[1:])
