"""`cecochat audit` as a person types it, against a real `cecochat up`."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.commands import run, start
from tests.support.damage import SqliteDamage
from tests.support.eventually import eventually
from tests.support.server import Server, started

pytestmark = pytest.mark.usefixtures("interruptible")
CHAT = "d:alice~bob"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """With several partitions, as a folder of an earlier version has them."""
    async with started(Server(tmp_path / "up", {"CECOCHAT_PARTITIONS": "12"})) as server:
        yield server


async def said(server: Server, count: int) -> list[str]:
    """Ids of messages that are in the history."""
    ids = [
        (await run(server, "send", "--as", "alice", "bob", f"m{n}"))[0].strip()
        for n in range(count)
    ]

    async def compared() -> bool:
        out, _ = await run(server, "audit")
        return out.startswith(f"{count} rows compared in 12 partitions")

    await eventually(compared)
    return ids


async def test_what_is_missing_is_named_and_repaired_by_one_command(server: Server) -> None:
    ids = await said(server, 3)
    out, _ = await run(server, "audit")
    assert out.endswith("nothing is missing\n")
    await SqliteDamage(server.folder / "data").delete_message(CHAT, int(ids[1]))
    out, _ = await run(server, "audit", code=1)
    named = f"partition 9, offset 2: message {ids[1]} of {CHAT}: absent from the history"
    assert out.splitlines()[0] == f"MISSING  {named}"
    assert out.endswith(": 1 row missing; use --repair to write them again\n")
    assert "compared in 1 partition:" in (await run(server, "audit", "--partition", "3"))[0]
    out, _ = await run(server, "audit", "--partition", "9", "--repair", "--since", "1h")
    assert out.splitlines()[0] == f"written again  {named}"
    out, _ = await run(server, "audit", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["partition"] for line in lines[:-1]] == list(range(12))
    assert lines[-1] == {"rows": 3, "missing_rows": 0, "hidden_stretches": 0}
    assert "m1" in (await run(server, "history", "--as", "bob", "alice"))[0]


async def test_follow_shows_what_the_servers_find_until_it_is_there_again(server: Server) -> None:
    ids = await said(server, 2)
    following = await start(server, "audit", "--follow")
    assert following.stdout
    out = following.stdout

    async def until(text: str) -> None:
        async with asyncio.timeout(60):
            while text not in (await out.readline()).decode():
                pass

    await until("nothing is missing")
    await SqliteDamage(server.folder / "data").spoil_message(CHAT, int(ids[0]))
    await run(server, "audit", code=1)
    await until(f"MISSING  partition 9, offset 1: message {ids[0]} of {CHAT}: not the same")
    await until("1 row missing")
    await run(server, "audit", "--repair")
    await until("there again  partition 9, offset 1")
    following.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        assert await following.wait() == 130


async def test_what_cannot_be_audited_is_said_in_one_line(server: Server) -> None:
    for words, code, says in (
        (("--since", "yesterday"), 2, "use 30m, 12h, 7d or one such as"),
        (("--follow", "--repair"), 2, "--follow only shows"),
        (("--partition", "12"), 2, "use one below 12"),
        (("--server", server.connect_url), 3, "no materialize server answers"),
        (("--server", "http://127.0.0.1:1"), 3, "no materialize server answers"),
    ):
        _, err = await run(server, "audit", *words, code=code)
        assert says in err
    await server.kill()
    _, err = await run(server, "audit", code=3)
    assert "no materialize server answers" in err
