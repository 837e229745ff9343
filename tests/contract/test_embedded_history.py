"""What only the history on SQLite promises: it goes on with the file of an earlier version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from cecochat.adapters.embedded.history import FILE, EmbeddedHistory
from cecochat.domain.log.place import Place
from cecochat.ports.history import Progress
from tests.contract.test_history import NOW_MS, NOWHERE, check, dialog, message, users
from tests.contract.test_history_changes import change


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


async def test_an_earlier_version_goes_on_with_the_file_and_mentions_nobody(tmp_path: Path) -> None:
    """It writes as many columns as it knows, and its rows are restored as any others."""
    chat = dialog()
    _, other = users(chat)
    said = [message(1, chat, mentioned=[other]), message(2, chat)]
    again = change(3, said[1], mentioned=[other])
    history = await EmbeddedHistory.open(tmp_path)
    await history.write([said[1]], [], NOWHERE)
    with closing(sqlite3.connect(tmp_path / FILE)) as former, former:
        insert = "INSERT INTO messages VALUES (?, ?, ?, ?)"
        former.execute(insert, (chat, 1, said[0].user_id, said[0].event))
        former.execute("INSERT INTO changes VALUES (?, ?, ?)", (chat, 3, again.event))
        place = (chat, *(again.about or ()), 3)
        former.execute("INSERT INTO standing_changes VALUES (?, ?, ?, ?, ?)", place)
    (row,), _ = await history.chats(other, before=None, limit=1)
    assert (row.unread_count, row.unread_mention_count) == (2, 0)
    lacking = await history.lacking([*said, again], [])
    assert (lacking.absent, lacking.other) == ([], [said[0], again])
    await history.restore(lacking.other, [])
    (row,), _ = await history.chats(other, before=None, limit=1)
    assert (row.unread_count, row.unread_mention_count) == (2, 2)
    await history.close()
