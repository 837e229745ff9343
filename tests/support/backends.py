"""Which backends a run must have: one missing is skipped on a laptop, and fails where required."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

REMEDY = "`make backends-up` starts it, and CECOCHAT_{} says where another is"
LISTENING_WITHIN_S = 2.0

VARIABLE = "CECOCHAT_BACKENDS"
KNOWN = frozenset(
    {
        *("embedded", "kafka", "cassandra", "redis", "consul", "jaeger", "cluster"),
        *("nomad", "promtool", "ruby", "shellcheck", "vagrant"),  # programs
    }
)


@dataclass(frozen=True)
class Backends:
    """The backends named in CECOCHAT_BACKENDS, comma-separated: one missing, its tests fail."""

    required: frozenset[str]

    @classmethod
    def parse(cls, environ: Mapping[str, str]) -> Backends:
        """Raises ValueError for a name that is no backend: it would require nothing, silently."""
        required = frozenset(filter(None, map(str.strip, environ.get(VARIABLE, "").split(","))))
        if unknown := required - KNOWN:
            names, known = ", ".join(sorted(unknown)), ", ".join(sorted(KNOWN))
            raise ValueError(f"{VARIABLE} names {names}: it takes {known}")
        return cls(required)

    def absent(self, name: str, remedy: str) -> NoReturn:
        """End the test that needs the backend `name`; `remedy` tells a person how to get it."""
        assert name in KNOWN, f"{name} is no backend: add it to {__name__}.KNOWN"
        if name in self.required:
            pytest.fail(f"{name} is required ({VARIABLE}) and missing: {remedy}", pytrace=False)
        pytest.skip(f"{name} is missing: {remedy}")

    def program(self, name: str, remedy: str) -> str:
        """Where the program `name` is on PATH; else as `absent`."""
        return shutil.which(name) or self.absent(name, remedy)

    def address(self, name: str) -> str:
        """host:port of a backend that listens; else as `absent`."""
        address = _given(name.upper()) or _started(name.upper())
        if address is None:
            self.absent(name, REMEDY.format(name.upper()))
        host, _, port = address.partition(":")
        try:
            socket.create_connection((host, int(port)), LISTENING_WITHIN_S).close()
        except OSError as error:
            self.absent(name, f"{address} {error}: {REMEDY.format(name.upper())}")
        return address


def _given(name: str) -> str | None:
    return os.environ.get(f"CECOCHAT_{name}")


def _started(name: str) -> str | None:
    """What `make backends-up` has noted."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    noted = state / "cecochat" / "backends.env"
    lines = noted.read_text().splitlines() if noted.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line).get(f"CECOCHAT_{name}")
