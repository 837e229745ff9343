"""Which backends a run must have: one missing is skipped on a laptop, and fails where required.

python -m tests.support.backends    what `make test` skips on this machine, and how long it takes
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from cecochat.settings.backends import found
from cecochat.settings.settings import variable
from scripts.backends import launch, porcupine, promtool, versitygw
from tests.support import containers

LISTENING_WITHIN_S = 2.0

VARIABLE = "CECOCHAT_BACKENDS"
SERVERS = ("kafka", "cassandra", "redis", "consul", "postgres")
PROGRAMS = (
    "bun", "chromium", "curl", "deno", "haproxy", "node", "nomad", "openssl", "ruby", "shellcheck",
    "systemd-analyze", "tmux", "vagrant",
)  # fmt: skip
REMEDIES = {
    **{each.name: f"say where it is, in {variable(each.chosen_by)}" for each in found()},
    **dict.fromkeys(SERVERS, "run `make backends backends-up`"),
    **dict.fromkeys(PROGRAMS, "install it (a package of Debian has its name)"),
    "systemd-analyze": "install it (Debian: `apt-get install systemd`)",
    "bun": "run `npm install --global bun`",
    "deno": "run `npm install --global deno`",
    "node": "install Node 18 or later, with npm (packages of Debian: nodejs, npm)",
    "nomad": "put the program `nomad` (1.6 or later) on PATH",
    "docker": "start an engine (Debian: docker.io; without an init, as root: scripts/engine.sh)",
    "compose": "install Docker Compose (Debian: docker-compose)",
    "jaeger": "run `make backends ARGS=jaeger`",
    "porcupine": "run `python3 -m scripts.backends.porcupine` (else our oracle judges alone)",
    "versitygw": "run `python3 -m scripts.backends.versitygw`",
    "promtool": "run `python3 -m scripts.backends.promtool`",
    "prometheus": "run `make backends ARGS=prometheus`",
    "cluster": "run `make cluster-up`; on containers (lxc), as root",
    "embedded": "it is always here",
}
"""How to get each backend that a run can require."""

HOW_LONG = """\
`make test` takes about 10 minutes on 2 cores without any backend, and 25 with all of them.
It leaves out what takes longer (`make test-all`) or breaks a cluster (`make cluster-test`)."""


@dataclass(frozen=True)
class Backends:
    """The backends named in CECOCHAT_BACKENDS, comma-separated: one missing, its tests fail."""

    required: frozenset[str]

    @classmethod
    def parse(cls, environ: Mapping[str, str]) -> Backends:
        """Raises ValueError for a name that is no backend: it would require nothing, silently."""
        required = frozenset(filter(None, map(str.strip, environ.get(VARIABLE, "").split(","))))
        if unknown := required - REMEDIES.keys():
            names, known = ", ".join(sorted(unknown)), ", ".join(sorted(REMEDIES))
            raise ValueError(f"{VARIABLE} names {names}: it takes {known}")
        return cls(required)

    def absent(self, name: str) -> NoReturn:
        """End the test that needs the backend `name`, and say how to get it."""
        remedy = REMEDIES[name]
        if name in self.required:
            pytest.fail(f"{name} is required ({VARIABLE}) and missing: {remedy}", pytrace=False)
        pytest.skip(f"{name} is missing: {remedy}")

    def program(self, name: str) -> str:
        """Where the program `name` is on PATH; else as `absent`."""
        return shutil.which(name) or self.absent(name)

    def provisioned(self, name: str) -> None:
        """The scripts have what they need to start `name`; else as `absent`."""
        if not launch.here(name):
            self.absent(name)

    def engine(self) -> None:
        """A Docker engine answers; else as `absent`."""
        if not containers.engine():
            self.absent("docker")

    def compose(self) -> None:
        """Docker Compose is here; else as `absent`."""
        if not containers.compose():
            self.absent("compose")

    def address(self, name: str) -> str:
        """host:port of a backend that listens; else as `absent`."""
        return _listening(name) or self.absent(name)


def missing() -> list[str]:
    """The backends whose tests would be skipped on this machine."""
    there = {
        **{name: _listening(name) for name in SERVERS},
        **{name: shutil.which(name) for name in PROGRAMS},
        **{name: launch.here(name) for name in ("jaeger", "prometheus")},
        "docker": containers.engine(),
        "compose": containers.compose(),
        "porcupine": porcupine.here(),
        "promtool": promtool.here(),
        "versitygw": versitygw.here(),
    }
    return [name for name, found in there.items() if not found]


def forecast(required: frozenset[str]) -> str:
    """What a person is told before `make test`: how long it takes, and what it skips."""
    groups: dict[str, list[str]] = {}
    for name in missing():
        groups.setdefault(REMEDIES[name], []).append(name)
    lines = [f"  {', '.join(names)}: {remedy}" for remedy, names in groups.items()]
    if unmet := required.intersection(missing()):
        lines.append(f"  but {', '.join(sorted(unmet))} are required ({VARIABLE}): that will fail")
    return "\n".join([HOW_LONG, "Tests that need one of these are skipped here:", *lines])


def _listening(name: str) -> str | None:
    """Where it was said to be (CECOCHAT_KAFKA=host:port) or started, if somebody listens there."""
    address = _given(name.upper()) or _started(name.upper())
    if address is None:
        return None
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), LISTENING_WITHIN_S).close()
    except OSError:
        return None
    return address


def _given(name: str) -> str | None:
    return os.environ.get(f"CECOCHAT_{name}")


def _started(name: str) -> str | None:
    """What `make backends-up` has noted."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    noted = state / "cecochat" / "backends.env"
    lines = noted.read_text().splitlines() if noted.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line).get(f"CECOCHAT_{name}")


if __name__ == "__main__":
    print(forecast(Backends.parse(os.environ).required))
