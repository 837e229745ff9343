"""What hook servers have told of users who are away, so that they tell it once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from cecochat.domain.log.ids import UserId


class Silences(ABC):
    """A value of a few hundred bytes for each user, group of readers and partition. Every call
    raises `Unavailable` within seconds if the store does not answer.
    """

    @abstractmethod
    async def load(self, group: str, partition: int) -> dict[UserId, bytes]:
        """Return all values of a group and a partition: at least those whose `store` has returned
        before.
        """

    @abstractmethod
    async def store(self, group: str, partition: int, values: Mapping[UserId, bytes]) -> None:
        """Store the values of some users, instead of those that they had. When this returns, they
        are durable. If it raises, each of them is stored or not.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the store. It may be called again."""
