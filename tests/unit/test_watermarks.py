"""What owners release of their partitions, a few at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from cecochat.domain.log.place import Place
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.backplane import Backplane
from cecochat.servers.messaging import watermarks
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.servers.messaging.watermarks import Watermarks

DONE = 4


class Log:
    """Each partition is materialized up to its end, unless it is named."""

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.released: list[int] = []

    async def committed(self, group: str, topic: str, partition: int) -> Place:
        return Place(0, DONE if partition == self.behind else DONE + 2)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, DONE + 2

    async def release(self, topic: str, partition: int, before: int) -> None:
        self.released.append(partition)


async def test_partitions_take_turns_until_nothing_is_left_to_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watermarks, "RELEASE_AT_ONCE", 2)
    log, owner = (
        Log(behind=1),
        SimpleNamespace(
            forwarder=SimpleNamespace(done=DONE), released=lambda materialized: materialized
        ),
    )
    owners = cast(dict[int, Owner], dict.fromkeys(range(4), cast(Any, owner)))
    keeping = Watermarks(cast(Backplane, log), MessagingMetrics(CollectorRegistry()))
    for _ in range(4):
        await keeping._release(owners)
    assert log.released == [0, 1, 2, 3, 1, 1]
