"""What only the history on SQLite promises: it goes on with the file of an earlier version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from cecochat.adapters.embedded.history import FILE, EmbeddedHistory
from cecochat.domain.log.place import Place
from cecochat.ports.history import Progress
from tests.contract.test_history import NOW_MS, check, dialog, message


async def test_the_progress_of_an_earlier_version_is_a_place_of_no_known_clock(
    tmp_path: Path,
) -> None:
    chat = dialog()
    history = await EmbeddedHistory.open(tmp_path)
    await history.write([message(1, chat)], [], Progress("log", 3, 70, NOW_MS))
    await history.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as former:
        former.execute("ALTER TABLE progress DROP COLUMN clock_ms")
    history = await EmbeddedHistory.open(tmp_path)
    assert await history.progress("log") == {3: Place(0, 70)}
    await history.write([message(2, chat)], [], Progress("log", 3, 69, NOW_MS))
    await history.close()
    history = await EmbeddedHistory.open(tmp_path)
    assert await history.progress("log") == {3: Place(NOW_MS, 69)}
    await check(history, [message(1, chat), message(2, chat)], [])
    await history.close()
