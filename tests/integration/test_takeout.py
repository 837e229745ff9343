"""Everything that is a user's is collected in one archive, and nothing that is others'."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from cecochat.adapters import build
from cecochat.cli.privacy.contents import Contents
from cecochat.domain.log.ids import UserId
from cecochat.ports.files import PIECE_BYTES, owner_of
from cecochat.settings.settings import load
from tests.integration.test_erase_app import add
from tests.support.commands import history_of, rows, run
from tests.support.server import Server

CONTENT = b"0123456789" * (PIECE_BYTES // 4)


async def lived(server: Server) -> None:
    """Alice writes in a dialog and in two groups, one of which she leaves."""
    out, _ = await run(server, "send", "--as", "alice", "bob", "first words")
    await run(server, "edit", "--as", "alice", "bob", out.strip(), "better words")
    out, _ = await run(server, "send", "--as", "alice", "bob", "never mind")
    await run(server, "delete", "--as", "alice", "bob", out.strip())
    out, _ = await run(server, "send", "--as", "bob", "alice", "words of bob")
    await run(server, "react", "--as", "alice", "bob", out.strip(), "👍")
    await run(server, "set", "--as", "alice", "bob", "--pinned")
    await run(server, "group", "create", "--as", "bob", "Hikers", "alice", "--id", "g:hikers")
    await run(server, "send", "--as", "alice", "g:hikers", "on the mountain")
    await run(server, "group", "leave", "--as", "alice", "g:hikers")
    await run(server, "send", "--as", "bob", "g:hikers", "she has left")
    async with history_of(server, "alice") as alice:
        await alice.block("mallory")
        await alice.report_user("mallory", "spam", "sells watches")
    await run(server, "revoke", "alice", "--sid", "phone-7")


async def test_each_user_of_an_app_gets_an_archive(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    for words, code, why in (
        (("--app", "shop"), 4, "there is no app 'shop'"),
        (("alice", "--app", "shop"), 2, "name a user, or use --app"),
        ((), 2, "name a user, or use --app"),
    ):
        assert why in (await run(server, "takeout", *words, "-o", str(folder), code=code))[1]
    await add(server, "shop")
    await run(server, "send", "--as", "shop/alice", "shop/bob", "of alice")
    await run(server, "send", "--as", "shop/bob", "shop/alice", "of bob")
    await run(server, "send", "--as", "carol", "dave", "of another")
    found = await rows(server, "takeout", "--app", "shop", "--output", str(folder), "--json")
    assert [each["user"] for each in found] == ["shop/alice", "shop/bob"]
    assert sorted(each.name for each in folder.iterdir()) == ["alice.zip", "bob.zip"]
    with ZipFile(folder / "bob.zip") as packed:
        lines = packed.read("messages.jsonl").decode().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["of bob"]
    (folder / "alice.zip").unlink()
    again = await rows(server, "takeout", "--app", "shop", "--output", str(folder), "--json")
    assert [each["user"] for each in again] == ["shop/alice"], "what was interrupted goes on"


def names_in(folder: Path, part: str) -> list[str]:
    return [each.name for each in folder.iterdir() if part in each.name]


Lines = dict[str, list[dict[str, Any]]]


async def taken_out(server: Server, archive: Path, *more: str) -> tuple[dict[str, Any], Lines]:
    """The report, and the lines of each file of the archive, of alice who has `lived`."""
    report, lines = await taken(server, archive, *more)
    with ZipFile(archive) as packed:
        assert "alice" in packed.read("README.txt").decode()
        access = json.loads(packed.read("access.json"))
    assert access["key"] == "whole"
    assert [each["sid"] for each in access["logins"]] == ["phone-7"]
    return report, lines


async def taken(server: Server, archive: Path, *more: str) -> tuple[dict[str, Any], Lines]:
    (report,) = await rows(server, "takeout", "alice", "--output", str(archive), "--json", *more)
    with ZipFile(archive) as packed:
        lines = {
            name: [json.loads(line) for line in packed.read(name).decode().splitlines()]
            for name in packed.namelist()
            if name.endswith(".jsonl")
        }
        assert json.loads(packed.read("report.json")) == report
    return report, lines


async def test_it_has_all_of_a_user_and_nothing_of_others(server: Server, tmp_path: Path) -> None:
    await lived(server)
    report, lines = await taken_out(server, tmp_path / "alice.zip")
    assert report["files"] == {name: len(found) for name, found in lines.items()}
    assert [(each["chat_id"], each["text"]) for each in lines["messages.jsonl"]] == [
        ("d:alice~bob", "better words"),
        ("d:alice~bob", ""),
        ("g:hikers", "on the mountain"),
    ]
    assert [each["kind"] for each in lines["changes.jsonl"]] == ["edit", "deletion", "reaction"]
    assert lines["changes.jsonl"][0]["change"]["text"] == "better words"
    assert [each.get("so_that", "by alice") for each in lines["memberships.jsonl"]] == [
        ["added"],
        "by alice",
    ]
    dialog, group = lines["chats.jsonl"]
    assert dialog["settings"] == {"pinned": True}
    assert (group["name"], group["role"]) == ("Hikers", "left")
    assert [each["blocked"] for each in lines["blocks.jsonl"]] == ["mallory"]
    (reported,) = lines["reports.jsonl"]
    assert (reported["user"], reported["text"]) == ("mallory", "sells watches")
    assert "others.jsonl" not in lines
    assert "words of bob" not in json.dumps(lines)
    assert stat.S_IMODE((tmp_path / "alice.zip").stat().st_mode) == 0o600
    assert names_in(tmp_path, "alice") == ["alice.zip"]


async def test_others_are_in_it_as_far_as_the_user_sees_them(
    server: Server, tmp_path: Path
) -> None:
    await lived(server)
    _, lines = await taken_out(server, tmp_path / "alice.zip", "--with-others")
    assert [each["text"] for each in lines["others.jsonl"]] == ["words of bob"]


async def test_an_erased_user_has_no_texts(server: Server, tmp_path: Path) -> None:
    await run(server, "send", "--as", "alice", "bob", "soon gone")
    await run(server, "erase", "alice", "--yes")
    out, _ = await run(server, "takeout", "alice", "-o", str(tmp_path / "alice.zip"))
    assert "       1  messages that the user wrote" in out
    with ZipFile(tmp_path / "alice.zip") as packed:
        (message,) = packed.read("messages.jsonl").decode().splitlines()
        assert json.loads(packed.read("access.json"))["key"] == "destroyed"
    assert json.loads(message)["erased"]
    assert "soon gone" not in message


async def attached(server: Server, folder: Path, *names: str) -> list[dict[str, Any]]:
    """What the archive says of files that alice has sent to bob, each in a message of its own."""
    for name in names:
        (folder / name).write_bytes(CONTENT + name.encode())
        await run(server, "send", "--as", "alice", "bob", "--attach", str(folder / name))
    _, lines = await taken(server, folder / "before.zip")
    return [file for each in lines["messages.jsonl"] for file in each["attachments"]]


async def test_files_are_in_it_if_they_are_wanted(server: Server, tmp_path: Path) -> None:
    names = ("whole (1).txt", "gone.txt", "bent.txt")
    whole, gone, bent = await attached(server, tmp_path, *names)
    kept = server.data / "files" / "kept" / owner_of(UserId("alice"))
    (kept / "unsent".ljust(24, "-")).write_bytes(b"no message names it")
    (kept / gone["id"]).unlink()
    (kept / bent["id"]).write_bytes(b"other bytes")
    archive = tmp_path / "alice.zip"
    report, _ = await taken(server, archive, "--with-files")
    assert report["contents"] == {
        **{"count": 3, "size_bytes": len(CONTENT) + 13 + 11 + 19},
        **{"missing": [gone["id"]], "damaged": [bent["id"]]},
    }
    with ZipFile(archive) as packed:
        assert packed.testzip() is None
        found = {name: packed.read(name) for name in packed.namelist() if "files/" in name}
    assert found == {
        f"files/{whole['id']}-whole (1).txt": CONTENT + b"whole (1).txt",
        f"files/{bent['id']}-bent.txt": b"other bytes",
        "files/unsent------------------": b"no message names it",
    }
    _, err = await run(server, "takeout", "alice", "-o", str(archive), "--with-files")
    assert f"files that are missing: 1 ({gone['id']})" in err


async def test_no_name_leads_out_of_the_archive(tmp_path: Path) -> None:
    """Whatever it is: it was checked only when the file was uploaded."""
    messages = tmp_path / "messages.jsonl"
    file = {"id": "a" * 24, "name": "../..\\x/\n" + "y" * 200, "sha256": ""}
    messages.write_text(json.dumps({"attachments": [file]}))
    async with build.files(load({"CECOCHAT_DATA_DIR": str(tmp_path)})) as files:
        assert files
        folder = tmp_path / "files" / "kept" / owner_of(UserId("alice"))
        folder.mkdir(parents=True)
        (folder / file["id"]).write_bytes(b"x")
        with ZipFile(tmp_path / "a.zip", "w") as archive:
            await Contents(files, UserId("alice"), archive).add(messages)
    (name,) = archive.namelist()
    assert name == f"files/{file['id']}-.._.._x__" + "y" * 91
