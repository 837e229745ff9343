"""What the search costs in one process: to index a message, beside storing it in the history, and
to find among many.

    python -m tests.bench.searches [MESSAGES]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.adapters.embedded.search import EmbeddedSearch
from cecochat.domain.log.ids import ChatId, UserId, dialog, message_id, stamp_at
from cecochat.domain.search.entries import entries_of
from cecochat.ports.backplane import Log
from cecochat.ports.history import MessageRow, Progress
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import Opening
from cecochat.servers.history.queries import Queries
from cecochat.servers.history.searching import Searching
from cecochat.telemetry.tracing import OFF
from cecochat.v1.events_pb2 import Event, Message
from cecochat.v1.history_pb2 import SearchMessagesRequest, SearchMessagesResponse
from tests.bench.meter import percentiles_ms
from tests.support.texts import real_texts

USERS = 300
BATCH = 50
TEXT_MAX = 300  # characters: what people write in chats
TIMES = 200
LOOKED_FOR = (
    "the",
    "class method",
    "import",
    "exception handler",
    "nothing such",
    "ex",
    "python 3",
)
LOG_ID = "bench"


def messages(count: int) -> list[MessageRow]:
    """Between random pairs of users, one a millisecond, up to now."""
    begin_ms = time.time_ns() // 1_000_000 - count
    texts = [text for text in real_texts() if len(text) <= TEXT_MAX]
    rows = []
    for number in range(count):
        sender, recipient = (UserId(f"user{n}") for n in random.sample(range(USERS), 2))
        id_ = message_id(stamp_at(begin_ms + number), 0)
        chat_id, text = dialog(sender, recipient), random.choice(texts)
        event = Event(id=id_, chat_id=chat_id, user_id=sender, message=Message(text=text))
        value = event.SerializeToString()
        rows.append(MessageRow(id_, ChatId(chat_id), sender, (recipient,), value))
    return rows


async def stored(history: EmbeddedHistory, rows: Sequence[MessageRow]) -> float:
    """The CPU time of all threads in s."""
    begun_s = time.process_time()
    for at in range(0, len(rows), BATCH):
        await history.write(rows[at : at + BATCH], [], Progress(LOG_ID, 0, at + BATCH))
    return time.process_time() - begun_s


async def indexed(search: EmbeddedSearch, rows: Sequence[MessageRow]) -> float:
    turn = await search.clear()
    begun_s = time.process_time()
    for at in range(0, len(rows), BATCH):
        entries = entries_of(row.event for row in rows[at : at + BATCH])
        await search.write(entries, Progress(LOG_ID, 0, at + BATCH), turn)
    return time.process_time() - begun_s


async def searched(searching: Searching, text: str) -> str:
    taken_s, found, used_s = [], 0, time.process_time()
    for number in range(TIMES):
        begun_s = time.perf_counter()
        request = SearchMessagesRequest(text=text)
        answer = await searching.messages(UserId(f"user{number % USERS}"), request)
        taken_s.append(time.perf_counter() - begun_s)
        found += len(SearchMessagesResponse.FromString(answer).messages)
    at = percentiles_ms(taken_s)
    used_ms = (time.process_time() - used_s) / TIMES * 1_000
    times = f"p50 {at['p50_ms']:6.1f}  p99 {at['p99_ms']:6.1f}  CPU {used_ms:5.1f} ms"
    return f"{text!r:20} {found / TIMES:5.1f} found  {times}"


async def main(count: int) -> None:
    rows = messages(count)
    with tempfile.TemporaryDirectory() as folder:
        history = await EmbeddedHistory.open(Path(folder))
        search = await EmbeddedSearch.open(Path(folder))
        storing_s, indexing_s = await stored(history, rows), await indexed(search, rows)
        print(f"{count} messages of {TEXT_MAX} characters at most, {BATCH} in a batch")
        print(f"to store one: {storing_s / count * 1e6:.1f} µs of CPU")
        print(
            f"to index it:  {indexing_s / count * 1e6:.1f} µs, ratio {indexing_s / storing_s:.2f}"
        )
        await search.database.empty_wal()
        await history.database.empty_wal()
        for name in ("history.db", "search.db"):
            print(f"{name}: {(Path(folder) / name).stat().st_size / count:.0f} bytes a message")
        log = Log(cast("Any", None), LOG_ID, 1)
        opening = Opening(KeyRing(cast("Any", None), b"secret"))  # nothing is sealed here
        searching = Searching(history, search, log, Queries(history, opening, log, OFF))
        for text in LOOKED_FOR:
            print(await searched(searching, text))
        begun_s = time.perf_counter()
        await search.forget(UserId("user1"))
        print(f"to forget a user: {time.perf_counter() - begun_s:.2f} s")
        await history.close()
        await search.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("messages", type=int, nargs="?", default=100_000)
    asyncio.run(main(parser.parse_args().messages))
