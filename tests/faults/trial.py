"""What a test of faults runs on: backends that it may stop, a cluster on them, people who talk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from scripts.backends.launch import Backend
from tests.faults.test_cluster import report, talking
from tests.support.crowd import Crowd
from tests.support.processes import Processes, processes


@dataclass(frozen=True, slots=True)
class Trial:
    """`environment`: the variables that put a new system on the backends."""

    backends: Mapping[str, Backend]
    environment: dict[str, str]
    folder: Path
    rng: Random
    seed: int

    @asynccontextmanager
    async def talking(
        self, counts: Mapping[str, int] | None = None
    ) -> AsyncIterator[tuple[Processes, Crowd]]:
        """A cluster of so many servers, and `talking` on it."""
        async with (
            processes(self.folder, self.environment, counts) as cluster,
            talking(cluster, self.rng) as crowd,
        ):
            yield cluster, crowd

    def report(self, name: str, crowd: Crowd, **figures: Any) -> None:
        report(name, self.seed, crowd, **figures)
