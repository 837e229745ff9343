"""Who or what can be watched, how it is named between servers, and for how long that holds."""

from __future__ import annotations

from typing import Final

from cecochat.domain.log.ids import ChatId, UserId

LEASE_S: Final = 150.0
"""How long interest lasts that is not renewed. It outlives one renewal that is lost."""
INTERESTS_MAX: Final = 200_000
"""In how many users of one partition, and in how many groups, others can be interested."""
_MARK: Final = "*"


class Epochs:
    """Which owner of each partition is the latest that has said something: what an earlier one says
    after that does not count. An owner that was paused does not know that there is a later one.
    """

    def __init__(self) -> None:
        self._latest: dict[int, int] = {}

    def counts(self, partition: int, epoch: int) -> bool:
        """Take in that an owner of that epoch says something, and return whether it counts."""
        if epoch < self._latest.get(partition, epoch):
            return False
        self._latest[partition] = epoch
        return True


def watched_as(chat_id: ChatId) -> UserId:
    """Return as whom a group is watched. No user is called that."""
    return UserId(f"{_MARK}{chat_id}")


def group_of(user_id: str) -> ChatId | None:
    """Return which group is watched as that; None: it is a user."""
    return ChatId(user_id.removeprefix(_MARK)) if user_id.startswith(_MARK) else None
