"""The control server on the embedded adapters, with messaging servers that do as the test says."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from cecochat.adapters import build
from cecochat.documents.remembered import Memory, Remembers, document_of, remembered_by, show_memory
from cecochat.domain.cluster.versions import digest
from cecochat.domain.errors import Unavailable
from cecochat.internal.client import InternalClient
from cecochat.internal.routes import InternalRoutes
from cecochat.internal.v1.internal_pb2 import OwnedPartition
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION, Document
from cecochat.ports.discovery import Instance
from cecochat.run import system
from cecochat.runtime import http, internal
from cecochat.runtime.parts import Parts
from cecochat.servers.control.gone import Gone
from cecochat.servers.control.main import control
from cecochat.servers.messaging.main import messaging
from scripts import metrics
from tests.integration.systems import QUICK, settings, write_document
from tests.support import operators
from tests.support.eventually import eventually

PARTITIONS = 16
WITHIN_S = 30.0


@dataclass
class FakeMessaging:
    """Says over HTTP that it owns what is assigned to it, as far as `takes_over` lets it."""

    server_id: str
    parts: Parts
    takes_over: asyncio.Event = field(default_factory=asyncio.Event)
    owned: set[int] = field(default_factory=set)
    asked: int = 0
    instance: Instance | None = None
    life: AsyncExitStack = field(default_factory=AsyncExitStack)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = internal.app(
            operators.guard(), "messaging", self.server_id, CollectorRegistry(), lambda: None
        )
        InternalRoutes(app, self.server_id).partitions(self._answer)
        async with http.serving(app, "127.0.0.1", 0) as port, asyncio.TaskGroup() as group:
            url = f"http://127.0.0.1:{port}"
            self.instance = Instance("messaging", self.server_id, f"127.0.0.1:{port}", url, "1")
            following = group.create_task(self._follow())
            yield
            following.cancel()

    def _answer(self) -> list[OwnedPartition]:
        self.asked += 1
        return [OwnedPartition(partition=each) for each in self.owned]

    async def _follow(self) -> None:
        async with aclosing(self.parts.configuration.watch(ASSIGNMENT)) as documents:
            async for document in documents:
                await self.takes_over.wait()
                with suppress(ValueError):  # what is not valid is not followed
                    mine = {int(p) for p, s in document.value.items() if s == self.server_id}
                    self.owned = mine


@dataclass
class World:
    """The parts, and the fake messaging servers."""

    parts: Parts
    stack: AsyncExitStack
    servers: dict[str, FakeMessaging] = field(default_factory=dict)

    async def join(self, *server_ids: str, slow: bool = False) -> None:
        """All at once. `slow`: they take nothing over until `takes_over` is set."""
        joining = [FakeMessaging(server_id, self.parts) for server_id in server_ids]
        for server in joining:
            self.servers[server.server_id] = server
            if not slow:
                server.takes_over.set()
            await self.stack.enter_async_context(server.life)
            await server.life.enter_async_context(server.running())
        for server in joining:
            assert server.instance
            await self.parts.discovery.register(server.instance)

    async def vanish(self, server_id: str) -> None:
        instance = self.servers[server_id].instance
        assert instance
        await self.parts.discovery.deregister(instance)

    async def die(self, server_id: str) -> None:
        """Without a word to discovery."""
        await self.servers[server_id].life.aclose()

    async def document(self) -> Document:
        return await self.parts.configuration.get(ASSIGNMENT)

    async def counts(self) -> dict[str, int]:
        return dict(Counter((await self.document()).value.values()))

    async def becomes(self, **counts: int) -> None:
        """So many partitions each, and nobody else has any."""

        async def holds() -> bool:
            return await self.counts() == counts

        await eventually(holds, WITHIN_S)

    async def past(self) -> list[Document]:
        """Versions of the assignment, oldest first."""
        return (await self.parts.configuration.past(ASSIGNMENT, 100))[::-1]

    def lose_documents(self, name: str, above: int = 0) -> None:
        """As a store that comes back empty, or old: no version above that one."""
        file = self.parts.settings.data_dir / "configuration.db"
        with sqlite3.connect(file, timeout=30) as store:
            store.execute("DELETE FROM versions WHERE name = ? AND version > ?", (name, above))
        store.close()


@asynccontextmanager
async def world(folder: Path, partitions: int = PARTITIONS) -> AsyncIterator[World]:
    chosen = settings(folder, partitions=partitions, control_port=0)
    async with system.opened(chosen) as parts, AsyncExitStack() as stack:
        yield World(parts, stack)


async def get(instance: Instance, path: str) -> Any:
    async with operators.client() as client:
        answer = await client.get(f"{instance.health_url}{path}")
        return answer.text if path == "/metrics" else answer.json()


async def metric(instance: Instance, line: str) -> float:
    """Its value; `line` is its name with labels."""
    text: str = await get(instance, "/metrics")
    values = [each.removeprefix(line) for each in text.splitlines() if each.startswith(f"{line} ")]
    assert len(values) == 1, f"{line} in\n{text}"
    return float(values[0])


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> int:
    return sum(before.get(p) != server for p, server in after.items())


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


async def settled(instance: Instance, count: int) -> bool:
    return await metric(instance, 'cecochat_control_partitions{state="settled"}') == count


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
    async with listener, operators.client() as client:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        server = Instance("messaging", "m1", "127.0.0.1:1", url, "1")
        gone = Gone(client)
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


async def test_one_whose_store_is_silent_gives_up_the_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one hears the store: it leads, does what is to be done, and leaves it to the first
    again.
    """
    for name in ("server.RETRY_S", "documents.RETRY_S", "documents.CHECK_EVERY_S"):
        monkeypatch.setattr(f"cecochat.servers.control.{name}", 0.05)
    monkeypatch.setattr("cecochat.servers.control.documents.SILENT_S", 0.5)
    async with (
        world(tmp_path) as up,
        build.configuration(up.parts.settings) as own,
        control(replace(up.parts, configuration=own), "control-1") as first,
    ):
        other = replace(up.parts.settings, data_dir=tmp_path / "other")
        async with control(replace(up.parts, settings=other), "control-2") as second:
            await up.join("a", "b")
            await up.becomes(a=8, b=8)
            await eventually(
                lambda: _leads(first)
            )  # a busy machine makes its store look silent, too
            with pytest.MonkeyPatch.context() as away:
                for method in ("get", "put"):
                    away.setattr(own, method, unavailable(Counter(), method))
                await up.vanish("b")
                await up.becomes(a=16)
                assert await metric(first, "cecochat_control_leads") == 0
                assert await metric(second, "cecochat_control_leads") == 1
        await eventually(lambda: _leads(first), WITHIN_S)


