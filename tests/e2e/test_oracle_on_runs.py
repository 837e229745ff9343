"""A recorded run, corrupted in one place drawn at random: the oracle always notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.support.crowd import Crowd
from tests.support.fakeserver import fake_server
from tests.support.oracle import judge
from tests.support.records import Acked, Delivered, Entry, Message
from tests.support.story import Entries, History
from tests.support.texts import real_texts
from tests.support.traffic import ring

TRIES = 15
Spoil = Callable[[Entries, History, Random], None]


async def recorded(folder: Path, rng: Random) -> tuple[Entries, History]:
    """Eight users and their second devices, over two restarts."""
    async with fake_server(folder) as server:
        crowd = Crowd(lambda: server.connect_url, server.secret_file)
        who, chats = ring(8)
        async with crowd.connected(who, chats):
            for number in range(300):
                device = crowd.devices[rng.choice(who)]
                device.say(rng.choice(device.chats), rng.choice(real_texts()))
                if number % 100 == 99:
                    await server.stop()
                    await server.start()
                await asyncio.sleep(0)
            assert await crowd.settle() == []
            return crowd.record.entries, await crowd.histories()


def deliveries(entries: Entries) -> list[int]:
    return [at for at, entry in enumerate(entries) if isinstance(entry.what, Delivered)]


def lose(entries: Entries, _: History, rng: Random) -> None:
    """A delivery that is not made up for by an ack of the same message."""
    acked = {(e.who, e.what.message_id) for e in entries if isinstance(e.what, Acked)}
    found = deliveries(entries)
    at = rng.choice([at for at in found if (entries[at].who, _id(entries[at])) not in acked])
    del entries[at]


def repeat(entries: Entries, _: History, rng: Random) -> None:
    at = rng.choice(deliveries(entries))
    entries.insert(rng.randint(at + 1, len(entries)), entries[at])


def swap(entries: Entries, _: History, rng: Random) -> None:
    """Two deliveries of one sender in one chat on one device trade places."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for at in deliveries(entries):
        message = _message(entries[at])
        groups.setdefault((entries[at].who, message.user_id, message.chat_id), []).append(at)
    one, other = sorted(rng.sample(rng.choice([g for g in groups.values() if len(g) > 1]), 2))
    first, second = entries[one].what, entries[other].what
    assert isinstance(first, Delivered)
    assert isinstance(second, Delivered)
    entries[one] = entries[one]._replace(what=Delivered(first.offset, second.message))
    entries[other] = entries[other]._replace(what=Delivered(second.offset, first.message))


def misdeliver(entries: Entries, _: History, rng: Random) -> None:
    at = rng.choice(deliveries(entries))
    message = _message(entries[at])
    concerned = {message.user_id, *message.recipient_ids}
    strangers = {entry.who for entry in entries if entry.who.user_id not in concerned}
    entries[at] = entries[at]._replace(who=rng.choice(sorted(strangers)))


def garble(entries: Entries, _: History, rng: Random) -> None:
    at = rng.choice(deliveries(entries))
    what = entries[at].what
    assert isinstance(what, Delivered)
    message = what.message._replace(text=(what.message.text or "") + " ")
    entries[at] = entries[at]._replace(what=Delivered(what.offset, message))


def forget_an_ack(entries: Entries, _: History, rng: Random) -> None:
    """Of a message that its sender was not shown either."""
    shown = {(e.who, _id(e)) for e in entries if isinstance(e.what, Delivered)}
    acks = [
        at
        for at, entry in enumerate(entries)
        if isinstance(entry.what, Acked) and (entry.who, entry.what.message_id) not in shown
    ]
    del entries[rng.choice(acks)]


def drop_a_row(_: Entries, history: History, rng: Random) -> None:
    rows = history[rng.choice(sorted(history))]
    del rows[rng.randrange(len(rows))]


def trade_rows(_: Entries, history: History, rng: Random) -> None:
    rows = history[rng.choice(sorted(history))]
    one, other = rng.sample(range(len(rows)), 2)
    rows[one], rows[other] = rows[other], rows[one]


def _message(entry: Entry) -> Message:
    assert isinstance(entry.what, Delivered)
    return entry.what.message


def _id(entry: Entry) -> int:
    return _message(entry).message_id


async def test_any_single_corruption_of_a_run_is_noticed(tmp_path: Path, rng: Random) -> None:
    entries, history = await recorded(tmp_path, rng)
    ways: list[Spoil] = [
        lose, repeat, swap, misdeliver, garble, forget_an_ack, drop_a_row, trade_rows
    ]  # fmt: skip
    for way in ways:
        for attempt in range(TRIES):
            spoilt = list(entries), {chat: list(rows) for chat, rows in history.items()}
            way(*spoilt, rng)
            assert judge(*spoilt) != [], f"{way.__name__}, attempt {attempt}"
