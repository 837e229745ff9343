"""Finds the system that a command talks to, and as whom: by flags, environment or the last `up`."""

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
METRICS_LIFETIME_S = 365 * 86_400.0  # the token's file is replaced at each `up`
TRACES = ("otlp_url", "jaeger_url")


def state_dir() -> Path:
    """Return the folder of what commands remember.

    It is `$XDG_STATE_HOME/cecochat`, or else ~/.local/state/cecochat.
    """
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "cecochat"


def pointer_file() -> Path:
    """Return the file that `up` writes once it is ready: the line that `up --json` prints."""
    return state_dir() / "last-up.json"


def targets_file() -> Path:
    """Return the file with the servers of `up`, for Prometheus' file-based discovery."""
    return state_dir() / "targets.json"


def metrics_token_file() -> Path:
    """Return the file with the token that Prometheus needs to scrape the servers of `up`."""
    return state_dir() / "metrics-token"


def last_up() -> dict[str, Any] | None:
    """Return what `up` started last, whether it still runs or not.

    It is None if there was none yet, or if the file is damaged.
    """
    try:
        last = json.loads(pointer_file().read_text())
    except (OSError, ValueError):
        return None
    return last if isinstance(last, dict) and "connect" in last else None


def remember(addresses: dict[str, Any], settings: Settings) -> None:
    """Make a system the one that commands talk to by default."""
    addresses = addresses | {
        "backends": {name: settings.value(name) for name in _finding()},
        "traces": {name: getattr(settings, name) for name in TRACES},
    }
    targets = _targets(addresses["health"], settings.namespace)
    _save(pointer_file(), json.dumps(addresses) + "\n", mode=0o600)
    _save(targets_file(), json.dumps(targets) + "\n", mode=0o644)
    _save(metrics_token_file(), _metrics_token(settings), mode=0o600)


def _finding() -> list[str]:
    """Return the settings that later commands need to find the system again."""
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
    """Return the targets with the same labels that Consul's discovery would give them.

    `health` maps the name of a server, such as messaging or messaging-1, to its URL.
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
    """Load the settings from the environment and `file`.

    If nothing says where the data is, the data folder and the backends are those of the last `up`.
    Raises `UsageError`, `InvalidSettings`.
    """
    from cecochat.settings import backends

    loaded = _load(data, file)
    if not backends.is_shared("configuration", loaded) and not loaded.data_dir.is_dir():
        raise UsageError(
            f"there is no data folder {loaded.data_dir}: name it with --data, or start "
            "`cecochat up`; for a cluster, set CECOCHAT_REDIS and CECOCHAT_CONSUL"
        )
    return replace(loaded, cluster_secret_file=_secret_of(loaded))


def _load(data: Path | None, file: Path | None) -> Settings:
    from cecochat.settings.settings import SETTINGS_FILE, from_file, load, variable

    named = file or os.environ.get(SETTINGS_FILE)
    given = {**(from_file(Path(named)) if named else {}), **os.environ}
    is_chosen = data or any(given.get(variable(name)) for name in ("data_dir", *_finding()))
    last = None if is_chosen else last_up()
    if last is None:
        return load(file=file, data_dir=data)
    return load(file=file, data_dir=Path(last["data"]), **last.get("backends", {}))


async def health_urls(service: Service, file: Path | None) -> list[str]:
    """Return the internal listeners of the servers of a kind: in a cluster, or of the last `up`.

    Raises `UsageError`.
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
    """Return the file with the cluster's secret, which makes anybody who can read it an operator.

    It is the one that the settings name, or else that of the last `up`. It may not exist. Raises
    `InvalidSettings`.
    """
    return _secret_of(_load(data, file))


def _secret_of(loaded: Settings) -> Path:
    last = last_up() or {}
    is_that_of_up = str(loaded.data_dir) == last.get("data")
    if loaded.cluster_secret_file is None and is_that_of_up and "cluster_secret_file" in last:
        return Path(last["cluster_secret_file"])
    return loaded.cluster_secret


def traces(name: str) -> str:
    """Return where traces go (`otlp_url`) or can be seen (`jaeger_url`).

    It is as the settings say, or else as in the last `up`; empty if neither says.
    """
    from cecochat.settings.settings import load

    said: str = getattr(load(), name) or (last_up() or {}).get("traces", {}).get(name, "")
    return said


def hint() -> str:
    """Return what to do if nothing answers."""
    last = last_up()
    if last is None:
        return "; start a system with: cecochat up"
    if _runs(last.get("pid")):
        return f"; the last `cecochat up` is at {last['connect']}"
    data = shlex.quote(last["data"])
    return f"; the last `cecochat up` has ended: start it again with: cecochat up --data {data}"


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
    """The system to connect to. In development mode, `secret_file` mints tokens for any user."""

    connect_url: str
    secret_file: Path | None
    data: str | None = None

    @property
    def name(self) -> str:
        """A name that keeps apart what is remembered about different systems."""
        return hashlib.sha256((self.data or self.connect_url).encode()).hexdigest()[:12]


def target(connect_url: str | None) -> Target:
    """Return the system of `--connect`, or that of the last `up`.

    Raises `UsageError`, `InvalidSettings`.
    """
    last = last_up()
    if connect_url and (last is None or connect_url.rstrip("/") != last["connect"]):
        return Target(connect_url, _secret_of_a_cluster())
    if last is None:
        raise UsageError(
            "no system is known: start one with `cecochat up`, or name one with --connect URL"
        )
    secret = Path(last["token_secret_file"]) if last.get("token_secret_file") else None
    return Target(last["connect"], secret, last["data"])


def _secret_of_a_cluster() -> Path | None:
    """Return the secret that the settings name, for a cluster that accepts development tokens."""
    from cecochat.settings.settings import load

    return load().token_secret_file


def token_for(where: Target, user: str | None, token: str | None) -> Token:
    """Return the token to use: made for `--as` if the secret is here, or else the one given.

    Raises `UsageError`.
    """
    if user and where.secret_file and where.secret_file.exists():
        return _minting(where.secret_file, user)
    if token:
        return token
    if user:
        raise UsageError(
            f"there is no token for {user}: give one with --token or CECOCHAT_TOKEN. Tokens are "
            "only made here for a system that `cecochat up` started on this machine, or with the "
            "secret that CECOCHAT_TOKEN_SECRET_FILE names"
        )
    raise UsageError("name a user with --as USER, or give a token with --token or CECOCHAT_TOKEN")


def _minting(secret_file: Path, user: str) -> Token:
    from cecochat.auth.minting import mint
    from cecochat.settings.private import drawn_secret

    secret = drawn_secret(secret_file)

    async def renewed() -> str:
        return mint(secret, user, TOKEN_LIFETIME_S)

    mint(secret, user, TOKEN_LIFETIME_S)  # so that a malformed user id fails at once
    return renewed


def check_user(wanted: str | None, actual: str) -> None:
    """Raise `UsageError` if `--as` names another user than the token does."""
    if wanted and wanted != actual:
        raise UsageError(f"the token is for {actual}, not for {wanted}: leave --as out")
