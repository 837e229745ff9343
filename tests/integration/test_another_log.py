"""A system whose log, or the end of it, was lost and whose history was not: what devices have not
shown is there.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from cecochat.client import CaughtUp, Client, Message, connect
from tests.integration.systems import Running, running
from tests.support.eventually import eventually


def client(
    up: Running, user: str, folder: Path | None = None
) -> AbstractAsyncContextManager[Client]:
    """One that remembers nothing, where it has no folder."""
    state = folder and folder / f"{user}.json"
    return connect(up.addresses.connect, up.token(user), state=state)


async def shown(of: Client) -> list[str]:
    """The texts until it has caught up."""
    texts = []
    async for event in of:
        if isinstance(event, CaughtUp):
            break
        if isinstance(event, Message):
            texts.append(event.text)
    return texts


async def visits(up: Running, devices: Path, last: str) -> list[str]:
    """What bob is shown until he has seen that text: it is copied to him in its own time."""
    texts: list[str] = []
    async with asyncio.timeout(30):
        while last not in texts:
            async with client(up, "bob", devices) as bob:
                texts += await shown(bob)
    return texts


async def has(of: Client, count: int) -> bool:
    """Whether the history holds that many messages of the chat with bob."""
    return len((await of.history("bob")).messages) == count


async def test_a_gap_brings_what_only_the_history_of_the_lost_log_has(tmp_path: Path) -> None:
    data, devices = tmp_path / "data", tmp_path / "devices"
    async with running(data) as up, client(up, "alice", devices) as alice:
        async with client(up, "bob", devices) as bob:
            await alice.send("bob", "before")
            await shown(bob)
        for text in ("one", "two"):
            await alice.send("bob", text)
        await eventually(lambda: has(alice, 3))
    for file in data.glob("log.db*"):
        file.unlink()
    async with running(data) as up, client(up, "bob", devices) as bob:
        assert (await shown(bob))[-2:] == ["one", "two"]


@pytest.mark.parametrize("count", [1, 20], ids=["below", "beyond"])
async def test_what_a_log_that_lost_its_end_says_instead_is_shown(
    tmp_path: Path, count: int
) -> None:
    """An older copy of it: what is written now has the offsets that devices and history know."""
    data, devices, former = tmp_path / "data", tmp_path / "devices", tmp_path / "former"
    async with (
        running(data) as up,
        client(up, "alice") as alice,
        client(up, "bob", devices) as bob,
    ):
        await alice.send("bob", "before")
        await shown(bob)
    former.mkdir()
    for file in data.glob("log.db*"):
        shutil.copy(file, former)
    async with running(data) as up, client(up, "alice") as alice:
        for number in range(5):
            await alice.send("bob", f"lost {number}")
        assert (await visits(up, devices, "lost 4"))[-5:] == [f"lost {each}" for each in range(5)]
        await eventually(lambda: has(alice, 6))
    for file in data.glob("log.db*"):
        file.unlink()
    for file in former.iterdir():
        shutil.copy(file, data)
    texts = [f"new {number}" for number in range(count)]
    async with running(data) as up, client(up, "alice") as alice:
        for text in texts:
            await alice.send("bob", text)
        await eventually(lambda: has(alice, 6 + count))
        assert await visits(up, devices, texts[-1]) == texts
        async with client(up, "bob", devices) as bob:
            assert await shown(bob) == []
            await alice.send("bob", "live")
            async for event in bob:
                if isinstance(event, Message):
                    assert event.text == "live"
                    break
