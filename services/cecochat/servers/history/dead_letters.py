"""Shows operators the dead letters, newest last, and what became of each."""

from __future__ import annotations

import base64
from typing import Any, Final, Literal

from google.protobuf.message import DecodeError

from cecochat.domain.log.dead_letters import DeadLetter
from cecochat.ports.backplane import Log
from cecochat.ports.burying import letters_of
from cecochat.ports.history import History, Hole
from cecochat.v1.events_pb2 import Event

SHOWN_MAX: Final = 200
"""How many letters are shown of each partition: the newest."""
LOOK_BACK: Final = 2_000
"""Among how many of the newest: those of webhooks lie between them, and are not shown here."""

State = Literal["waits", "dropped", "stored", "kept"]
"""What became of a letter.

- `waits`: the message is missing in the history.
- `dropped`: an operator has given the message up.
- `stored`: the message is in the history by now.
- `kept`: there is nothing to wait for, since the record cannot be read.
"""


_Key = tuple[str, int]
"""Position and message id: a log that lost its end uses the same offset again."""


class DeadLetters:
    """Reads the dead letters from the log each time, since there are none or few."""

    def __init__(self, log: Log, history: History) -> None:
        self._log = log
        self._history = history

    async def all(self) -> list[dict[str, Any]]:
        """Return the newest letters of each partition, as objects for JSON without their content.
        Raises `Unavailable`.
        """
        return [_as_json(*each) for each in await self._found(range(self._log.partitions))]

    async def called(self, position: str) -> list[dict[str, Any]]:
        """Return the letters at a position, as objects for JSON with their content. There is more
        than one if the log has used the offset again. Raises `Unavailable`.
        """
        partition, partitions = position.partition(":")[0], self._log.partitions
        if not partition.isdecimal() or len(partition) > 4 or int(partition) >= partitions:
            return []
        found = await self._found(range(int(partition), int(partition) + 1))
        return [
            _as_json(letter, at_ms, hole) | _content(letter)
            for letter, at_ms, hole in found
            if letter.position == position
        ]

    async def _found(self, partitions: range) -> list[tuple[DeadLetter, int, Hole | None]]:
        """Return the letters, when each was buried (ms since 1970) and its hole, oldest first."""
        holes = {
            (hole.name, hole.first_id): hole
            for hole in await self._history.holes()
            if hole.reason == "refused" and hole.log_id == self._log.id
        }
        found: dict[_Key, tuple[int, DeadLetter]] = {}  # a letter that was buried twice counts once
        for partition in partitions:
            letters = [each async for each in letters_of(self._log.backplane, partition, LOOK_BACK)]
            for at_ms, letter in [each for each in letters if not each[1].endpoint][-SHOWN_MAX:]:
                found[letter.position, letter.message_id] = at_ms, letter
        return [
            (letter, at_ms, holes.get(key))
            for key, (at_ms, letter) in sorted(found.items(), key=lambda each: each[1][0])
        ]


def _as_json(letter: DeadLetter, at_ms: int, hole: Hole | None) -> dict[str, Any]:
    event = _event(letter)
    return {
        "name": letter.position,
        "state": _state(letter, hole),
        "kind": letter.kind,
        "reason": letter.reason,
        "at_ms": at_ms,
        "message_id": str(letter.message_id or ""),
        "chat_id": event.chat_id if event else "",
        "user_id": event.user_id if event else "",
        "bytes": len(letter.value) + letter.cut_bytes,
        "cut_bytes": letter.cut_bytes,
    }


def _content(letter: DeadLetter) -> dict[str, str]:
    return {
        "key": base64.b64encode(letter.key).decode(),
        "value": base64.b64encode(letter.value).decode(),
    }


def _event(letter: DeadLetter) -> Event | None:
    """Return the event of a message that was refused; None if there is none."""
    if letter.kind != "refused" or letter.cut_bytes:
        return None
    try:
        return Event.FromString(letter.value)
    except DecodeError:
        return None


def _state(letter: DeadLetter, hole: Hole | None) -> State:
    if not letter.message_id:
        return "kept"
    if not hole:
        return "stored"
    return "dropped" if hole.acknowledged_at_ms else "waits"
