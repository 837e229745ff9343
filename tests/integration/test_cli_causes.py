"""A cause that lies on this machine ends a command at once, with what to do and no traceback."""

from __future__ import annotations

import asyncio
import os
import pty
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from cecochat.adapters.embedded import checks as embedded
from cecochat.settings import private
from tests.support.commands import WITHIN_S, environment, first_lines, rows, run, start
from tests.support.server import CECOCHAT, Server, free_ports

pytestmark = pytest.mark.usefixtures("interruptible")
NOBODY = "nosuch.invalid"  # RFC 6761: a name that never resolves
NOT_OURS = "192.0.2.1"  # RFC 5737: an address for documentation


async def refused(server: Server, *words: str, code: int) -> str:
    """What `up` says instead of starting."""
    _, err = await run(server, "up", *words, code=code, more=free_ports())
    assert len(err.splitlines()) == 1, err
    return err


async def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    err = await refused(Server(tmp_path), "--data", str(tmp_path / "file"), code=2)
    assert f"the data folder {tmp_path / 'file'} cannot be used (File exists)" in err
    assert "--data" in err


async def test_a_folder_that_cannot_be_written_is_no_data_folder(tmp_path: Path) -> None:
    """Root may write into every folder, so this is one where nobody can."""
    err = await refused(Server(tmp_path), "--data", "/proc/chat", code=2)
    assert "the data folder /proc/chat cannot be used" in err


@pytest.mark.parametrize("name", private.DATABASES)
async def test_a_damaged_database_is_named(server: Server, name: str) -> None:
    await run(server, "send", "--as", "alice", "bob", "hi")
    await server.kill()
    data = Path(server.ready["data"])
    for part in private.PARTS[1:]:
        (data / f"{name}{part}").unlink(missing_ok=True)
    (data / name).write_bytes(os.urandom(20_000))
    err = await refused(server, "--data", str(data), code=1)
    assert f"{data / name} cannot be opened (file is not a database): it is damaged" in err
    assert "when-something-is-wrong.md" in err
    out, _ = await run(server, "doctor", "--data", str(data), code=1)
    assert f"damaged: {name}: file is not a database" in out


async def test_the_doctor_finds_a_page_that_is_damaged(server: Server) -> None:
    texts = "\n".join(first_lines(500))
    await run(server, "send", "--as", "alice", "bob", "-", given=texts)
    await server.terminate()
    data = Path(server.ready["data"])
    assert embedded.databases(data).result == "ok"
    with closing(sqlite3.connect(data / "log.db")) as log:
        (root,) = log.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'records'"
        ).fetchone()
        (bytes_,) = log.execute("PRAGMA page_size").fetchone()
    with (data / "log.db").open("r+b") as file:
        file.seek((root - 1) * bytes_)
        file.write(os.urandom(bytes_))
    finding = embedded.databases(data)
    assert finding.result == "wrong"
    assert finding.found.startswith("damaged: log.db: ")
    starting = await start(server, "up", "--data", str(data), **free_ports())
    assert starting.stderr
    async with asyncio.timeout(WITHIN_S):
        while b"it is damaged; docs/how-to/when-something-is-wrong.md" not in (
            line := await starting.stderr.readline()
        ):
            assert line, "it ended without saying so"
    starting.terminate()
    await starting.communicate()


async def test_an_address_of_another_machine_and_a_name_that_nobody_knows(tmp_path: Path) -> None:
    server, data = Server(tmp_path), str(tmp_path / "data")
    err = await refused(server, "--data", data, "--host", NOT_OURS, code=2)
    assert f"this machine cannot listen on {NOT_OURS} (Cannot assign requested address)" in err
    err = await refused(server, "--data", data, "--host", NOBODY, code=2)
    assert f"the host {NOBODY} cannot be resolved" in err
    elsewhere = ("--connect", f"http://{NOBODY}:8080", "--token", "t")
    _, err = await run(server, "send", *elsewhere, "bob", "hi", code=2)
    assert f"http://{NOBODY}:8080 cannot be resolved" in err
    _, err = await run(server, "chats", "--connect", "http://[::1", "--token", "t", code=2)
    assert "is not a URL" in err


async def test_as_that_contradicts_the_token_is_refused(server: Server) -> None:
    out, _ = await run(server, "token", "alice")
    for command in (("send", "carol", "hi"), ("chats",), ("history", "carol")):
        words = (*command, "--as", "bob", "--token", out.strip())
        _, err = await run(server, *words, code=2)
        assert "the token is for alice, not for bob" in err
    assert await rows(server, "chats", "--as", "bob", "--json") == []


