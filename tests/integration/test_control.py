"""The control server: which messaging server gets what, as they come, go, and are slow."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION
from cecochat.ports.discovery import Instance
from cecochat.servers.control.gone import GoneServers
from cecochat.servers.control.main import control
from cecochat.servers.messaging.main import messaging
from scripts import metrics
from tests.integration.control_world import (
    PARTITIONS,
    WITHIN_S,
    World,
    get,
    metric,
    moved,
    owns,
    settled,
    world,
)
from tests.integration.systems import QUICK, write_document
from tests.support import operators
from tests.support.eventually import eventually


async def test_it_has_the_metrics_that_are_listed(tmp_path: Path) -> None:
    async with world(tmp_path) as up, control(up.parts, "control-1") as instance:
        types = re.findall(r"^# TYPE (\w+) \w+$", await get(instance, "/metrics"), re.M)
    found = {name for name in types if not name.endswith("_created")}
    assert found == {metric.name for metric in metrics.of("control")}


# -- ownership


async def test_servers_that_start_together_get_a_balanced_start(tmp_path: Path) -> None:
    async with world(tmp_path) as up, control(up.parts, "control-1") as instance:
        assert await get(instance, "/readyz") == {"status": "ready"}
        assert up.parts.discovery.live("control") == (instance,)
        await up.join("a", "b", "c")
        await up.becomes(a=6, b=5, c=5)
        assert [document.changed_by for document in await up.past()] == ["control/control-1"]
        decision, led = (await get(instance, "/decisions"))["decisions"][-2:]
        assert led["kind"] == "leads"
        assert decision["left_out"] == 0
        assert decision["kind"] == "moved"
        assert decision["version"] == 1
        assert decision["moves"][0] == {
            "partitions": "0-5",
            "from": None,
            "to": "a",
            "reason": "unowned",
        }
        assert await metric(instance, 'cecochat_control_moves_total{reason="unowned"}') == 16
        await eventually(lambda: settled(instance, PARTITIONS), WITHIN_S)


async def test_a_server_that_joins_gets_the_next_few_when_it_owns_the_last(tmp_path: Path) -> None:
    async with world(tmp_path) as up, control(up.parts, "control-1"):
        await up.join("a")
        await up.becomes(a=16)
        await up.join("b", slow=True)
        await up.becomes(a=12, b=4)
        asked = up.servers["b"].asked
        await eventually(lambda: up.servers["b"].asked >= asked + 5, WITHIN_S)
        assert await up.counts() == {"a": 12, "b": 4}
        up.servers["b"].takes_over.set()
        await up.becomes(a=8, b=8)
        values = [document.value for document in await up.past()]
        assert [moved(*pair) for pair in pairwise(values)] == [4, 4]


async def test_a_death_in_the_middle_of_a_join_is_dealt_with_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as up, control(up.parts, "control-1") as instance:
        await up.join("a", "c")
        await up.becomes(a=8, c=8)
        await up.join("b", slow=True)
        await eventually(lambda: up.servers["b"].asked, WITHIN_S)
        await up.vanish("c")
        await eventually(lambda: no_trace_of("c", up), WITHIN_S)
        assert not up.servers["b"].takes_over.is_set()
        assert await metric(instance, "cecochat_control_failovers_total") == 1
        up.servers["b"].takes_over.set()
        await up.becomes(a=8, b=8)


async def no_trace_of(server_id: str, up: World) -> bool:
    counts = await up.counts()
    return sum(counts.values()) == PARTITIONS and server_id not in counts


async def test_all_servers_gone_change_nothing_and_new_ones_start_balanced(tmp_path: Path) -> None:
    async with world(tmp_path) as up, control(up.parts, "control-1"):
        await up.join("a", "b")
        await up.becomes(a=8, b=8)
        await up.vanish("a")
        await up.vanish("b")
        await up.join("c", "d")
        await up.becomes(c=8, d=8)
        assert len(await up.past()) <= 3, "one change for a and b together, or one for each"


async def test_what_a_person_moved_stays_until_a_server_joins(tmp_path: Path) -> None:
    async with world(tmp_path) as up:
        async with control(up.parts, "control-1") as instance:
            await up.join("a", "b")
            await up.becomes(a=8, b=8)
            uneven = {**(await up.document()).value, "0": "b", "1": "b"}
            document = await up.parts.configuration.put(ASSIGNMENT, uneven, expected=1, by="bob")
            await eventually(lambda: settled(instance, PARTITIONS), WITHIN_S)
        async with control(up.parts, "control-2") as instance:
            await eventually(lambda: settled(instance, PARTITIONS), WITHIN_S)
            assert await up.document() == document
            await up.join("c")
            await up.becomes(a=5, b=6, c=5)


async def test_while_discovery_is_away_who_is_provably_gone_is_failed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a control server that does not lead, since nobody comes to lead meanwhile."""
    monkeypatch.setattr("cecochat.servers.control.server.LOOK_S", 0.1)
    async with world(tmp_path) as up, control(up.parts, "control-1") as instance:
        await up.join("a", "b", "c", "d")
        await up.becomes(a=4, b=4, c=4, d=4)
        with pytest.MonkeyPatch.context() as away:
            discovery = type(up.parts.discovery)
            away.setattr(discovery, "answers", property(lambda _: False))
            away.setattr("cecochat.servers.control.server.Control.leads", False, raising=False)
            await up.die("d")
            await eventually(lambda: no_trace_of("d", up), WITHIN_S)
            assert await metric(instance, "cecochat_control_failovers_total") == 1
            d = up.servers["d"]
            assert d.instance
            assert d.instance in up.parts.discovery.live("messaging"), "it is listed all the time"
        documents = len(await up.past())
        asked = up.servers["a"].asked
        await eventually(lambda: up.servers["a"].asked >= asked + 2, WITHIN_S)
        assert len(await up.past()) == documents, "it does not get anything back"


