"""Ends connections of gRPC clients.

gRPC itself can end neither a connection nor a call whose answer waits to be read: whatever it sends
waits behind that. So this shuts down the socket, as the client could, and gRPC sees that it left.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator, Set
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import unquote

log = logging.getLogger(__name__)

OPEN: Final = "/dev/fd"  # of this process, on Linux and macOS
SHARE: Final = 0.1
"""How much of the time may go into looking through all sockets of the process, 8 µs for each."""
AGAIN_S: Final = 1.0
"""How long to wait if the process may open no more files: the search itself needs some."""

Peer = tuple[IPv4Address | IPv6Address, int]


class HangUp:
    """Ends connections, a moment after it is asked to."""

    def __init__(self) -> None:
        self._peers: set[Peer] = set()
        self._wait_s = 0.0

    def on(self, peer: str) -> None:
        """End the connection of a client, and all calls on it. `peer` is what gRPC calls it."""
        kind, _, rest = peer.partition(":")
        if kind not in ("ipv4", "ipv6"):
            return  # a Unix socket: its age ends it
        host, _, port = unquote(rest).rpartition(":")
        if not self._peers:
            asyncio.get_running_loop().call_later(self._wait_s, self._all)
        self._peers.add(_peer(host.strip("[]"), int(port)))

    def _all(self) -> None:
        begun_s = time.monotonic()
        try:
            _shut_down(self._peers)
        except OSError as error:
            log.warning("connections are not ended yet: %s", error)
            asyncio.get_running_loop().call_later(AGAIN_S, self._all)
        else:
            self._peers.clear()
            self._wait_s = (time.monotonic() - begun_s) / SHARE


def _shut_down(peers: Set[Peer]) -> None:
    """Raises `OSError` if this process may open no more files just now."""
    ports = {port for _, port in peers}
    for connected in _connected():
        with suppress(OSError):  # it has just ended
            host, port = connected.getpeername()[:2]
            if port in ports and _peer(host, port) in peers:
                connected.shutdown(socket.SHUT_RDWR)


def _connected() -> Iterator[socket.socket]:
    """Yield the sockets of this process, as copies that are closed at once."""
    with os.scandir(OPEN) as files:
        for opened in files:
            if copy := _copied(int(opened.name)):
                with copy:
                    if copy.family in (socket.AF_INET, socket.AF_INET6):
                        yield copy


def _copied(file: int) -> socket.socket | None:
    """Return a copy, if that is a socket."""
    try:
        if stat.S_ISSOCK(os.fstat(file).st_mode):
            return socket.socket(fileno=os.dup(file))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
    return None  # or it was closed meanwhile


def _peer(host: str, port: int) -> Peer:
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address, port
