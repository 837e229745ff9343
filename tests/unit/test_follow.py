"""Following a document whose store goes away, and comes back without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typing_extensions import override

from cecochat.documents import follow
from cecochat.documents.remembered import Memory
from cecochat.domain.cluster.values import parse
from cecochat.domain.errors import Unavailable
from cecochat.ports.configuration import CONFIGURATION, Configuration, Document
from tests.support.eventually import eventually

DEADLINE_S = 30
EMPTY = Document(CONFIGURATION, 0, {}, 0, "")


def version(number: int) -> Document:
    return Document(CONFIGURATION, number, {"sends.burst": number}, 1, "ops")


class Store(Configuration):
    """Each watch gives the documents of its turn, and then loses the store."""

    def __init__(self, *watches: list[Document]) -> None:
        self._watches = list(watches)

    @override
    async def watch(self, name: str) -> AsyncGenerator[Document]:
        if not self._watches:
            await asyncio.get_running_loop().create_future()
        for document in self._watches.pop(0):
            yield document
        raise Unavailable("the store is down")

    @override
    async def get(self, name: str) -> Document:
        raise NotImplementedError

    @override
    async def put(self, name: str, value: Mapping[str, Any], *, expected: int, by: str) -> Document:
        raise NotImplementedError

    @override
    async def restore(self, document: Document) -> bool:
        raise NotImplementedError

    @override
    async def past(self, name: str, limit: int = 20) -> list[Document]:
        raise NotImplementedError

    @override
    async def close(self) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "RETRY_S", 0)


async def followed(store: Store, last: int, registry: CollectorRegistry) -> list[int]:
    """The versions that are followed, up to `last`."""
    numbers = []
    values = follow.valid(follow.Following(store, registry), CONFIGURATION, parse)
    async with asyncio.timeout(DEADLINE_S), aclosing(values):
        async for number, config in values:
            assert config.sends_burst == number, "the value is that of the version"
            numbers.append(number)
            if number == last:
                break
    return numbers


async def test_a_store_that_comes_back_empty_is_no_new_truth(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store([version(4), version(5)], [EMPTY], [version(1)], [EMPTY, version(6)])
    assert await followed(store, 6, CollectorRegistry()) == [4, 5, 6]
    stays = [line for line in caplog.messages if "has gone back" in line]
    assert stays == [
        f"the store of the configuration has gone back to {document.rank}: {version(5).rank} stays "
        "in force, and control restores it"
        for document in (EMPTY, version(1), EMPTY)
    ]


async def test_an_outage_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    registry = CollectorRegistry()
    store = Store([version(1)], *[[] for _ in range(60)], [version(1), version(2)])
    assert await followed(store, 2, registry) == [1, 2]
    assert caplog.messages == [
        "configuration cannot be followed, and stays as it is: the store is down",
        "configuration is followed again, at version 1",
    ]
    assert registry.get_sample_value("cecochat_configuration_followed") == 1


async def test_of_two_contents_of_one_version_everybody_follows_the_same() -> None:
    one, other = version(5), version(5)._replace(value={"sends.burst": 6})
    later = max(one, other, key=lambda each: each.rank)
    for order in ([one, other], [other, one]):
        memory = Memory()
        store = Store([*order, version(9)])
        following = follow.Following(store, CollectorRegistry(), memory=memory)
        values = follow.valid(following, CONFIGURATION, parse)
        async with asyncio.timeout(DEADLINE_S), aclosing(values):
            in_force: Document | None = None
            async for number, _ in values:
                if number == 9:
                    break
                in_force = memory.documents[CONFIGURATION]
        assert in_force == later


async def test_a_metric_tells_that_the_store_has_gone_back() -> None:
    registry = CollectorRegistry()
    store = Store([version(5), version(4)])
    values = follow.valid(follow.Following(store, registry), CONFIGURATION, parse)

    def went_back() -> float | None:
        return registry.get_sample_value("cecochat_configuration_went_back")

    async with aclosing(values), asyncio.TaskGroup() as tasks:
        assert (await anext(values))[0] == 5
        assert went_back() == 0
        waiting = tasks.create_task(anext(values))
        await eventually(lambda: went_back() == 1)
        waiting.cancel()


async def test_the_metric_is_taken_back_by_a_later_version() -> None:
    registry = CollectorRegistry()
    store = Store([version(5), version(4), version(6)])
    assert await followed(store, 6, registry) == [5, 6]
    assert registry.get_sample_value("cecochat_configuration_went_back") == 0


async def test_a_metric_tells_that_the_store_is_away() -> None:
    registry = CollectorRegistry()
    store = Store([version(1)], [])
    values = follow.valid(follow.Following(store, registry), CONFIGURATION, parse)
    async with aclosing(values), asyncio.TaskGroup() as tasks:
        assert (await anext(values))[0] == 1
        waiting = tasks.create_task(anext(values))
        await eventually(lambda: registry.get_sample_value("cecochat_configuration_followed") == 0)
        waiting.cancel()
