"""The history database: what happened in the chats, the source of truth for queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import Final, Literal, NamedTuple

from cecochat.domain.changes.about import About
from cecochat.domain.errors import CecochatError
from cecochat.domain.groups.changes import Standing
from cecochat.domain.log.ids import ChatId, UserId, is_group
from cecochat.domain.log.place import Place
from cecochat.ports.groups import Groups
from cecochat.v1.events_pb2 import ChatSettings, Role

HoleReason = Literal["trimmed", "unproven", "refused", "lost", "vanished", "uncopied"]
"""Why messages may be missing.

- `trimmed`: the log dropped them before they were read.
- `unproven`: what is left of the log, or can be read of it, does not prove that they count.
- `refused`: the database refuses the row.
- `lost`: the log has lost its end, before all of it was read.
- `vanished`: their records have vanished from the middle of the log before they were read.
- `uncopied`: the log dropped them before they were copied to the partitions of all recipients. The
  history has them, but devices of the recipients may not.
"""
ANY_CHAT: Final = ChatId("")
"""The `chat_id` of a hole that may concern any chat of the partition's users."""


class PersonRow(NamedTuple):
    """How a change of a group leaves one of the people whom it names."""

    user_id: UserId
    partition: int  # where this user lives
    standing: Standing


class MembershipRow(NamedTuple):
    """What a change of a group comes to. Its rows may be written in any order: each says all of its
    person, or of the options, from then on.
    """

    people: tuple[PersonRow, ...]
    options: bytes | None  # the serialized GroupOptions, if it changes them


class MessageRow(NamedTuple):
    """A message, a change of one, or a change of who belongs to a group, as it is stored. Writing
    the same row again changes nothing.
    """

    message_id: int
    chat_id: ChatId
    user_id: UserId  # the sender
    recipient_ids: tuple[UserId, ...]  # the other participants, frozen when it was accepted
    event: bytes  # the serialized Event
    about: About | None = None  # what it changes, unless it is a message
    membership: MembershipRow | None = None  # it counts as nobody's unread message then
    mentioned: tuple[UserId, ...] = ()  # whom its text names, sorted

    @property
    def lists(self) -> tuple[UserId, ...]:
        """Whose chat list it moves up. A group has a list of its own, under its id and with itself
        alone, from which its members' lists are made.
        """
        if is_group(self.chat_id):
            return (UserId(self.chat_id),)
        return (self.user_id, *self.recipient_ids)

    @property
    def unread_from(self) -> str:
        """Whose message others have not read at first; "" if it is no message."""
        return "" if self.membership else self.user_id


class MarkRow(NamedTuple):
    """Up to which message ids a user has received and read a chat, and how they want to have it.
    All of it only moves up: `settings` begins with the id of its event (8 bytes, big-endian), and
    the rest is a serialized ChatSettings. It is empty if there are none.
    """

    chat_id: ChatId
    user_id: UserId
    delivered_up_to: int
    read_up_to: int
    settings: bytes = b""

    @property
    def up_to(self) -> int:
        """The highest id that it says."""
        return max(self.delivered_up_to, self.read_up_to, self.settings_id)

    @property
    def settings_id(self) -> int:
        """The id of the event that set the settings; 0: none did."""
        return int.from_bytes(self.settings[:8], "big")

    @property
    def chat_settings(self) -> ChatSettings:
        """What the user has set; nothing, if there are no settings."""
        return ChatSettings.FromString(self.settings[8:])


class Progress(NamedTuple):
    """The history has every valid origin of this partition of this log up to and including
    `offset`, where the log's clock is `clock_ms` (ms since 1970; 0 if not known).
    """

    log_id: str
    partition: int
    offset: int
    clock_ms: int = 0


class Hole(NamedTuple):
    """Messages that may be missing from the history although they were acknowledged. They are of
    one origin partition, with ids from `first_id` to `last_id`, both included.

    Two holes are the same if `chat_id`, `reason` and all fields up to `first_id` are the same. A
    hole that has grown is another hole.
    """

    log_id: str
    partition: int
    first_offset: int
    last_offset: int
    first_id: int
    last_id: int
    chat_id: ChatId  # the only chat that it concerns, or `ANY_CHAT`
    reason: HoleReason
    text: str  # what happened, in plain words
    found_at_ms: int  # ms since 1970
    acknowledged_at_ms: int = 0  # by an operator; 0: not yet
    acknowledged_by: str = ""
    user_id: UserId = UserId("")  # the sender, if the hole is one message
    client_message_id: str = ""  # if the hole is one message

    @property
    def name(self) -> str:
        """How people name the hole: `partition:first_offset`."""
        return f"{self.partition}:{self.first_offset}"


