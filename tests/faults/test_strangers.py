"""Strangers write while the server is killed: those who were answered are never refused, and the
others get no further than the limit and what the history lacks at each death of one process.
"""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cecochat.adapters import build
from cecochat.auth.minting import mint
from cecochat.client import Client, Connecting, Message, SendRejected, connect
from cecochat.ports.configuration import CONFIGURATION
from cecochat.settings.settings import load
from tests.support import commands
from tests.support.processes import Processes, processes
from tests.support.results import write
from tests.support.server import Server, running

LIMIT = 3
PAIRS = 6
KILLS = 4
ANSWERED_AFTER = 5  # more than the limit
COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 2, "connect": 1}
Die = Callable[[], Awaitable[None]]


class Pair:
    """Somebody who writes, and somebody who answers or does not."""

    def __init__(self, server: Server | Processes, number: int) -> None:
        self.server = server
        self.writer, self.reader = f"writer{number}", f"reader{number}"
        self.answers = number % 2 == 0
        self.accepted: Counter[bool] = Counter()  # by whether the writer was told of an answer
        self.refused: Counter[bool] = Counter()
        self.begun = asyncio.Event()
        self._told = asyncio.Event()

    def _device(self, user: str) -> Connecting:
        return connect(
            self.server.connect_url, mint(self.server.secret_file.read_bytes(), user, 3_600)
        )

    async def talk(self, over: asyncio.Event) -> None:
        """Write until it is over, and something after the answer."""
        async with (
            self._device(self.writer) as writer,
            self._device(self.reader) as reader,
            TaskGroup() as group,
        ):
            self.begun.set()
            listening = [group.create_task(self._listen(each)) for each in (writer, reader)]
            for number in count():
                if over.is_set() and number > ANSWERED_AFTER:
                    break
                if self.answers and number == ANSWERED_AFTER:
                    await reader.send(self.writer, "an answer")
                    await self._told.wait()
                await self._say(writer, f"message {number}")
                await asyncio.sleep(0.1)  # as people write
            for each in listening:
                each.cancel()

    async def _listen(self, client: Client) -> None:
        async for event in client:
            if isinstance(event, Message) and event.user_id == self.reader:
                self._told.set()

    async def _say(self, writer: Client, text: str) -> None:
        knows = self._told.is_set()
        try:
            await writer.send(self.reader, text)
        except SendRejected as rejected:
            if rejected.code != "stranger":
                raise
            self.refused[knows] += 1
        else:
            self.accepted[knows] += 1


@pytest.mark.timeout(300)
async def test_over_kills_who_was_answered_is_never_refused(
    tmp_path: Path, rng: Random, base_seed: int
) -> None:
    async with running(tmp_path, {"CECOCHAT_PARTITIONS": "4"}) as server:

        async def die() -> None:
            await server.kill()
            await server.start()

        await commands.run(server, "config", "set", "strangers.messages_max", f"{LIMIT}")
        await die()  # so that it starts with the key
        figures = await talked(server, die, rng)
    assert max(figures["accepted_before"]) <= LIMIT * (1 + KILLS), figures
    print(write("strangers", {"seed": base_seed, **figures}))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_in_a_cluster_who_was_answered_is_never_refused(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    async with build.configuration(load(on_real)) as configuration:
        keys = {"strangers.messages_max": LIMIT}
        await configuration.change(CONFIGURATION, lambda old: {**old, **keys}, by="test")
    async with processes(tmp_path, on_real, COUNTS) as cluster:

        async def die() -> None:
            victim = rng.choice(cluster.of(rng.choice(("messaging", "materialize", "history"))))
            await victim.kill()
            await asyncio.sleep(rng.uniform(0.0, 2.0))
            await victim.start()

        figures = await talked(cluster, die, rng)
    print(write("strangers-cluster", {"seed": base_seed, **figures}))


async def talked(where: Server | Processes, die: Die, rng: Random) -> dict[str, Any]:
    """Have pairs talk while servers die, and check what was accepted. While the history is behind,
    strangers may get more through: how much is up to the caller.
    """
    pairs = [Pair(where, number) for number in range(PAIRS)]
    over = asyncio.Event()
    async with TaskGroup() as group:
        for each in pairs:
            group.create_task(each.talk(over))
        for each in pairs:
            await each.begun.wait()
        for _ in range(KILLS):
            await asyncio.sleep(rng.uniform(0.2, 2.0))  # any moment
            await die()
        over.set()
    figures = {
        "accepted_once_told": [each.accepted[True] for each in pairs if each.answers],
        "accepted_before": [each.accepted[False] for each in pairs],
        "refused": sum(sum(each.refused.values()) for each in pairs),
    }
    for pair in pairs:
        assert pair.refused[True] == 0, figures
        assert bool(pair.accepted[True]) == pair.answers, figures
        assert pair.accepted[False] >= LIMIT, figures
    assert figures["refused"]
    return figures
