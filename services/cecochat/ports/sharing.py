"""A consumer group within one process: each partition belongs to one member at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Work = Callable[[int], Coroutine[Any, Any, None]]


class _Member:
    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.held: dict[int, asyncio.Task[None]] = {}


class Group:
    """The members in the order in which they joined. With n members, partition p belongs to member
    p modulo n.
    """

    def __init__(self, partition_count: int) -> None:
        self._partition_count = partition_count
        self._members: list[_Member] = []

    async def join(self, work: Work) -> None:
        """Be a member until cancelled, or until `work` raises: then this raises the same."""
        member = _Member()
        self._members.append(member)
        self._announce()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    member.changed.clear()
                    await self._give_up(member)
                    self._take_up(member, work, tasks)
                    await member.changed.wait()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._members.remove(member)
            self._announce()

    def _announce(self) -> None:
        for member in self._members:
            member.changed.set()

    def _share_of(self, member: _Member) -> range:
        return range(self._members.index(member), self._partition_count, len(self._members))

    async def _give_up(self, member: _Member) -> None:
        surplus = member.held.keys() - self._share_of(member)
        if not surplus:
            return
        for partition in surplus:
            member.held[partition].cancel()
        await asyncio.wait([member.held[partition] for partition in surplus])
        for partition in surplus:
            del member.held[partition]
        self._announce()

    def _take_up(self, member: _Member, work: Work, tasks: asyncio.TaskGroup) -> None:
        taken = {partition for each in self._members for partition in each.held}
        for partition in self._share_of(member):
            if partition not in taken:
                member.held[partition] = tasks.create_task(work(partition))
