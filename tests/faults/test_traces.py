"""The traces of messages as Jaeger has them, over real servers and backends, and a handover."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from random import Random

import httpx
import pytest

from cecochat.cli.operate.waterfall import Bar, bars, query
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import ChatId, participants
from cecochat.telemetry import spans
from scripts.backends.launch import Backend, private
from tests.support.backends import Backends
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.outages import PARTITIONS
from tests.support.processes import Processes, processes
from tests.support.records import Acked, Sent
from tests.support.scenarios import clean
from tests.support.traffic import flowing, ring

COUNTS = {"control": 1, "messaging": 1, "materialize": 1, "history": 1, "connect": 1}
TRACED: Mapping[str, float] = {"trace.ratio": 1.0}
ORIGIN, COPY = "send messages (origin)", "send messages (copy)"
INSERT = "INSERT messages"
JAEGERS = ("otel.", "span.", "internal.", "error")
SPECS = {spec.name: spec for spec in spans.SPECS}
Messages = dict[int, bool]
"""Their ids, and whether sender and recipient are in one partition."""


@pytest.fixture
async def jaeger(backends: Backends, tmp_path: Path) -> AsyncIterator[Backend]:
    backends.provisioned("jaeger")
    with private("jaeger", tmp_path / "jaeger") as started:
        await asyncio.to_thread(started.start)
        yield started


@pytest.fixture
def observed(on_real: dict[str, str], jaeger: Backend) -> dict[str, str]:
    return on_real | {"CECOCHAT_OTLP_URL": f"http://{jaeger.instance.at('otlp-http')}"}


async def trace_of(jaeger: Backend, message_id: int) -> list[Bar]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(
            f"http://{jaeger.address}/api/traces", params={**query(message_id), "limit": 20}
        )
    found = answer.raise_for_status().json()["data"]
    assert len(found) <= 1, f"message {message_id} has {len(found)} traces"
    return bars(found[0]) if found else []


def above(bar: Bar, found: list[Bar]) -> str:
    return next((each.name for each in found if each.span_id == bar.parent_id), "")


def pairs(found: list[Bar]) -> Counter[tuple[str, str]]:
    return Counter((above(bar, found), bar.name) for bar in found if bar.name != INSERT)


ACCEPTED = Counter({("", "accept"): 1, ("accept", ORIGIN): 1, (ORIGIN, "process messages"): 1})
APART = ACCEPTED + Counter({(ORIGIN, COPY): 1, (ORIGIN, "deliver"): 1, (COPY, "deliver"): 1})
"""A dialog of two devices, which are there: the origin tells the sender's."""
AT_HOME = ACCEPTED + Counter({(ORIGIN, "deliver"): 2})
"""The same of two users in one partition, where no copy is made."""


def sound(found: list[Bar], message_id: int) -> None:
    """Whatever happened: one root, nothing without its parent, times in order, as specified."""
    ids = {bar.span_id: bar for bar in found}
    assert [bar.name for bar in found if not bar.parent_id] == ["accept"]
    assert all(bar.parent_id in ids for bar in found if bar.parent_id), "an orphan"
    for bar in found:
        spec = SPECS[bar.name.partition(" (")[0]]
        ours = {key for key in bar.attributes if not key.startswith(JAEGERS)}
        assert ours <= spec.attributes
        assert bar.attributes["span.kind"] == spec.kind.lower()
        assert bar.attributes.get(spans.MESSAGE_ID, str(message_id)) == str(message_id)
        assert bar.server.startswith(spec.service)
        assert bar.start_us >= ids.get(bar.parent_id, bar).start_us, f"{bar.name} too early"
        if bar.name == "process messages":
            wrote = [each for each in found if each.parent_id == bar.span_id]
            assert wrote or bar.links, "it is written by nobody"


async def traces(
    jaeger: Backend, messages: Messages, complete: Callable[[list[Bar], bool], bool]
) -> dict[int, list[Bar]]:
    """Of all of these, once they are `complete`, each as it should be."""
    found: dict[int, list[Bar]] = {message_id: [] for message_id in messages}

    def incomplete() -> list[int]:
        return [id_ for id_, at_home in messages.items() if not complete(found[id_], at_home)]

    async def all_complete() -> bool:
        for message_id in incomplete():
            found[message_id] = await trace_of(jaeger, message_id)
        return not incomplete()

    try:
        await eventually(all_complete, within_s=60, every_s=1)
    except AssertionError as error:
        wrong = {message_id: pairs(found[message_id]) for message_id in incomplete()}
        raise AssertionError(str(wrong)[:3_000]) from error
    for message_id, of in found.items():
        sound(of, message_id)
    return found


def in_peace(found: list[Bar], at_home: bool) -> bool:
    return pairs(found) == (AT_HOME if at_home else APART)


