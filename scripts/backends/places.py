"""The folders: the cache for what is installed, and the state folder for what runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache() -> Path:
    """Return the folder of what is installed, and can be installed again."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "backends"


def data() -> Path:
    """Return the folder with a folder for each backend: its data, log and pid file."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "backends"


def env_file() -> Path:
    """Return the file with `CECOCHAT_KAFKA=host:port` and so on, which `up` writes."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "backends.env"


def targets_file() -> Path:
    """Return the file in which `cecochat up` lists its servers for Prometheus."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "targets.json"


def metrics_token_file() -> Path:
    """Return the file in which `cecochat up` writes the token for scraping them."""
    return targets_file().with_name("metrics-token")


def _xdg(variable: str, otherwise: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / otherwise) / "cecochat"
