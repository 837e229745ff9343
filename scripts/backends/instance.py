"""What the launcher needs to know about a backend: ports, files, a command, and a sign of life."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Failed(Exception):
    """A person has to do something, and the message says what."""


@dataclass(frozen=True)
class Instance:
    """A backend: its kind, where it keeps its data and where it listens."""

    folder: Path
    ports: Mapping[str, int]  # role -> port; the first role is what clients connect to
    host: str = "127.0.0.1"
    options: Mapping[str, str] = field(default_factory=dict)  # options that only its kind has

    @property
    def port(self) -> int:
        return next(iter(self.ports.values()))

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or self.host.startswith("127.")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def at(self, role: str) -> str:
        return f"{self.host}:{self.ports[role]}"


@dataclass(frozen=True)
class Command:
    """A command to execute in the foreground."""

    argv: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)  # added to what is inherited


@dataclass(frozen=True)
class Kind:
    """A kind of backend. Its module has everything that is particular to it."""

    name: str
    version: str
    ports: Mapping[str, int]  # role -> default port; the first is the clients'

    provision: Callable[[], str]
    """Installs it unless it is here, and returns where it is. Raises Failed."""

    here: Callable[[], bool]
    """Tells whether it is installed, so that `provision` takes no time."""

    command: Callable[[Instance], Command]
    """Writes the files that an instance needs, and returns what runs it. Raises Failed."""

    variable: str | None
    """The setting that tells CecoChat its address."""

    answers: Callable[[str, int], bool]
    """Asks within a few seconds whether it serves clients. Raises probe.NO_ANSWER."""

    options: Mapping[str, str] = field(default_factory=dict)  # option -> what it is for
    by_default: bool = True  # whether it is meant if none is named
    start_s: float = 60.0  # the longest that a start may take on a busy machine
    stop_s: float = 30.0  # how long it may take to stop before it is killed
    stop_signal: signal.Signals = signal.SIGTERM  # what asks it to

    def instance(
        self,
        folder: Path,
        ports: Mapping[str, int] | None = None,
        host: str = "127.0.0.1",
        options: Mapping[str, str] | None = None,
    ) -> Instance:
        """Return an instance. A port that is not given keeps its distance to the clients' port."""
        given = dict(ports or {})
        main = next(iter(self.ports))
        shift = given.get(main, self.ports[main]) - self.ports[main]
        placed = {role: given.get(role, port + shift) for role, port in self.ports.items()}
        return Instance(folder.absolute(), placed, host, dict(options or {}))
