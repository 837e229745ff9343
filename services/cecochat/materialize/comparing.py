"""What should be in the history, read from the log, and what of it is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

from typing_extensions import override

from cecochat.domain.fold import Fold
from cecochat.domain.place import Place
from cecochat.materialize.rows import rows_of
from cecochat.materialize.worker import GROUP
from cecochat.ports.backplane import MESSAGES, Backplane
from cecochat.ports.history import History, MarkRow, MessageRow
from cecochat.runtime.reading import first_known, fold_at, records_between, still_holds

What = Literal["absent", "other", "chat", "mark"]
Key = tuple[What, str, str, int]
"""What is wrong, whose it is, in which chat; and the message, where it is about one alone."""

MEANING: dict[What, str] = {
    "absent": "absent from the history",
    "other": "other bytes in the history than in the log",
    "chat": "above the last in the list of chats of {user_id}",
    "mark": "above the marks of {user_id}, whose receipt says so far",
}
ROWS_AT_ONCE = 5_000


class Expected(NamedTuple):
    """A row that the record at an offset comes to."""

    partition: int
    offset: int
    row: MessageRow | MarkRow


class Missing(NamedTuple):
    """A row that the history lacks, or has otherwise."""

    what: What
    user_id: str  # whose list of chats or marks; else the sender
    expected: Expected

    @property
    def message_id(self) -> int:
        """Of the message, or up to which the marks should be."""
        row = self.expected.row
        if isinstance(row, MessageRow):
            return row.message_id
        return max(row.delivered_up_to, row.read_up_to)

    @property
    def key(self) -> Key:
        """The same for the same harm, whichever record shows it."""
        alone = self.what in ("absent", "other")
        chat = self.expected.row.chat_id
        return self.what, self.user_id, chat, self.message_id if alone else 0

    @override
    def __str__(self) -> str:
        partition, offset, row = self.expected
        what = MEANING[self.what].format(user_id=self.user_id)
        return (
            f"partition {partition}, offset {offset}: message {self.message_id} of "
            f"{row.chat_id}: {what}"
        )

    def as_json(self) -> dict[str, Any]:
        """For people and programs; the id is a string."""
        return {
            "what": self.what,
            "partition": self.expected.partition,
            "offset": self.expected.offset,
            "message_id": str(self.message_id),
            "chat_id": self.expected.row.chat_id,
            "user_id": self.user_id,
            "text": str(self),
        }


class Walk:
    """Reads a partition of the log forward, from behind `position` on."""

    def __init__(self, backplane: Backplane, partition: int, position: int) -> None:
        self.position = position  # what it has read up to
        self._backplane = backplane
        self._partition = partition
        self._fold: Fold | None = None

    @property
    def last_id(self) -> int:
        """The id of the last valid origin up to here; 0: none, or it was not read yet."""
        return self._fold.last_id if self._fold else 0

    async def read(self, up_to: int, records: int) -> list[Expected]:
        """What the next records come to, so many at most, up to that offset. Where it raises
        (`Trimmed`, `Unavailable`), a new walk has to begin from before.
        """
        fold = self._fold = self._fold or await self._begin()
        high = min(up_to, self.position + records) + 1
        expected: list[Expected] = []
        low, partition = self.position + 1, self._partition
        async with aclosing(records_between(self._backplane, partition, low, high)) as some:
            async for record in some:
                rows = rows_of("", partition, fold, [record])
                expected += [Expected(partition, record.offset, row) for row in rows.messages]
                expected += [Expected(partition, record.offset, row) for row in rows.marks]
        self.position = max(self.position, high - 1)
        return expected

    async def _begin(self) -> Fold:
        """What retention has dropped cannot be compared any more."""
        self.position = max(self.position, await first_known(self._backplane, self._partition))
        return await fold_at(self._backplane, self._partition, self.position)


async def whole(backplane: Backplane, partition: int) -> int:
    """Up to where materialize says that the history holds the partition; -1: it holds nothing. It
    says so behind what is durable, and takes it back where the database has lost rows.
    """
    committed = await backplane.committed(GROUP, MESSAGES, partition)
    if committed is None:
        return -1
    last = Place(committed.clock_ms, committed.offset - 1)
    return last.offset if await still_holds(backplane, partition, last) else -1


async def missing(history: History, expected: Sequence[Expected]) -> dict[Key, Missing]:
    """What the history lacks of these rows now. Raises `Unavailable`."""
    found: dict[Key, Missing] = {}
    for at in range(0, len(expected), ROWS_AT_ONCE):
        for each in await _missing(history, expected[at : at + ROWS_AT_ONCE]):
            found.setdefault(each.key, each)
    return found


async def _missing(history: History, expected: Sequence[Expected]) -> Iterable[Missing]:
    """What the history is known to lack, since it refuses it, is told as a hole instead."""
    messages: list[MessageRow] = []
    marks: list[MarkRow] = []
    of_message: dict[int, Expected] = {}
    of_mark: dict[tuple[str, str], Expected] = {}  # the first of each: it may be the one
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
    return [
        *(Missing("absent", row.user_id, of_message[row.message_id]) for row in lacking.absent),
        *(Missing("other", row.user_id, of_message[row.message_id]) for row in lacking.other),
        *(Missing("chat", user, of_message[row.message_id]) for user, row in lacking.chats),
        *(
            Missing("mark", row.user_id, of_mark[row.user_id, row.chat_id]._replace(row=row))
            for row in lacking.marks
        ),
    ]


async def restore(history: History, found: Iterable[Missing]) -> None:
    """Write again what is missing. Raises `Unavailable`."""
    rows = [each.expected.row for each in found]
    await history.restore(
        [row for row in rows if isinstance(row, MessageRow)],
        [row for row in rows if isinstance(row, MarkRow)],
    )
