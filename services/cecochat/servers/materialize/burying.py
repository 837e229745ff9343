"""Puts dead letters where a person finds them, so that a partition goes on."""

from __future__ import annotations

from collections.abc import Sequence

from cecochat.domain.log.letters import Letter
from cecochat.ports.backplane import DEAD_LETTERS, Backplane, NewRecord, Producer


class Burial:
    """One producer session of the topic of dead letters, opened when it is needed."""

    def __init__(self, backplane: Backplane) -> None:
        self._backplane = backplane
        self._producer: Producer | None = None

    async def bury(self, letters: Sequence[Letter]) -> None:
        """Returns when they are durable. Raises `ProducerEnded`, `Unavailable`; then `forget`."""
        self._producer = self._producer or await self._backplane.producer(DEAD_LETTERS)
        await self._producer.append([_record(letter.fitted()) for letter in letters])

    def forget(self) -> None:
        """The session may have ended."""
        self._producer = None


def _record(letter: Letter) -> NewRecord:
    return NewRecord(letter.partition, letter.key, letter.value, letter.headers())
