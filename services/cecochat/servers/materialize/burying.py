"""Puts dead letters where an operator finds them, so that the partition can go on."""

from __future__ import annotations

from collections.abc import Sequence

from cecochat.domain.log.dead_letters import DeadLetter
from cecochat.ports.backplane import DEAD_LETTERS, Backplane, NewRecord, Producer


class Burial:
    """Appends dead letters with a producer session, which is opened when it is first needed."""

    def __init__(self, backplane: Backplane) -> None:
        self._backplane = backplane
        self._producer: Producer | None = None

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Append letters, and return when they are durable. Raises `ProducerEnded` and
        `Unavailable`: then call `forget`.
        """
        self._producer = self._producer or await self._backplane.producer(DEAD_LETTERS)
        await self._producer.append([_record(letter.fitted()) for letter in letters])

    def forget(self) -> None:
        """Forget the producer session, since it may have ended."""
        self._producer = None


def _record(letter: DeadLetter) -> NewRecord:
    return NewRecord(letter.partition, letter.key, letter.value, letter.headers())
