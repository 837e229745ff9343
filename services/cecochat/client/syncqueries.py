"""What a client without asyncio asks the history."""

from __future__ import annotations

from cecochat.client import client
from cecochat.client.background import Background
from cecochat.client.events import Chat, Page
from cecochat.client.search import FoundPage

WAIT_S = 30.0
THE_HISTORY = "the history"


class Queries:
    """The queries of the synchronous client."""

    _client: client.Client
    _behind: Background

    def history(
        self,
        chat: str,
        limit: int = 50,
        *,
        before: int | None = None,
        after: int | None = None,
        timeout_s: float = WAIT_S,
    ) -> Page:
        """Return the `limit` messages just below the id `before`, or just above `after`.

        Works like the asyncio `history`.
        """
        asking = self._client.history(chat, limit, before=before, after=after)
        return self._behind.wait(asking, timeout_s, THE_HISTORY)

    def chats(
        self, limit: int = 50, *, before: int | None = None, timeout_s: float = WAIT_S
    ) -> list[Chat]:
        """Return the user's chats, the one with the newest message first.

        `before` continues the list: pass the last message id of the last chat.
        """
        return self._behind.wait(self._client.chats(limit, before=before), timeout_s, THE_HISTORY)

    def search(
        self,
        text: str,
        limit: int = 50,
        *,
        chat: str | None = None,
        before: int | None = None,
        timeout_s: float = WAIT_S,
    ) -> FoundPage:
        """Return the newest messages of the user's chats that have all words of `text`.

        Works like the asyncio `search`.
        """
        asking = self._client.search(text, limit, chat=chat, before=before)
        return self._behind.wait(asking, timeout_s, THE_HISTORY)
