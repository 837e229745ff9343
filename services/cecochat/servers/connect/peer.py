"""Tells which user of this machine is at the other end of a connection over loopback."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
"""The TCP sockets of this machine with the user id of each: `man 5 proc`. Only Linux has them."""
MAPPED = "0000000000000000FFFF0000"
"""What is before an IPv4 address in the table of IPv6."""
ESTABLISHED = "01"


class Address(NamedTuple):
    """One end of a connection: an IPv4 address and a port."""

    host: str
    port: int

    def matches(self, written: str) -> bool:
        """Return whether the kernel means this address by what it has written."""
        host, _, port = written.partition(":")
        return host.removeprefix(MAPPED) == self._word and int(port, 16) == self.port

    @property
    def _word(self) -> str:
        (word,) = struct.unpack("=I", socket.inet_aton(self.host))
        return f"{word:08X}"


def user_of(client: Address, server: Address) -> int | None:
    """Return the uid of the process that opened a connection from this machine.

    It is None if that cannot be told, as when the client is on another machine, or has gone.
    """
    for local, remote, state, uid in _sockets():
        if state == ESTABLISHED and client.matches(local) and server.matches(remote):
            return uid
    return None


def _sockets() -> Iterator[tuple[str, str, str, int]]:
    for table in TABLES:
        with suppress(OSError), table.open() as lines:
            next(lines, "")
            for line in lines:
                words = line.split()
                yield words[1], words[2], words[3], int(words[7])
