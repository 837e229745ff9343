"""What is special to moderation on Cassandra: a process that dies between any two statements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from typing_extensions import override

from cecochat.adapters.cassandra.database import Rows
from cecochat.adapters.cassandra.keyspace import Keyspace
from cecochat.adapters.cassandra.moderation import CQL, MIGRATIONS, SUFFIX, CassandraModeration
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.reports import (
    STATES,
    Report,
    Target,
    act_of,
    decided,
    report_id,
    taken,
)
from cecochat.ports.moderation import Moderation
from tests.contract.openers import Place
from tests.contract.openers.cassandra import drop_keyspace

ALICE = UserId("alice")
NOW_MS = 1_790_000_000_000
LIVES = 40  # more statements than a call has


class Died(Exception):
    """The process is no more."""


class Mortal(Keyspace):
    """Runs so many statements, and no more."""

    left = LIVES

    @override
    async def run(self, name: str, *values: Any, at: int | None = None) -> Rows:
        if not self.left:
            raise Died
        self.left -= 1
        return await super().run(name, *values, at=at)

    async def dies_after(self, statements: int, call: Callable[[], Awaitable[object]]) -> bool:
        """Whether it did."""
        self.left = statements
        try:
            await call()
        except Died:
            return True
        finally:
            self.left = 1 << 30
        return False


async def mortal(place: Place, stack: AsyncExitStack) -> Mortal:
    settings = CassandraSettings((place.backends.address("cassandra"),), namespace=place.namespace)
    keyspace = await Mortal.open(settings, SUFFIX, MIGRATIONS, CQL)
    assert isinstance(keyspace, Mortal)
    own = replace(settings, namespace=f"{place.namespace}{SUFFIX}")
    stack.push_async_callback(drop_keyspace, own)
    stack.push_async_callback(keyspace.close)
    return keyspace


def report_of(number: int) -> Report:
    target = Target(UserId("eve"), "d:alice~eve", number)
    return Report(report_id(ALICE, target), ALICE, target, "spam", b"", NOW_MS + number)


async def lists_with(store: Moderation, report: Report) -> list[str]:
    found: list[str] = []
    for state in STATES:
        page = await store.reports.page(state, after="", limit=200)
        found += [state for each in page.items if each.id == report.id]
    return found


async def test_whenever_somebody_dies_a_report_is_in_one_list_and_what_changed_is_audited(
    place: Place, stack: AsyncExitStack
) -> None:
    keyspace = await mortal(place, stack)
    store = CassandraModeration(keyspace)
    deaths = 0
    for number in range(LIVES):
        put = report_of(number)
        took = taken(put, "mia", "desk", NOW_MS + 50 + number)
        done = decided(took, "mia", "desk", NOW_MS + 90 + number, "dismissed", "")
        changes = (took, done)
        deaths += await keyspace.dies_after(number, partial(store.reports.put, put))
        stood = await store.reports.get(put.id)
        assert await lists_with(store, put) == ([stood.state] if stood else [])
        assert await store.reports.put(put) == put
        for change in changes:
            deaths += await keyspace.dies_after(number, partial(store.reports.change, change))
            stood = await store.reports.get(put.id)
            assert stood
            assert await lists_with(store, put) == [stood.state]
            lines = (await store.acts.page(before="", limit=200)).items
            assert [each for each in lines if each.report_id == put.id][::-1] == [
                act_of(each) for each in changes[: stood.version]
            ]
            assert await store.reports.change(change) == change
    assert deaths > 20, "somebody has to die"
