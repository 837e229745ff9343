"""Reads and changes who owns which partition, for the commands of `cecochat partitions`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cecochat.adapters import build
from cecochat.cli import changes, target
from cecochat.cli.asking import asking
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.output import echo
from cecochat.domain.cluster.balance import ranges
from cecochat.internal.client import InternalClient
from cecochat.overview import ownership
from cecochat.overview.ownership import View
from cecochat.ports.configuration import ASSIGNMENT, Configuration
from cecochat.ports.discovery import Discovery, Instance
from cecochat.runtime.asking import Asking
from cecochat.settings import backends

POLL_S = 0.1


@asynccontextmanager
async def opened(
    file: Path | None, data: Path | None
) -> AsyncIterator[tuple[Configuration, Discovery | None]]:
    """Open the configuration and discovery that the settings name. Raises `UsageError`.

    Discovery is None without Consul, since it is then inside another process.
    """
    settings = target.settings(data, file)
    async with build.configuration(settings) as configuration:
        if not backends.is_shared("discovery", settings):
            yield configuration, None
            return
        async with build.discovery(settings) as discovery:
            yield configuration, discovery


async def view(file: Path | None, data: Path | None, *, ask: bool) -> View:
    """Read the assignment; if `ask`, also ask the live servers. Raises `UsageError`, `Failed`."""
    async with opened(file, data) as (configuration, discovery):
        asked = asking(file, data, "read") if ask and discovery else None
        return await view_through(configuration, discovery, asked)


async def view_through(
    configuration: Configuration, discovery: Discovery | None, ask: Asking | None
) -> View:
    """Do the same through ports that are open. `ask` makes the client that asks the servers."""
    found = await ownership.view(configuration, discovery, ask)
    if found is None and discovery is None:
        raise Failed(
            "no partition is assigned in that data folder: for a cluster, name its backends "
            "with CECOCHAT_REDIS and CECOCHAT_CONSUL, or in a file with --settings"
        )
    if found is None:
        raise Failed("no partition is assigned yet: start messaging and control servers")
    return found


def live_ids(seen: View) -> list[str]:
    """Return the ids of the live servers. Raises `UsageError` if there is no Consul to ask."""
    if seen.live is None:
        raise UsageError(
            "this needs a cluster: "
            "name its Consul with CECOCHAT_CONSUL, or in a file with --settings"
        )
    return sorted(seen.live)


# -- moving


class Moved(NamedTuple):
    """The result of `move`."""

    version: int
    server_id: str
    partitions: list[int]
    took_s: float


async def move(
    file: Path | None, data: Path | None, partitions: list[int], to: str, timeout_s: float
) -> Moved:
    """Assign partitions to a live server, and wait until it owns them.

    Raises `UsageError`, `Failed`.
    """
    begun_s = time.monotonic()
    async with opened(file, data) as (configuration, discovery):
        seen = await view_through(configuration, discovery, None)
        _check(seen, partitions, to)
        assert seen.live
        version = await _assign(configuration, seen, partitions, to)
        try:
            async with asyncio.timeout(timeout_s):
                await _until_owned(seen.live[to], partitions, asking(file, data, "read"))
        except TimeoutError:
            raise Failed(
                f"{to} does not own {ranges(partitions)} after {timeout_s:g} s; they are assigned "
                f"to it as of version {version}: see `cecochat partitions show`"
            ) from None
    return Moved(version, to, partitions, round(time.monotonic() - begun_s, 3))


def _check(seen: View, partitions: list[int], to: str) -> None:
    if partitions[-1] >= seen.partitions:
        raise UsageError(f"there is no partition {partitions[-1]}: use 0 to {seen.partitions - 1}")
    if to not in (live := live_ids(seen)):
        raise UsageError(
            f"{to} is not a live messaging server: use one of {', '.join(live) or 'none'}"
        )


async def _assign(configuration: Configuration, seen: View, partitions: list[int], to: str) -> int:
    if all(seen.owners.get(partition) == to for partition in partitions):
        return seen.version

    def decide(current: Mapping[str, Any]) -> Mapping[str, Any]:
        if not current:
            raise Failed("the assignment is lost: try again once control has restored it")
        return {**current, **{str(partition): to for partition in partitions}}

    return (await changes.change(configuration, ASSIGNMENT, decide)).version


async def _until_owned(server: Instance, partitions: list[int], ask: Asking) -> None:
    told = 0
    async with ask() as http:
        client = InternalClient(http)
        while True:
            count = len((await client.owned_by(server) or {}).keys() & set(partitions))
            if count != told and sys.stderr.isatty():
                echo(f"{count} of {len(partitions)} taken over", err=True)
            if count == len(partitions):
                return
            told = count
            await asyncio.sleep(POLL_S)
