"""Reads from the log what should be in the history, and finds what is missing there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from typing_extensions import override

from cecochat.domain.log.fold import Fold
from cecochat.domain.log.gaps import Gap
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.ports.backplane import MESSAGES, Backplane, Record
from cecochat.ports.history import History, Hole, MarkRow, MessageRow
from cecochat.ports.reading import (
    between,
    known_fold_at,
    read_cut_log,
    records_after,
    still_holds,
)
from cecochat.runtime.clock import now_ms
from cecochat.servers.materialize.rows import blank_row, rows_of
from cecochat.v1.events_pb2 import Event

log = logging.getLogger(__name__)

What = Literal["absent", "other", "chat", "mark"]
Key = tuple[What, UserId, ChatId, int]
"""What is wrong, the user id, the chat id, and the message id if it is about a single message."""

MEANING: dict[What, str] = {
    "absent": "absent from the history",
    "other": "not the same in the history as in the log",
    "chat": "above the last message in the chat list of {user_id}",
    "mark": "above what is stored of the marks and settings of {user_id}",
}
ROWS_AT_ONCE = 5_000
RECORDS_AT_ONCE = 100
"""How many are folded before others get their turn: in one process, messages wait meanwhile."""


class Expected(NamedTuple):
    """A row that the record at this offset should have become."""

    partition: int
    offset: int
    row: MessageRow | MarkRow


class MissingRow(NamedTuple):
    """A row that the history lacks, or has with another content."""

    what: What
    user_id: UserId  # the sender, or whose chat list or mark it is
    expected: Expected

    @property
    def message_id(self) -> int:
        """The id of the message, or the id up to which the mark should be."""
        row = self.expected.row
        if isinstance(row, MessageRow):
            return row.message_id
        return row.up_to

    @property
    def key(self) -> Key:
        """A key that is the same for the same damage, no matter which record shows it."""
        is_message = self.what in ("absent", "other")
        chat_id = self.expected.row.chat_id
        return self.what, self.user_id, chat_id, self.message_id if is_message else 0

    @override
    def __str__(self) -> str:
        partition, offset, row = self.expected
        meaning = MEANING[self.what].format(user_id=self.user_id)
        return (
            f"partition {partition}, offset {offset}: message {self.message_id} of "
            f"{row.chat_id}: {meaning}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the row for people and programs, as an object for JSON. The id is a string."""
        return {
            "what": self.what,
            "partition": self.expected.partition,
            "offset": self.expected.offset,
            "message_id": str(self.message_id),
            "chat_id": self.expected.row.chat_id,
            "user_id": self.user_id,
            "text": str(self),
        }


class HiddenStretch(NamedTuple):
    """Offsets that cannot be compared with the history, both included: their records have vanished,
    or nothing shows any more whether they count.
    """

    partition: int
    first: int
    last: int
    why: Literal["vanished", "in_doubt"]

    @classmethod
    def of(cls, partition: int, gap: Gap) -> HiddenStretch:
        """Return what the log does not show where a fold has found a gap."""
        return cls(partition, gap.first, gap.last, "vanished" if gap.is_vanished else "in_doubt")

    def joined(self, other: HiddenStretch) -> HiddenStretch | None:
        """Return both as one, if they are of one kind and `other` follows; else None."""
        if self[::3] != other[::3] or self.why == "vanished":
            return None
        return self._replace(last=other.last)

    @override
    def __str__(self) -> str:
        where = f"partition {self.partition}, offsets {self.first} to {self.last}"
        if self.why == "vanished":
            return f"{where}: these records have vanished from the log"
        return f"{where}: records are unreadable, or follow hidden ones, and may or may not count"

    def as_json(self) -> dict[str, Any]:
        """Return the stretch for people and programs, as an object for JSON."""
        return {**self._asdict(), "text": str(self)}


def joined(stretches: Iterable[HiddenStretch]) -> list[HiddenStretch]:
    """Join neighbours that are of one kind."""
    all_: list[HiddenStretch] = []
    for each in stretches:
        if all_ and (longer := all_[-1].joined(each)):
            all_[-1] = longer
        else:
            all_.append(each)
    return all_


