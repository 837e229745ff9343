"""The history database: what happened in the chats, the source of truth for queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from cecochat.domain.errors import CecochatError
from cecochat.domain.log.place import Place

HoleReason = Literal["trimmed", "unproven", "refused", "lost", "uncopied"]
"""The log had dropped them before they were read; what is left of the log does not prove that they
count; the database refuses the row for what it is; the log has lost its end, with whatever of it
was not read yet. The last is no hole of the history: the log had dropped them before they were
copied to the partitions of all recipients, whose devices may lack them.
"""


class MessageRow(NamedTuple):
    """A message as it is kept: writing the same row again changes nothing."""

    message_id: int
    chat_id: str
    user_id: str  # the sender
    recipient_ids: tuple[str, ...]  # the other participants, frozen when it was accepted
    event: bytes  # the serialized Event


class MarkRow(NamedTuple):
    """How far a user has received and read a chat, as message ids. Marks only move up."""

    chat_id: str
    user_id: str
    delivered_up_to: int
    read_up_to: int


class Progress(NamedTuple):
    """The history holds every valid origin of that partition of that log, up to and including
    `offset`, where the log's clock is `clock_ms`.
    """

    log_id: str
    partition: int
    offset: int
    clock_ms: int = 0


class Hole(NamedTuple):
    """Messages that may be missing here although they were acknowledged: of one origin partition,
    with ids from `first_id` to `last_id`, both among them. Two are the same if all fields up to
    `first_id`, `chat_id` and `reason` are: one that has grown is another.
    """

    log_id: str
    partition: int
    first_offset: int
    last_offset: int
    first_id: int
    last_id: int
    chat_id: str  # the only one that it concerns; empty: any chat of the partition's users
    reason: HoleReason
    text: str  # for people
    found_at_ms: int  # ms since 1970
    acknowledged_at_ms: int = 0  # by an operator; 0: not yet
    acknowledged_by: str = ""
    user_id: str = ""  # of a hole of one message: who sent it, and as what
    client_message_id: str = ""

    @property
    def name(self) -> str:
        """How people name it."""
        return f"{self.partition}:{self.first_offset}"


class Lacking(NamedTuple):
    """What the database should have and does not."""

    absent: list[MessageRow]  # no reader would find them
    other: list[MessageRow]  # that have other bytes there
    chats: list[tuple[str, MessageRow]]  # users, whose lists of chats are not up to that message
    marks: list[MarkRow]  # that are lower there


class Page(NamedTuple):
    """Events in ascending order of their ids, and whether there are more in the direction asked
    for.
    """

    events: list[bytes]
    has_more: bool


class ChatRow(NamedTuple):
    """One line in a user's list of chats."""

    chat_id: str
    last_message_id: int
    last_event: bytes
    unread_count: int  # messages of others above the user's read_up_to, of the last UNREAD_MAX
    marks: list[MarkRow]


Row = MessageRow | MarkRow

UNREAD_MAX = 1_000


class RowsRefused(CecochatError):
    """The database refuses these rows for what they are: it never will take them as they are."""

    def __init__(self, rows: Sequence[tuple[Row, str]]) -> None:
        super().__init__(f"{len(rows)} rows are refused, the first since {rows[0][1]}")
        self.rows = rows  # with the reason of each


def last_in_chats(messages: Iterable[MessageRow]) -> dict[tuple[str, str], MessageRow]:
    """(User, chat) -> the last of these messages, of every participant."""
    last: dict[tuple[str, str], MessageRow] = {}
    for row in messages:
        for user in (row.user_id, *row.recipient_ids):
            key = (user, row.chat_id)
            if key not in last or last[key].message_id < row.message_id:
                last[key] = row
    return last


def highest(marks: Iterable[MarkRow]) -> list[MarkRow]:
    """What these marks come to: one a user and chat."""
    found: dict[tuple[str, str], MarkRow] = {}
    for mark in marks:
        chat, user, delivered, read = mark
        known = found.get((chat, user), mark)
        found[chat, user] = MarkRow(
            chat, user, max(delivered, known.delivered_up_to), max(read, known.read_up_to)
        )
    return list(found.values())