@pytest.mark.parametrize("answer", ["silence", "another start"])
async def test_what_proves_that_a_server_is_gone(answer: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer == "another start":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            await reader.read()
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    within_s = 3.0 if answer == "silence" else operators.WITHIN_S  # it is waited for in vain
    async with listener, operators.client(timeout=within_s) as client:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        server = Instance("messaging", "m1", "127.0.0.1:1", url, "1")
        gone = GoneServers(client)
        for expected in (set(), {"m1"} if answer == "another start" else set[str]()):
            await gone.ask([server])
            assert gone.ids == expected
        listener.close()
        await listener.wait_closed()
        for expected in (gone.ids, {"m1"}):
            await gone.ask([server])
            assert gone.ids == expected
        await gone.ask([])
        assert gone.ids == set()


async def test_two_control_servers_do_no_harm(tmp_path: Path) -> None:
    async with world(tmp_path, partitions=60) as up, AsyncExitStack() as stack:
        for number in range(2):
            alone = replace(
                up.parts,
                settings=replace(up.parts.settings, data_dir=tmp_path / f"control-{number}"),
            )
            await stack.enter_async_context(control(alone, f"control-{number}"))
        await up.join("a", "b", "c")
        await up.becomes(a=20, b=20, c=20)
        await up.vanish("b")
        await up.becomes(a=30, c=30)
        await up.join("d")
        await up.becomes(a=20, c=20, d=20)
        values = [document.value for document in await up.past()]
        moves = [moved(*pair) for pair in zip([{}, *values], values, strict=False)]
        assert sum(moves) == 60 + 20 + 20, "as many as one control server makes"


async def test_what_a_live_server_does_not_take_over_goes_back_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecochat.servers.control.planner.HANDOVER_MAX_S", 2.0)
    async with world(tmp_path) as up, control(up.parts, "control-1") as instance:
        await up.join("a")
        await up.becomes(a=16)
        await up.join("b", slow=True)
        await up.becomes(a=12, b=4)
        await up.becomes(a=16)
        assert await metric(instance, "cecochat_control_handovers_overdue_total") == 4
        assert await metric(instance, 'cecochat_control_moves_total{reason="stuck"}') == 4
        kinds = {each["kind"] for each in (await get(instance, "/decisions"))["decisions"]}
        assert kinds == {"leads", "moved", "overdue"}


# -- with messaging servers that are real


async def test_messaging_servers_take_over_what_control_gives_them(tmp_path: Path) -> None:
    async with world(tmp_path) as up, control(up.parts, "control-1"), operators.client() as client:
        await write_document(up.parts.configuration, CONFIGURATION, QUICK)

        async with messaging(up.parts, "first") as first:
            await eventually(lambda: owns(client, first, 16), WITHIN_S)
            async with messaging(up.parts, "second") as second:
                await eventually(lambda: owns(client, second, 8), WITHIN_S)
                await eventually(lambda: owns(client, first, 8), WITHIN_S)
            await eventually(lambda: owns(client, first, 16), WITHIN_S)
