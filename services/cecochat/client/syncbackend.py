"""The client of a product's back end, for programs without asyncio.

    from cecochat.client.syncbackend import Backend

    with Backend("http://127.0.0.1:8080", token) as backend:
        backend.send("system", "alice", "Your order is on its way", key="order-4711-sent")

It is `cecochat.client.backend`, which runs in a thread in the background. Several threads can use
one. Every call gives up after a time, with `TimedOut`; a send may then still be accepted, so pass
its `key` again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

from cecochat.client import backend
from cecochat.client.backend import Outcome, Outgoing
from cecochat.client.background import AN_ACK, AN_ANSWER, Background, background
from cecochat.client.events import Chat, Mention, Page
from cecochat.client.history import History as OpenedHistory
from cecochat.client.sync import in_a_thread
from cecochat.client.syncgroups import Groups
from cecochat.client.syncmoderating import Moderating
from cecochat.v1.messaging_pb2 import ReadToken

__all__ = ["Backend", "History", "Outcome", "Outgoing"]

T = TypeVar("T")

WAIT_S = 90.0
CLOSE_S = 10.0


class History:
    """The history as a user sees it. Works like the asyncio `History`."""

    def __init__(self, opened: OpenedHistory, behind: Background) -> None:
        self._opened = opened
        self._behind = behind

    def messages(
        self,
        chat: str,
        limit: int = 50,
        *,
        before: int | None = None,
        after: int | None = None,
        token: ReadToken | None = None,
    ) -> Page:
        """Return a page of a chat."""
        asked = self._opened.messages(chat, limit, before=before, after=after, token=token)
        return self._behind.wait(asked, WAIT_S, AN_ANSWER)

    def chats(
        self, limit: int = 50, *, before: int | None = None, token: ReadToken | None = None
    ) -> list[Chat]:
        """Return the user's chats, the one with the newest message first."""
        asked = self._opened.chats(limit, before=before, token=token)
        return self._behind.wait(asked, WAIT_S, AN_ANSWER)


class Backend(Moderating):
    """Acts for users, through any connect server. `token` is a service token, or a function that
    returns one. Works like the asyncio `Backend`, and may also raise `TimedOut`.
    """

    def __init__(
        self,
        connect_url: str,
        token: str | Callable[[], str],
        *,
        ca_file: Path | str | None = None,
    ) -> None:
        self._behind = background()
        supplied: Any = in_a_thread(token) if callable(token) else token

        async def opening() -> backend.Backend:
            return backend.Backend(connect_url, supplied, ca_file=ca_file)

        self._opened: backend.Backend = self._behind.wait(opening(), CLOSE_S, "a client")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def token(self) -> ReadToken | None:
        """What a query has to be given to hold all that was sent with this object."""
        return self._opened.token

    def close(self) -> None:
        """Close the connections."""
        self._behind.wait(self._opened.close(), CLOSE_S, "the connections to close")

    def send(
        self,
        user_id: str,
        to: str,
        text: str,
        *,
        key: str | None = None,
        since: datetime | None = None,
        mentions: Sequence[Mention] = (),
        reply_to_id: int = 0,
        as_system: bool = False,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Send a message as a user. Returns its id once it can no longer be lost."""
        chosen = uuid4().hex if key is None else key
        sending = self._opened.send(
            user_id,
            to,
            text,
            key=chosen,
            since=since or (backend.now() if key is None else None),
            mentions=mentions,
            reply_to_id=reply_to_id,
            as_system=as_system,
        )
        return self._behind.wait(sending, timeout_s, AN_ACK, chosen)

    def send_all(self, messages: Iterable[Outgoing], *, timeout_s: float = WAIT_S) -> list[Outcome]:
        """Send any number of messages, each for itself. If the call fails, call it again with
        messages that have the same keys.
        """
        return self._behind.wait(self._opened.send_all(messages), timeout_s, AN_ACK)

    def edit(
        self, user_id: str, chat: str, message_id: int, text: str, *, timeout_s: float = WAIT_S
    ) -> int:
        """Give a message of a user another text."""
        return self._behind.wait(
            self._opened.edit(user_id, chat, message_id, text), timeout_s, AN_ACK
        )

    def delete(
        self,
        user_id: str,
        chat: str,
        message_id: int,
        *,
        as_admin: bool = False,
        as_system: bool = False,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Delete a message of a user, or as the admin of a group or the system."""
        deleting = self._opened.delete(
            user_id, chat, message_id, as_admin=as_admin, as_system=as_system
        )
        return self._behind.wait(deleting, timeout_s, AN_ACK)

    def appoint_owner(
        self,
        user_id: str,
        chat: str,
        owner: str,
        *,
        key: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Make a member the owner of a group, as the system."""
        chosen = uuid4().hex if key is None else key
        appointing = self._opened.appoint_owner(user_id, chat, owner, key=chosen)
        return self._behind.wait(appointing, timeout_s, AN_ACK, chosen)

    def history(self, user_id: str) -> History:
        """Return the history as a user sees it."""
        return History(self._opened.history(user_id), self._behind)

    def groups(self, user_id: str) -> Groups:
        """Return the groups of a user, to make and change them in that user's name."""
        return Groups(self._opened.groups(user_id), self._behind)

    def revoke_tokens(self, user_id: str, *, sid: str = "", before: datetime | None = None) -> None:
        """Bar the tokens that a user has, or those of one login, and end their sessions."""
        revoking = self._opened.revoke_tokens(user_id, sid=sid, before=before)
        self._behind.wait(revoking, WAIT_S, AN_ANSWER)
