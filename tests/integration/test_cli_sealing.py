"""`cecochat sealing` as a person types it: in a new system, and in one that is older."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from tests.support.commands import rows, run
from tests.support.left import places_of
from tests.support.server import Server


async def seals(server: Server) -> bool:
    out, _ = await run(server, "sealing", "--json")
    return bool(json.loads(out)["seals"])


async def test_a_new_system_seals(server: Server) -> None:
    out, _ = await run(server, "sealing")
    assert out.startswith("Texts are sealed")
    assert (await rows(server, "sealing", "--on", "--json")) == [
        {"seals": True, "turned_on": False}
    ]


async def test_an_older_one_seals_what_is_written_once_it_is_told_and_started_again(
    server: Server,
) -> None:
    """Its folder is as an upgrade finds it: with a log and without keys."""
    await server.terminate()
    with closing(sqlite3.connect(server.data / "keys.db")) as keys, keys:
        keys.execute("DELETE FROM facts")
    await server.start()
    out, _ = await run(server, "sealing")
    assert out.startswith("Texts are not sealed")
    await run(server, "send", "--as", "alice", "bob", "plainly said")
    assert places_of([b"plainly said"], server.data)
    out, _ = await run(server, "sealing", "--on")
    assert out.startswith("New texts are sealed from now on")
    assert await seals(server)
    await server.terminate()
    await server.start()
    await run(server, "send", "--as", "alice", "bob", "secretly said")
    found = await rows(server, "history", "--as", "bob", "alice", "--json")
    assert [each["text"] for each in found] == ["plainly said", "secretly said"]
    places = places_of([b"secretly said"], server.data)
    assert [each for each in places if "search.db" not in each] == []

    out, _ = await run(server, "erase", "alice", "--yes")
    assert "texts that are not sealed, and stay readable: 1" in out
    found = await rows(server, "history", "--as", "bob", "alice", "--json")
    assert [each["text"] for each in found] == ["plainly said", ""]


async def test_another_secret_stops_the_start(server: Server) -> None:
    await run(server, "send", "--as", "alice", "bob", "hello")
    await server.terminate()
    (server.data / "keys-secret").write_text("another secret, which is long enough for it\n")
    _, err = await run(server, "up", "--data", str(server.data), code=2, more=server.ports)
    assert "wrapped with another secret" in err
