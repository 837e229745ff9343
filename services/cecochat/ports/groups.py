"""Who belongs to groups, as the history knows it from their changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from cecochat.domain.groups.changes import Seen, Standing, stays
from cecochat.domain.groups.group import Group
from cecochat.domain.log.ids import ChatId, UserId, partition_in
from cecochat.domain.log.spans import STILL, Span

StandingRow = tuple[ChatId, UserId, Standing]


class Resident(NamedTuple):
    """Somebody who lives in a partition, and belongs to a group or did."""

    chat_id: ChatId
    user_id: UserId
    standing: Standing  # the last
    stays: list[Span]  # when they belonged to it, oldest first


class Line(NamedTuple):
    """A chat in somebody's list, with what it takes to count what they have not read there."""

    chat_id: ChatId
    last_id: int  # the last event that they see
    stays: Sequence[Span] = (Span(0, STILL),)  # when they belonged to it
    standing: Standing | None = None  # the last, in a group

    def shown_change(self, change_id: int) -> int:
        """Return which change of a message was the last for who sees this line: nobody is told that
        there are later ones in a group that they have left.
        """
        has_left = self.standing is not None and not self.standing.role
        return min(change_id, self.last_id) if has_left else change_id


class Groups(ABC):
    """Reads what was written with `MessageRow.membership`. A change counts once all that the log
    has below it is stored, like a message. All methods raise `Unavailable`.
    """

    @abstractmethod
    async def seen(self, user_id: UserId, chat_id: ChatId) -> Seen | None:
        """Return what a user sees of a group; None if they never belonged to it. Its `ranges` end
        at the last event that was known when this was read. So who reads events within them later
        reads none that came after the user was removed.
        """

    @abstractmethod
    async def of_user(self, user_id: UserId) -> list[ChatId]:
        """Return the groups to which a user belongs, did, or is or was invited, by id. Changes that
        do not count yet may be among what this says.
        """

    @abstractmethod
    async def options(self, chat_id: ChatId, at: int) -> bytes:
        """Return the options of a group just after the event with the id `at`, as a serialized
        GroupOptions; empty if it had none.
        """

    @abstractmethod
    async def people(
        self, chat_id: ChatId, *, at: int, after: str, limit: int
    ) -> tuple[list[tuple[UserId, Standing]], bool]:
        """Return the members of a group and those who are invited, just after the event with the id
        `at`, by user id and above `after`, and whether there are more.
        """

    @abstractmethod
    async def count_read(self, chat_id: ChatId, message_id: int) -> int:
        """Return how many users have read a group up to a message or above. Who has left since may
        be among them.
        """

    @abstractmethod
    def homed_in(self, partition: int, up_to: int) -> AsyncGenerator[Group]:
        """Yield all groups whose home is a partition, by id, just after the event with the id
        `up_to`, up to which the history has to have the log. Memory holds a few groups at a time.
        """

    @abstractmethod
    def living_in(self, partition: int, up_to: Mapping[int, int]) -> AsyncGenerator[Resident]:
        """Yield the users who live in a partition and belong to groups or did, once for each group.
        `up_to` says, by the home of a group, up to which event id its changes count, and the
        history has to have the log. Changes of a home that is absent there do not count. Memory
        holds some thousand changes at a time.
        """


async def residents(
    pages: AsyncIterable[Sequence[StandingRow]], up_to: Mapping[int, int]
) -> AsyncGenerator[Resident]:
    """Yield the residents whom these rows are about, as far as their changes count. The rows are
    sorted, and all that is known of somebody comes in one page or in pages that follow each other.
    """
    rest: list[StandingRow] = []  # of somebody of whom the next page may tell more
    async for page in pages:
        everybody = [list(rows) for _, rows in groupby([*rest, *page], lambda row: row[:2])]
        rest = everybody.pop() if everybody else []
        for rows in everybody:
            if resident := _resident(rows, up_to):
                yield resident
    if rest and (last := _resident(rest, up_to)):
        yield last


def _resident(rows: Sequence[StandingRow], up_to: Mapping[int, int]) -> Resident | None:
    """Return the resident whom these rows are about; None if none of them counts."""
    counting = [
        each for *_, each in rows if each.event_id <= up_to.get(partition_in(each.event_id), 0)
    ]
    chat_id, user_id, _ = rows[0]
    return Resident(chat_id, user_id, counting[-1], stays(counting)) if counting else None


def memberships(rows: Iterable[tuple[ChatId, Standing]]) -> Iterator[Line]:
    """Yield the groups to which somebody belongs or did, given all their standings, sorted. The
    `last_id` of a group is that of the last stay, and `STILL` if that has not ended.
    """
    for chat_id, of_chat in groupby(rows, lambda row: row[0]):
        found = [standing for _, standing in of_chat]
        if spans := stays(found):
            yield Line(chat_id, spans[-1].last_id, spans, found[-1])


def standing_of(event_id: int, role: Any, is_invited: Any) -> Standing:
    """Return the standing that a database has stored as these values."""
    return Standing(event_id, role, bool(is_invited))
