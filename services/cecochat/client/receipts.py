"""Combines what was delivered and read into few receipts, also in a busy chat."""

from __future__ import annotations

from cecochat.domain.log.ids import ChatId
from cecochat.v1.events_pb2 import Receipt


class Marks:
    """One mark for each chat, which only moves up. A chat has one receipt under way at a time."""

    def __init__(self) -> None:
        self._wanted: dict[ChatId, Receipt] = {}
        self._told: dict[ChatId, Receipt] = {}
        self._under_way: set[ChatId] = set()

    def delivered(self, chat_id: ChatId, message_id: int) -> None:
        """Note that the application has received a message."""
        mark = self._wanted.setdefault(chat_id, Receipt())
        mark.delivered_up_to = max(mark.delivered_up_to, message_id)

    def read(self, chat_id: ChatId, message_id: int) -> None:
        """Note that a person has read up to a message."""
        mark = self._wanted.setdefault(chat_id, Receipt())
        mark.read_up_to = max(mark.read_up_to, message_id)

    def take(self) -> dict[ChatId, Receipt]:
        """Return the receipts to send now. Each is under way until it is `answered`."""
        ready = {c: m for c, m in self._wanted.items() if c not in self._under_way}
        news = {c: m for c, m in ready.items() if self._is_news(c, m)}
        for chat_id in ready:
            del self._wanted[chat_id]
        for chat_id, mark in news.items():
            self._note(chat_id, mark)
        self._under_way.update(news)
        return news

    def _is_news(self, chat_id: ChatId, mark: Receipt) -> bool:
        told = self._told.get(chat_id, Receipt())
        return mark.delivered_up_to > told.delivered_up_to or mark.read_up_to > told.read_up_to

    def _note(self, chat_id: ChatId, mark: Receipt) -> None:
        told = self._told.setdefault(chat_id, Receipt())
        told.delivered_up_to = max(told.delivered_up_to, mark.delivered_up_to)
        told.read_up_to = max(told.read_up_to, mark.read_up_to)

    def answered(self, chat_id: ChatId) -> bool:
        """Note that a chat's receipt was answered. Return whether there is another to send."""
        self._under_way.discard(chat_id)
        return chat_id in self._wanted

    @property
    def idle(self) -> bool:
        """Whether every receipt has been sent and answered."""
        return not self._wanted and not self._under_way
