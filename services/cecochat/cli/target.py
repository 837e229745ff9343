"""Finds the system that a command talks to, and as whom: by flags, environment or the last `up`."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from cecochat.cli import systems
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import say

if TYPE_CHECKING:
    from cecochat.cli.systems import System
    from cecochat.client import Token
    from cecochat.ports.discovery import Service
    from cecochat.settings.settings import Settings

TOKEN_LIFETIME_S = 3_600.0
EXAMPLE = "http://127.0.0.1:8080"


def settings(data: Path | None, file: Path | None = None) -> Settings:
    """Load the settings from the environment and `file`.

    If nothing says where the data is, the data folder and the backends are those of the last `up`.
    Raises `UsageError`, `InvalidSettings`.
    """
    from cecochat.settings import backends

    loaded = chosen(data, file)
    if not backends.is_shared("configuration", loaded) and not loaded.data_dir.is_dir():
        raise UsageError(
            f"there is no data folder {loaded.data_dir}: name it with --data, or start "
            "`cecochat up`; for a cluster, set CECOCHAT_REDIS and CECOCHAT_CONSUL"
        )
    return replace(loaded, cluster_secret_file=_secret_of(loaded))


def chosen(data: Path | None, file: Path | None) -> Settings:
    """Load the settings of the system that `--data`, the settings or the environment name.

    If none of them does, it is the one that was started last. Raises `InvalidSettings`.
    """
    from cecochat.settings import backends
    from cecochat.settings.settings import SETTINGS_FILE, from_file, load, variable

    named = file or os.environ.get(SETTINGS_FILE)
    given = {**(from_file(Path(named)) if named else {}), **os.environ}
    finding = (*backends.choosing(), "namespace")
    if data and not any(given.get(variable(name)) for name in finding):
        system = systems.of_data(data)
    elif data or any(given.get(variable(name)) for name in ("data_dir", *finding)):
        system = None
    else:
        system = _default("--data")
    if system is None:
        return load(file=file, data_dir=data)
    flags: dict[str, Any] = {"data_dir": Path(system.data), **system.backends}
    return load(file=file, **flags)


def _default(flag: Literal["--connect", "--data"]) -> System | None:
    """Return the system to use unless one is named. A person is told which if several run."""
    known = systems.known()
    others = [each for each in known[1:] if each.runs]
    if others and sys.stderr.isatty():
        names = [other.connect if flag == "--connect" else other.data for other in others]
        say(
            f"{1 + len(others)} systems run here; this is the one that was started last, at "
            f"{known[0].name}. For another one, add {flag} {' or '.join(map(shlex.quote, names))}"
        )
    return known[0] if known else None


async def health_urls(service: Service, file: Path | None) -> list[str]:
    """Return the internal listeners of the servers of a kind: in a cluster, or of the last `up`.

    Raises `UsageError`.
    """
    return await internal_urls(service, settings(None, file))


async def internal_urls(service: Service, chosen: Settings) -> list[str]:
    """Return the same for the system of these settings."""
    from cecochat.adapters import build
    from cecochat.settings import backends

    if backends.is_shared("discovery", chosen):
        async with build.discovery(chosen) as discovery:
            return [each.health_url for each in discovery.live(service)]
    system = systems.of_data(chosen.data_dir)
    health = system.health if system else {}
    return [url for name, url in health.items() if name.partition("-")[0] == service]


def cluster_secret(data: Path | None, file: Path | None) -> Path:
    """Return the file with the cluster's secret, which makes anybody who can read it an operator.

    It is the one that the settings name, or else that of the last `up`. It may not exist. Raises
    `InvalidSettings`.
    """
    return _secret_of(chosen(data, file))


def _secret_of(loaded: Settings) -> Path:
    system = systems.of_data(loaded.data_dir)
    if loaded.cluster_secret_file is None and system:
        return Path(system.cluster_secret_file)
    return loaded.cluster_secret


def traces(name: str) -> str:
    """Return where traces go (`otlp_url`) or can be seen (`jaeger_url`).

    It is as the settings say, or else as in the last `up`; empty if neither says.
    """
    from cecochat.settings.settings import load

    system = systems.default()
    said: str = getattr(load(), name) or (system.traces.get(name, "") if system else "")
    return said


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
    if connect_url is not None and not connect_url.strip():
        raise UsageError(f"--connect is empty: use a URL such as {EXAMPLE}")
    system = systems.at(connect_url) if connect_url else _default("--connect")
    if system:
        named = None if system.runs else _secret_of_a_cluster()  # which may be there instead now
        secret = named or (Path(system.token_secret_file) if system.token_secret_file else None)
        return Target(connect_url or system.connect, secret, system.data)
    if connect_url:
        _resolve(connect_url)
        return Target(connect_url, _secret_of_a_cluster())
    raise UsageError(
        "no system is known: start one with `cecochat up`, or name one with --connect URL"
    )


def _resolve(url: str) -> None:
    """Raise `UsageError` if it is not a URL, or if its host cannot be resolved."""
    from cecochat.client.arguments import check_url
    from cecochat.client.errors import InvalidArgument

    try:
        check_url(url)
        parts = urlsplit(url)
        socket.getaddrinfo(parts.hostname, parts.port)
    except InvalidArgument:
        raise UsageError(f"--connect {url} is not a URL: use one such as {EXAMPLE}") from None
    except socket.gaierror as error:
        raise UsageError(
            f"the host of --connect {url} cannot be resolved ({error.strerror}): is it spelled "
            f"right? A URL looks like {EXAMPLE}"
        ) from None


def _secret_of_a_cluster() -> Path | None:
    """Return the secret that the settings name, for a cluster that accepts development tokens."""
    from cecochat.settings.settings import load

    return load().token_secret_file


def token_for(where: Target, user: str | None, token: str | None) -> Token:
    """Return the token to use: made for `--as` if the secret is here, or else the one given.

    Raises `UsageError`.
    """
    if token:
        if user:
            _refuse_another(user, token)
        return token
    if user and where.secret_file and where.secret_file.exists():
        return _minting(where.secret_file, user)
    if user:
        raise UsageError(
            f"there is no token for {user}: give one with --token or CECOCHAT_TOKEN. Tokens are "
            "only made here for a system that `cecochat up` started on this machine, or with the "
            "secret that CECOCHAT_TOKEN_SECRET_FILE names"
        )
    raise UsageError("name a user with --as USER, or give a token with --token or CECOCHAT_TOKEN")


def _refuse_another(user: str, token: str) -> None:
    import jwt

    try:
        sub = jwt.decode(token, options={"verify_signature": False}).get("sub")
    except jwt.PyJWTError:
        return  # the server will say what is wrong with it
    check_user(user, sub)


def _minting(secret_file: Path, user: str) -> Token:
    from cecochat.auth.minting import mint
    from cecochat.settings.private import drawn_secret

    secret = drawn_secret(secret_file)

    async def renewed() -> str:
        return mint(secret, user, TOKEN_LIFETIME_S)

    mint(secret, user, TOKEN_LIFETIME_S)  # so that a malformed user id fails at once
    return renewed


def check_user(wanted: str | None, actual: str | None) -> None:
    """Raise `UsageError` if `--as` names another user than the token does."""
    if wanted and wanted != actual:
        raise UsageError(
            f"the token is for {actual}, not for {wanted}: leave out --as, or the token (--token "
            "or CECOCHAT_TOKEN)"
        )
