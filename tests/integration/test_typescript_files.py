"""Files that messages carry, with the TypeScript client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cecochat.client import Message, connect
from tests.integration.clients import next_of
from tests.integration.systems import running
from tests.integration.test_typescript_client import client, dist, until_connected
from tests.support.typescript import CallFailed

__all__ = ["dist"]


async def test_files_are_sent_and_read(tmp_path: Path, dist: Path) -> None:
    async with (
        running(tmp_path / "data") as system,
        client(dist, system, "alice", file=str(tmp_path / "state")) as alice,
        connect(system.addresses.connect, system.token("bob")) as bob,
    ):
        await until_connected(alice)
        named = {"clientMessageId": "1", "name": "a list.txt"}
        file = await alice.call("upload", "bob", "Flour, eggs", named)
        assert (file["name"], file["mediaType"], file["sizeBytes"]) == (
            *("a list.txt", "text/plain"),
            11,
        )
        options: dict[str, Any] = {"clientMessageId": "1", "attachments": [file]}
        sent = await alice.call("send", "bob", "", options)
        got = await next_of(bob, Message)
        assert (str(got.id), got.text) == (sent, "")
        assert await bob.files.read(got, got.attachments[0]) == b"Flour, eggs"

        (tmp_path / "b.txt").write_text("Milk")
        await bob.files.send("alice", [tmp_path / "b.txt"])
        [message] = await alice.until_values("message", lambda values: len(values) == 1)
        [theirs] = message["attachments"]
        place = {**message, "id": f"{message['id']}n"}
        assert "receipt" not in theirs
        assert await alice.call("read", place, theirs) == "Milk"
        with pytest.raises(CallFailed) as refused:
            await alice.call("send", "bob", "again", {"attachments": [theirs]})
        assert refused.value.code == "invalid_argument"
        stored = await alice.call("recent", "bob")
        names = {each["attachments"][0]["name"] for each in stored}
        assert names == {"a list.txt", "b.txt"}, "its storage keeps them"