@dataclass
class Budget:
    """How much of the log may still be read. All of it is compared at once, in memory."""

    records: int
    bytes: int

    def is_spent(self) -> bool:
        """Return whether nothing may be read any more."""
        return self.records <= 0 or self.bytes <= 0

    def take(self, batch: Sequence[Record]) -> Sequence[Record]:
        """Return the first records of a batch, as many as may be read, and take them off the
        budget. The last one may overdraw it.
        """
        for count, record in enumerate(batch):
            if self.is_spent():
                return batch[:count]
            self.records -= 1
            self.bytes -= len(record.value)
        return batch


class Walk:
    """Reads a partition of the log forward, starting just after a place."""

    def __init__(self, backplane: Backplane, partition: int, place: Place) -> None:
        self.clock_ms, self.position = place  # everything up to here was read
        self._backplane = backplane
        self._partition = partition
        self.hidden: list[HiddenStretch] = []  # found by the last `read`
        self._fold: Fold | None = None
        self._partitions = 0  # how many there are, once it is known

    @property
    def place(self) -> Place:
        """The place up to which everything was read."""
        return Place(self.clock_ms, self.position)

    def begin_again(self) -> None:
        """Go back to the beginning of the log."""
        self.clock_ms, self.position = NOWHERE
        self._fold = None

    async def check(self, bounds: tuple[int, int] | None = None) -> bool:
        """Return whether the log still has what was read. If it has lost its end, the walk begins
        again. `bounds`: those of the partition, if they were just asked for. Raises `Unavailable`.
        """
        held = await still_holds(self._backplane, self._partition, self.place, bounds)
        if not held:
            log.warning(
                "partition %s has lost the end of its log, which was compared up to offset %s: "
                "everything that is left is compared again",
                self._partition,
                self.position,
                extra={"partition": self._partition},
            )
            self.begin_again()
        return held

    @property
    def last_id(self) -> int:
        """The id of the last valid origin up to here; 0 if there is none, or before the first
        `read`.
        """
        return self._fold.last_id if self._fold else 0

    @property
    def has_begun(self) -> bool:
        """Whether it is known what counts from here on."""
        return self._fold is not None

    async def read(self, up_to: int, budget: Budget) -> list[Expected]:
        """Return the rows that the next records should have become, up to the offset `up_to`. What
        is read is taken off the budget, and the last record may overdraw it.

        Raises `Trimmed` and `Unavailable`. After that, a new walk has to start from where this one
        was before.
        """
        self.hidden = []
        self._partitions = self._partitions or await self._backplane.partition_count()
        fold = self._fold = self._fold or await self._begin(up_to)
        expected: list[Expected] = []
        if fold is None or budget.is_spent():
            return expected
        async with aclosing(self._batches(up_to)) as batches:
            async for batch in batches:
                expected += self._expected(fold, budget.take(batch))
                if budget.is_spent():
                    break
                await asyncio.sleep(0)
        return expected

    def _expected(self, fold: Fold, records: Sequence[Record]) -> list[Expected]:
        made = rows_of("", self._partition, self._partitions, fold, records)
        self.clock_ms, self.position = fold.clock_ms, records[-1].offset
        self.hidden += [HiddenStretch.of(self._partition, gap) for gap in made.gaps]
        return [Expected(self._partition, offset, row) for offset, row in made.placed()]

    async def _batches(self, up_to: int) -> AsyncGenerator[Sequence[Record]]:
        if self.position >= up_to:
            return
        batches = records_after(self._backplane, self._partition, self.place)
        async with aclosing(batches):
            async for batch in batches:
                wanted = [record for record in batch if record.offset <= up_to]
                for at in range(0, len(wanted), RECORDS_AT_ONCE):
                    yield wanted[at : at + RECORDS_AT_ONCE]
                if batch[-1].offset >= up_to:
                    return

    async def _begin(self, up_to: int) -> Fold | None:
        """Return the fold from which to read, after skipping what retention has dropped. None if
        nothing can be compared now, because all up to `up_to` is gone, or because what is left does
        not say which records count.
        """
        start, end = await self._backplane.bounds(MESSAGES, self._partition)
        self.position = max(self.position, min(start - 1, up_to))
        if self.position < start - 1:
            return None
        return await _fold_at(self._backplane, self._partition, self.position, (start, end))


