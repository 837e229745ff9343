"""Which system a command talks to, and as whom: flags, environment, or what `up` started last."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cecochat.cli.errors import UsageError

if TYPE_CHECKING:
    from cecochat.client import Token
    from cecochat.ports.discovery import Service
    from cecochat.settings.settings import Settings

TOKEN_LIFETIME_S = 3_600.0
METRICS_LIFETIME_S = 365 * 86_400.0  # of a file that each `up` writes anew
TRACES = ("otlp_url", "jaeger_url")


def state_dir() -> Path:
    """What the command line remembers: `$XDG_STATE_HOME/cecochat`, else ~/.local/state/cecochat."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "cecochat"


def pointer_file() -> Path:
    """Written by `up` once it is ready: the line that `up --json` prints."""
    return state_dir() / "last-up.json"


def targets_file() -> Path:
    """Written beside it: its servers, as the file-based discovery of Prometheus reads them."""
    return state_dir() / "targets.json"


def metrics_token_file() -> Path:
    """Written beside it, too: the token that Prometheus needs to scrape them."""
    return state_dir() / "metrics-token"


def last_up() -> dict[str, Any] | None:
    """What `up` started last, running or not; None: nothing yet, or the file is damaged."""
    try:
        known = json.loads(pointer_file().read_text())
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and "connect" in known else None


def remember(addresses: dict[str, Any], settings: Settings) -> None:
    """Make this the system that commands talk to."""
    addresses = addresses | {
        "backends": {name: settings.value(name) for name in _finding()},
        "traces": {name: getattr(settings, name) for name in TRACES},
    }
    targets = _targets(addresses["health"], settings.namespace)
    _save(pointer_file(), json.dumps(addresses) + "\n", mode=0o600)
    _save(targets_file(), json.dumps(targets) + "\n", mode=0o644)
    _save(metrics_token_file(), _metrics_token(settings), mode=0o600)


def _finding() -> list[str]:
    """The settings by which a system is found again."""
    from cecochat.settings import backends

    return [*backends.choosing(), "namespace"]


def _metrics_token(settings: Settings) -> str:
    from cecochat.auth.operators import Operators

    operators = Operators(settings.cluster_secret.read_bytes())
    return operators.mint("prometheus", ["metrics"], METRICS_LIFETIME_S)


def _save(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=mode)
    beside.write_text(text)
    beside.replace(path)


def _targets(health: Mapping[str, str], namespace: str) -> list[dict[str, Any]]:
    """With the labels that they have where Consul tells of them. `health`: name of a server, such
    as messaging or messaging-1 -> URL.
    """
    return [
        {
            "targets": [urlsplit(url).netloc],
            "labels": {
                "__scheme__": urlsplit(url).scheme,
                "namespace": namespace,
                "service": name.partition("-")[0],
                "instance": name,
            },
        }
        for name, url in health.items()
    ]


def settings(data: Path | None, file: Path | None = None) -> Settings:
    """Those of the environment and of `file`, with the data folder and the backends of the system
    that `up` started last where nothing else is said. Raises `UsageError`, `InvalidSettings`.
    """
    from cecochat.settings import backends
    from cecochat.settings.settings import SETTINGS_FILE, load, variable

    known = last_up() or {}
    folder = data or (Path(known["data"]) if known else None)
    named = (SETTINGS_FILE, *map(variable, _finding()))
    said = file or data or any(map(os.environ.get, named))
    loaded = load(file=file, data_dir=folder, **({} if said else known.get("backends", {})))
    if not backends.is_shared("configuration", loaded) and not loaded.data_dir.is_dir():
        raise UsageError(
            f"{loaded.data_dir} is no data folder: name it with --data, or start `cecochat up`; "
            "a cluster is found by CECOCHAT_REDIS and CECOCHAT_CONSUL"
        )
    return replace(loaded, cluster_secret_file=cluster_secret(data, file))


