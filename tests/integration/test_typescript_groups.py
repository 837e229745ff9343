"""Groups with the TypeScript client against the real system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.systems import QUICK, Running, running
from tests.support.backends import Backends
from tests.support.typescript import CallFailed, TypeScriptClient, built, opened


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Running]:
    """Of eight partitions, so that members live in others than the group."""
    async with running(tmp_path, partitions=8) as system:
        await system.configure({**QUICK, "groups.members_max": 100})
        yield system


@pytest.fixture
def dist(backends: Backends) -> Path:
    return built(backends)


def client(dist: Path, system: Running, user: str, **options: Any) -> Any:
    return opened(dist, system.addresses.connect, system.token(user), **options)


async def changes(client: TypeScriptClient, count: int) -> list[dict[str, Any]]:
    values = await client.until_values("membership", lambda values: len(values) >= count)
    return [
        {name: each[name] for name in ("userId", "added", "removed", "appointed")}
        for each in values
    ]


def change(user: str, added: str = "", removed: str = "", admin: str = "") -> dict[str, Any]:
    appointed = [{"userId": admin, "role": "admin"}] if admin else []
    return {
        "userId": user,
        "added": added.split(),
        "removed": removed.split(),
        "appointed": appointed,
    }


async def test_a_group_from_its_beginning_to_its_end(system: Running, dist: Path) -> None:
    async with (
        client(dist, system, "alice") as alice,
        client(dist, system, "bob") as bob,
        client(dist, system, "carol") as carol,
    ):
        us = await alice.call("groups.create", "Us", {"members": ["bob"]})
        await bob.call("send", us, "hello")
        [message] = await alice.until_values("message", lambda values: len(values) == 1)
        assert (message["chatId"], message["userId"], message["text"]) == (us, "bob", "hello")
        with pytest.raises(CallFailed) as forbidden:
            await bob.call("groups.add", us, ["carol"])
        assert forbidden.value.code == "forbidden"
        await alice.call("groups.appoint", us, "bob", "admin")
        await bob.call("groups.add", us, ["carol", "alice"])
        assert (await changes(carol, 1))[-1] == change("bob", added="carol")
        group = await carol.call("groups.get", us)
        assert (group["name"], group["role"]) == ("Us", "member")
        members = await carol.call("groups.members", us)
        assert {each["userId"]: each["role"] for each in members} == {
            "alice": "owner",
            "bob": "admin",
            "carol": "member",
        }
        [chat] = await carol.call("chats")
        assert (chat["options"]["name"], chat["role"]) == ("Us", "member")
        assert chat["lastGroupChange"]["added"] == ["carol"]
        entries = await carol.call("entries", us)
        assert [each.get("text") for each in entries] == [None, None, "hello", None]
        assert [each["text"] for each in await carol.call("history", us)] == ["hello"]
        for each in (alice, carol):
            await each.call("watch", [us])
        typing = {"chatId": us, "userId": "carol", "active": True}
        while typing not in alice.values("typing"):  # a watch takes a moment
            await carol.call("typing", us)
            await asyncio.sleep(0.1)
        await carol.call("groups.leave", us)
        with pytest.raises(CallFailed) as gone:
            await carol.call("send", us, "too late")
        assert gone.value.code == "not_found"
        assert "role" not in await carol.call("groups.get", us)
        assert (await changes(alice, 4))[1:] == [
            change("alice", admin="bob"),
            change("bob", added="carol"),
            change("carol", removed="carol"),
        ]