async def _leads(instance: Instance) -> bool:
    return await metric(instance, "cecochat_control_leads") == 1


async def test_an_assignment_that_is_not_valid_is_not_followed_and_written_over(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as up, control(up.parts, "control-1"):
        await up.join("a", "b")
        await up.becomes(a=8, b=8)
        await write_document(up.parts.configuration, ASSIGNMENT, {"no partition": "a"})
        await up.vanish("b")
        await up.becomes(a=16)
        assert (await up.document()).version == 3


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


async def test_a_store_that_is_away_for_a_while_is_written_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecochat.servers.control.server.RETRY_S", 0.05)
    monkeypatch.setattr("cecochat.servers.control.documents.RETRY_S", 0.05)
    asked: Counter[str] = Counter()
    async with (
        world(tmp_path) as up,
        build.configuration(up.parts.settings) as own,
        control(replace(up.parts, configuration=own), "control-1") as instance,
    ):
        await up.join("a", "b")
        await up.becomes(a=8, b=8)
        with pytest.MonkeyPatch.context() as away:
            for method in ("get", "put"):
                away.setattr(own, method, unavailable(asked, method))
            await up.vanish("b")
            await eventually(lambda: asked["put"] >= 2, WITHIN_S)
            await eventually(lambda: asked["get"] >= 2, WITHIN_S)
            assert await get(instance, "/readyz") == {"status": "ready"}
        await up.becomes(a=16)
        assert (await up.document()).version == 2


async def test_a_store_that_goes_away_after_an_overtaken_write_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecochat.servers.control.server.RETRY_S", 0.05)
    async with (
        world(tmp_path) as up,
        build.configuration(up.parts.settings) as own,
        control(replace(up.parts, configuration=own), "control-1"),
    ):
        await up.join("a", "b")
        await up.becomes(a=8, b=8)
        put, restored = own.put, Counter[str]()

        async def overtaken(name: str, value: Any, *, expected: int, by: str) -> Document:
            """Its answer comes after the news of the next version, by a person."""
            written = await put(name, value, expected=expected, by=by)
            newer = await up.parts.configuration.put(
                name, value, expected=written.version, by="bob"
            )
            await eventually(lambda: seen_by_control(up, newer.version), WITHIN_S)
            return written

        with pytest.MonkeyPatch.context() as late:
            late.setattr(own, "put", overtaken)
            late.setattr(own, "restore", unavailable(restored, "restore"))
            await up.vanish("b")
            await eventually(lambda: restored["restore"], WITHIN_S)
        await up.becomes(a=16)
        await up.join("c")
        await up.becomes(a=8, c=8)


def seen_by_control(up: World, version: int) -> bool:
    """It keeps a copy of what it has seen on its disk."""
    folder = up.parts.settings.data_dir / "control" / up.parts.settings.namespace
    return bool(json.loads((folder / "assignment.json").read_text())["version"] == version)


def unavailable(asked: Counter[str], method: str) -> Any:
    async def call(*_: object, **__: object) -> None:
        asked[method] += 1
        raise Unavailable("the test says so")

    return call


async def test_it_is_not_ready_before_it_has_seen_the_assignment(tmp_path: Path) -> None:
    async with world(tmp_path) as up:
        await up.parts.configuration.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), control(up.parts, "control-1"):
                raise AssertionError("it was ready")


