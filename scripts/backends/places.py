"""Where things are kept: what is brought here in the cache, what runs in the state folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache() -> Path:
    """Brought to this machine and brought again if lost."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "backends"


def data() -> Path:
    """One folder a backend: its data, log and pid file."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "backends"


def env_file() -> Path:
    """`CECOCHAT_KAFKA=host:port` and so on: what `up` has started or was given."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "backends.env"


def targets_file() -> Path:
    """Which servers the last `cecochat up` has: it writes this, as Prometheus reads it."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "targets.json"


def metrics_token_file() -> Path:
    """The token that it asks of who scrapes them: it writes this too."""
    return targets_file().with_name("metrics-token")


def _xdg(variable: str, otherwise: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / otherwise) / "cecochat"
