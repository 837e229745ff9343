"""Groups on the command line: made, shown, changed, and written to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_cli_changes import notes, types
from tests.support.commands import WITHIN_S, rows, run, start
from tests.support.eventually import eventually
from tests.support.server import Server, started

US = "g:us"
ALICE, BOB, CAROL = (("--as", user) for user in ("alice", "bob", "carol"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Of eight partitions, so that members live in others than the group."""
    async with started(Server(tmp_path / "up", {"CECOCHAT_PARTITIONS": "8"})) as server:
        yield server


async def group(server: Server, *words: str, code: int = 0) -> str:
    """What a command of a group prints; its error if it fails."""
    out, err = await run(server, "group", *words, code=code)
    return (out or err).strip()


async def made(server: Server, *options: str) -> None:
    said = await group(server, "create", *ALICE, "Us", "bob", "carol", "--id", US, *options)
    assert said == US


async def test_each_change_says_what_it_came_to(server: Server) -> None:
    await made(server)
    for words, said in (
        (("add", *ALICE, US, "dan", "bob"), "alice added dan"),
        (("add", *ALICE, US, "dan"), "nothing has changed"),
        (("invite", *ALICE, US, "erin"), "alice invited erin"),
        (("join", "--as", "erin", US), "erin joined"),
        (("appoint", *ALICE, US, "bob", "admin"), "alice made bob an admin"),
        (("remove", *BOB, US, "erin", "dan"), "bob removed erin and dan"),
        (("rename", *BOB, US, "All of us"), "bob changed the group to “All of us”"),
        (
            ("set", *ALICE, US, "--channel", "--open"),
            "“All of us” (only admins write, open to all)",
        ),
        (("set", *ALICE, US, "--no-channel", "--hide-past"), "(open to all, past hidden"),
        (("appoint", *ALICE, US, "bob", "owner"), "alice made bob the owner"),
        (("leave", *BOB, US), "bob left and made alice the owner"),
    ):
        assert said in await group(server, *words)
    lines = (await run(server, "history", *ALICE, US))[0].splitlines()
    assert "-- alice created “Us” with bob and carol --" in lines[0]
    assert len(lines) == 11, "what changes nothing is not shown"
    first, *_ = await rows(server, "history", *ALICE, US, "--json")
    change = first["group_change"]
    assert (change["from"], change["added"]) == ("alice", ["alice", "bob", "carol"])
    (chat,) = await rows(server, "chats", *ALICE, "--json")
    assert (chat["name"], chat["role"]) == ("All of us", "owner")
    assert chat["group_change"]["removed"] == ["bob"]


async def test_it_is_shown_to_those_who_belong_to_it(server: Server) -> None:
    await made(server, "--open")
    await group(server, "invite", *ALICE, US, "dan")
    shown = "g:us  “Us” (open to all)\nyou     {}\npeople  3, and 1 invited"
    assert await group(server, "show", *CAROL, US) == shown.format("member")
    assert await rows(server, "group", "members", *BOB, US, "--json") == [
        {"user_id": "alice", "role": "owner"},
        {"user_id": "bob", "role": "member"},
        {"user_id": "carol", "role": "member"},
        {"user_id": "dan", "role": "invited"},
    ]
    (about,) = await rows(server, "group", "show", *BOB, US, "--json")
    assert (about["name"], about["is_open"], about["role"]) == ("Us", True, "member")
    assert (about["members"], about["invited"]) == (3, 1)
    await group(server, "leave", *CAROL, US)
    assert "left it" in await group(server, "show", *CAROL, US)
    for words in (("show",), ("members",)):
        said = await group(server, *words, "--as", "mallory", US, code=4)
        assert "no group g:us that you belong to" in said


async def test_what_is_not_done_says_why(server: Server) -> None:
    await made(server)
    for words, code, said in (
        (("create", *ALICE, "We", "--id", US), 4, "you belong to g:us already"),
        (("create", *BOB, "Us", "--id", US), 4, "you belong to g:us already"),
        (("create", *ALICE, "Us", "--id", US), 0, US),
        (("create", "--as", "mallory", "Us", "--id", US), 1, "is a group of others"),
        (("create", *ALICE, "Us", "--id", "us"), 4, "begins with g:"),
        (("create", *ALICE, " "), 4, "is no name of a group"),
        (("add", *BOB, US, "dan"), 4, "you may not add members"),
        (("add", *ALICE, "bob", "dan"), 4, "begins with g:"),
        (("add", *ALICE, US, "no id!"), 4, "is no user id"),
        (("join", "--as", "mallory", US), 4, "no group g:us that you belong to"),
        (("appoint", *ALICE, US, "bob", "king"), 4, "use one of muted, member, admin, owner"),
        (("appoint", *ALICE, US, "dan", "admin"), 4, "dan is not a member"),
        (("set", *ALICE, US), 2, "nothing to change is given"),
    ):
        assert said in await group(server, *words, code=code)


