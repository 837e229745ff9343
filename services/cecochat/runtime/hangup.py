"""Ends connections of gRPC clients.

gRPC itself can end neither a connection nor a call whose answer waits to be read: whatever it sends
waits behind that. So this shuts down the socket, as the client could, and gRPC sees that it left.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import unquote

OPEN: Final = "/dev/fd"  # of this process, on Linux and macOS
SHARE: Final = 0.1
"""How much of the time may go into looking through all sockets of the process, 8 µs for each."""

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
        peers, self._peers = self._peers, set()
        ports = {port for _, port in peers}
        for connected in _connected():
            with suppress(OSError):  # it has just ended
                host, port = connected.getpeername()[:2]
                if port in ports and _peer(host, port) in peers:
                    connected.shutdown(socket.SHUT_RDWR)
        self._wait_s = (time.monotonic() - begun_s) / SHARE


def _connected() -> Iterator[socket.socket]:
    """Yield the sockets of this process, as copies that are closed at once."""
    for opened in os.scandir(OPEN):
        with suppress(OSError):  # it was closed meanwhile
            if stat.S_ISSOCK(os.fstat(int(opened.name)).st_mode):
                with socket.socket(fileno=os.dup(int(opened.name))) as found:
                    if found.family in (socket.AF_INET, socket.AF_INET6):
                        yield found


def _peer(host: str, port: int) -> Peer:
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address, port
