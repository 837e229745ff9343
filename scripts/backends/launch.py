"""Starts, stops and kills backends, for `up` and `down` and for tests of faults.

with private("kafka", tmp_path) as kafka:
    kafka.start()
    ...  # kafka.address, kafka.pid
    kafka.kill()
    kafka.start()  # the same data, the same ports
"""

from __future__ import annotations

import atexit
import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.backends import ports, probe, process, store
from scripts.backends.instance import Failed, Instance, Kind
from scripts.backends.kinds import kind as kind_named
from scripts.backends.process import Process

POLL_S = 0.05
KILLED_WITHIN_S = 60.0  # what waits for a disk that is busy cannot end before
LOG_LINES = 15


class Backend:
    """A backend on this machine. All methods block, with a deadline: asyncio needs `to_thread`."""

    def __init__(self, kind: Kind, instance: Instance) -> None:
        self.kind = kind
        self.instance = instance
        self._child: subprocess.Popen[bytes] | None = None  # to be reaped, if it is our child

    @classmethod
    def noted(cls, kind: Kind, folder: Path) -> Backend | None:
        """Return the one that was started in `folder`, on the ports that it was started with."""
        try:
            noted = json.loads((folder / "pid").read_text())
            return cls(kind, kind.instance(folder, noted["ports"], noted["host"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def address(self) -> str:
        """The host:port for clients."""
        return self.instance.address

    @property
    def process(self) -> Process | None:
        """The id of its process, or None if it does not run."""
        noted = Process.read(self._pid_file)
        return noted if noted and noted.alive else None

    @property
    def pid(self) -> int | None:
        running = self.process
        return running.pid if running else None

    @property
    def _pid_file(self) -> Path:
        return self.instance.folder / "pid"

    def start(self, deadline_s: float | None = None) -> None:
        """Run until it answers; nothing but a wait if it runs already.

        Raises Failed, with the last lines of its log, if it ends or does not answer in time; what
        was started is then stopped.
        """
        self.launch()
        self.wait(deadline_s)

    def launch(self) -> None:
        """Start it without waiting until it answers. Raises Failed."""
        folder = self.instance.folder
        folder.mkdir(parents=True, exist_ok=True)
        with store.locked(folder / "lock"):
            if self.process:
                return
            self._refuse_taken_ports()
            command = self.kind.command(self.instance)
            self._child = process.start(command, folder, self.instance.log)
            started = Process(self._child.pid, process.began(self._child.pid))
            started.write(self._pid_file, ports=dict(self.instance.ports), host=self.instance.host)

    def wait(self, deadline_s: float | None = None) -> None:
        """Wait until it answers. Raises Failed, as `start` does."""
        limit_s = deadline_s or self.kind.start_s
        until = time.monotonic() + limit_s
        while not self.answers():
            if not self._runs():
                raise Failed(f"{self._log_tail()}\n{self.kind.name} ended at its start: see above")
            if time.monotonic() > until:
                self.stop()
                late = f"{self.kind.name} does not answer at {self.address} after {limit_s:.0f} s"
                raise Failed(f"{self._log_tail()}\n{late}: see above, and start it again")
            time.sleep(POLL_S)

    def answers(self) -> bool:
        return probe.answered(self.kind.answers, self.instance.host, self.instance.port)

    def stop(self) -> None:
        """Stop it in order, or kill it if that takes longer than its kind may take."""
        self._end(self.kind.stop_signal, self.kind.stop_s)
        self.kill()

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it is gone."""
        if not self._end(signal.SIGKILL, KILLED_WITHIN_S):
            raise Failed(f"{self.kind.name} (pid {self.pid}) does not end when it is killed")
        self._pid_file.unlink(missing_ok=True)

    def _end(self, number: signal.Signals, within_s: float) -> bool:
        """Send a signal, and return whether it is gone in time."""
        until = time.monotonic() + within_s
        if running := self.process:
            running.signal(signal.SIGCONT)  # a paused process reacts to nothing else
            running.signal(number)
        while self._runs():
            if time.monotonic() > until:
                return False
            time.sleep(POLL_S)
        return True

    def _runs(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        runs = self.process is not None
        if self._child is not None and not runs:  # it has ended meanwhile
            self._child.wait(KILLED_WITHIN_S)
            self._child = None
        return runs

    def _refuse_taken_ports(self) -> None:
        if busy := ports.occupied(self.instance.host, self.instance.ports.values()):
            where = ", ".join(f"{self.instance.host}:{port}" for port in busy)
            raise Failed(
                f"{self.kind.name} cannot start: another program listens on {where}.\n"
                "Stop that program, or choose other ports with --ports (see --help)."
            )

    def _log_tail(self) -> str:
        log = self.instance.log
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
        return "\n".join([f"The last lines of {log}:", *(f"    {line}" for line in lines)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def here(name: str) -> bool:
    """Whether `name` is installed. Otherwise its start installs it, which may take minutes."""
    return kind_named(name).here()


def private(name: str, folder: Path, options: Mapping[str, str] | None = None) -> Backend:
    """A backend of one's own, not started yet, in `folder` and on free ports: both stay the same.

    It is killed when this program ends, should it still run then.
    """
    kind = kind_named(name)
    backend = Backend(kind, kind.instance(folder, ports.free(kind), options=options))
    atexit.register(backend.kill)
    return backend
