"""Which hosts nobody else can be or reach, and which are no address that anybody can reach."""

from __future__ import annotations

from ipaddress import ip_address

EVERYWHERE = ("0.0.0.0", "::", "[::]")  # noqa: S104 - to know it
"""A listener can be there, and no connection can be made to it from elsewhere."""


def is_loopback(host: str) -> bool:
    """Whether a host, an address or a name, is that of loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
