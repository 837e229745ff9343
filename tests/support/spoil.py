"""Ways to make a good run look bad, each in one place that is drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.support.records import SERVER, Acked, Delivered, Entry, Message, participants
from tests.support.story import Entries, History

Spoil = Callable[[Entries, History, Random], None]


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
    concerned = participants(message.chat_id)
    strangers = {entry.who for entry in entries if entry.who.user_id not in concerned} - {SERVER}
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


def drop_a_message(entries: Entries, history: History, rng: Random) -> None:
    """An acknowledged one: neither the history nor any device but its sender's ever has it."""
    acks = [entry for entry in entries if isinstance(entry.what, Acked)]
    gone = rng.choice(acks).what
    assert isinstance(gone, Acked)
    for chat_id, rows in history.items():
        history[chat_id] = [row for row in rows if row.message_id != gone.message_id]
    entries[:] = [
        entry
        for entry in entries
        if not isinstance(entry.what, Delivered) or entry.what.message.message_id != gone.message_id
    ]


def double_a_row(_: Entries, history: History, rng: Random) -> None:
    rows = history[rng.choice(sorted(history))]
    at = rng.randrange(len(rows))
    rows.insert(at, rows[at])


def trade_rows_of_one_sender(_: Entries, history: History, rng: Random) -> None:
    lines: dict[tuple[str, str], list[int]] = {}
    for chat_id, rows in history.items():
        for at, row in enumerate(rows):
            lines.setdefault((chat_id, row.user_id), []).append(at)
    (chat_id, _user), own = rng.choice([line for line in lines.items() if len(line[1]) > 1])
    one, other = rng.sample(own, 2)
    rows = history[chat_id]
    rows[one], rows[other] = rows[other], rows[one]


BY_BOTH: list[Spoil] = [
    lose, repeat, swap, misdeliver, garble, forget_an_ack,
    drop_a_row, double_a_row, trade_rows_of_one_sender, drop_a_message,
]  # fmt: skip
"""What both judges find."""
BY_OUR_ORACLE: list[Spoil] = [*BY_BOTH, trade_rows]


def _message(entry: Entry) -> Message:
    assert isinstance(entry.what, Delivered)
    return entry.what.message


def _id(entry: Entry) -> int:
    return _message(entry).message_id
