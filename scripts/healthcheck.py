"""Checks whether the server of this container lives, by asking its `/livez`.

The HEALTHCHECK of the image. For `up` it asks connect, which runs in the same process. Anything
else, such as `up --processes` or a command, has no one port to ask, and neither has a server on any
free port: these count as well while they run.
"""

from __future__ import annotations

import http.client
import ssl
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from cecochat.cli.ports import row_from
from cecochat.domain.errors import InvalidSettings
from cecochat.settings.settings import Settings, load

TIMEOUT_S = 3.0
PORTS = {
    "connect": "connect_health_port",
    "messaging": "messaging_health_port",
    "materialize": "materialize_health_port",
    "history": "history_health_port",
    "control": "control_port",
    "hooks": "hooks_health_port",
}
"""Server -> the setting with its internal port."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not listened on


def main() -> int:
    """Return 0 if the server lives or there is none, and 1 if it does not answer as it should."""
    words = Path("/proc/1/cmdline").read_text().split("\0")
    try:
        settings = loaded(words)
        address = address_of(words, settings)
        return 0 if address is None or lives(*address, settings) else 1
    except (OSError, http.client.HTTPException, InvalidSettings) as error:
        print(error)
        return 1


def loaded(words: Sequence[str]) -> Settings:
    """Return the settings of the program that was started with these words."""
    file, first = option(words, "--settings"), option(words, "--port-base")
    ports: dict[str, Any] = dict(row_from(int(first))) if first else {}
    return load(file=Path(file) if file else None, **ports)


def option(words: Sequence[str], wanted: str) -> str | None:
    """Return the value of `--option VALUE` or `--option=VALUE`."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == wanted:
            return value if equals else after
    return None


def served(words: Sequence[str]) -> str | None:
    """Return the server to ask: that of `... cecochat serve SERVER ...`, or connect for `up`."""
    for before, word in pairwise(words):
        if before.endswith("cecochat") and word == "up":
            return None if "--processes" in words else "connect"
        if before == "serve":
            return word if word in PORTS else None
    return None


def address_of(words: Sequence[str], settings: Settings) -> tuple[str, int] | None:
    """Return where to ask about its health, or None if there is nothing to ask."""
    server = served(words)
    port = getattr(settings, PORTS[server]) if server else 0
    return (EVERYWHERE.get(settings.internal_host, settings.internal_host), port) if port else None


def lives(host: str, port: int, settings: Settings) -> bool:
    """Whether `/livez` says so. It asks whether the process lives, not who it is."""
    with closing(_connection(host, port, settings)) as connection:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK


def _connection(host: str, port: int, settings: Settings) -> http.client.HTTPConnection:
    if settings.internal_tls is None:
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


if __name__ == "__main__":
    sys.exit(main())
