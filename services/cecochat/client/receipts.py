"""The marks to tell: delivered and read up to, joined so that a busy chat costs few receipts."""

from __future__ import annotations

from cecochat.v1.events_pb2 import Receipt


class Marks:
    """Marks that only move up, a chat; one receipt of a chat is under way at a time."""

    def __init__(self) -> None:
        self._wanted: dict[str, Receipt] = {}
        self._told: dict[str, Receipt] = {}
        self._under_way: set[str] = set()

    def delivered(self, chat_id: str, message_id: int) -> None:
        """The application has that message."""
        mark = self._wanted.setdefault(chat_id, Receipt())
        mark.delivered_up_to = max(mark.delivered_up_to, message_id)

    def read(self, chat_id: str, message_id: int) -> None:
        """A person has read up to that message."""
        mark = self._wanted.setdefault(chat_id, Receipt())
        mark.read_up_to = max(mark.read_up_to, message_id)

    def take(self) -> dict[str, Receipt]:
        """What to tell now, by chat; each is under way until `answered`."""
        ready = {c: m for c, m in self._wanted.items() if c not in self._under_way}
        news = {c: m for c, m in ready.items() if self._is_news(c, m)}
        for chat_id in ready:
            del self._wanted[chat_id]
        for chat_id, mark in news.items():
            self._note(chat_id, mark)
        self._under_way.update(news)
        return news

    def _is_news(self, chat_id: str, mark: Receipt) -> bool:
        told = self._told.get(chat_id, Receipt())
        return mark.delivered_up_to > told.delivered_up_to or mark.read_up_to > told.read_up_to

    def _note(self, chat_id: str, mark: Receipt) -> None:
        told = self._told.setdefault(chat_id, Receipt())
        told.delivered_up_to = max(told.delivered_up_to, mark.delivered_up_to)
        told.read_up_to = max(told.read_up_to, mark.read_up_to)

    def answered(self, chat_id: str) -> bool:
        """The receipt of that chat is answered; whether more is to be told."""
        self._under_way.discard(chat_id)
        return chat_id in self._wanted

    @property
    def idle(self) -> bool:
        """Whether all is told and answered."""
        return not self._wanted and not self._under_way
