"""What SIGKILL alone cannot show, since the page cache survives it: an ack waits for the commit."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from cecochat.adapters.embedded.sqlite import Database
from tests.integration.streams import message
from tests.integration.systems import QUICK, running

CHAT = "d:alice~bob"
WITHIN_S = 60.0


class Disk:
    """Every database of the system, and a hold on the commits of its log."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.databases: dict[str, Database] = {}
        self.stalled, self.reached, self.go_on = (threading.Event() for _ in range(3))
        commit = Database.commit

        def held(database: Database, connection: sqlite3.Connection) -> None:
            self.databases[database.path.name] = database
            if database.path.name == "log.db" and self.stalled.is_set():
                self.reached.set()
                self.go_on.wait(WITHIN_S)
            commit(database, connection)

        monkeypatch.setattr(Database, "commit", held)


async def test_nobody_sees_a_message_whose_commit_stalls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with (
        running(tmp_path, QUICK) as system,
        system.stream("alice") as alice,
        system.stream("bob") as bob,
        asyncio.TaskGroup() as tasks,
    ):
        disk.stalled.set()
        acked = tasks.create_task(alice.until_acks(1))
        delivered = tasks.create_task(bob.until_texts(1))
        await alice.send(message("m1", CHAT, "hello"))
        assert await asyncio.to_thread(disk.reached.wait, WITHIN_S)
        async with system.stream("carol"):
            pass  # the server goes on: it welcomes somebody meanwhile
        assert not acked.done()
        assert not delivered.done()
        disk.go_on.set()
        [item] = await acked
        assert item.ack.client_message_id == "m1"
        assert await delivered == ["hello"]


async def test_the_databases_of_the_running_system_sync_every_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with running(tmp_path, QUICK) as system, system.stream("alice") as alice:
        await alice.send(message("m1", CHAT, "hello"))
        await alice.until_acks(1)
        assert {"log.db", "history.db", "configuration.db"} <= disk.databases.keys()
        del disk.databases["search.db"]  # it is made again from the history
        for name, database in tuple(disk.databases.items()):  # others may commit meanwhile
            pragmas = await database.pragmas()
            assert (name, pragmas["journal_mode"], pragmas["synchronous"]) == (name, "wal", 2)
