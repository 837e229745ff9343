"""The index of the words of messages. It follows from the history, and can be made again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, NewType

from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place
from cecochat.domain.search.entries import Entry
from cecochat.domain.search.words import Query
from cecochat.ports.history import Progress

Turn = NewType("Turn", int)
"""Whose turn it is to write: a number that only one writer has."""


class Superseded(Unavailable):
    """It is another writer's turn: begin again from the progress that the index has now."""


class Found(NamedTuple):
    """A message with texts that match. Whether one of them counts, and who may see it, the history
    says.
    """

    message_id: int
    chat_id: ChatId
    event_ids: tuple[int, ...]  # of the message itself, and of the edits whose texts they are


class Search(ABC):
    """An index of texts, which it finds in scopes (`entries.scopes`). It knows nothing of rights,
    and keeps texts that others have replaced. All methods raise `Unavailable`.

    Several servers may write to it. Whoever makes the index gets a turn from `clear`, and whoever
    follows a partition of the log gets one from `take`. An earlier turn is over from then on: what
    is written in it is refused as a whole, however late it comes.
    """

    gather_s: float = 0.1
    """How long a writer gathers entries before it writes them."""

    @abstractmethod
    def alone(self) -> AbstractAsyncContextManager[object]:
        """Wait until nobody else makes the index, and keep others from it. If the server that does
        ends, it is the next one's turn. Should two be in here after an outage, `clear` decides.
        """

    @abstractmethod
    async def clear(self) -> Turn:
        """Remove everything, with the progress of all logs, and return the turn of whoever makes
        the index now. All turns before are over.
        """

    @abstractmethod
    async def take(self, log_id: str, partition: int) -> tuple[Turn, Place] | None:
        """Return the turn of whoever follows a partition now, and the place to go on from; any turn
        to follow it before is over. None: the index does not have it yet.
        """

    @abstractmethod
    async def write(
        self, entries: Sequence[Entry], progress: Progress | None, turn: Turn | None
    ) -> None:
        """Index texts and remove those that are gone, in this order. `progress` says how much of
        the log the index has with that; it is stored together with it, and None leaves it as it is.
        Raises `Superseded` if the turn is over, and has then changed nothing.

        `turn` is the one of `take` for the partition of the progress, or the one of `clear`, which
        is also for what comes without progress. It is None where all entries are `Gone`: these come
        from anybody.

        Writing the same entries of a partition again, up to the same place, has the same result.
        What is written may be lost with the machine, but then its progress is lost with it.
        """

    @abstractmethod
    async def progress(self, log_id: str) -> dict[int, Place]:
        """Partition -> the place up to which the index has this log. A partition of which it has
        none is absent.
        """

    @abstractmethod
    async def find(
        self, query: Query, scopes: Sequence[str], *, before: int, after: int, limit: int
    ) -> list[Found]:
        """Return the newest messages with texts that match, in one of the scopes and between these
        ids, each once and the newest first.
        """

    @abstractmethod
    async def forget(self, user_ids: Collection[UserId]) -> None:
        """Remove all that these users wrote; `purge` then leaves no byte of it. It is for good: an
        index to which several servers write leaves out what another one comes with later.
        """

    @abstractmethod
    async def authors(self, among: Collection[UserId]) -> set[UserId]:
        """Return those of these users of whom it has texts."""

    @abstractmethod
    async def purge(self) -> None:
        """Leave no byte in its files of what was removed with `write` or `forget`, but for words
        that others wrote, too.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the index. It may be called again."""
