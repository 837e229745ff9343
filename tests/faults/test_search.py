"""Search in a cluster: two materialize servers write one index in PostgreSQL. They are killed under
changes and while they make the index again, PostgreSQL is killed, and a user is erased.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from cecochat.adapters.postgres.search import PostgresSearch
from cecochat.adapters.postgres.settings import PostgresSettings
from cecochat.auth.minting import mint
from cecochat.client import ChatError, Client, connect
from cecochat.domain.log.ids import UserId
from tests.faults.trial import Trial
from tests.support.eventually import eventually
from tests.support.processes import Processes, processes
from tests.support.server import CECOCHAT

pytestmark = pytest.mark.timeout(600)
COUNTS = {"control": 1, "messaging": 1, "materialize": 2, "history": 1, "connect": 1}
WITHIN_S = 120.0  # Kafka waits for a member of a group that was killed
PEERS = 40
KILLED_AT = 20  # chats of those that are indexed again


@asynccontextmanager
async def people(cluster: Processes, *users: str) -> AsyncIterator[list[Client]]:
    secret = cluster.secret_file.read_bytes()
    async with AsyncExitStack() as stack:
        opened = [
            connect(cluster.connect_url, mint(secret, user, 3_600), listen=False) for user in users
        ]
        yield [await stack.enter_async_context(each) for each in opened]


async def find(client: Client, text: str, expected: list[int]) -> None:
    """Wait until this is found, newest first, and nothing else."""

    async def is_found() -> bool:
        with suppress(ChatError):  # it is behind, or made again
            return [each.id for each in (await client.search(text)).messages] == expected
        return False

    await eventually(is_found, WITHIN_S, every_s=0.2)


@asynccontextmanager
async def index_of(trial: Trial) -> AsyncIterator[PostgresSearch]:
    """The index of the cluster, as another server would open it."""
    where = trial.environment["CECOCHAT_POSTGRES"], trial.environment["CECOCHAT_NAMESPACE"]
    opened = await PostgresSearch.open(PostgresSettings((where[0],), where[1]))
    yield opened
    await opened.close()


async def test_servers_that_die_lose_and_double_nothing(trial: Trial) -> None:
    async with (
        processes(trial.folder, trial.environment, COUNTS) as cluster,
        people(cluster, "alice", "bob", "carol") as (alice, bob, carol),
    ):
        said = [await alice.send(f"peer{n}", f"pancake {n}") for n in range(PEERS)]
        group = await alice.groups.create("Cooks", members=["bob"], hides_past=True)
        said.append(await alice.send(group, "pancakes for all"))
        await find(alice, "pancake", said[::-1])
        await find(bob, "pancake", said[-1:])
        await find(carol, "pancake", [])

        first, second = cluster.of("materialize")
        await first.kill()
        await alice.edit("peer0", said[0], "waffles")
        await alice.delete("peer1", said[1])
        await alice.groups.add(group, "carol")
        said.append(await bob.send(group, "more pancakes"))
        await find(alice, "pancake", [*said[:1:-1]])
        await find(alice, "waffle", said[:1])
        await find(carol, "pancake", said[-1:])

        await first.start(f"index:{KILLED_AT}")
        await second.kill()
        await second.start(f"index:{KILLED_AT}")
        async with index_of(trial) as index:
            await index.clear()  # as after a crash of PostgreSQL
        await asyncio.gather(first.ended(), second.ended())  # one after the other makes it
        await first.start()
        await second.start()
        await find(alice, "pancake", [*said[:1:-1]])
        await find(alice, "waffle", said[:1])
        await find(bob, "pancake", said[-1:-3:-1])


async def test_a_crash_of_postgres_and_an_erasure(trial: Trial) -> None:
    async with (
        processes(trial.folder, trial.environment, COUNTS) as cluster,
        people(cluster, "alice", "bob") as (alice, bob),
    ):
        said = [await alice.send("bob", "quicksilver one"), await bob.send("alice", "quicksilver")]
        await find(bob, "quicksilver", said[::-1])
        await asyncio.to_thread(trial.backends["postgres"].kill)
        said.append(await bob.send("alice", "quicksilver while it is away"))
        await asyncio.to_thread(trial.backends["postgres"].start)
        await find(bob, "quicksilver", said[::-1])

        await erase(cluster, "alice")
        async with index_of(trial) as index:
            assert await index.authors([UserId("alice")]) == set()
        await find(bob, "quicksilver", said[:0:-1])
        for server in cluster.of("materialize"):
            assert "Traceback" not in server.said


async def erase(cluster: Processes, user: str) -> None:
    environment = {**os.environ, **cluster._environment()}
    process = await asyncio.create_subprocess_exec(
        CECOCHAT, "erase", user, "--yes", env=environment
    )
    assert await process.wait() == 0