# -- lost documents


async def test_a_store_that_comes_back_empty_gets_its_documents_back(tmp_path: Path) -> None:
    async with world(tmp_path) as up:
        await write_document(up.parts.configuration, CONFIGURATION, QUICK)
        async with control(up.parts, "control-1") as instance:
            await up.join("a", "b")
            await up.becomes(a=8, b=8)
            for name in (CONFIGURATION, ASSIGNMENT):
                kept = await up.parts.configuration.get(name)
                up.lose_documents(name)
                await eventually(partial(holds, up, name, kept), WITHIN_S)
                line = f'cecochat_control_restores_total{{document="{name}"}}'
                assert await metric(instance, line) == 1
            await up.vanish("b")
            await up.becomes(a=16)
            assert (await up.document()).version == 2


async def holds(up: World, name: str, document: Document) -> bool:
    return await up.parts.configuration.get(name) == document


def on_disk(up: World, name: str) -> Document | None:
    """What control has kept there, which it does after it is in the store."""
    file = up.parts.settings.data_dir / "control" / up.parts.settings.namespace / f"{name}.json"
    return Document(**json.loads(file.read_text())) if file.exists() else None


async def test_a_store_that_comes_back_old_gets_the_newer_version(tmp_path: Path) -> None:
    async with world(tmp_path) as up, control(up.parts, "control-1"):
        await up.join("a")
        await up.becomes(a=16)
        await up.join("b")
        await up.becomes(a=8, b=8)
        kept = await up.document()
        up.lose_documents(ASSIGNMENT, above=1)
        await eventually(lambda: holds(up, ASSIGNMENT, kept), WITHIN_S)


async def test_documents_outlive_control_and_store_on_disk(tmp_path: Path) -> None:
    async with world(tmp_path) as up:
        await write_document(up.parts.configuration, CONFIGURATION, QUICK)
        async with control(up.parts, "control-1"):
            await up.join("a", "b")
            await up.becomes(a=8, b=8)
            documents = [await up.parts.configuration.get(n) for n in (ASSIGNMENT, CONFIGURATION)]
            await eventually(lambda: [on_disk(up, d.name) for d in documents] == documents)
        up.lose_documents(ASSIGNMENT)
        up.lose_documents(CONFIGURATION)
        async with control(up.parts, "control-2"):
            for document in documents:
                await eventually(partial(holds, up, document.name, document), WITHIN_S)


async def test_a_damaged_file_is_no_document(tmp_path: Path) -> None:
    async with world(tmp_path) as up:
        folder = tmp_path / "control" / up.parts.settings.namespace
        folder.mkdir(parents=True)
        (folder / "assignment.json").write_text('{"name": "assignment", "version": 9')
        invalid = Document(CONFIGURATION, 9, {"no key": 1}, 0, "x")._asdict()
        (folder / "configuration.json").write_text(json.dumps(invalid))
        async with control(up.parts, "control-1"):
            await up.join("a")
            await up.becomes(a=16)
            assert (await up.document()).version == 1
            assert (await up.parts.configuration.get(CONFIGURATION)).version == 0


def elsewhere(up: World, name: str) -> Parts:
    """For a control server on a machine where none was before."""
    folder = up.parts.settings.data_dir / name
    return replace(up.parts, settings=replace(up.parts.settings, data_dir=folder))


async def owns(client: httpx.AsyncClient, instance: Instance, count: int) -> bool:
    return len(await InternalClient(client).owned_by(instance) or ()) == count


async def test_a_control_server_without_a_copy_learns_from_the_servers_what_an_empty_store_has_lost(
    tmp_path: Path,
) -> None:
    """And the next dead server is failed over: a version that goes back would be followed by
    nobody.
    """
    async with world(tmp_path) as up, operators.client() as client:
        await write_document(up.parts.configuration, CONFIGURATION, QUICK)
        async with messaging(up.parts, "first") as first:
            async with messaging(up.parts, "second"):
                async with control(elsewhere(up, "here"), "control-1"):
                    await eventually(lambda: owns(client, first, 8), WITHIN_S)
                names = (ASSIGNMENT, CONFIGURATION)
                kept = {name: await up.parts.configuration.get(name) for name in names}
                for name in names:
                    up.lose_documents(name)
                await up.stack.enter_async_context(control(elsewhere(up, "there"), "control-2"))
                for name in names:
                    await eventually(partial(holds, up, name, kept[name]), WITHIN_S)
            await eventually(lambda: owns(client, first, 16), WITHIN_S)


