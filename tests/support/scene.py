"""A cluster on which people talk, for faults to come over."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from cecochat.domain.cluster.partitions import partition_of
from scripts.backends.launch import Backend
from tests.support.crowd import Crowd
from tests.support.processes import Processes, ServerProcess
from tests.support.records import is_group

PARTITIONS = 15
"""So many that one has no user of the crowd and no home of a group: a test may number messages
there.
"""
RETENTION_MS = 60_000  # a quarter of it is soon over
COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1, "hooks": 1}


@dataclass(frozen=True)
class Scene:
    """A cluster on which people talk, and what it stands on."""

    cluster: Processes
    crowd: Crowd
    backends: Mapping[str, Backend]

    @property
    def environment(self) -> Mapping[str, str]:
        return self.cluster.environment

    def one(self, service: str) -> ServerProcess:
        (server,) = self.cluster.of(service)
        return server

    @property
    def kafka_pid(self) -> int:
        pid = self.backends["kafka"].pid
        assert pid, "Kafka does not run"
        return pid

    @property
    def spoken_in(self) -> set[int]:
        """The partitions in which somebody of the crowd says something."""
        users = {who.user_id for who in self.crowd.devices}
        groups = set(filter(is_group, self.crowd.chats))
        return {partition_of(each, PARTITIONS) for each in users | groups}

    @property
    def quiet(self) -> int:
        """A partition in which nobody does."""
        return min(set(range(PARTITIONS)) - self.spoken_in)


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """It goes on until the context is left."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        task.cancel()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """It does nothing, and its connections stay open."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
