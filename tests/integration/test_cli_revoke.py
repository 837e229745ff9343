"""`cecochat revoke` as a person types it."""

from __future__ import annotations

import json

import pytest

from tests.support.commands import run
from tests.support.server import Server


async def test_it_says_what_it_did_and_lists_what_is_in_force(server: Server) -> None:
    assert await run(server, "revoke", "--list") == ("nothing is revoked\n", "")
    old, _ = await run(server, "token", "alice")
    out, _ = await run(server, "revoke", "alice")
    assert "revoked: tokens of alice that were issued before 20" in out
    assert "end the streams" in out
    assert "version 1 of the revocations; 1 in force" in out
    await run(server, "revoke", "bob", "--sid", "phone-7", "--before", "2026-11-27T12:00:00Z")
    out, _ = await run(server, "revoke", "--list")
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "TOKENS OF", "alice", "bob, login phone-7"
    ]  # fmt: skip
    out, _ = await run(server, "revoke", "--list", "--json")
    assert [json.loads(line)["user"] for line in out.splitlines()] == ["alice", "bob"]
    _, err = await run(server, "chats", code=4, more={"CECOCHAT_TOKEN": old.strip()})
    assert "revoked" in err
    fresh, _ = await run(server, "token", "alice")
    await run(server, "chats", more={"CECOCHAT_TOKEN": fresh.strip()})


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        ((), 2, "name a user"),
        (("alice", "--everyone"), 2, "name a user"),
        (("alice", "--list"), 2, "name a user"),
        (("shop/alice", "--app", "shop"), 2, "name a user"),
        (("--app", "shop"), 4, "there is no app 'shop'"),
        (("alice", "--before", "yesterday"), 2, "'yesterday' is not a time"),
        (("alice", "--before", "2999-01-01"), 4, "in the future"),
        (("--everyone", "--sid", "phone"), 4, "name the user too"),
        (("al ice",), 4, "al ice"),
    ],
)
async def test_what_cannot_be_meant_changes_nothing(
    server: Server, words: tuple[str, ...], code: int, why: str
) -> None:
    _, err = await run(server, "revoke", *words, code=code)
    assert why in err
    assert (await run(server, "revoke", "--list"))[0] == "nothing is revoked\n"
