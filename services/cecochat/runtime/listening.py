"""Opens the socket that a server listens on."""

from __future__ import annotations

import socket

from cecochat.domain.errors import InvalidSettings

BACKLOG = 1_024


def listening(host: str, port: int, what: str) -> socket.socket:
    """Return a listening socket for `what`, a name that people read. Raises `InvalidSettings` if
    the port cannot be used.
    """
    try:
        return socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        raise InvalidSettings(
            f"port {port} cannot be used for {what} ({error.strerror}): choose another"
        ) from None