async def _fold_at(
    backplane: Backplane, partition: int, position: int, bounds: tuple[int, int]
) -> Fold | None:
    """Return the fold at a position, as materialize has it, but without waiting for a record that
    says which records count.
    """
    if fold := await known_fold_at(backplane, partition, position):
        return fold
    start, end = bounds
    fold = (await read_cut_log(backplane, partition, start, end)).fold
    if fold:
        async with aclosing(between(backplane, partition, start, position + 1)) as records:
            async for offset, record, appended_at_ms in records:
                fold.step(offset, record, appended_at_ms)
    return fold


async def find_missing(history: History, expected: Sequence[Expected]) -> dict[Key, MissingRow]:
    """Return which of these rows the history lacks now. Raises `Unavailable`."""
    found: dict[Key, MissingRow] = {}
    for at in range(0, len(expected), ROWS_AT_ONCE):
        for each in await _missing(history, expected[at : at + ROWS_AT_ONCE]):
            found.setdefault(each.key, each)
    return found


async def _missing(history: History, expected: Sequence[Expected]) -> Iterable[MissingRow]:
    """Return which of these rows the history lacks, except those that it refuses (holes)."""
    messages: list[MessageRow] = []
    marks: list[MarkRow] = []
    of_message: dict[int, Expected] = {}
    of_mark: dict[tuple[UserId, ChatId], Expected] = {}  # the first of each user and chat
    refused = {hole.last_id for hole in await history.holes() if hole.reason == "refused"}
    for each in expected:
        if isinstance(each.row, MessageRow):
            if each.row.message_id in refused:
                continue
            messages.append(each.row)
            of_message[each.row.message_id] = each
        else:
            marks.append(each.row)
            of_mark.setdefault((each.row.user_id, each.row.chat_id), each)
    lacking = await history.lacking(messages, marks)
    other = await _but_for_blanks(history, lacking.other)
    return [
        *(MissingRow("absent", row.user_id, of_message[row.message_id]) for row in lacking.absent),
        *(MissingRow("other", row.user_id, of_message[row.message_id]) for row in other),
        *(
            MissingRow("chat", user_id, of_message[row.message_id])
            for user_id, row in lacking.chats
        ),
        *(
            MissingRow("mark", row.user_id, of_mark[row.user_id, row.chat_id]._replace(row=row))
            for row in lacking.marks
        ),
    ]


async def _but_for_blanks(history: History, rows: Sequence[MessageRow]) -> list[MessageRow]:
    """Return those of these rows that the history has otherwise, and not only without what they
    say because its chat does not keep that any more.
    """
    blanks = [blank for row in rows if (blank := blank_row(row))]
    differ = {row.message_id for row in (await history.lacking(blanks, [])).other} if blanks else ()
    known = {blank.message_id for blank in blanks}.difference(differ)
    return [row for row in rows if row.message_id not in known]


def hole_of(log_id: str, each: MissingRow) -> Hole:
    """Return the hole of a message that is missing, and whose record the log has dropped since."""
    partition, offset, row = each.expected
    assert isinstance(row, MessageRow)
    return Hole(
        log_id,
        partition,
        *(offset, offset, row.message_id, row.message_id),
        row.chat_id,
        "trimmed",
        f"{each}; the log has dropped its record since",
        now_ms(),
        user_id=row.user_id,
        client_message_id=Event.FromString(row.event).client_message_id,
    )


async def restore(history: History, found: Iterable[MissingRow]) -> None:
    """Write the missing rows again. Raises `Unavailable`."""
    rows = [each.expected.row for each in found]
    await history.restore(
        [row for row in rows if isinstance(row, MessageRow)],
        [row for row in rows if isinstance(row, MarkRow)],
    )
