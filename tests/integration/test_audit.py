"""The audit of a running system: what is missing is named and repaired, and nothing else ever is;
on SQLite, and on Kafka with Cassandra.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, UserId, partition_in
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MATERIALIZE_GROUP, MESSAGES
from cecochat.ports.configuration import CONFIGURATION
from cecochat.ports.history import History, Progress
from cecochat.ports.reading import Standing
from cecochat.servers.materialize import auditor, on_request
from cecochat.servers.materialize.auditor import Auditor
from cecochat.servers.materialize.main import materialize
from cecochat.v1.events_pb2 import Event
from tests.integration.audits import (
    ALICE,
    BOB,
    CHAT,
    Talk,
    audited,
    compared_while_talking,
    comparing,
    ends,
    is_whole,
    talking,
    whole_is_compared,
)
from tests.integration.cluster import PARTITIONS, Cluster
from tests.integration.streams import Ended
from tests.integration.systems import QUICK, write_document
from tests.support.backends import Backends
from tests.support.damage import Damage
from tests.support.eventually import eventually

KINDS = {"absent", "other", "chat", "mark"}


class On(NamedTuple):
    kafka: str
    cassandra: str


@pytest.fixture(params=["embedded", "real"])
def on(request: pytest.FixtureRequest, backends: Backends) -> On:
    if request.param == "embedded":
        return On("", "")
    return On(backends.address("kafka"), backends.address("cassandra"))


@pytest.fixture
async def running(tmp_path: Path, on: On) -> AsyncIterator[tuple[Cluster, Damage]]:
    async with audited(tmp_path, *on) as made:
        yield made


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison of all begins again at once, so that harm is soon seen."""
    monkeypatch.setattr(auditor, "EVERY_S", 0.1)
    monkeypatch.setattr(on_request, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(auditor, "AGAIN_S", 0.0)
    monkeypatch.setattr(auditor, "SLOW_SHARE", 1.0)


def looking_at(servers: Cluster) -> Auditor:
    """One whose rounds the test makes."""
    assert servers.parts.history
    looking = Auditor(
        servers.parts.backplane,
        servers.parts.history,
        CollectorRegistry(),
        lambda: range(PARTITIONS),
    )
    looking.rate = 100_000
    return looking


async def harm(damage: Damage, talk: Talk) -> dict[str, int]:
    """One of each kind but marks; what -> the message that it is about."""
    first, second = talk.ids[3], talk.ids[7]
    await damage.delete_message(CHAT, first)
    await damage.spoil_message(CHAT, second)
    await damage.delete_chat(BOB, CHAT)
    return {"absent": first, "other": second}


@pytest.mark.timeout(420)
async def test_harm_under_load_is_named_and_repaired_while_people_talk(
    running: tuple[Cluster, Damage], monkeypatch: pytest.MonkeyPatch
) -> None:
    servers, damage = running
    talk = Talk()
    async with comparing(servers, "m1") as operator:
        async with talking(servers, talk):
            await eventually(lambda: len(talk.ids) > 100 and talk.read_up_to > talk.ids[20])
            await eventually(lambda: operator.compared(0, 100), within_s=60)
            kept = marks_are_lost(servers, monkeypatch)
            before = talk.read_up_to  # and the next receipt may have been written already
            await eventually(
                lambda: sum(before < id_ <= talk.read_up_to for id_ in list(talk.ids)) > 2
            )
        # What is deleted of Bob's list would come again with the next message: nobody writes now.
        await eventually(lambda: is_whole(servers))
        kept()
        wanted = await harm(damage, talk)

        async def all_named() -> bool:
            named = await operator.missing()
            return {each["what"] for each in named} == KINDS

        await eventually(all_named)
        named = {each["what"]: each for each in await operator.missing()}
        for what, id_ in wanted.items():
            assert named[what]["message_id"] == str(id_)
            assert named[what]["partition"] == partition_in(id_) == 0
        assert named["chat"]["user_id"] == named["mark"]["user_id"] == BOB
        assert {each["chat_id"] for each in named.values()} == {CHAT}
        assert named["mark"]["partition"] == 1

        async def counted() -> bool:
            return await operator.metric("cecochat_audit_missing_rows", 0) == 3

        await eventually(counted)
        behind = await operator.metric("cecochat_audit_complete_offset", 0)
        assert behind is not None
        assert behind < named["absent"]["offset"]
        async with talking(servers, talk):
            found = await operator.audit(repair=True)
            assert {each["what"] for each in found} >= {"absent", "other"}

            async def nothing_is_missing() -> bool:
                return not await operator.missing()

            await eventually(nothing_is_missing)
        await eventually(lambda: whole_is_compared(servers, operator))
        assert await operator.audit() == []
        await holds_all(servers, talk)


def marks_are_lost(servers: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The database only says that it has them, until what this returns is called."""
    assert servers.parts.history
    kind = type(servers.parts.history)
    write = kind.write

    async def lossy(
        history: History, messages: Any, marks: Any, progress: Progress, holes: Any = ()
    ) -> None:
        await write(history, messages, [], progress, holes)

    monkeypatch.setattr(kind, "write", lossy)
    return lambda: monkeypatch.setattr(kind, "write", write)


async def holds_all(servers: Cluster, talk: Talk) -> None:
    """At least: whoever left may not have read the last answers."""
    assert servers.parts.history
    page = await servers.parts.history.messages(ChatId(CHAT), before=None, after=0, limit=100_000)
    held = [Event.FromString(event).id for event in page.events]
    assert set(talk.ids) <= set(held)
    (mark,) = await servers.parts.history.marks(ChatId(CHAT))
    assert mark.user_id == BOB
    assert min(mark.delivered_up_to, mark.read_up_to) >= talk.read_up_to
    for user in (ALICE, BOB):
        ((chat,), _) = await servers.parts.history.chats(UserId(user), before=None, limit=9)
        assert chat.last_message_id == held[-1]


@pytest.mark.timeout(420)
async def test_no_false_alarm_while_servers_come_and_go(
    running: tuple[Cluster, Damage], caplog: pytest.LogCaptureFixture
) -> None:
    servers, _ = running
    talk, owners, audits = Talk(), ("one", "two"), 0
    with caplog.at_level(logging.ERROR, "cecochat.servers.materialize.auditor"):
        for number in range(6):
            async with (
                comparing(servers, f"a{number}") as operator,
                talking(servers, talk, owners),
            ):
                async with materialize(servers.parts, f"b{number}"):
                    await more_is_said(talk, 100)
                    assert await operator.audit() == []
                assert await operator.audit() == []
                audits += 2
            owners = owners[::-1]
            await servers.assign(*owners)
            await taken_over(servers, owners)
        async with comparing(servers, "last") as operator:
            await eventually(lambda: whole_is_compared(servers, operator))
            assert await operator.missing() == []
    assert [record.getMessage() for record in caplog.records] == []
    assert audits == 12
    await holds_all(servers, talk)


async def more_is_said(talk: Talk, count: int) -> None:
    before = len(talk.ids)
    await eventually(lambda: len(talk.ids) > before + count)


async def taken_over(servers: Cluster, owners: tuple[str, str]) -> None:
    """As a client finds it: each is served by its new owner."""

    async def served() -> bool:
        try:
            for owner, user in zip(owners, (ALICE, BOB), strict=True):
                async with servers.stream(owner, user):
                    pass
        except Ended:
            return False
        return True

    await eventually(served)


async def test_what_materialize_does_not_say_is_whole_would_be_a_false_alarm(
    running: tuple[Cluster, Damage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody materializes yet. With the rule nothing is missing, without it all of it is."""
    servers, _ = running
    talk = Talk()
    async with talking(servers, talk):
        await eventually(lambda: len(talk.ids) > 20)
    looking = looking_at(servers)
    for _ in range(3):
        await looking.round()
    assert looking.missing_rows == {}

    async def end(standing: Standing, backplane: object) -> int:
        return standing.bounds[1] - 1

    monkeypatch.setattr(Standing, "materialized", end)
    monkeypatch.setattr(auditor, "QUIET_S", 0)
    for _ in range(3):
        await looking.round()
    assert len(looking.missing_rows) > len(talk.ids)


async def test_who_compares_a_partition_next_finds_what_was_missing_before(
    running: tuple[Cluster, Damage], monkeypatch: pytest.MonkeyPatch
) -> None:
    servers, damage = running
    talk = Talk()
    async with compared_while_talking(servers, talk) as operator:
        await damage.delete_message(CHAT, talk.ids[5])

        async def named() -> bool:
            return bool(await operator.missing())

        await eventually(named)
    monkeypatch.setattr(auditor, "AGAIN_S", float("inf"))
    monkeypatch.setattr(auditor, "SLOW_SHARE", 0.0)
    async with comparing(servers, "m2") as operator:
        await eventually(named)
        ((only,)) = await operator.missing()
        assert only["message_id"] == str(talk.ids[5])
        assert [each["what"] for each in await operator.audit(repair=True)] == ["absent"]
        await eventually(lambda: whole_is_compared(servers, operator))


async def test_a_database_that_does_not_answer_is_asked_again_and_nothing_is_skipped(
    running: tuple[Cluster, Damage], monkeypatch: pytest.MonkeyPatch
) -> None:
    servers, damage = running
    talk = Talk()
    async with compared_while_talking(servers, talk) as operator:
        assert servers.parts.history
        kind, asked = type(servers.parts.history), asyncio.Event()
        lacking = kind.lacking

        async def away(*_: object) -> None:
            asked.set()
            raise Unavailable("the test says so")

        monkeypatch.setattr(kind, "lacking", away)
        await asked.wait()
        before = len(talk.ids)
        await more_is_said(talk, 20)
        await damage.delete_message(CHAT, talk.ids[before - 40])
        monkeypatch.setattr(kind, "lacking", lacking)

        async def named() -> bool:
            found = await operator.missing()
            return [each["message_id"] for each in found] == [str(talk.ids[before - 40])]

        await eventually(named)


async def test_since_a_time_only_what_came_later_is_compared(
    running: tuple[Cluster, Damage],
) -> None:
    servers, damage = running
    talk = Talk()
    async with compared_while_talking(servers, talk) as operator:
        await damage.delete_message(CHAT, talk.ids[5])
        found = await operator.audit()
        assert [each["message_id"] for each in found] == [str(talk.ids[5])]
        later_ms = 4_000_000_000_000
        assert await operator.audit(since_ms=later_ms) == []
        assert (await operator.step(0, {"after": 10_000_000})).status_code == 400


@pytest.mark.timeout(420)
async def test_an_emptied_history_is_built_again_from_the_log_while_people_talk(
    running: tuple[Cluster, Damage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "KNOWN_MAX", 20)
    servers, damage = running
    talk = Talk()
    async with comparing(servers, "m1") as operator, talking(servers, talk):
        await eventually(lambda: talk.read_up_to)
        await more_is_said(talk, 100)
        await eventually(lambda: operator.compared(0, 50), within_s=60)
        await damage.empty()
        emptied_at = (await ends(servers))[0]

        async def enough_is_missing() -> bool:
            return len(await operator.missing()) >= 20

        await eventually(enough_is_missing)
        found = await operator.audit(repair=True)
        assert {each["what"] for each in found} >= {"absent"}

        async def nothing_is_missing() -> bool:
            """Also of what was written just before, and was not said to be whole yet."""
            repaired = await operator.audit(repair=True)
            is_past = await operator.compared(0, emptied_at)
            return is_past and repaired == [] and not await operator.missing()

        await eventually(nothing_is_missing)
    async with comparing(servers, "m2") as operator:
        await eventually(lambda: whole_is_compared(servers, operator), within_s=60)
    await holds_all(servers, talk)


async def test_with_a_rate_of_nothing_only_who_asks_is_answered(
    running: tuple[Cluster, Damage],
) -> None:
    servers, damage = running
    talk = Talk()
    keys = {**QUICK, "audit.rate": 0}
    await write_document(servers.parts.configuration, CONFIGURATION, keys)
    async with comparing(servers, "m1") as operator:
        async with talking(servers, talk):
            await more_is_said(talk, 20)
        await eventually(lambda: is_whole(servers))
        await damage.delete_message(CHAT, talk.ids[5])

        async def rounds_are_made() -> bool:
            return await operator.metric("cecochat_audit_complete_offset", 0) == -1

        await eventually(rounds_are_made)
        state = await operator.state()
        assert state["missing"] == []
        assert {each["offset"] for each in state["complete"].values()} == {-1}
        assert [each["message_id"] for each in await operator.audit()] == [str(talk.ids[5])]


async def test_where_materialize_takes_back_what_it_said_all_is_compared_again(
    running: tuple[Cluster, Damage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it finds that the database has lost rows."""
    monkeypatch.setattr(auditor, "AGAIN_S", float("inf"))
    monkeypatch.setattr(auditor, "SLOW_SHARE", 0.0)
    servers, damage = running
    talk, log = Talk(), servers.parts.backplane
    async with materialize(servers.parts, "m1"):
        async with talking(servers, talk):
            await more_is_said(talk, 50)
        await eventually(lambda: is_whole(servers))
    looking = looking_at(servers)
    await looking.round()
    end = looking.complete[0].offset + 1
    assert end > 50
    await damage.delete_message(CHAT, talk.ids[5])
    for _ in range(2):
        await looking.round()
    assert looking.missing_rows == {}, "what was compared is not compared again for now"
    await log.commit(MATERIALIZE_GROUP, MESSAGES, {0: Place(0, end - 10)})
    for _ in range(2):
        await looking.round()
    assert [each.message_id for each in looking.missing_rows.values()] == [talk.ids[5]]
