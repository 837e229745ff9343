"""Messages are edited, deleted, answered and reacted to from the command line."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from tests.support.commands import WITHIN_S, run, start
from tests.support.eventually import eventually
from tests.support.server import Server

ALICE, BOB = ("--as", "alice", "bob"), ("--as", "bob", "alice")


async def sent(server: Server, text: str) -> str:
    """By alice to bob; its id."""
    out, _ = await run(server, "send", *ALICE, text)
    return out.strip()


async def until_history_has(server: Server, text: str) -> str:
    async def holds() -> bool:
        return text in (await run(server, "history", *BOB))[0]

    await eventually(holds, every_s=0.2)
    return (await run(server, "history", *BOB))[0]


async def test_what_is_changed_is_shown_as_it_is_now(server: Server, tmp_path: Path) -> None:
    first, second = await sent(server, "frist"), await sent(server, "oops")
    out, _ = await run(server, "edit", *ALICE, first, "first", "--json")
    assert int(json.loads(out)["id"]) > int(first)
    await run(server, "react", *BOB, first, "👍")
    await run(server, "react", *BOB, first, "❤️")
    await run(server, "react", *BOB, first, "❤️", "--remove")
    await run(server, "delete", *ALICE, second)
    await run(server, "send", *BOB, "fine", "--reply-to", first)
    said = await until_history_has(server, "fine")
    lines = [line.split("  ", 1)[1] for line in said.splitlines()]
    assert lines == ["alice  first (edited)  👍 bob", "alice  (deleted)", "bob  fine"]
    out, _ = await run(server, "history", *BOB, "--json")
    edited, deleted, reply = map(json.loads, out.splitlines())
    assert edited["reactions"] == [{"from": "bob", "emoji": "👍"}]
    assert (deleted["text"], "deletion_id" in deleted) == ("", True)
    assert reply["reply_to_id"] == first

    file = tmp_path / "chat.jsonl"
    await run(server, "export", *ALICE, "--output", str(file))
    out, _ = await run(server, "import", str(file))
    assert out.startswith("2 sent")


async def test_what_would_change_nothing_is_said(server: Server) -> None:
    said = await sent(server, "mine")
    for words in (("edit", *BOB, said, "not yours"), ("delete", *BOB, said)):
        _, err = await run(server, *words, code=1)
        assert "alice has written this message" in err
    _, err = await run(server, "react", *BOB, str(int(said) + 1), "👍", code=1)
    assert "has no message" in err
    assert (await until_history_has(server, "mine")).endswith("alice  mine\n")


async def test_a_window_changes_the_last_message_and_says_what_was_changed(server: Server) -> None:
    bob, alice = await start(server, "chat", *BOB), await start(server, "chat", *ALICE)
    for window in (alice, bob):
        await notes(window, "connected")
    async with asyncio.timeout(WITHIN_S):
        await types(alice, "frist")
        assert bob.stdout
        assert b"alice: frist" in await bob.stdout.readline()
        await types(alice, "/edit first")
        await notes(bob, "alice edited “frist”: first")
        await types(bob, "/react 👍")
        await notes(alice, "bob 👍 on “first”")
        await types(alice, "secnod\n/edit second")  # at once, before the first is answered
        await notes(bob, "alice edited “secnod”: second")
        await types(alice, "/delete")
        await notes(bob, "alice deleted a message of")
        await types(bob, "/delete")
        await notes(bob, "there is no message to do that to")
    for window in (alice, bob):
        await window.communicate(b"")
        assert window.returncode == 0


async def types(window: asyncio.subprocess.Process, text: str) -> None:
    assert window.stdin
    window.stdin.write(f"{text}\n".encode())
    await window.stdin.drain()


async def notes(window: asyncio.subprocess.Process, text: str) -> None:
    """Reads until the window has said that."""
    assert window.stderr
    async with asyncio.timeout(WITHIN_S):
        while text not in (line := (await window.stderr.readline()).decode()):
            assert line, f"it ended before it said {text!r}"


async def test_chats_are_muted_archived_and_pinned_for_one_user(server: Server) -> None:
    await sent(server, "hello")
    await until_history_has(server, "hello")
    out, _ = await run(server, "set", *BOB, "--mute", "8h", "--pinned")
    assert re.fullmatch(r"muted until \d{4}-\d\d-\d\d \d\d:\d\d, pinned\n", out)
    out, _ = await run(server, "set", *BOB, "--mute", "forever", "--not-pinned", "--archived")
    assert out == "muted, archived\n"
    out, _ = await run(server, "set", *BOB, "--json")
    assert json.loads(out) == {
        "muted_until": "9999-12-31T23:59:59+00:00",
        "archived": True,
        "pinned": False,
        "accepted": False,
    }
    out, _ = await run(server, "chats", "--as", "bob")
    assert out.endswith("  (muted, archived)\n")
    out, _ = await run(server, "chats", "--as", "alice")
    assert out.endswith("hello\n")
    out, _ = await run(server, "set", *BOB, "--mute", "no", "--not-archived")
    assert out == "as at first\n"
    _, err = await run(server, "set", *BOB, "--mute", "soon", code=2)
    assert "is not a duration" in err
