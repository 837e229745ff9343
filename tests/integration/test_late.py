"""What control says of records that wait too long in the log."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.domain.log.ids import UserId, dialog
from cecochat.ports.backplane import MESSAGES, Backplane
from cecochat.servers.control.late import DROP_SLACK_MS, LateRecords, late_records
from cecochat.servers.materialize.main import materialize
from tests.integration.cluster import PARTITIONS, cluster, user_on
from tests.integration.streams import message
from tests.support.backplane import append, new
from tests.support.eventually import eventually

ALICE = user_on(0)
CHAT = dialog(UserId(ALICE), UserId(user_on(1)))
AT_ONCE_MS = 4  # a retention of which a quarter is soon over


def late(log: Backplane, retention_ms: int, partitions: int = PARTITIONS) -> LateRecords:
    return LateRecords(
        log, partitions, retention_ms, late_records(CollectorRegistry()), lambda: True
    )


async def test_what_nobody_takes_is_late_and_what_is_taken_is_not(
    tmp_path: Path, kafka: str
) -> None:
    async with cluster(tmp_path, kafka, materializes=False) as servers:
        await servers.assign("one")
        await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            await alice.send(*(message(f"m{number}", CHAT) for number in range(20)))
            await alice.until_acks(20)
        looking = late(servers.parts.backplane, AT_ONCE_MS)

        async def tasks() -> set[str]:
            return {task for task, found in (await looking._look()).items() if found}

        async def only_the_history_waits() -> bool:
            return await tasks() == {"materialize"}

        await eventually(only_the_history_waits)
        assert (await looking._look())["materialize"][0] >= 20
        async with materialize(servers.parts, "late"):

            async def nothing_waits() -> bool:
                return await tasks() == set()

            await eventually(nothing_waits)


async def test_what_is_kept_beyond_the_retention_is_late_until_it_is_dropped(
    tmp_path: Path,
) -> None:
    retention_ms = 60_000
    now = time.time()
    then = [now - (retention_ms + DROP_SLACK_MS) / 1_000 - 60]
    log = await EmbeddedBackplane.open(
        tmp_path, partition_count=2, retention_ms=retention_ms, clock=lambda: then[0]
    )
    looking = late(log, retention_ms, 2)
    await append(log, [new(number, 1) for number in range(5)])
    then[0] = now
    await append(log, [new(5, 1)])
    looking._set(await looking._look())
    assert looking.shown()["drop"] == {"records": 5, "partitions": "1"}
    await log.release(MESSAGES, 1, 6)
    await log.trim()
    looking._set(await looking._look())
    assert looking.shown() == {}
    await log.close()
