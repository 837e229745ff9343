"""Documents that the store has lost: control gives them back, from its disk or from the servers."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cecochat.documents.remembered import Memory, Remembers, document_of, remembered_by, show_memory
from cecochat.domain.cluster.versions import digest
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION, Document
from cecochat.ports.discovery import Instance
from cecochat.runtime import http, internal
from cecochat.servers.control.main import control
from cecochat.servers.messaging.main import messaging
from tests.integration.control_world import (
    PARTITIONS,
    WITHIN_S,
    World,
    elsewhere,
    metric,
    owns,
    world,
)
from tests.integration.systems import QUICK, write_document
from tests.support import operators
from tests.support.eventually import eventually


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
