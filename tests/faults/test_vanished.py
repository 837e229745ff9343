"""A record that was acknowledged vanishes from the middle of the log, or cannot be read any more:
of all else nothing is missing, and everybody is told.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.client import CaughtUp, Hole, Message
from cecochat.client import connect as connected
from cecochat.ports.history import Hole as KeptHole
from cecochat.servers.materialize.rows import SETTLED_AFTER_MS
from tests.support.eventually import eventually
from tests.support.rawclient import mint
from tests.support.server import Server, command, running

MESSAGES = 600
BEFORE = 100  # what bob has when he leaves
ONE = {"CECOCHAT_PARTITIONS": "1"}
ROWS = "SELECT place FROM records WHERE headers LIKE '%kind=origin%id=' || ? || '%'"


DAMAGE = {
    "vanished": "DELETE FROM records WHERE place = ?",
    "unreadable": "UPDATE records SET value = x'ff' WHERE place = ?",
    # the end of the text: it is a message as before, but for the checksum
    "changed": """UPDATE records
        SET value = CAST(substr(value, 1, length(value) - 1) || x'21' AS BLOB) WHERE place = ?""",
}


async def send(server: Server, count: int) -> list[int]:
    token = mint(server.secret_file, "alice", 3_600)
    async with connected(server.connect_url, token, listen=False, timeout_s=30) as alice:
        return [await alice.send("bob", f"message {number}") for number in range(count)]


async def read_as_bob(server: Server, state: Path, send_: int) -> tuple[list[int], list[Any]]:
    """What his device is told, from where it was, up to the last of so many messages, which alice
    sends him once he is caught up; and their ids.
    """
    token = mint(server.secret_file, "bob", 3_600)
    told: list[Message | Hole] = []
    ids: list[int] = []
    async with asyncio.timeout(90), connected(server.connect_url, token, state=state) as bob:
        async for event in bob:
            if isinstance(event, CaughtUp):
                ids = await send(server, send_)
            if isinstance(event, Message | Hole):
                told.append(event)
            if ids and isinstance(event, Message) and event.id == ids[-1]:
                return ids, told
    raise AssertionError("the stream has no end")


def damage(data: Path, statement: str, id_: int) -> int:
    """Its place in the log, after the statement was executed on it."""
    with closing(sqlite3.connect(data / "log.db")) as log, log:
        [(place,)] = log.execute(ROWS, (id_,)).fetchall()
        log.execute(statement, (place,))
    for file in data.glob("history.db*"):
        file.unlink()
    return int(place)


def stored(data: Path) -> set[int]:
    with closing(sqlite3.connect(data / "history.db")) as history:
        return {id_ for (id_,) in history.execute("SELECT message_id FROM messages")}


async def holes_of(data: Path) -> list[KeptHole]:
    history = await EmbeddedHistory.open(data)
    try:
        return await history.holes()
    finally:
        await history.close()


def is_told(id_: int, holes: Iterable[KeptHole | Hole]) -> bool:
    return any(hole.first_id <= id_ <= hole.last_id for hole in holes)


@pytest.mark.timeout(420)
@pytest.mark.parametrize("fault", DAMAGE)
async def test_what_the_middle_of_a_log_lacks_is_told(tmp_path: Path, fault: str) -> None:
    data, state = tmp_path / "data", tmp_path / "bob"
    known = {"XDG_STATE_HOME": str(tmp_path / "state")}
    async with running(tmp_path, environment=ONE) as server:
        first, _ = await read_as_bob(server, state, BEFORE)
        later = await send(server, MESSAGES - BEFORE)
        await server.terminate()
        gone = later[len(later) // 2]
        if fault == "vanished":
            damage(data, DAMAGE[fault], gone)
        else:
            await asyncio.sleep(SETTLED_AFTER_MS / 1_000)  # younger, it would never have been read
            damage(data, DAMAGE[fault], gone)
        await server.start()
        last = (await send(server, 1))[-1]
        await eventually(lambda: last in stored(data), within_s=60, every_s=0.5)
        acknowledged = {*first, *later, last}
        found = await holes_of(data)
        missing = acknowledged - stored(data)
        assert gone in missing
        assert all(is_told(id_, found) for id_ in missing), "of some nobody was told"
        if fault == "vanished":
            assert missing == {gone}, "what is behind it counts"
            assert [hole.reason for hole in found] == ["vanished"]
        else:
            assert {hole.reason for hole in found} == {"unproven"}
        _, told = await read_as_bob(server, state, 1)
        seen = {each.id for each in told if isinstance(each, Message)}
        spans = [each for each in told if isinstance(each, Hole)]
        assert seen >= {*later, last} - missing
        assert all(is_told(id_, spans) for id_ in missing), "his device was not told"

        async def is_hidden() -> bool:
            return "HIDDEN" in await command(known, "audit", code=None)

        await eventually(is_hidden, within_s=60, every_s=1)  # it compares what is committed
        await command(known, "audit", code=1)
        assert "WRONG  holes" in await command(known, "doctor", "--data", str(data), code=1)
        where = await command(known, "where", str(gone), code=None)
        assert "nobody was told" not in where
        assert "there is no such message" not in where
        if fault != "vanished":
            behind = await command(known, "where", str(min(missing - {gone})), code=None)
            assert "may have been acknowledged" in behind
