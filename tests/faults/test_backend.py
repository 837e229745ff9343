"""A back end sends while servers are killed: what it was answered is there once, whoever failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from tests.faults.test_cluster import all_back as everybody_back
from tests.faults.test_kill import all_back
from tests.support.backcaller import SYSTEM, BackCaller
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.evidence import faults
from tests.support.processes import processes
from tests.support.records import Acked, Sent, dialog
from tests.support.results import write
from tests.support.server import running
from tests.support.traffic import flowing, ring, volley

USERS = 20
TALK_PER_S, CALLS_PER_S = 50, 100


@asynccontextmanager
async def calling(caller: BackCaller, rng: Random) -> AsyncIterator[None]:
    """While inside, it calls and calls; at the end, all is answered."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(caller.run())
        async with flowing([caller], CALLS_PER_S, rng):
            yield
        await eventually(lambda: not caller.unanswered, within_s=120)
        task.cancel()


def report(name: str, seed: int, caller: BackCaller, **more: object) -> None:
    calls = [each.what for each in caller.record if each.who in caller.who]
    answered = sum(isinstance(each, Acked) for each in calls)
    sent = {each.client_message_id for each in calls if isinstance(each, Sent)}
    figures = {"calls_answered": answered, "tried_again": caller.tried_again, **more}
    print(write(name, {"seed": seed, **figures}))
    assert answered == len(sent) > CALLS_PER_S
    assert caller.tried_again > 0, "no kill met a call under way"


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(3, marks=pytest.mark.timeout(420)),
        pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1_200)]),
    ],
)
@pytest.mark.parametrize("partitions", [1, 12])
async def test_what_was_answered_is_there_once(
    kills: int, partitions: int, tmp_path: Path, rng: Random, base_seed: int
) -> None:
    async with running(tmp_path, {"CECOCHAT_PARTITIONS": str(partitions)}) as server:
        crowd = Crowd(lambda: server.connect_url, server.secret_file, server.record)
        who, chats = ring(USERS)
        with_system = sorted({dialog(SYSTEM, each.user_id) for each in who})
        caller = BackCaller(
            server.record,
            lambda: [server.connect_url],
            server.secret_file,
            [*with_system, *chats],
        )
        async with crowd.connected(who, [*chats, *with_system]):
            async with (
                calling(caller, rng),
                flowing(list(crowd.devices.values()), TALK_PER_S, rng),
            ):
                for _ in range(kills):
                    await asyncio.sleep(rng.uniform(1.0, 3.0))  # any moment
                    await volley([caller] * 50, rng)
                    mark = len(server.record.entries)
                    await server.kill()
                    await server.start()
                    await all_back(crowd, mark)
            found = await crowd.settle(within_s=60, absent=caller.who)
    unanswered = sum(each.unanswered for each in faults(server.record.entries))
    report(f"backend-{kills}-{partitions}", base_seed, caller, unanswered_at_kills=unanswered)
    assert found == []


@pytest.mark.slow
@pytest.mark.timeout(2_400)
async def test_any_server_takes_any_call(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """In a cluster, whose servers of each kind are killed."""
    counts = {"control": 1, "messaging": 2, "materialize": 2, "history": 2, "connect": 2}
    async with processes(tmp_path, on_real, counts) as cluster:
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        who, chats = ring(USERS)
        with_system = sorted({dialog(SYSTEM, each.user_id) for each in who})
        caller = BackCaller(
            cluster.record,
            lambda: [f"http://{each.ready['address']}" for each in cluster.of("connect")],
            cluster.secret_file,
            [*with_system, *chats],
        )
        async with crowd.connected(who, [*chats, *with_system]):
            async with calling(caller, rng):
                for service in ("messaging", "connect", "history", "materialize") * 5:
                    await asyncio.sleep(rng.uniform(1.0, 3.0))  # any moment
                    await volley([caller] * 50, rng)
                    victim = rng.choice(cluster.of(service))
                    await victim.kill()
                    await asyncio.sleep(rng.uniform(0.0, 5.0))
                    await victim.start()
                    await everybody_back(crowd)
            found = await crowd.settle(within_s=90, absent=caller.who)
    report("backend-cluster", base_seed, caller)
    assert found == []
