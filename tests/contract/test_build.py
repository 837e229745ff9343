"""What adapters/build.py gives out works, and is closed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cecochat.adapters import build
from cecochat.domain.errors import ProducerEnded, Unavailable
from cecochat.ports.configuration import CONFIGURATION
from cecochat.ports.history import Progress
from cecochat.runtime.settings import Settings
from tests.contract.test_backplane import append, new, read, values


async def test_all_ports_are_built_on_one_folder_and_closed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", partitions=3, retention_ms=1_000)
    async with (
        build.backplane(settings) as log,
        build.history(settings) as history,
        build.configuration(settings) as configuration,
        build.discovery(settings) as discovery,
    ):
        assert await log.partition_count() == 3
        await append(log, [new(1)])
        assert values(await read(log, 1)) == [1]
        await history.write([], [], Progress("log", 0, 1))
        await configuration.put(CONFIGURATION, {}, expected=0, by="a test")
        assert discovery.live("messaging") == ()
        producer = await log.producer()
    with pytest.raises(ProducerEnded):
        await producer.append([new(2)])
    with pytest.raises(Unavailable):
        await history.progress("log")
    with pytest.raises(Unavailable):
        await configuration.get(CONFIGURATION)
    async with build.backplane(settings) as log:
        assert values(await read(log, 1)) == [1]
    assert await build.deployment().count("connect") == 1
