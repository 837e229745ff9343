"""Chooses the ports of `up`: those asked for, or the default ones, or free ones."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from typing import NamedTuple

from cecochat.cli.errors import UsageError
from cecochat.settings.hosts import check_own

NAMES = (
    "connect_port",
    "messaging_port",
    "history_port",
    "messaging_health_port",
    "materialize_health_port",
    "history_health_port",
    "control_port",
    "connect_health_port",
    "messaging_websocket_port",
    "history_http_port",
    "hooks_health_port",
    "connect_grpc_port",
)
DEFAULT_BASE = 8080
STEP = 20
TRIES = 50


class Chosen(NamedTuple):
    """Setting -> port, for the settings that the environment does not fix.

    `note` tells a person if they are not the default ports.
    """

    ports: dict[str, int]
    note: str = ""


def choose(hosts: Collection[str], base: int | None, environ: Mapping[str, str]) -> Chosen:
    """Return ports that are free on each of these addresses.

    Raises `UsageError` if a port that was asked for is in use, `InvalidSettings` if an address is
    not one of this machine.
    """
    for host in hosts:
        check_own(host)
    if base is not None:
        row = row_from(base)
        _refuse(_busy(hosts, row), "give another --port-base")
        return Chosen(row)
    fixed = {name: int(environ[key]) for name in NAMES if (key := variable(name)) in environ}
    busy = _busy(hosts, fixed)
    _refuse(busy, f"change {', '.join(variable(name) for name in fixed if fixed[name] in busy)}")
    return _first_free(hosts, [name for name in NAMES if name not in fixed])


def row_from(base: int) -> dict[str, int]:
    """Return setting -> port, for ports in a row."""
    return dict(zip(NAMES, range(base, base + len(NAMES)), strict=True))


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"CECOCHAT_{name.upper()}"


def _first_free(hosts: Collection[str], names: list[str]) -> Chosen:
    in_the_way: list[int] = []
    for base in range(DEFAULT_BASE, DEFAULT_BASE + TRIES * STEP, STEP):
        row = {name: base + NAMES.index(name) for name in names}
        busy = _busy(hosts, row)
        if not busy and in_the_way:
            taken = _listed(list(row.values()))
            return Chosen(row, f"{_are_busy(in_the_way)} in use: taking {taken} instead")
        if not busy:
            return Chosen(row)
        in_the_way = in_the_way or busy
    raise UsageError(f"no {len(names)} consecutive ports are free: choose them with --port-base")


def _busy(hosts: Collection[str], row: Mapping[str, int]) -> list[int]:
    return [port for port in row.values() if port and not is_free(hosts, port)]


def _refuse(busy: list[int], otherwise: str) -> None:
    if busy:
        raise UsageError(f"{_are_busy(busy)} in use: stop what uses it, or {otherwise}")


def _listed(ports: list[int]) -> str:
    if len(ports) > 2 and ports == list(range(ports[0], ports[-1] + 1)):
        return f"{ports[0]} to {ports[-1]}"
    return ", ".join(map(str, ports))


def _are_busy(ports: list[int]) -> str:
    return f"port {ports[0]} is" if len(ports) == 1 else f"ports {_listed(ports)} are"


def is_free(hosts: Collection[str], port: int) -> bool:
    """Return whether a port is free on each of these addresses."""
    try:
        for host in hosts:
            socket.create_server((host, port)).close()
    except OSError:
        return False
    return True
