"""Settings that are fixed at the start: from `CECOCHAT_*` in the environment and from flags, parsed
once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

from cecochat.domain.errors import InvalidSettings
from cecochat.domain.ids import PARTITIONS_MAX

PORT_MAX = 65_535
PREFIX = "CECOCHAT_"
ELSEWHERE = frozenset(f"{PREFIX}{name}" for name in ("CONNECT_URL", "TOKEN", "BACKENDS", "SEED"))
"""Variables of the same prefix that are for clients and tests."""


def _setting(default: Any, meaning: str, low: int = 0, high: int = 1 << 53) -> Any:
    metadata = {"meaning": meaning, "low": low, "high": high}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def default_data_dir() -> Path:
    """Where a server keeps its data unless it is told."""
    return Path(platformdirs.user_data_dir("cecochat")) / "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """One per process. A field `x` is the variable `CECOCHAT_X`. Port 0: any free one."""

    data_dir: Path = _setting(  # noqa: RUF009 - makes a field
        default_data_dir, "folder of the log, the history and the configuration"
    )
    host: str = _setting("127.0.0.1", "address that every server listens on")
    advertise_host: str = _setting("", "host that clients are told; empty: `host`")
    connect_port: int = _setting(8080, "HTTP port of the connect server", high=PORT_MAX)
    messaging_port: int = _setting(8081, "gRPC port of the messaging server", high=PORT_MAX)
    history_port: int = _setting(8082, "gRPC port of the history server", high=PORT_MAX)
    messaging_health_port: int = _setting(8083, "HTTP health of messaging", high=PORT_MAX)
    materialize_health_port: int = _setting(8084, "HTTP health of materialize", high=PORT_MAX)
    history_health_port: int = _setting(8085, "HTTP health of history", high=PORT_MAX)
    partitions: int = _setting(
        12, "partitions of a log that is created; fixed from then on", 1, PARTITIONS_MAX
    )
    retention_ms: int = _setting(7 * 86_400_000, "how long the log keeps records, ms", 1)
    retention_bytes: int = _setting(1 << 30, "how much a partition keeps, bytes", 1)
    jwks_file: Path | None = _setting(  # noqa: RUF009 - makes a field
        None, "public keys of the tokens (JWKS, RS256 or EdDSA); unset: development tokens"
    )

    @property
    def public_host(self) -> str:
        """The host that clients are told."""
        return self.advertise_host or self.host


def load(environ: Mapping[str, str] | None = None, **flags: Any) -> Settings:
    """Settings of the environment, then of flags that are not None. Raises `InvalidSettings` naming
    the variable.
    """
    environ = os.environ if environ is None else environ
    known = {f"{PREFIX}{f.name.upper()}": f for f in fields(Settings)}
    values: dict[str, Any] = {}
    for name, text in environ.items():
        if name in known:
            values[known[name].name] = _parse(name, text, known[name])
        elif name.startswith(PREFIX) and name not in ELSEWHERE:
            raise InvalidSettings(f"{name} is no setting; known are {', '.join(known)}")
    values |= {name: value for name, value in flags.items() if value is not None}
    return Settings(**values)


def _parse(name: str, text: str, of: Any) -> Any:
    if "Path" in str(of.type):
        return Path(text).expanduser()
    if of.type != "int":
        return text
    low, high = of.metadata["low"], of.metadata["high"]
    try:
        value = int(text)
    except ValueError:
        raise InvalidSettings(f"{name} is {text!r}: use a whole number") from None
    if not low <= value <= high:
        raise InvalidSettings(f"{name} is {value}: use {low} to {high}")
    return value