async def test_messages_of_a_group_are_sent_changed_and_moderated(server: Server) -> None:
    await made(server)

    async def sent(who: tuple[str, ...], text: str) -> str:
        return (await run(server, "send", *who, US, text))[0].strip()

    first, second = await sent(BOB, "frist"), await sent(CAROL, "spam")
    await run(server, "edit", *BOB, US, first, "first")
    await run(server, "react", *CAROL, US, first, "👍")
    _, err = await run(server, "delete", *ALICE, US, second, code=1)
    assert "--as-admin" in err
    await run(server, "delete", *ALICE, US, second, "--as-admin")
    _, err = await run(server, "delete", *CAROL, US, first, "--as-admin", code=4)
    assert "you may not delete messages of other members" in err
    _, err = await run(server, "send", "--as", "mallory", US, "hello", code=4)
    assert "no group g:us" in err

    async def said() -> list[str]:
        lines = (await run(server, "history", *ALICE, US))[0].splitlines()
        return [line.split("  ", 1)[1] for line in lines[1:]]

    async def is_there() -> bool:
        return await said() == ["bob  first (edited)  👍 carol", "carol  (deleted)"]

    await eventually(is_there, every_s=0.2)
    out, _ = await run(server, "where", first)
    assert f"message of bob, in {US}\n" in out
    out, _ = await run(server, "chats", *BOB)
    assert "Us (g:us)" in out
    assert "carol: (deleted)" in out
    assert "nothing has changed" in await group(server, "add", *ALICE, US, "bob")
    assert "alice changed nothing" in (await run(server, "chats", *BOB))[0]


async def test_a_window_shows_who_says_what_and_who_comes_and_goes(server: Server) -> None:
    await made(server)
    await run(server, "send", *ALICE, US, "before")
    bob, carol = await start(server, "chat", *BOB, US), await start(server, "chat", *CAROL, US)
    for window, user in ((bob, "bob"), (carol, "carol")):
        await notes(window, f"{user} in Us (g:us): connected")
    async with asyncio.timeout(WITHIN_S):
        assert bob.stdout
        assert (await bob.stdout.readline()).decode().endswith("  alice: before\n")
        await types(carol, "hello")
        assert (await bob.stdout.readline()).decode().endswith("  carol: hello\n")
        await types(carol, "/edit hello all")
        await notes(bob, "carol edited “hello”: hello all")
        await group(server, "add", *ALICE, US, "dan")
        await notes(bob, "-- alice added dan --")
        await group(server, "rename", *ALICE, US, "All of us")
        await notes(bob, "bob in All of us (g:us): connected")
        await group(server, "remove", *ALICE, US, "carol")
        await notes(carol, "-- alice removed carol --")
        await notes(carol, "carol in All of us (g:us): you are not a member any more")
        await types(carol, "still here?")
        await notes(bob, "-- alice removed carol --")
        await group(server, "create", *ALICE, "Others", "bob", "--id", "g:others")
        await notes(bob, "[g:others] alice created “Others” with bob")
        await run(server, "send", *ALICE, "g:others", "hello")
        await notes(bob, "[g:others] alice: hello")
    out, _ = await carol.communicate(b"")
    assert "✗ not sent: there is no group g:us" in out.decode()
    out, _ = await bob.communicate(b"")
    assert out == b""
    for window in (bob, carol):
        assert window.returncode == 0


async def test_what_was_exported_of_a_group_is_imported_without_its_changes(
    server: Server, tmp_path: Path
) -> None:
    await made(server)
    await run(server, "send", *BOB, US, "hello")
    lines: list[dict[str, Any]] = await rows(server, "history", *ALICE, US, "--json")
    file = tmp_path / "us.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    out, _ = await run(server, "import", str(file))
    assert out.startswith("1 sent")
