"""Checks whether the server of this container lives, by asking its `/livez`.

The HEALTHCHECK of the image. Anything else, such as `up` or a command, has no one port to ask, and
neither has a server on any free port: both count as well while they run.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from cecochat.domain.errors import InvalidSettings
from cecochat.settings.settings import Settings, load

TIMEOUT_S = 3.0
PORTS = {
    "connect": "connect_health_port",
    "messaging": "messaging_health_port",
    "materialize": "materialize_health_port",
    "history": "history_health_port",
    "control": "control_port",
}
"""Server -> the setting with its internal port."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not listened on


def main() -> int:
    """Return 0 if the server lives or there is none, and 1 if it does not answer as it should."""
    words = Path("/proc/1/cmdline").read_text().split("\0")
    try:
        settings = load(file=settings_file(words))
        address = address_of(words, settings)
        return 0 if address is None or lives(*address) else 1
    except (OSError, http.client.HTTPException, InvalidSettings) as error:
        print(error)
        return 1


def served(words: Sequence[str]) -> str | None:
    """Return the server that `... cecochat serve SERVER ...` runs."""
    after = [word for before, word in pairwise(words) if before == "serve"]
    return after[0] if after and after[0] in PORTS else None


def settings_file(words: Sequence[str]) -> Path | None:
    """Return the file that `--settings FILE` or `--settings=FILE` names."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == "--settings":
            return Path(value if equals else after)
    return None


def address_of(words: Sequence[str], settings: Settings) -> tuple[str, int] | None:
    """Return where to ask about its health, or None if there is nothing to ask."""
    server = served(words)
    port = getattr(settings, PORTS[server]) if server else 0
    return (EVERYWHERE.get(settings.internal_host, settings.internal_host), port) if port else None


def lives(host: str, port: int) -> bool:
    """Whether `/livez` says so. It asks whether the process lives, not who it is."""
    with closing(http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)) as connection:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK


if __name__ == "__main__":
    sys.exit(main())