class Lacking(NamedTuple):
    """Rows that the database should have, and does not have or has otherwise."""

    absent: list[MessageRow]  # it does not have these, or not all of a change
    other: list[MessageRow]  # it has these with other bytes, or as mentioning others
    chats: list[tuple[UserId, MessageRow]]  # (user id, message): the user's chat list is older
    marks: list[MarkRow]  # it has these marks lower


class Page(NamedTuple):
    """Events in ascending order of their ids, and whether there are more in the direction that was
    asked for.
    """

    events: list[bytes]
    has_more: bool


class ChatPage(NamedTuple):
    """A page of a chat, the marks of its users, and all holes, read after the page."""

    page: Page
    marks: list[MarkRow]
    holes: list[Hole]


class GroupLine(NamedTuple):
    """What a list of chats says of a group, as a user sees it who may have left it."""

    role: Role.ValueType  # `ROLE_UNSPECIFIED`: not a member any more
    options: bytes  # a serialized GroupOptions


class ChatRow(NamedTuple):
    """One line in a user's list of chats."""

    chat_id: ChatId
    last_message_id: int
    last_event: bytes
    unread_count: int
    """Messages of others above the user's `read_up_to`, of the last UNREAD_MAX, without those that
    are deleted.
    """
    unread_mention_count: int  # those of them whose text, as it is now, mentions the user
    marks: list[MarkRow]  # of a group: the user's own
    last_change_id: int = 0  # the highest id of a change of any of its messages; 0: none
    changes: tuple[bytes, ...] = ()  # of the last message, as `History.changes` returns them
    group: GroupLine | None = None  # None: it is a dialog


Row = MessageRow | MarkRow

UNREAD_MAX = 1_000
CHANGES_MAX = 256
"""The most changes of one message that are read."""
MARKS_MAX = 100
"""How many users' marks are shown in a group."""


class RowsRefused(CecochatError):
    """The database refuses these rows, and will never take them as they are."""

    def __init__(self, rows: Sequence[tuple[Row, str]]) -> None:
        super().__init__(
            f"the history database refuses {len(rows)} rows; the reason for the first is: "
            f"{rows[0][1]}"
        )
        self.rows = rows  # (row, why it is refused)


