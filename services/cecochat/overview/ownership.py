"""Which server should own which partition, and which one does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cecochat.domain.cluster import assignment
from cecochat.domain.log.ids import PARTITIONS_MAX
from cecochat.internal.client import InternalClient
from cecochat.ports.configuration import ASSIGNMENT, Configuration
from cecochat.ports.discovery import Discovery, Instance
from cecochat.runtime.asking import Asking


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
    live: Mapping[str, Instance] | None  # None if there is no discovery to ask
    owned: Mapping[str, Collection[int] | None]  # None for a server that does not answer

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return max(self.owners) + 1

    def states(self) -> Counter[str]:
        """Return how many partitions are in each state."""
        states = Counter[str]()
        for row in self.rows():
            states[row.state] += len(row.partitions)
        return +states

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


async def view(
    configuration: Configuration, discovery: Discovery | None, ask: Asking | None
) -> View | None:
    """Read the assignment, and ask the live servers if `ask` makes the client for that.

    Returns None if no partition is assigned. Raises `Unavailable`. The scope is `read`.
    """
    document = await configuration.get(ASSIGNMENT)
    owners = assignment.parse(document.value, PARTITIONS_MAX)
    if not owners:
        return None
    live = {each.instance_id: each for each in discovery.live("messaging")} if discovery else None
    owned = await _owned(live, ask) if live and ask else {}
    return View(document.version, document.changed_by, owners, live, owned)


async def _owned(live: Mapping[str, Instance], ask: Asking) -> dict[str, Collection[int] | None]:
    async with ask() as http:
        client = InternalClient(http)
        answers = await asyncio.gather(*map(client.owned_by, live.values()))
    return dict(zip(live, answers, strict=True))