async def test_a_control_server_with_an_old_copy_learns_what_came_since(tmp_path: Path) -> None:
    async with world(tmp_path) as up, operators.client() as client:
        await write_document(up.parts.configuration, CONFIGURATION, QUICK)
        async with control(up.parts, "control-1"):
            await eventually(lambda: on_disk(up, CONFIGURATION) is not None, WITHIN_S)
        later = {**QUICK, "sends.burst": 7}
        new = await write_document(up.parts.configuration, CONFIGURATION, later)
        async with messaging(up.parts, "first") as first:

            async def follows() -> bool:
                return await document_of(client, first, CONFIGURATION) == new

            await eventually(follows, WITHIN_S)
            up.lose_documents(CONFIGURATION)
            async with control(up.parts, "control-2"):
                await eventually(lambda: holds(up, CONFIGURATION, new), WITHIN_S)


async def test_a_memory_is_that_of_the_server_that_was_asked() -> None:
    """And not that of another one, which has its address now."""
    document = Document(CONFIGURATION, 3, {"sends.burst": 7}, 1, "x")
    memory = Memory({CONFIGURATION: document}, taken_over=9)
    app = internal.app(operators.guard(), "messaging", "a", CollectorRegistry(), lambda: None)
    show_memory(app, "a", memory)
    async with http.serving(app, "127.0.0.1", 0) as port, operators.client() as client:
        server = Instance("messaging", "a", "here:1", f"http://127.0.0.1:{port}", "1")
        ranks = {CONFIGURATION: document.rank}
        assert await remembered_by(client, server) == Remembers(ranks, taken_over=9)
        assert await document_of(client, server, CONFIGURATION) == document
        assert await document_of(client, server, ASSIGNMENT) is None
        gone = server._replace(instance_id="b")
        assert await remembered_by(client, gone) is None
        assert await document_of(client, gone, CONFIGURATION) is None


def everything(server_id: str) -> dict[str, str]:
    """An assignment that gives all partitions to one server."""
    return dict.fromkeys(map(str, range(PARTITIONS)), server_id)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
async def test_two_contents_of_one_version_become_one_and_nobody_takes_turns(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    """The store has lost the version that one server follows, and another was written under the
    same number, which the other server follows.
    """
    async with world(tmp_path) as up, operators.client() as client, AsyncExitStack() as stack:
        await write_document(up.parts.configuration, CONFIGURATION, QUICK)
        servers = []
        for name in names:
            up.lose_documents(ASSIGNMENT)
            await up.parts.configuration.put(ASSIGNMENT, everything(name), expected=0, by="x")
            servers.append(await stack.enter_async_context(messaging(up.parts, name)))
        await stack.enter_async_context(control(elsewhere(up, "there"), "control-1"))
        for server in servers:
            await eventually(partial(owns, client, server, 8), WITHIN_S)
        counts = [await metric(each, "cecochat_takeovers_total") for each in servers]
        assert sum(counts) <= 3.5 * PARTITIONS, "at most: one, the other, one again, half of it"


async def test_who_was_outdone_by_another_content_of_its_version_gets_a_later_one(
    tmp_path: Path,
) -> None:
    """The other server is gone, and so is what it followed; its content was the earlier one."""
    first = digest(everything("a"))
    later = next(name for name in "bcdefghijklm" if digest(everything(name)) < first)
    async with world(tmp_path) as up, operators.client() as client, AsyncExitStack() as stack:
        await write_document(up.parts.configuration, CONFIGURATION, QUICK)
        async with AsyncExitStack() as passing:
            servers = []
            for name, its_stack in (("a", stack), (later, passing)):
                up.lose_documents(ASSIGNMENT)
                await up.parts.configuration.put(ASSIGNMENT, everything(name), expected=0, by="x")
                servers.append(await its_stack.enter_async_context(messaging(up.parts, name)))
            await eventually(partial(owns, client, servers[1], PARTITIONS), WITHIN_S)
            await eventually(partial(owns, client, servers[0], 0), WITHIN_S)
        up.lose_documents(ASSIGNMENT)
        await stack.enter_async_context(control(elsewhere(up, "there"), "control-1"))
        await eventually(partial(owns, client, servers[0], PARTITIONS), WITHIN_S)


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
