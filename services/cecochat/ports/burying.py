"""Puts dead letters where an operator finds them, so that the partition can go on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from cecochat.domain.log.dead_letters import DeadLetter, parse
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


async def letters_of(
    backplane: Backplane, partition: int, at_most: int
) -> AsyncGenerator[tuple[int, DeadLetter]]:
    """Yield the newest letters of a partition, the oldest first, each with when it was buried, ms
    since 1970. Raises `Unavailable`.
    """
    _, end = await backplane.bounds(DEAD_LETTERS, partition)
    async with aclosing(letters_from(backplane, partition, end - at_most)) as letters:
        async for _, at_ms, letter in letters:
            yield at_ms, letter


async def letters_from(
    backplane: Backplane, partition: int, offset: int
) -> AsyncGenerator[tuple[int, int, DeadLetter]]:
    """Yield the letters of a partition from an offset up to the end of now, each with its offset,
    and when it was buried, ms since 1970. Raises `Unavailable`.
    """
    start, end = await backplane.bounds(DEAD_LETTERS, partition)
    start = max(start, offset)
    if start >= end:
        return
    async with aclosing(backplane.read(DEAD_LETTERS, partition, start)) as batches:
        async for batch in batches:
            for record in batch:
                if letter := parse(record.key, record.value, record.headers):
                    yield record.offset, record.appended_at_ms, letter
            if batch[-1].offset >= end - 1:
                return
