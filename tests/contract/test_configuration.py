"""What ports/configuration.py promises, of every adapter."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from cecochat.domain.errors import Conflict
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION, Configuration, Document
from tests.contract.conftest import OpenConfiguration

SEEN_WITHIN_S = 30.0
DEADLINE_S = 120


async def test_a_document_that_was_never_written_is_version_0(
    configuration: Configuration,
) -> None:
    document = await configuration.get(CONFIGURATION)
    assert (document.name, document.version, document.value) == (CONFIGURATION, 0, {})
    assert await configuration.past(CONFIGURATION) == []


async def test_put_makes_the_next_version(configuration: Configuration) -> None:
    value = {"sessions.max_per_user": 16, "log.level": "info", "ü": [1, 2.5, None, {"a": True}]}
    before_ms = int(time.time() * 1_000)
    document = await configuration.put(CONFIGURATION, value, expected=0, by="ops")
    assert document[:3] == (CONFIGURATION, 1, value)
    assert document.changed_by == "ops"
    assert before_ms - 5_000 <= document.changed_at_ms <= time.time() * 1_000 + 5_000
    assert await configuration.get(CONFIGURATION) == document
    assert (await configuration.get(ASSIGNMENT)).version == 0


async def test_put_refuses_another_version_than_the_expected(configuration: Configuration) -> None:
    await configuration.put(CONFIGURATION, {"a": 1}, expected=0, by="x")
    for expected in (0, 2):
        with pytest.raises(Conflict):
            await configuration.put(CONFIGURATION, {"a": 2}, expected=expected, by="y")
    assert (await configuration.get(CONFIGURATION)).value == {"a": 1}


async def test_of_concurrent_writers_one_wins_each_version(
    open_configuration: OpenConfiguration,
) -> None:
    clients = [await open_configuration() for _ in range(3)]

    async def count_up(client: Configuration) -> None:
        for _ in range(10):
            while True:
                now = await client.get(CONFIGURATION)
                try:
                    value = {"n": now.value.get("n", 0) + 1}
                    await client.put(CONFIGURATION, value, expected=now.version, by="c")
                    break
                except Conflict:
                    continue

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(count_up(client))
            tasks.create_task(count_up(client))
    document = await clients[0].get(CONFIGURATION)
    assert (document.version, document.value) == (60, {"n": 60})


async def test_past_versions_are_kept_newest_first(open_configuration: OpenConfiguration) -> None:
    configuration = await open_configuration()
    put: list[Document] = []
    for version in range(105):
        value = {"n": version}
        put.append(await configuration.put(CONFIGURATION, value, expected=version, by="x"))
    await configuration.close()
    configuration = await open_configuration()
    assert await configuration.past(CONFIGURATION, 100) == put[:-101:-1]
    assert await configuration.past(CONFIGURATION) == put[:-21:-1]
    assert await configuration.past(CONFIGURATION, 1) == [await configuration.get(CONFIGURATION)]


@pytest.mark.parametrize("same_object", [True, False])
async def test_watch_sees_a_change_in_time(
    open_configuration: OpenConfiguration, same_object: bool
) -> None:
    watching = await open_configuration()
    changing = watching if same_object else await open_configuration()
    async with aclosing(watching.watch(CONFIGURATION)) as versions:
        assert (await anext(versions)).version == 0, "the current version at once"
        for version in range(3):
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(anext(versions))
                await asyncio.sleep(0)
                put = await changing.put(
                    CONFIGURATION, {"n": version}, expected=version, by="other"
                )
                async with asyncio.timeout(SEEN_WITHIN_S):
                    assert await waiting == put


async def test_watch_never_repeats_or_turns_back_and_ends_at_the_newest(
    open_configuration: OpenConfiguration,
) -> None:
    watching, changing = await open_configuration(), await open_configuration()
    seen: list[int] = []

    async def watch() -> None:
        async with aclosing(watching.watch(CONFIGURATION)) as versions:
            async for document in versions:
                seen.append(document.version)
                assert document.value == ({} if not document.version else {"n": document.version})
                if document.version == 50:
                    return

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        tasks.create_task(watch())
        for version in range(50):
            writer = (watching, changing)[version % 2]
            await writer.put(CONFIGURATION, {"n": version + 1}, expected=version, by="x")
            await writer.put(ASSIGNMENT, {}, expected=version, by="x")  # none of its business
    assert seen == sorted(set(seen))
    assert seen[-1] == 50


async def test_a_watch_can_be_cancelled_and_others_go_on(configuration: Configuration) -> None:
    async with aclosing(configuration.watch(CONFIGURATION)) as versions:
        await anext(versions)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(anext(versions))
            await asyncio.sleep(0)
            waiting.cancel()
        assert waiting.cancelled()
    await configuration.put(CONFIGURATION, {"a": 1}, expected=0, by="x")
    async with aclosing(configuration.watch(CONFIGURATION)) as versions:
        assert (await anext(versions)).version == 1


LOST = Document(CONFIGURATION, 7, {"n": 7, "ü": None}, 1_700_000_000_000, "ops")


async def test_restore_into_an_empty_store_makes_exactly_that_version(
    configuration: Configuration,
) -> None:
    assert await configuration.restore(LOST)
    assert await configuration.get(CONFIGURATION) == LOST
    assert await configuration.past(CONFIGURATION) == [LOST]
    assert (await configuration.get(ASSIGNMENT)).version == 0
    with pytest.raises(Conflict):
        await configuration.put(CONFIGURATION, {}, expected=0, by="x")
    put = await configuration.put(CONFIGURATION, {"n": 8}, expected=LOST.version, by="x")
    assert await configuration.past(CONFIGURATION) == [put, LOST]


async def test_restore_of_a_version_that_is_not_newer_changes_nothing(
    configuration: Configuration,
) -> None:
    first = await configuration.put(CONFIGURATION, {"n": 1}, expected=0, by="x")
    second = await configuration.put(CONFIGURATION, {"n": 2}, expected=1, by="x")
    assert not await configuration.restore(first)
    assert not await configuration.restore(second._replace(value={"n": "another"}))
    assert await configuration.past(CONFIGURATION) == [second, first]
    assert await configuration.restore(LOST), "the store came back old"
    assert await configuration.past(CONFIGURATION) == [LOST, second, first]


async def test_of_concurrent_restores_one_stores(open_configuration: OpenConfiguration) -> None:
    clients = [await open_configuration() for _ in range(3)]
    async with asyncio.timeout(DEADLINE_S):
        stored = await asyncio.gather(*(client.restore(LOST) for client in clients))
    assert sorted(stored) == [False, False, True]


async def test_a_watch_sees_what_is_restored(open_configuration: OpenConfiguration) -> None:
    watching, control = await open_configuration(), await open_configuration()
    async with aclosing(watching.watch(CONFIGURATION)) as versions:
        assert (await anext(versions)).version == 0
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(anext(versions))
            await asyncio.sleep(0)
            await control.restore(LOST)
            async with asyncio.timeout(SEEN_WITHIN_S):
                assert await waiting == LOST


async def test_close_is_idempotent(configuration: Configuration) -> None:
    await configuration.close()
    await configuration.close()
