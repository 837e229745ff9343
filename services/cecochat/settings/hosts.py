"""Tells what a host is: loopback, every address of a machine, or no address of this one."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address

from cecochat.domain.errors import InvalidSettings

EVERYWHERE = ("0.0.0.0", "::", "[::]")  # noqa: S104 - to know it
"""A server can listen there, but nobody can connect to such an address."""


def is_loopback(host: str) -> bool:
    """Return whether an address or a host name means this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_own(host: str) -> None:
    """Raise `InvalidSettings` if a server of this machine cannot listen on a host."""
    if ":" in host:
        raise InvalidSettings(f"{host} is an IPv6 address: use an IPv4 address, or a host name")
    try:
        socket.getaddrinfo(host, 0)
        socket.create_server((host, 0)).close()
    except socket.gaierror as error:
        raise InvalidSettings(
            f"the host {host} cannot be resolved ({error.strerror}): is it spelled right?"
        ) from None
    except OSError as error:
        raise InvalidSettings(
            f"this machine cannot listen on {host} ({os.strerror(error.errno or 0)}): use one of "
            "its own addresses, or 127.0.0.1"
        ) from None
