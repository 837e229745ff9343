"""Finds ports that nobody listens on."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping

from scripts.backends.instance import Failed, Kind

# They are apart from the default ports, from those of the servers in tests (10000 and above), and
# from those that the system gives to connections (32768 and above), which come and go.
FREE = range(2_000, 8_000)
_given: set[int] = set()  # to a backend that has not bound it yet, or that a test has stopped


def free(kind: Kind, host: str = "127.0.0.1") -> dict[str, int]:
    """A free port for each role of `kind`, which this process gives to nobody else. Another program
    may take one before it is used.
    """
    chosen: dict[str, int] = {}
    for role in kind.ports:
        candidates = (random.SystemRandom().choice(FREE) for _ in range(1_000))
        chosen[role] = next(
            port for port in candidates if port not in _given and not taken(host, port)
        )
        _given.add(chosen[role])
    return chosen


def taken(host: str, port: int) -> bool:
    """Whether a program listens on a port. Raises Failed if this machine has no such address."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise Failed(f"{host} is not an address of this machine: {error}") from error
    except OSError:
        return True
    return False


def parse(text: str, kinds: Mapping[str, Kind]) -> dict[str, dict[str, int]]:
    """Parse "kafka=17092,kafka.controller=17093" into ports by kind and role. Raises Failed."""
    found: dict[str, dict[str, int]] = {}
    for item in filter(None, text.split(",")):
        name, role, port = _item(item, kinds)
        found.setdefault(name, {})[role] = port
    return found


def _item(item: str, kinds: Mapping[str, Kind]) -> tuple[str, str, int]:
    left, _, right = item.partition("=")
    name, _, role = left.strip().partition(".")
    if name not in kinds:
        raise Failed(f"--ports {item}: there is no {name}: use one of {', '.join(kinds)}")
    roles = list(kinds[name].ports)
    if role and role not in roles:
        raise Failed(f"--ports {item}: {name} has only the ports {', '.join(roles)}")
    if not right.isdecimal() or not 0 < int(right) < 65_536:
        raise Failed(f"--ports {item}: a port is a number from 1 to 65535")
    return name, role or roles[0], int(right)


def occupied(host: str, ports: Iterable[int]) -> list[int]:
    return [port for port in ports if taken(host, port)]
