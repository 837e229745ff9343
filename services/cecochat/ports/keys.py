"""The keys of users, with which their texts are sealed. Without its key a text cannot be read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection
from typing import NamedTuple

from cecochat.domain.log.ids import UserId


class Erased(NamedTuple):
    """A user whose key was destroyed, when (ms since 1970), and by whom."""

    user_id: UserId
    at_ms: int
    by: str


class Keys(ABC):
    """A key for each user, made once and destroyed once. A key is a few opaque bytes: the caller
    has wrapped it. Every call raises `Unavailable` within seconds if the store does not answer.
    """

    is_new: bool  # whether the system had nothing yet when this was opened

    @abstractmethod
    async def get(self, user_ids: Collection[UserId]) -> dict[UserId, bytes | None]:
        """Return the keys of these users, None where it was destroyed. Users who never had one are
        left out. It has every key of which a `create` or a `destroy` has returned before.
        """

    @abstractmethod
    async def create(self, user_id: UserId, key: bytes) -> bytes | None:
        """Store a user's key, unless there is one. Return the one that stands, which is the same
        for all callers; None: it was destroyed, and there will never be another one.
        """

    @abstractmethod
    async def destroy(self, *erased: Erased) -> None:
        """Destroy the keys of users for good, also of those who never had one. It may be called
        again, and then keeps what the first call said. How soon no file of the store has the keys'
        bytes any more depends on the store.
        """

    @abstractmethod
    async def erased(self) -> list[Erased]:
        """Return all users whose keys were destroyed, sorted by user id."""

    @abstractmethod
    def users(self, app: str) -> AsyncGenerator[list[UserId]]:
        """Yield the users of an app who have a key or had one, each once, in pages of some hundred
        and in no order. Users who are new meanwhile may be absent.
        """

    @abstractmethod
    async def seals(self) -> str:
        """Return by what the secret that wraps the keys is known (see `start_sealing`); empty: no
        texts are sealed, since the system is older than sealing and nobody has turned it on.
        """

    @abstractmethod
    async def start_sealing(self, check: str) -> str:
        """Have texts sealed from now on, for good. `check` is kept with the keys, so that nobody
        uses another secret by mistake. Return the one that stands: the first that was given.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the store. It may be called again."""
