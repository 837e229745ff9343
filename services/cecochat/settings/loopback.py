"""Tells loopback hosts, and those that mean every address of a machine."""

from __future__ import annotations

from ipaddress import ip_address

EVERYWHERE = ("0.0.0.0", "::", "[::]")  # noqa: S104 - to know it
"""A server can listen there, but nobody can connect to such an address."""


def is_loopback(host: str) -> bool:
    """Return whether an address or a host name means this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
