"""The audit of a cluster whose servers are killed under load: no false alarm, and what somebody
deletes from Cassandra is named, shown by `status`, and repaired while people talk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from cecochat.adapters import build
from cecochat.domain.log.ids import ChatId
from cecochat.settings.settings import load
from cecochat.v1.events_pb2 import Event
from tests.faults.test_cluster import all_back, talking
from tests.support.crowd import Crowd
from tests.support.damage import to_cassandra
from tests.support.eventually import eventually
from tests.support.processes import Processes, processes
from tests.support.server import command

FOUND = "missing in the history"
NOTHING = "nothing is missing"
AWAY = "no materialize server "


@asynccontextmanager
async def auditing(cluster: Processes, verdicts: list[str]) -> AsyncIterator[None]:
    """`cecochat audit` again and again; its last line each time."""

    async def audit() -> None:
        while True:
            out = await command(cluster.environment, "audit", code=None)
            verdicts.append(out.strip().splitlines()[-1])
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(audit())
        yield
        before = len(verdicts)
        await eventually(lambda: len(verdicts) > before, within_s=120)
        task.cancel()


async def delete_a_message(cluster: Processes, crowd: Crowd) -> int:
    """By somebody with a shell of the database; its id."""
    settings = load(cluster.environment)
    chat = ChatId(min(crowd.chats))
    async with build.history(settings) as opened:

        async def has_one() -> bool:
            return bool((await opened.messages(chat, before=None, after=0, limit=1)).events)

        await eventually(has_one, within_s=120)
        page = await opened.messages(chat, before=None, after=0, limit=1)
    event = Event.FromString(page.events[0])
    async with to_cassandra(settings.value("cassandra"), settings.namespace) as damage:
        await damage.delete_message(event.chat_id, event.id)
    return event.id


async def failed_audit(environment: Mapping[str, str]) -> str:
    """What the first audit that finds something says. It compares what is committed, and a group
    one of whose members was killed commits nothing for a while.
    """
    said = ""

    async def fails() -> bool:
        nonlocal said
        said = await command(environment, "audit", code=None)
        return not said.strip().endswith(NOTHING)

    await eventually(fails, within_s=120, every_s=1)
    return said


@pytest.mark.timeout(600)
async def test_no_false_alarm_under_kills_and_what_is_deleted_is_named_and_repaired(
    on_real: dict[str, str], tmp_path: Path, rng: Random, thorough: bool
) -> None:
    verdicts: list[str] = []
    async with processes(tmp_path, on_real) as cluster, talking(cluster, rng) as crowd:
        async with auditing(cluster, verdicts):
            for service in ("materialize", "messaging") * (3 if thorough else 1):
                victim = rng.choice(cluster.of(service))
                await asyncio.sleep(rng.uniform(1, 3))  # any moment
                assert await victim.kill() == -9
                await asyncio.sleep(rng.uniform(0, 2))
                await victim.start()
                await all_back(crowd)
        said = "".join(server.said for server in cluster.of("materialize"))
        assert FOUND not in said
        assert sum(each.endswith(NOTHING) for each in verdicts) >= 2
        assert [each for each in verdicts if not each.endswith(NOTHING) and AWAY not in each] == []
        print(f"{len(verdicts)} audits under kills; the last: {verdicts[-1]}")

        id_ = await delete_a_message(cluster, crowd)
        out = await failed_audit(cluster.environment)
        assert [f"message {id_} of " in line for line in out.splitlines()] == [True, False]
        out = await command(cluster.environment, "status", code=1)
        assert "WRONG  the history lacks 1 row of the log" in out
        out = await command(cluster.environment, "audit", "--repair")
        assert out.splitlines()[0].startswith("written again")

        async def well() -> bool:
            return "the history lacks" not in await command(
                cluster.environment, "status", code=None
            )

        await eventually(well, within_s=60)
        out = await command(cluster.environment, "audit")
        assert out.strip().endswith(NOTHING)
