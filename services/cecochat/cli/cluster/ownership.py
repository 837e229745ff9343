"""Reads and changes who owns which partition, for the commands of `cecochat partitions`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cecochat.adapters import build
from cecochat.cli import changes, target
from cecochat.cli.asking import asking
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.output import echo
from cecochat.domain.cluster import assignment
from cecochat.domain.cluster.balance import ranges
from cecochat.domain.log.ids import PARTITIONS_MAX
from cecochat.internal.client import InternalClient
from cecochat.ports.configuration import ASSIGNMENT, Configuration
from cecochat.ports.discovery import Discovery, Instance
from cecochat.runtime.asking import Asking
from cecochat.settings import backends

POLL_S = 0.1


class Row(NamedTuple):
    """The partitions of one server that are in the same state."""

    server_id: str | None
    state: str
    partitions: list[int]


@dataclass(frozen=True, slots=True)
class View:
    """The assignment, and what is known about the servers."""

    version: int
    changed_by: str
    owners: Mapping[int, str]
    live: Mapping[str, Instance] | None  # None if there is no Consul to ask
    owned: Mapping[str, Collection[int] | None]  # None for a server that does not answer

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return max(self.owners) + 1

    def live_ids(self) -> list[str]:
        """Return the ids of the live servers. Raises `UsageError` if there is no Consul to ask."""
        if self.live is None:
            raise UsageError(
                "this needs a cluster: "
                "name its Consul with CECOCHAT_CONSUL, or in a file with --settings"
            )
        return sorted(self.live)

    def rows(self) -> list[Row]:
        """Return the partitions by server and state, and the live servers that have none."""
        found: dict[tuple[str | None, str], list[int]] = {}
        for partition in range(self.partitions):
            server_id = self.owners.get(partition)
            found.setdefault((server_id, self._state(partition, server_id)), []).append(partition)
        idle = set(self.live or ()) - set(self.owners.values())
        rows = [Row(*key, partitions) for key, partitions in found.items()]
        return [*rows, *(Row(server_id, "live", []) for server_id in sorted(idle))]

    def _state(self, partition: int, server_id: str | None) -> str:
        if server_id is None:
            return "nobody"
        if self.live is None:
            return "assigned"
        if server_id not in self.live:
            return "not live"
        owned = self.owned.get(server_id)
        if owned is None:
            return "silent"
        return "owned" if partition in owned else "taking over"


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
    document = await configuration.get(ASSIGNMENT)
    owners = assignment.parse(document.value, PARTITIONS_MAX)
    if not owners:
        if discovery is None:
            raise Failed(
                "no partition is assigned in that data folder: for a cluster, name its backends "
                "with CECOCHAT_REDIS and CECOCHAT_CONSUL, or in a file with --settings"
            )
        raise Failed("no partition is assigned yet: start messaging and control servers")
    live = {each.instance_id: each for each in discovery.live("messaging")} if discovery else None
    owned = await _owned(live, ask) if live and ask else {}
    return View(document.version, document.changed_by, owners, live, owned)


async def _owned(live: Mapping[str, Instance], ask: Asking) -> dict[str, Collection[int] | None]:
    async with ask() as http:
        client = InternalClient(http)
        answers = await asyncio.gather(*map(client.owned_by, live.values()))
    return dict(zip(live, answers, strict=True))


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
    if to not in (live := seen.live_ids()):
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
