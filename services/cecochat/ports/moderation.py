"""What moderation stores: reports, the audit log, and who blocks whom."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, Final, Generic, NamedTuple, TypeVar

from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.acts import Act
from cecochat.domain.moderation.reports import Report, State, Target

BLOCKERS_MAX: Final = 10_000

Item = TypeVar("Item")


class Paged(NamedTuple, Generic[Item]):
    """A page, and whether there is more after it."""

    items: list[Item]
    has_more: bool


class Block(NamedTuple):
    """A user who wants to hear nothing from another one, since when (ms since 1970)."""

    user_id: UserId
    blocked_id: UserId
    at_ms: int


class Blockers(NamedTuple):
    """Who blocks a user."""

    user_ids: frozenset[UserId]
    is_all: bool  # if not, there are more than `BLOCKERS_MAX`: ask `Blocks.has`


class Forgotten(NamedTuple):
    """How much of some users was removed."""

    texts: int  # of reports
    blocks: int


class Reports(ABC):
    """What users report. Each report is there once, and its changes follow one another."""

    @abstractmethod
    async def put(self, report: Report) -> Report:
        """Store a report, unless there is one with its id. Return the one that stands, which is the
        same for all callers.
        """

    @abstractmethod
    async def get(self, report_id: str) -> Report | None:
        """Return a report; None: there is none with this id."""

    @abstractmethod
    async def change(self, report: Report) -> Report | None:
        """Store a report with what changed, unless its `version` is not the next one, and append
        `act_of` it to the audit log. Return the report that stands: the given one, or the one that
        somebody else has changed first; None: there is none with this id. Only what comes after
        `at_ms` in a report can change.

        A process may die within. Then the report has changed or not, and the line of one that has
        is appended with the next change or once a page is read of the state that it has left.
        """

    @abstractmethod
    async def page(self, state: State, *, after: str, limit: int) -> Paged[Report]:
        """Return the reports in a state that come after the one with this id, or the first ones if
        it is empty, in the order in which they were made. An id without a report gives the first
        ones, too.
        """

    @abstractmethod
    async def of_reporter(self, user_id: UserId) -> list[Report]:
        """Return all reports that a user has made, sorted by their ids."""


class Acts(ABC):
    """The audit log, which only grows."""

    @abstractmethod
    async def append(self, act: Act) -> None:
        """Add an act. It may be called again with the same one, which is then there once."""

    @abstractmethod
    async def page(self, *, before: str, limit: int) -> Paged[Act]:
        """Return the acts below this id of an act, or the newest ones if it is empty, newest
        first.
        """


class Blocks(ABC):
    """Who blocks whom, found from both sides. What one side has, the other has too: at once, or
    within seconds if a process has died between.
    """

    @abstractmethod
    async def put(self, block: Block) -> None:
        """Add a block. If it is there already, it may keep its time or take the new one."""

    @abstractmethod
    async def remove(self, user_id: UserId, blocked_id: UserId) -> None:
        """Remove a block, if it is there."""

    @abstractmethod
    async def has(self, user_id: UserId, blocked_id: UserId) -> bool:
        """Return whether a user blocks another one."""

    @abstractmethod
    async def of(self, user_id: UserId, *, after: str, limit: int) -> Paged[Block]:
        """Return those whom a user blocks, above this user id, sorted by their ids."""

    @abstractmethod
    async def blockers_of(self, user_id: UserId) -> Blockers:
        """Return who blocks a user."""


class Moderation(ABC):
    """The store of all this. Every call raises `Unavailable` within seconds if it does not
    answer.
    """

    reports: Reports
    acts: Acts
    blocks: Blocks

    @abstractmethod
    async def forget(self, user_ids: Collection[UserId]) -> Forgotten:
        """Remove what these users wrote in reports, and whom they block. The reports stay, without
        their texts. It may be called again, and says what was left.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the store. It may be called again."""


def row_of(report: Report) -> tuple[Any, ...]:
    """Return a report as a row of values, for adapters."""
    id_, reporter_id, target, *rest = report
    return (id_, reporter_id, *target, *rest)


def report_of(row: tuple[Any, ...]) -> Report:
    """Return the report of a row that `row_of` made."""
    id_, reporter_id, user_id, chat_id, message_id, *rest = row
    return Report(id_, reporter_id, Target(user_id, chat_id, message_id), *rest)