async def health_urls(service: Service, file: Path | None) -> list[str]:
    """The HTTP ports of the servers of a kind: of a cluster, or of what `up` started last. Raises
    `UsageError`.
    """
    from cecochat.adapters import build
    from cecochat.settings import backends

    chosen = settings(None, file)
    if backends.is_shared("discovery", chosen):
        async with build.discovery(chosen) as discovery:
            return [each.health_url for each in discovery.live(service)]
    health: dict[str, str] = (last_up() or {}).get("health", {})
    return [url for name, url in health.items() if name.partition("-")[0] == service]


def cluster_secret(data: Path | None, file: Path | None) -> Path:
    """The file that makes who reads it an operator: as the settings say, else that of the system
    that `up` started last. It may not be there. Raises `InvalidSettings`.
    """
    from cecochat.settings.settings import load

    known = last_up() or {}
    folder = data or (Path(known["data"]) if known else None)
    loaded = load(file=file, data_dir=folder)
    is_that_of_up = str(loaded.data_dir) == known.get("data")
    if loaded.cluster_secret_file is None and is_that_of_up and "cluster_secret_file" in known:
        return Path(known["cluster_secret_file"])
    return loaded.cluster_secret


def traces(name: str) -> str:
    """Where traces go, `otlp_url`, or are, `jaeger_url`: as the settings say, else those of the
    system that `up` started last.
    """
    from cecochat.settings.settings import load

    said: str = getattr(load(), name) or (last_up() or {}).get("traces", {}).get(name, "")
    return said


def hint() -> str:
    """What to do where nothing answers."""
    known = last_up()
    if known is None:
        return "; start a system with: cecochat up"
    if _runs(known.get("pid")):
        return f"; the last `cecochat up` is at {known['connect']}"
    data = shlex.quote(known["data"])
    return f"; the last `cecochat up` has ended, go on with: cecochat up --data {data}"


def _runs(pid: Any) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect. `secret_file`: mints tokens for any user, in development mode."""

    connect_url: str
    secret_file: Path | None
    data: str | None = None

    @property
    def name(self) -> str:
        """Keeps apart what is remembered of different systems."""
        return hashlib.sha256((self.data or self.connect_url).encode()).hexdigest()[:12]


def target(connect_url: str | None) -> Target:
    """The system of `--connect`, or the one that `up` started last. Raises `UsageError`,
    `InvalidSettings`.
    """
    known = last_up()
    if connect_url and (known is None or connect_url.rstrip("/") != known["connect"]):
        return Target(connect_url, _secret_of_a_cluster())
    if known is None:
        raise UsageError(
            "no system is known: start one with `cecochat up`, or name one with --connect URL"
        )
    secret = Path(known["token_secret_file"]) if known.get("token_secret_file") else None
    return Target(known["connect"], secret, known["data"])


def _secret_of_a_cluster() -> Path | None:
    """What the settings name; set where a cluster takes development tokens, as a test cluster."""
    from cecochat.settings.settings import load

    return load().token_secret_file


def token_for(where: Target, user: str | None, token: str | None) -> Token:
    """The token to use: made for `--as`, where the secret is here, else the one given.

    Raises `UsageError`.
    """
    if user and where.secret_file and where.secret_file.exists():
        return _minting(where.secret_file, user)
    if token:
        return token
    if user:
        raise UsageError(
            f"no token for {user}: give one with --token or CECOCHAT_TOKEN "
            f"(tokens are only made here for a system that `cecochat up` started on this machine, "
            "or with its CECOCHAT_TOKEN_SECRET_FILE)"
        )
    raise UsageError("as whom? Give --as USER, or a token with --token or CECOCHAT_TOKEN")


def _minting(secret_file: Path, user: str) -> Token:
    from cecochat.auth.tokens import mint
    from cecochat.settings.private import drawn_secret

    secret = drawn_secret(secret_file)

    async def renewed() -> str:
        return mint(secret, user, TOKEN_LIFETIME_S)

    mint(secret, user, TOKEN_LIFETIME_S)  # a user id that cannot be one is told at once
    return renewed


def check_user(wanted: str | None, actual: str) -> None:
    """A token says who it is; `--as` must not pretend another. Raises `UsageError`."""
    if wanted and wanted != actual:
        raise UsageError(f"the token is of {actual}, not of {wanted}: leave --as out")