class History(ABC):
    """The database of messages and marks. The keys of its rows come from the records, so writing a
    row twice, or rows in another order, has the same result.
    """

    system: str  # the name of the database in OpenTelemetry's semantic conventions
    groups: Groups  # what it knows of the members of groups
    gather_s: float = 0.05
    """How long a writer under steady load gathers rows before it writes them. A longer time spreads
    the fixed cost of a write over more rows, but answers that wait for a row wait longer.
    """

    @abstractmethod
    async def write(
        self,
        messages: Sequence[MessageRow],
        marks: Sequence[MarkRow],
        progress: Progress | None,
        holes: Sequence[Hole] = (),
    ) -> None:
        """Store all of this; it is durable when the call returns.

        A message that is there already stays as it is, and a mark takes the higher of both values.
        A message also moves up the chat list of every participant, or of its group.

        `progress` says how much of the log is in the history, with these rows and apart from
        `holes`. It is stored together with them or after them, never before; None leaves it as it
        is. A hole that is there already takes the new values, and stays acknowledged.

        Raises `Unavailable` if the database is down: the same call can be made again. Raises
        `RowsRefused` if the database is up but will never take some of the rows, and names all of
        them: the call can be made again without them. In both cases `progress` is not stored.
        """

    @abstractmethod
    async def progress(self, log_id: str) -> dict[int, Place]:
        """Partition -> the place up to which the history has all origins of this log. A partition
        of which it has none is absent.
        """

    @abstractmethod
    async def last_ids(self) -> dict[int, int]:
        """Origin partition -> the message id up to which the history has all its messages, apart
        from holes. A partition for which this is not known is absent.
        """

    @abstractmethod
    async def holes(self) -> list[Hole]:
        """Return all holes, of all logs, sorted by partition and offset. If you call this after you
        have read a page, it has everything that the page may lack.
        """

    @abstractmethod
    async def acknowledge(self, hole: Hole, by: str, at_ms: int) -> None:
        """Note that an operator (`by`) knows of this hole since `at_ms`. Readers of the history are
        told of it all the same. Raises `Unavailable`.
        """

    @abstractmethod
    async def close_hole(self, hole: Hole) -> None:
        """Remove a hole, since nothing is missing there any more. Raises `Unavailable`."""

    @abstractmethod
    async def lacking(self, messages: Sequence[MessageRow], marks: Sequence[MarkRow]) -> Lacking:
        """Return which of these rows the database lacks; pass a few thousand at most. It does not
        lack rows that are written but not shown yet. A chat list and a mark are named once, with
        the highest value that was asked for. Raises `Unavailable`.
        """

    @abstractmethod
    async def restore(self, messages: Sequence[MessageRow], marks: Sequence[MarkRow]) -> None:
        """Store again rows that were written before, over whatever is there now. When this returns,
        `lacking` has none of them. Marks and chat lists still only move up, and the progress stays.

        Raises `Unavailable`. Some rows may be stored then, and the same call can be made again.
        """

    @abstractmethod
    async def blank(self, rows: Sequence[MessageRow]) -> None:
        """Store these messages and edits, whose events say nothing any more, over those that are
        there. Nobody is unread or mentioned by them, and neither `write` nor time brings back what
        was there: writing the old ones again changes nothing. What is not there stays absent.

        Raises `Unavailable`. Some rows may be stored then, and the same call can be made again.
        """

    @abstractmethod
    async def purge(self) -> None:
        """Leave nothing that `blank` has replaced in the database's files, as far as that is up to
        this server. Raises `Unavailable`.
        """

    # Reads show a message only if every valid origin of its partition with a lower id is stored,
    # so that nobody sees a later message of a sender without an earlier one.

    @abstractmethod
    async def messages(
        self,
        chat_id: ChatId,
        *,
        before: int | None,
        after: int | None,
        limit: int,
        with_changes: bool = False,
    ) -> Page:
        """Return the `limit` messages just below `before`, or just above `after`, or the newest if
        neither is given. Give at most one of them. `with_changes`, which needs `after`, returns
        changes of messages, too, each at the place of its own id.

        Reading a page again returns the same messages, unless messages with ids inside the page
        have come since.
        """

    @abstractmethod
    async def these(self, chat_id: ChatId, message_ids: Sequence[int]) -> dict[int, bytes]:
        """Message id -> message, for those of these messages that are there and may be shown."""

    @abstractmethod
    def chat_ids(self) -> AsyncGenerator[list[ChatId]]:
        """Yield the ids of all chats that have a message, each once, in pages of some hundred and
        in no order.
        """

    @abstractmethod
    async def changes(self, chat_id: ChatId, message_ids: Sequence[int]) -> dict[int, list[bytes]]:
        """Message id -> the changes of that message, for the messages that have some: of several
        about the same (`MessageRow.about`), the one with the highest id. They are sorted by what
        they are about. Of each message, at most CHANGES_MAX are read.

        A change counts as soon as it is stored, so what it replaces never comes back.
        """

    async def chat_page(
        self,
        chat_id: ChatId,
        *,
        before: int | None,
        after: int | None,
        limit: int,
        with_changes: bool = False,
    ) -> ChatPage:
        """Return what `messages`, `marks` and `holes` return, in as few steps as the database
        allows.
        """
        page = await self.messages(
            chat_id, before=before, after=after, limit=limit, with_changes=with_changes
        )
        return ChatPage(page, await self.marks(chat_id), await self.holes())

    @abstractmethod
    async def chats(
        self, user_id: UserId, *, before: int | None, limit: int
    ) -> tuple[list[ChatRow], bool]:
        """Return the user's chats by last message id, newest first and below `before`, and whether
        there are more. Groups that the user has left are among them, as they were then.
        """

    @abstractmethod
    async def chats_by_id(
        self, user_id: UserId, *, after: str, limit: int
    ) -> tuple[list[ChatRow], bool]:
        """Return the user's chats in the order of their ids, above `after`, and whether there are
        more. In this order no chat is missed that gets a new message meanwhile.
        """

    @abstractmethod
    async def marks(self, chat_id: ChatId) -> list[MarkRow]:
        """Return the marks of all users in a chat, sorted by user id."""

    @abstractmethod
    async def marks_in_group(self, chat_id: ChatId, user_id: UserId) -> list[MarkRow]:
        """Return the marks of all users in a group, sorted by user id; only that of the user if
        more than `MARKS_MAX` have one.
        """

    async def written_at_ms(self, chat_id: ChatId, message_id: int) -> int | None:
        """Return when a message was first stored, in ms since 1970 by the clock of the server that
        stored it; None if it is not here, or if this database does not keep that.
        """
        return None

    @abstractmethod
    async def close(self) -> None:
        """Close the database. It may be called again."""
