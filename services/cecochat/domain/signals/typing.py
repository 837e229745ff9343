"""How often a session may say that its user types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cecochat.domain.log.ids import ChatId
from cecochat.domain.session.bucket import TokenBucket

EVERY_S: Final = 3.0
EARLY_S: Final = 0.5
"""What a client may be early by: its clock and the network are not exact."""
BURST: Final = 3
"""How often a user may stop and type again at once."""
CHATS_MAX: Final = 8
"""In how many chats a session can be typing at once."""
STALE_MS: Final = 6_000
"""When typing that was not said again is over."""


@dataclass(slots=True)
class _Said:
    credit: TokenBucket
    at_s: float
    types: bool = False


class Typing:
    """What one session has said. The caller passes in the time in seconds, by a monotonic clock."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[ChatId, _Said] = {}

    def is_due(self, chat_id: ChatId, active: bool, now_s: float) -> bool:
        """Return whether others are told now. That a user has stopped is told once."""
        said = self._said.get(chat_id)
        if not active:
            stops = said is not None and said.types
            if said:
                said.types = False
            return stops
        if said is None:
            self._forget(now_s)
            if len(self._said) >= CHATS_MAX:
                return False
            said = self._said[chat_id] = _Said(TokenBucket(BURST, now_s), now_s)
        elif said.types and now_s - said.at_s < EVERY_S - EARLY_S:
            return False
        if not said.credit.take_up_to(1, now_s, 1 / (EVERY_S - EARLY_S), BURST):
            return False
        said.at_s, said.types = now_s, True
        return True

    def _forget(self, now_s: float) -> None:
        """Forget the chats where credit is full again."""
        over_s = now_s - BURST * EVERY_S
        self._said = {chat: said for chat, said in self._said.items() if said.at_s > over_s}
