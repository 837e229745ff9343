"""What a client without asyncio asks the history."""

from __future__ import annotations

from cecochat.client import client
from cecochat.client.background import Background
from cecochat.client.events import Chat, Page
from cecochat.client.reporting import Blocked
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

    def report(
        self,
        chat: str,
        message_id: int,
        reason: str,
        text: str = "",
        *,
        timeout_s: float = WAIT_S,
    ) -> str:
        """Report a message of a chat to the moderators. Works like the asyncio `report`."""
        reporting = self._client.report(chat, message_id, reason, text)
        return self._behind.wait(reporting, timeout_s, THE_HISTORY)

    def report_user(
        self, user: str, reason: str, text: str = "", *, timeout_s: float = WAIT_S
    ) -> str:
        """Report a user to the moderators. Works like the asyncio `report_user`."""
        reporting = self._client.report_user(user, reason, text)
        return self._behind.wait(reporting, timeout_s, THE_HISTORY)

    def block(self, user: str, *, timeout_s: float = WAIT_S) -> None:
        """Block a user, if they are not blocked yet."""
        self._behind.wait(self._client.block(user), timeout_s, THE_HISTORY)

    def unblock(self, user: str, *, timeout_s: float = WAIT_S) -> None:
        """No longer block a user."""
        self._behind.wait(self._client.unblock(user), timeout_s, THE_HISTORY)

    def blocked(
        self, limit: int = 50, *, after: str = "", timeout_s: float = WAIT_S
    ) -> list[Blocked]:
        """Return those whom the user blocks, in the order of their user ids, above `after`."""
        return self._behind.wait(self._client.blocked(limit, after=after), timeout_s, THE_HISTORY)