def went_on(found: list[Bar], at_home: bool) -> bool:
    """While things move, devices may be away, and a copy may be made twice."""
    seen = pairs(found)
    return bool(seen[ORIGIN, "process messages"]) and bool(seen[ORIGIN, COPY]) != at_home


def crossed(found: list[Bar], _: bool) -> bool:
    """Whether both messaging servers have a part in it."""
    return len({bar.server for bar in found if bar.server.startswith("messaging")}) == 2


def acked(crowd: Crowd, since: int) -> dict[tuple[str, str], int]:
    return {
        (entry.who.user_id, entry.what.client_message_id): entry.what.message_id
        for entry in crowd.record.entries[since:]
        if isinstance(entry.what, Acked)
    }


def messages(crowd: Crowd, since: int) -> Messages:
    """What was acknowledged since then."""
    chats = {
        (entry.who.user_id, entry.what.client_message_id): entry.what.chat_id
        for entry in crowd.record.entries
        if isinstance(entry.what, Sent)
    }
    return {
        message_id: lives_together(chats[key]) for key, message_id in acked(crowd, since).items()
    }


def lives_together(chat_id: str) -> bool:
    """Whether both users are in one partition."""
    return len({partition_of(user, PARTITIONS) for user in participants(ChatId(chat_id))}) == 1


async def each_says_one(crowd: Crowd) -> Messages:
    mark = len(crowd.record.entries)
    for device in crowd.devices.values():
        device.say(device.chats[0], "in peace")
    await crowd.answered()
    return messages(crowd, mark)


async def say_one_between_servers(cluster: Processes, crowd: Crowd) -> Messages:
    owners = await cluster.owners()

    def owners_of(chat_id: str) -> set[str]:
        users = participants(ChatId(chat_id))
        return {owners[str(partition_of(user, len(owners)))] for user in users}

    device, chat_id = next(
        (device, chat_id)
        for device in crowd.devices.values()
        for chat_id in device.chats
        if len(owners_of(chat_id)) == 2
    )
    mark = len(crowd.record.entries)
    device.say(chat_id, "to another server")
    await crowd.answered()
    return messages(crowd, mark)


@pytest.mark.timeout(300)
async def test_every_message_has_its_whole_trace_over_a_handover_and_a_repeat(
    observed: dict[str, str], jaeger: Backend, tmp_path: Path, rng: Random
) -> None:
    who, chats = ring(
        12, groups=False
    )  # in more than half of the partitions, so some on each server
    phones = [each for each in who if each.device == "phone"]
    async with processes(tmp_path, observed, COUNTS, TRACED) as cluster:
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        async with crowd.connected(phones, chats):
            first = await each_says_one(crowd)
            await traces(jaeger, first, in_peace)
            mark = len(crowd.record.entries)
            async with flowing(list(crowd.devices.values()), 20, rng):
                new = await cluster.add("messaging-2")
                await eventually(lambda: _shares(cluster, new.instance_id), 60, 0.2)
            await crowd.answered()
            await traces(jaeger, messages(crowd, mark), went_on)
            apart = await say_one_between_servers(cluster, crowd)
            await traces(jaeger, apart, crossed)
            await eventually(lambda: _assigned_together(jaeger, new.instance_id), 60, 1)
            alice = crowd.devices[phones[0]]
            again = {key: m for key, m in acked(crowd, 0).items() if m in first}
            (_, client_message_id) = next(key for key in again if key[0] == alice.who.user_id)
            alice.say(alice.chats[0], "in peace", client_message_id)
            last = await each_says_one(crowd)
            assert set(first.values()) == {True, False}, "of both kinds"
            await traces(jaeger, first | last, in_peace)
            await clean(crowd)


async def _assigned_together(jaeger: Backend, new: str) -> bool:
    """Whether a change of the assignment has one trace, from control to who follows it."""
    params: dict[str, str | int] = {
        "service": "cecochat-control",
        "operation": "change assignment",
        "limit": 100,
    }
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(f"http://{jaeger.address}/api/traces", params=params)
    found = [bars(each) for each in answer.raise_for_status().json()["data"]]
    return any(_followed_by(each, {"control", "connect", "messaging", new}) for each in found)


def _followed_by(found: list[Bar], who: set[str]) -> bool:
    """Whether all of these, servers or kinds of them, have a part in it."""
    servers = {bar.server for bar in found}
    kinds = {server.partition("-")[0] for server in servers}
    followed = {(above(bar, found), bar.name) for bar in found if bar.name.startswith("follow")}
    return who <= servers | kinds and followed == {("receive assignment", "follow assignment")}


async def _shares(cluster: Processes, server: str) -> bool:
    owners = list((await cluster.owners()).values())
    return owners.count(server) == len(owners) // 2
