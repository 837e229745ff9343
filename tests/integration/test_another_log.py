"""A system whose log was lost and whose history was not: what devices have not shown is there."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from cecochat.client import CaughtUp, Client, Message, connect
from tests.integration.systems import Running, running
from tests.support.eventually import eventually


def client(up: Running, user: str, folder: Path) -> AbstractAsyncContextManager[Client]:
    return connect(up.addresses.connect, up.token(user), state=folder / f"{user}.json")


async def shown(of: Client) -> list[str]:
    """The texts until it has caught up."""
    texts = []
    async for event in of:
        if isinstance(event, CaughtUp):
            break
        if isinstance(event, Message):
            texts.append(event.text)
    return texts


async def test_a_gap_brings_what_only_the_history_of_the_lost_log_has(tmp_path: Path) -> None:
    data, devices = tmp_path / "data", tmp_path / "devices"
    async with running(data) as up, client(up, "alice", devices) as alice:
        async with client(up, "bob", devices) as bob:
            await alice.send("bob", "before")
            await shown(bob)
        for text in ("one", "two"):
            await alice.send("bob", text)

        async def materialized() -> bool:
            return len((await alice.history("bob")).messages) == 3

        await eventually(materialized)
    for file in data.glob("log.db*"):
        file.unlink()
    async with running(data) as up, client(up, "bob", devices) as bob:
        assert (await shown(bob))[-2:] == ["one", "two"]
