"""What a log took with it when it lost its end, and a run without that, as it is to be judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.support.records import (
    Acked,
    At,
    CaughtUp,
    Delivered,
    DeviceKey,
    Entry,
    GapFilled,
    GapTold,
    Happening,
    Message,
    Sent,
    TokenExpiring,
    Welcomed,
)
from tests.support.run import Key

NOTHING = TokenExpiring(0)
"""What is left out becomes this, so that all else keeps its number in the record."""


@dataclass(frozen=True)
class Taken:
    """The log came back at `back_ms`, by its own clock, and each partition went on at `ends`."""

    ids: frozenset[int]  # of messages that the log does not have any more
    ends: Mapping[int, int]
    back_ms: int

    def without(self, entries: Sequence[Entry]) -> list[Entry]:
        """The record as if nobody had accepted what is gone. What a device is shown a second time,
        since the copy that it was shown is gone, is left out as well: clients drop that. An ack in
        a group stands for a copy, too.
        """
        gone = self._sends_that_are_gone(entries)
        homes = homes_of(entries)
        shown: set[tuple[DeviceKey, int]] = set()
        left = []
        for entry in entries:
            what = entry.what
            if isinstance(what, Delivered) and (entry.who, what.message.message_id) in shown:
                what = NOTHING
            if isinstance(what, Delivered | Acked) and self.has(_at(what), homes[entry.who]):
                shown.add((entry.who, _id(what)))
            left.append(entry._replace(what=self._left(what, entry.who, gone)))
        return left

    def rows(self, messages: Sequence[Message]) -> list[Message]:
        """Of these, what is not gone."""
        return [each for each in messages if each.message_id not in self.ids]

    def has(self, at: At, partition: int) -> bool:
        """Whether the log has lost that place."""
        return 0 < at.clock_ms < self.back_ms and at.offset >= self.ends[partition]

    def _left(self, what: Happening, who: DeviceKey, gone: set[Key]) -> Happening:
        match what:
            case Sent(name, _, _) if Key(who.user_id, name) in gone:
                return NOTHING
            case Acked(_, message_id, _) if message_id in self.ids:
                return NOTHING
            case Delivered(_, message) if message.message_id in self.ids:
                return NOTHING
            case GapFilled(_, messages):
                return replace(what, messages=tuple(self.rows(messages)))
        return what

    def _sends_that_are_gone(self, entries: Sequence[Entry]) -> set[Key]:
        """Those of which nothing else came: they were not sent again."""
        ids: dict[Key, set[int]] = {}
        for key, message_id in shown_in(entries):
            ids.setdefault(key, set()).add(message_id)
        return {key for key, of in ids.items() if of <= self.ids}


def shown_in(entries: Sequence[Entry]) -> Iterator[tuple[Key, int]]:
    """Every message that any device was shown, with the send that it came from."""
    for _, who, _, what in entries:
        match what:
            case Acked(name, message_id, _):
                yield Key(who.user_id, name), message_id
            case Delivered(_, message):
                yield Key(message.user_id, message.client_message_id), message.message_id
            case GapFilled(_, messages):
                for message in messages:
                    yield Key(message.user_id, message.client_message_id), message.message_id


def homes_of(entries: Sequence[Entry]) -> dict[DeviceKey, int]:
    """The partition of each device."""
    return {e.who: e.what.position.partition for e in entries if isinstance(e.what, Welcomed)}


def stood_on_what_is_gone(taken: Taken, entries: Sequence[Entry]) -> set[DeviceKey]:
    """The devices whose position was lost with the log."""
    homes = homes_of(entries)
    return {
        who
        for _, who, _, what in entries
        if isinstance(what, Acked | Delivered | CaughtUp) and taken.has(_at(what), homes[who])
    }


def told_of_a_gap(entries: Sequence[Entry]) -> set[DeviceKey]:
    """Those that were sent to the history."""
    return {entry.who for entry in entries if isinstance(entry.what, GapTold)}


def _id(what: Acked | Delivered) -> int:
    return what.message_id if isinstance(what, Acked) else what.message.message_id


def _at(what: Acked | Delivered | CaughtUp) -> At:
    return At(what.clock_ms, what.offset)