class History(ABC):
    """Rows keyed by what is in the records, so that writing twice equals writing once, in any
    order.
    """

    system: str  # as the semantic conventions name the database
    gather_s: float = 0.05
    """How long a writer under steady load gathers rows before it writes them: what a write costs
    besides its rows is shared by more of them, and answers that wait for a row wait so long.
    """

    @abstractmethod
    async def write(
        self,
        messages: Sequence[MessageRow],
        marks: Sequence[MarkRow],
        progress: Progress | None,
        holes: Sequence[Hole] = (),
    ) -> None:
        """Store all of it, durably, when this returns. A row that is there already stays as it is;
        a mark takes the
        higher of both values. A message also moves `chats_by_user` of every participant up to it.

        `progress` says how far the log is in here with these rows and without what `holes` name; it
        is stored with or after them, never before. None: this says nothing of how far it is. A hole
        that is known already takes the new values, and stays acknowledged.

        Raises `Unavailable` where the database is down: the same call can be made again; and
        `RowsRefused`, naming all such rows, where it is up, takes others in their place and will
        never take these: the call can be made again without them. Nothing is said of how far it is.
        """

    @abstractmethod
    async def progress(self, log_id: str) -> dict[int, Place]:
        """Partition -> the highest place of that log up to which all origins are in here; absent:
        none.
        """

    @abstractmethod
    async def last_ids(self) -> dict[int, int]:
        """Origin partition -> the highest id of its messages up to which all is in here but for
        holes; absent: not known.
        """

    @abstractmethod
    async def holes(self) -> list[Hole]:
        """All that are known, of all logs, by partition and offset. Asked after a page was read, it
        holds whatever that page may lack.
        """

    @abstractmethod
    async def acknowledge(self, hole: Hole, by: str, at_ms: int) -> None:
        """Note that an operator knows of it; who reads the history is told of it all the same.
        Raises `Unavailable`.
        """

    @abstractmethod
    async def close_hole(self, hole: Hole) -> None:
        """Nothing is missing there any more. Raises `Unavailable`."""

    @abstractmethod
    async def lacking(self, messages: Sequence[MessageRow], marks: Sequence[MarkRow]) -> Lacking:
        """What the database lacks of these rows, some thousand at most: of what is written and not
        shown yet, nothing. A list of chats and a mark is named once, with the highest that is
        asked for. Raises `Unavailable`.
        """

    @abstractmethod
    async def restore(self, messages: Sequence[MessageRow], marks: Sequence[MarkRow]) -> None:
        """Store again rows that were written before: `lacking` has none of them when this returns,
        whatever stood there. Marks and lists of chats still only move up, and the progress stays.

        Raises `Unavailable`: a part may be stored then, and the same call can be made again.
        """

    # What is read shows a message only once every valid origin of its partition with a lower id is
    # stored, so that no later message of a sender is seen without an earlier one.

    @abstractmethod
    async def messages(
        self, chat_id: str, *, before: int | None, after: int | None, limit: int
    ) -> Page:
        """The `limit` messages just below `before`, or just above `after`, or the newest; at most
        one bound is given.

        Stable: a page asked for again holds the same, unless messages with ids inside it have come
        since.
        """

    @abstractmethod
    async def chats(
        self, user_id: str, *, before: int | None, limit: int
    ) -> tuple[list[ChatRow], bool]:
        """The user's chats by last message id, newest first, below `before`; and whether there are
        more.
        """

    @abstractmethod
    async def chats_by_id(
        self, user_id: str, *, after: str, limit: int
    ) -> tuple[list[ChatRow], bool]:
        """The user's chats in the order of their ids, above `after`; and whether there are more.
        None is missed that moves meanwhile.
        """

    @abstractmethod
    async def marks(self, chat_id: str) -> list[MarkRow]:
        """The marks of all who have one in that chat, by user id."""

    async def written_at_ms(self, chat_id: str, message_id: int) -> int | None:
        """When a message was first stored, ms since 1970 by the clock of who stored it; None: it is
        not here, or this database does not keep that.
        """
        return None

    @abstractmethod
    async def close(self) -> None:
        """Release everything. Idempotent."""
