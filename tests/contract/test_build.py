"""What adapters/build.py gives out works, and is closed again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cecochat.adapters import build
from cecochat.adapters.embedded import backend
from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.domain.errors import InvalidSettings, ProducerEnded, Unavailable
from cecochat.ports.configuration import CONFIGURATION
from cecochat.ports.history import Progress
from cecochat.settings.settings import Settings, made
from tests.support.backplane import append, new, read, values


async def test_retention_ends_before_the_log_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "TRIM_EVERY_S", 0)
    trimmed = asyncio.Event()
    trim = EmbeddedBackplane.trim

    async def slow(self: EmbeddedBackplane) -> None:
        trimmed.set()
        await asyncio.sleep(0)
        assert not self._closed
        await trim(self)

    monkeypatch.setattr(EmbeddedBackplane, "trim", slow)
    async with build.backplane(Settings(data_dir=tmp_path, partitions=1)):
        await trimmed.wait()


async def test_a_mechanism_that_does_not_exist_is_named() -> None:
    settings = made(kafka="127.0.0.1:1", kafka_sasl="SCRAM-SHA512")
    with pytest.raises(InvalidSettings, match=r"CECOCHAT_KAFKA_SASL is .*SCRAM-SHA-512"):
        async with build.backplane(settings):
            pass


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
    async with build.deployment(settings) as deployment:
        assert (await deployment.state("connect")).wanted == 1


@pytest.mark.parametrize(
    ("settings", "has_one"),
    [
        (Settings(), True),
        (Settings(search=False), False),
        (made(cassandra="127.0.0.1:1"), False),
        (made(cassandra="127.0.0.1:1", postgres="127.0.0.1:2"), True),
        (made(cassandra="127.0.0.1:1", postgres="127.0.0.1:2", search=False), False),
    ],
)
def test_a_cluster_has_a_search_if_its_servers_can_share_it(
    settings: Settings, has_one: bool
) -> None:
    assert build.has_search(settings) is has_one
