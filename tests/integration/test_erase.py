"""A user is erased: their texts can be read nowhere any more, and everything else is as before."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

from cecochat.auth.minting import mint
from cecochat.domain.log.ids import UserId
from tests.integration import streams
from tests.support.commands import rows, run
from tests.support.eventually import eventually
from tests.support.left import places_of
from tests.support.server import Server, started

SECRETS = ("quicksilver", "salamander", "thunderstruck")  # what alice says, nobody else does
BACKUP = Path(__file__).parents[2] / "systemd" / "backup.py"


async def chat(server: Server) -> None:
    """Alice and Bob talk in their dialog and in a group, and Alice edits."""
    out, _ = await run(server, "send", "--as", "alice", "bob", f"{SECRETS[0]} one")
    await run(server, "send", "--as", "bob", "alice", "an answer that stays")
    await run(server, "edit", "--as", "alice", "bob", out.strip(), f"{SECRETS[1]} two")
    await run(server, "group", "create", "--as", "alice", "Hikers", "bob", "--id", "g:hikers")
    await run(server, "send", "--as", "alice", "g:hikers", f"{SECRETS[2]} three")
    await run(server, "send", "--as", "bob", "g:hikers", "bob is in, too")


async def texts(server: Server, chat: str) -> list[tuple[str, str, bool]]:
    found = await rows(server, "history", "--as", "bob", chat, "--json")
    return [
        (each["from"], each["text"], each.get("erased", False)) for each in found if "text" in each
    ]


def wrapped(data: Path, user: str) -> bytes:
    with closing(sqlite3.connect(data / "keys.db")) as keys:
        (key,) = keys.execute("SELECT key FROM keys WHERE user_id = ?", (user,)).fetchone()
    return bytes(key)


def back_up(server: Server, folder: Path) -> Path:
    folder.mkdir()
    subprocess.run([sys.executable, BACKUP, server.data, folder], check=True, capture_output=True)
    (made,) = (each for each in folder.iterdir() if each.name[0].isdigit())
    return made


async def erase(server: Server, user: str) -> dict[str, Any]:
    out, _ = await run(server, "erase", user, "--yes", "--json")
    report: dict[str, Any] = json.loads(out)
    return report


WORDS = [each.encode() for each in SECRETS]
OF_BOB = [("bob", "an answer that stays", False)]
GONE = ("alice", "", True)


async def test_a_user_is_erased_everywhere(server: Server, tmp_path: Path) -> None:
    await chat(server)
    assert await texts(server, "alice") == [("alice", f"{SECRETS[1]} two", False), *OF_BOB]
    key, copy = wrapped(server.data, "alice"), back_up(server, tmp_path / "before")
    assert places_of([key], server.data, tmp_path / "before"), "this search finds nothing"
    await eventually(lambda: bool(places_of(WORDS, server.data)))
    assert {Path(each).name[:9] for each in places_of(WORDS, server.data)} == {"search.db"}
    report = await erase(server, "alice")
    assert report["key_before"] == "whole"
    assert (report["sealed_texts"], report["plain_texts"], report["chats"]) == (3, 0, 2)

    assert places_of([*WORDS, key], server.data) == []
    assert await texts(server, "alice") == [GONE, *OF_BOB]
    assert await texts(server, "g:hikers") == [GONE, ("bob", "bob is in, too", False)]
    await run(server, "send", "--as", "bob", "alice", "goes on")
    _, err = await run(server, "send", "--as", "alice", "bob", "again", code=4)
    assert "can never chat again" in err

    back_up(server, tmp_path / "after")
    out, _ = await run(server, "export", "--as", "bob", "alice")
    (tmp_path / "after" / "export.jsonl").write_text(out)
    assert "goes on" in out
    assert places_of([*WORDS, key], tmp_path / "after") == []
    assert places_of(WORDS, tmp_path / "before") == [], "the data alone shows nothing"
    (newest,) = (tmp_path / "after" / "keys").iterdir()
    await server.terminate()
    await run(
        server,
        "restore",
        str(copy),
        "--data",
        str(tmp_path / "again" / "data"),
        "--keys",
        str(newest),
    )
    async with started(Server(tmp_path / "again")) as again:
        assert await texts(again, "alice") == [GONE, *OF_BOB]
        await run(again, "send", "--as", "alice", "bob", "again", code=4)


async def test_a_device_that_comes_late_is_told_that_it_was_erased(server: Server) -> None:
    address = server.ready["messaging"]
    async with streams.caught_up(address, token(server, "bob")) as bob:
        position = deepcopy(bob.position)
        await run(server, "send", "--as", "alice", "bob", SECRETS[0])
        assert await bob.until_texts(1) == [SECRETS[0]]
        await erase(server, "alice")
        await run(server, "send", "--as", "carol", "bob", "the connection lives")
        assert await bob.until_texts(2) == [SECRETS[0], "the connection lives"]
    async with streams.opened(address, token(server, "bob")) as again:
        await again.hello(position)
        assert await again.until_texts(2) == ["", "the connection lives"]
        erased = [
            each.delivered.event.message.erased for each in again.items if each.delivered.event.id
        ]
        assert erased == [True, False]


async def test_a_session_of_the_erased_user_ends(server: Server) -> None:
    async with streams.caught_up(server.ready["messaging"], token(server, "alice")) as alice:
        await erase(server, "alice")
        assert (await alice.ended()).code == "TOKEN_REVOKED"
    async with streams.opened(server.ready["messaging"], token(server, "alice")) as alice:
        await alice.hello()
        assert (await alice.ended()).code == "ERASED"


def token(server: Server, user: str) -> str:
    return mint(server.secret_file.read_bytes(), UserId(user), 600)


async def test_it_asks_first_and_a_look_changes_nothing(server: Server) -> None:
    await chat(server)
    _, err = await run(server, "erase", "alice", code=2)
    assert "--yes" in err
    out, _ = await run(server, "erase", "alice", "--dry-run")
    assert "alice wrote 3 texts in 2 chats; key: whole" in out
    assert "nothing was changed" in out
    assert await run(server, "erase", "--list") == ("nobody was erased\n", "")
    await run(server, "send", "--as", "alice", "bob", "still here")
    for words in ((), ("alice", "--list"), ("al ice", "--yes")):
        await run(server, "erase", *words, code=2)


async def test_it_can_be_done_again_and_is_listed(server: Server) -> None:
    assert (await erase(server, "eve"))["key_before"] == "none"
    assert (await erase(server, "eve"))["key_before"] == "destroyed"
    (line,) = await rows(server, "erase", "--list", "--json")
    assert line["user_id"] == "eve"
    _, err = await run(server, "send", "--as", "eve", "bob", "hello", code=4)
    assert "eve was erased" in err
