"""Which hosts are this machine, as far as nobody else can be or reach them."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether a host, an address or a name, is that of loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