async def test_send_says_that_it_waits(server: Server) -> None:
    """The server was killed after it had accepted one of two."""
    await run(server, "send", "--as", "alice", "bob", "first")
    sending = await start(server, "send", "--as", "alice", "bob", "-")
    assert sending.stdin
    assert sending.stdout
    assert sending.stderr
    sending.stdin.write(b"one\n")
    async with asyncio.timeout(WITHIN_S):
        assert (await sending.stdout.readline()).decode().strip().isdecimal()
        await server.kill()
        sending.stdin.write(b"two\n")
        said = (await sending.stderr.readline()).decode()
    assert "no server has accepted this message yet" in said
    await server.start()
    sending.stdin.close()
    async with asyncio.timeout(WITHIN_S):
        out = (await sending.stdout.read()).decode()
    assert out.strip().isdecimal()
    assert await sending.wait() == 0


# -- which system


async def on_a_terminal(server: Server, *words: str) -> str:
    """What a command says there, on one line."""
    ours, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        CECOCHAT, *words, env=environment(server), stderr=its, stdout=asyncio.subprocess.DEVNULL
    )
    os.close(its)
    assert await asyncio.wait_for(process.wait(), WITHIN_S) == 0
    said = b""
    with suppress(OSError):  # there is no more
        while part := os.read(ours, 4_096):
            said += part
    os.close(ours)
    return said.decode()


def spoil(folder: Path) -> None:
    """Leave there what no `up` writes."""
    texts = ("[]", "null", "5", "{}", "[" * 100_000, "\xff", '{"connect": 5, "data": []}')
    for number, text in enumerate(texts):
        (folder / f"{number}.json").write_text(text, encoding="latin-1")
    os.mkfifo(folder / "90.json")
    (folder / "91.json").symlink_to("/dev/zero")
    (folder / "92.json").mkdir()


async def test_what_is_no_system_of_ours_is_passed_over(server: Server) -> None:
    spoil(server.folder / "state" / "cecochat" / "systems")
    assert len(await rows(server, "systems", "--json")) == 1
    await run(server, "send", "--as", "alice", "bob", "hi")
    await server.terminate()
    await server.start()
    assert len(await rows(server, "systems", "--json")) == 1


async def test_a_state_folder_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    server = Server(tmp_path / "up", {"XDG_STATE_HOME": str(tmp_path / "file")})
    await server.start()
    assert f"give them --connect {server.connect_url}" in server.said
    await server.terminate()


async def test_a_token_of_an_operator_is_for_the_system_that_is_named(
    server: Server, tmp_path: Path
) -> None:
    second = Server(tmp_path / "second", {"XDG_STATE_HOME": str(server.folder / "state")})
    await second.start()
    words = ("token", "--operator", "anna", "--scope", "read", "--connect", server.connect_url)
    out, _ = await run(server, *words)
    address = server.ready["health"]["messaging"]
    headers = {"authorization": f"Bearer {out.strip()}"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        assert (await client.get(f"{address}/partitions")).status_code == 200
    await second.terminate()


async def test_a_copy_without_a_log_is_not_restored(server: Server, tmp_path: Path) -> None:
    await server.terminate()
    copy = Path(server.ready["data"])
    (copy / "log.db").write_bytes(b"")
    _, err = await run(server, "restore", str(copy), "--data", str(tmp_path / "new"), code=1)
    assert f"{copy / 'log.db'} is not a log" in err
    (tmp_path / "file").touch()
    for there in (str(tmp_path / "file"), "/proc/x"):
        _, err = await run(server, "restore", str(copy), "--data", there, code=2)
        assert "cannot be used" in err


async def test_two_systems_are_told_apart(server: Server, tmp_path: Path) -> None:
    """The second began last and is the default; each is found by its URL, with its own secret."""
    state = {"XDG_STATE_HOME": str(server.folder / "state")}
    second = Server(tmp_path / "second", state)
    await second.start()
    listed = await rows(server, "systems", "--json")
    assert [(each["connect"], each["runs"]) for each in listed] == [
        (second.connect_url, True),
        (server.connect_url, True),
    ]
    here = f"{second.connect_url} (data {second.ready['data']})"
    said = await on_a_terminal(server, "send", "--as", "alice", "bob", "to the second")
    assert f"2 systems run here; this is the one that was started last, at {here}" in said
    assert f"add --connect {server.connect_url}" in said
    _, err = await run(server, "chats", "--as", "alice")
    assert err == "", "a program is not told"
    first = ("--connect", server.connect_url.replace("127.0.0.1", "localhost"))
    _, err = await run(server, "send", *first, "--as", "alice", "bob", "to the first")
    assert "systems run here" not in err
    _, err = await run(server, "config", "set", "sends.burst", "77", "--data", server.ready["data"])
    assert err == ""
    assert [row["text"] for row in await rows(server, "export", *first, "--as", "bob")] == [
        "to the first"
    ]
    await second.kill()
    out, err = await run(server, "export", "--as", "bob")
    assert "to the first" in out, "what was killed is skipped"
    assert err == ""
    _, err = await run(server, "chats", "--connect", second.connect_url, "--as", "bob", code=3)
    assert second.connect_url in err, "the one that was tried"
    assert f"What runs here is {server.connect_url} (data {server.ready['data']})" in err
    shutil.rmtree(second.ready["data"])
    assert len(await rows(server, "systems", "--json")) == 1
