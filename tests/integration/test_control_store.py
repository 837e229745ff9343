"""A store that is silent, away, or wrong: what control does meanwhile, and when it is back."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cecochat.adapters import build
from cecochat.ports.configuration import ASSIGNMENT, Document
from cecochat.ports.discovery import Instance
from cecochat.servers.control.main import control
from tests.integration.control_world import WITHIN_S, World, get, metric, unavailable, world
from tests.integration.systems import write_document
from tests.support.eventually import eventually


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
        build.configuration(up.parts.settings) as store,
        build.configuration(up.parts.settings) as further,
        control(replace(up.parts, configuration=store), "control-1") as first,
    ):
        settings = replace(up.parts.settings, data_dir=tmp_path / "other")
        parts = replace(up.parts, settings=settings, configuration=further)
        async with control(parts, "control-2") as second:
            await up.join("a", "b")
            await up.becomes(a=8, b=8)
            # on a busy machine, a store may have looked silent before, so that the second one leads
            leads = await _leads(first)
            silent, heard = (first, second) if leads else (second, first)
            with pytest.MonkeyPatch.context() as away:
                for method in ("get", "put"):
                    own = store if leads else further
                    away.setattr(own, method, unavailable(Counter(), method))
                await up.vanish("b")
                await up.becomes(a=16)
                await eventually(lambda: _leads(heard))
                assert not await _leads(silent)
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


async def test_it_is_not_ready_before_it_has_seen_the_assignment(tmp_path: Path) -> None:
    async with world(tmp_path) as up:
        await up.parts.configuration.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), control(up.parts, "control-1"):
                raise AssertionError("it was ready")
