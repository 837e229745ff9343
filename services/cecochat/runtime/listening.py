"""Opens the socket that a server listens on."""

from __future__ import annotations

import asyncio
import socket

from cecochat.domain.errors import InvalidSettings

BACKLOG = 1_024
UNSENT_BYTES = 128 << 10
"""What the kernel takes for a client that does not read. By itself it would take megabytes, before
whoever writes notices anything.
"""


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


def bound_unsent(transport: asyncio.BaseTransport) -> None:
    """Have the kernel take only `UNSENT_BYTES` for whoever is connected."""
    made = transport.get_extra_info("socket")
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
