"""The client for programs without asyncio, such as those on Django or Celery.

    from cecochat.client.sync import connect

    with connect("http://127.0.0.1:8080", token) as alice:
        message_id = alice.send("bob", "hello")  # returns once it can no longer be lost
        for event in alice:
            ...

It is the client of `cecochat.client`, which runs in a thread in the background: events, errors and
promises are the same. Several threads can use one client. Every call gives up after a time, but
for a loop over events. It has no `signals`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

from cecochat.client import client, connecting
from cecochat.client.attachments import Attachment
from cecochat.client.background import AN_ACK, Background, background
from cecochat.client.errors import ChatError, Closed, InvalidArgument
from cecochat.client.events import (
    Deletion,
    Edit,
    Event,
    Mention,
    Message,
    Reaction,
    reply_id,
)
from cecochat.client.options import TransportName
from cecochat.client.settings import ChatSettings, SettingsChanged
from cecochat.client.state import State
from cecochat.client.syncfiles import Files
from cecochat.client.syncgroups import Groups
from cecochat.client.syncqueries import WAIT_S, Queries

T = TypeVar("T")

CLOSE_S = 10.0
LOOK_S = 1.0  # how often a loop over events sees whether its client has been closed
LOOKUP_S = 12.0  # the last lookup may end that much later than it should

__all__ = ["Client", "Files", "Groups", "Posted", "connect"]


def connect(
    connect_url: str,
    token: str | Callable[[], str],
    *,
    state: State | Path | str | None = None,
    device: str = "python",
    listen: bool = True,
    receipts: bool = True,
    timeout_s: float = 10.0,
    buffer_max_bytes: int = 1 << 20,
    ca_file: Path | str | None = None,
    transport: TransportName = "grpc",
    invisible: bool = False,
) -> Client:
    """Connect a device of the user that `token` names, and keep it connected until it is closed.

    The parameters and errors are those of the asyncio `connect`, except that `token` is a token or
    a plain function that returns one, and `timeout_s` is a number. Also raises `TimedOut`.

    Connect in the process that uses the client. After a fork, the child's copy raises `Closed`; the
    parent's client goes on. A child can connect anew if its parent had not connected yet, as when
    Celery, gunicorn or uwsgi fork their workers. If the parent had, gRPC does not promise that it
    works in the child, and now and then ends it with SIGSEGV (in 6 of 60 forks) unless the program
    was started with GRPC_ENABLE_FORK_SUPPORT=0.
    """
    opening = connecting.connect(
        connect_url,
        in_a_thread(token) if callable(token) else token,
        state=state,
        device=device,
        listen=listen,
        receipts=receipts,
        timeout_s=timeout_s,
        buffer_max_bytes=buffer_max_bytes,
        ca_file=ca_file,
        transport=transport,
        invisible=invisible,
    )
    behind = background()
    opened: list[client.Client] = []
    try:
        behind.wait(_open(opening, opened), 2 * timeout_s + LOOKUP_S, "a connection")
    except BaseException:
        behind.begin(_close_all(opened))  # it may have been opened after all
        raise
    return Client(behind, opened[0])


class Client(Queries):
    """A connected device, made by `connect`. Use it as a context manager, or `close` it.

    Iterate over it for events, in one thread at a time.
    """

    def __init__(self, behind: Background, opened: client.Client) -> None:
        self._behind = behind
        self._client = opened
        self._client._reply = _refuse
        self._asking = threading.Lock()
        self._asked: Future[Event | None] | None = None  # for an event that nobody has got yet
        behind.at_end[self] = self._close_at_end

    @property
    def user_id(self) -> str:
        """The id of the user that this device belongs to."""
        return self._client.user_id

    @property
    def log_id(self) -> str:
        """The id of the event log, which names the system that this client is connected to."""
        return self._client.log_id

    @property
    def groups(self) -> Groups:
        """The user's groups: making them, and changing who belongs to them."""
        return Groups(self._client.groups, self._behind)

    @property
    def files(self) -> Files:
        """The files that messages carry: sending them, and reading those of others."""
        return Files(self._client.files, self._behind)

    def send(
        self,
        to: str,
        text: str,
        *,
        client_message_id: str | None = None,
        reply_to_id: int = 0,
        mentions: Sequence[Mention] = (),
        attachments: Sequence[Attachment] = (),
        timeout_s: float = WAIT_S,
    ) -> int:
        """Send a message to a user or a chat. Return its id once it can no longer be lost.

        Raises the same errors as the asyncio `send`, or `TimedOut`. The message may then still be
        accepted. To try again, send it with the `client_message_id` of the error, so that it is not
        doubled. The same goes for `edit`, `delete`, `react`, `set_chat` and `groups`.
        """
        sending = partial(
            self._client.send,
            to,
            text,
            reply_to_id=reply_to_id,
            mentions=mentions,
            attachments=attachments,
        )
        return self._behind.do(sending, client_message_id, timeout_s)

    def edit(
        self,
        chat: str,
        message_id: int,
        text: str,
        *,
        mentions: Sequence[Mention] = (),
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> Edit:
        """Give an own message another text. Works like the asyncio `edit`."""
        editing = partial(self._client.edit, chat, message_id, text, mentions=mentions)
        return self._behind.do(editing, client_message_id, timeout_s)

    def delete(
        self,
        chat: str,
        message_id: int,
        *,
        as_admin: bool = False,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> Deletion:
        """Delete an own message for everybody. Works like the asyncio `delete`."""
        deleting = partial(self._client.delete, chat, message_id, as_admin=as_admin)
        return self._behind.do(deleting, client_message_id, timeout_s)

    def react(
        self,
        chat: str,
        message_id: int,
        emoji: str,
        *,
        removed: bool = False,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> Reaction:
        """Add an emoji to a message, or take it back. Works like the asyncio `react`."""
        reacting = partial(self._client.react, chat, message_id, emoji, removed=removed)
        return self._behind.do(reacting, client_message_id, timeout_s)

    def set_chat(
        self,
        chat: str,
        settings: ChatSettings,
        *,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> SettingsChanged:
        """Set how this user wants to have a chat. Works like the asyncio `set_chat`."""
        return self._behind.do(
            partial(self._client.set_chat, chat, settings), client_message_id, timeout_s
        )

    def post(
        self,
        to: str,
        text: str,
        *,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> Posted:
        """Queue a message. Use this for many messages in a row, and ask for their ids later.

        It waits while 1,000 messages are unanswered. Raises the same errors as `send`.
        """
        chosen = uuid4().hex if client_message_id is None else client_message_id
        posting = self._client.post(to, text, client_message_id=chosen)
        answer = self._behind.wait(posting, timeout_s, "room for another message", chosen)
        return Posted(self._behind, answer, chosen)

    def reply(
        self,
        message: Message,
        text: str,
        *,
        client_message_id: str | None = None,
        timeout_s: float = WAIT_S,
    ) -> int:
        """Send a message to the chat of another. See `Message.reply`.

        Raises the same errors as `send`.
        """
        chosen = reply_id(message, text) if client_message_id is None else client_message_id
        return self.send(message.chat_id, text, client_message_id=chosen, timeout_s=timeout_s)

    def mark_read(self, chat: str, message_id: int, *, timeout_s: float = WAIT_S) -> None:
        """Tell the others that this user has read a chat up to that message."""
        self._behind.wait(_call(self._client.mark_read, chat, message_id), timeout_s, "the client")

    # -- events

    def next_event(self, timeout_s: float = WAIT_S) -> Event | None:
        """Return the next event, or None if none has come within `timeout_s`.

        Asking for it means that the one before has been handled. Raises `Closed` at the end, or the
        error that ended the client.
        """
        self._behind.check_alive()
        with self._asking:
            asked = self._asked = self._asked or self._behind.begin(_next(self._client))
            try:
                event = asked.result(timeout_s)
            except TimeoutError:
                return None  # an event that comes from now on is for the next call
            except ChatError:
                self._asked = None
                raise
            self._asked = None
        if event is None:
            raise Closed
        return event

    def __iter__(self) -> Client:
        return self

    def __next__(self) -> Event:
        """Return the next event, however long it takes. The loop ends when the client is closed."""
        self._behind.check_alive()
        with suppress(Closed):
            while True:
                if event := self.next_event(LOOK_S):
                    return event
        raise StopIteration

    # -- the end

    def keep(self, *, timeout_s: float = WAIT_S) -> None:
        """Save the state now if it has changed. It is durable when this returns."""
        self._behind.wait(self._client.keep(), timeout_s, "the state to be saved")

    def close(self, *, handled: bool = False, timeout_s: float = CLOSE_S) -> None:
        """Send the remaining receipts, save the state and disconnect. Doing it again does nothing.

        Works like the asyncio `close`. Raises `TimedOut`. What is still open at the end of the
        interpreter is closed then, without `handled`.
        """
        if self._behind.at_end.pop(self, None) and self._behind.is_alive:
            handled = handled and self._asked is None  # what nobody has got is not handled
            self._behind.wait(
                self._client.close(handled=handled), timeout_s, "the client to be closed"
            )

    def _close_at_end(self) -> None:
        with suppress(ChatError):
            self.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close(handled=error is None)


class Posted:
    """A message that is on its way, made by `Client.post`."""

    def __init__(
        self, behind: Background, answer: asyncio.Future[int], client_message_id: str
    ) -> None:
        self._behind = behind
        self._answer = answer
        self.client_message_id = client_message_id

    @property
    def done(self) -> bool:
        """Whether the message was acknowledged or rejected, so that `result` does not wait."""
        return self._answer.done()

    def result(self, timeout_s: float = WAIT_S) -> int:
        """Return the id of the message once it can no longer be lost.

        Raises the same errors as `send`.
        """
        asking = _shielded(self._answer)  # so that asking again is possible
        return self._behind.wait(asking, timeout_s, AN_ACK, self.client_message_id)


def _refuse(
    to: str, text: str, *, client_message_id: str | None = None
) -> Coroutine[Any, Any, int]:
    """Refuse what would return a coroutine that nobody awaits, and so send nothing."""
    raise InvalidArgument("this is a message of the synchronous client: use `client.reply`")


async def _open(opening: Awaitable[client.Client], opened: list[client.Client]) -> None:
    opened.append(await opening)


async def _close_all(opened: list[client.Client]) -> None:
    for each in opened:
        await each.close()


async def _shielded(answer: asyncio.Future[T]) -> T:
    return await asyncio.shield(answer)


async def _call(function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)


async def _next(opened: client.Client) -> Event | None:
    return await anext(opened, None)


def in_a_thread(function: Callable[[], str]) -> Callable[[], Coroutine[Any, Any, str]]:
    """Let a function that may take its time not hold up what else happens in the background."""

    async def token() -> str:
        return await asyncio.to_thread(function)

    return token
