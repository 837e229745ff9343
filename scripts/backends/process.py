"""Handles processes that outlive their starter, and never mistakes another process for one."""

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
    """A process, by its id and its beginning. The id alone may belong to another by now."""

    pid: int
    began: str

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """Return what `write` has left, or None if there is nothing readable."""
        try:
            noted = json.loads(path.read_text())
            return cls(int(noted["pid"]), str(noted["began"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path, **beside: object) -> None:
        """Note the process, and what belongs to it, atomically."""
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps({"pid": self.pid, "began": self.began, **beside}) + "\n")
        new.replace(path)

    @property
    def alive(self) -> bool:
        return began(self.pid) == self.began

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone."""
        with suppress(ProcessLookupError):  # it may end just now
            if self.alive:
                os.kill(self.pid, number)

    @property
    def memory_bytes(self) -> int:
        """The resident memory, or 0 if it is not known."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


def start(command: Command, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a process that Ctrl-C and the end of this program do not affect."""
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
    """Return when a process began, in a form to compare; "" if there is none but a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "" if Path("/proc/self").exists() else _began_elsewhere(pid)
    fields = stat.rpartition(")")[2].split()  # a name may hold anything, but ends with the last )
    state, threads, ticks = fields[0], int(fields[17]), fields[19]
    # After a kill, its first thread is a zombie while the others still hold its ports.
    gone = state in "ZX" and threads <= 1
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "" if gone else f"{boot} {ticks}"


def _began_elsewhere(pid: int) -> str:
    """Return the same without /proc (on macOS)."""
    ps = ["ps", "-o", "state=", "-o", "lstart=", "-p", str(pid)]
    said = subprocess.run(ps, capture_output=True, text=True, check=False).stdout.split()
    return "" if not said or said[0].startswith("Z") else " ".join(said[1:])
