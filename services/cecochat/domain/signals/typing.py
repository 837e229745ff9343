"""How often a session may say that its user types."""

from __future__ import annotations

from typing import Final

from cecochat.domain.log.ids import ChatId

EVERY_S: Final = 3.0
EARLY_S: Final = 0.5
"""What a client may be early by: its clock and the network are not exact."""
CHATS_MAX: Final = 8
"""In how many chats a session can be typing at once."""
STALE_MS: Final = 6_000
"""When typing that was not said again is over."""


class Typing:
    """What one session has said. The caller passes in the time in seconds, by a monotonic clock."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        # Since when, and whether it is still so. A chat stays for a while after the user has
        # stopped, so that stopping gives no credit.
        self._said: dict[ChatId, tuple[float, bool]] = {}

    def is_due(self, chat_id: ChatId, active: bool, now_s: float) -> bool:
        """Return whether others are told now. That a user has stopped is told once."""
        said_s, types = self._said.get(chat_id, (now_s - EVERY_S, False))
        if not active:
            if types:
                self._said[chat_id] = said_s, False
            return types
        if now_s - said_s < EVERY_S - EARLY_S:
            return False
        self._forget(now_s)
        if chat_id not in self._said and len(self._said) >= CHATS_MAX:
            return False
        self._said[chat_id] = now_s, True
        return True

    def _forget(self, now_s: float) -> None:
        over_s = now_s - STALE_MS / 1_000
        self._said = {chat: said for chat, said in self._said.items() if said[0] > over_s}
