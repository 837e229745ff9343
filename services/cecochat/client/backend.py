"""The client of a product's back end, which acts for all users with one service token.

    from cecochat.client.backend import Backend, Outgoing

    async with Backend("http://127.0.0.1:8080", token) as backend:
        await backend.send("system", "alice", "Your order is on its way", key="order-4711-sent")
        await backend.groups("alice").create("Hikers", members=["bob"], chat_id="g:hikers")
        for chat in await backend.history("alice").chats():
            print(chat.chat_id, chat.unread_count)

`cecochat.client.syncbackend` is the same for programs without asyncio.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import random
from types import MappingProxyType, TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
from google.protobuf.message import Message
from typing_extensions import override

from cecochat.client.arguments import (
    check_attachments,
    check_client_message_id,
    check_mentions,
    check_supplied,
    check_text,
    check_url,
)
from cecochat.client.attachments import Attachment, attachment_proto
from cecochat.client.backoff import BackOff
from cecochat.client.calling import Answer, Calling
from cecochat.client.errors import Refused, SendRejected, refused
from cecochat.client.events import Mention, to_proto
from cecochat.client.files import Files, Transfers
from cecochat.client.groups import Groups
from cecochat.client.history import History
from cecochat.client.lookup import Token, trust
from cecochat.client.moderating import Act, Moderating, Report
from cecochat.client.names import chat_of, check_user, group_id
from cecochat.client.queries import Queries
from cecochat.domain.log.ids import ChatId
from cecochat.v1 import backend_pb2, events_pb2
from cecochat.v1.backend_pb2 import (
    BackendSend,
    BackendSendRequest,
    BackendSendResponse,
    BackendSendResult,
    RevokeTokensRequest,
    RevokeTokensResponse,
)
from cecochat.v1.messaging_pb2 import ReadToken, Send

__all__ = ["Act", "Backend", "Outcome", "Outgoing", "Report"]

CALL_TIMEOUT_S = 30.0
GIVE_UP_S = 60.0
BATCH = 1_000
BATCH_BYTES = 3 << 20
BACK_OFF = BackOff()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that `user_id` sends to a user or a chat.

    - `key` names it for good: however often it is sent with the same key, it is there once. By
      default it has a new one.
    - `as_system`: in a group, `user_id` need not belong to it.
    - `since` is the earliest time at which it may have been sent before. It makes a repeat cheaper,
      and is now if there is no `key`.
    - `attachments`: what `Backend.files(user_id)` has uploaded for this `key`. Then it needs no
      text.
    """

    user_id: str
    to: str
    text: str
    key: str | None = None
    since: datetime | None = None
    mentions: tuple[Mention, ...] = ()
    reply_to_id: int = 0
    as_system: bool = False
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of a message: its id, or the error with which it was refused."""

    message_id: int = 0
    error: SendRejected | None = None


class Backend(Moderating):
    """Acts for users, through any connect server: `Backend(connect_url, token, ca_file=None)`.
    `token` is a service token, or an async function that returns one; its scopes say what it may
    do.

    Each call is tried for up to 60 s while its error is retriable. All raise `InvalidArgument` at
    once, and `Refused` or `NotReachable`. Use it as a context manager, or `close` it.
    """

    def __init__(
        self, connect_url: str, token: Token, *, ca_file: Path | str | None = None
    ) -> None:
        check_url(connect_url)
        self._url = connect_url.rstrip("/")
        self._token = token
        is_plain = self._url.startswith("http://")
        verify = False if is_plain else trust(Path(ca_file) if ca_file else None)[0]
        self._http = httpx.AsyncClient(timeout=CALL_TIMEOUT_S, verify=verify)
        self._transfers = Transfers(self._url, self._http, Path(ca_file) if ca_file else None)
        self._calling = Calling(self._url, "Backend", self._http, self._supplied, GIVE_UP_S)
        self._sent: ReadToken | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transfers.close()
        await self._http.aclose()

    @property
    def token(self) -> ReadToken | None:
        """What a query has to be given to hold all that was sent with this object."""
        return self._sent

    # -- sends

    async def send(
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
        attachments: Sequence[Attachment] = (),
    ) -> int:
        """Send a message as a user. Returns its id once it can no longer be lost; see `Outgoing`.
        Raises `SendRejected`.
        """
        how = tuple(mentions), reply_to_id, as_system, tuple(attachments)
        message = Outgoing(user_id, to, text, key, since, *how)
        (outcome,) = await self.send_all([message])
        return _id_of(outcome)

    async def send_all(self, messages: Iterable[Outgoing]) -> list[Outcome]:
        """Send any number of messages, each for itself: one that is refused stops none of the
        others. Those of one user keep their order. Returns what has become of each, in order.

        If the call fails halfway, call it again with the same keys.
        """
        sends = [_outgoing(each) for each in messages]
        results: list[BackendSendResult] = []
        for batch in _batches(sends):
            results += await self._settle(batch)  # one after the other, to keep their order
        return [_outcome(*each) for each in zip(sends, results, strict=True)]

    async def edit(self, user_id: str, chat: str, message_id: int, text: str) -> int:
        """Give a message of a user another text. Raises `SendRejected`."""
        check_text(text, 0)
        edit = events_pb2.Edit(message_id=message_id, text=text)
        return await self._do(user_id, Send(chat_id=chat_of(user_id, chat), edit=edit), None)

    async def delete(
        self,
        user_id: str,
        chat: str,
        message_id: int,
        *,
        as_admin: bool = False,
        as_system: bool = False,
    ) -> int:
        """Delete a message of a user, or as the admin of a group, or any message of a group as the
        system: then `user_id` need not belong to it. Raises `SendRejected`.
        """
        deletion = events_pb2.Deletion(message_id=message_id, as_admin=as_admin or as_system)
        send = Send(chat_id=chat_of(user_id, chat), deletion=deletion)
        return await self._do(user_id, send, None, as_system=as_system)

    async def appoint_owner(
        self, user_id: str, chat: str, owner: str, *, key: str | None = None
    ) -> int:
        """Make a member the owner of a group, as the system: `user_id` need not belong to it. Who
        was the owner is an admin then. Raises `SendRejected`.
        """
        appointment = events_pb2.Appointment(user_id=check_user(owner), role=events_pb2.ROLE_OWNER)
        change = events_pb2.Membership(appointments=[appointment])
        send = Send(chat_id=group_id(chat), membership=change)
        return await self._do(user_id, send, key, as_system=True)

    async def _do(
        self, user_id: str, send: Send, key: str | None, *, as_system: bool = False
    ) -> int:
        made = _send(user_id, send.chat_id, key, None)
        made.as_system = as_system
        body = send.WhichOneof("body")
        assert body
        getattr(made, body).CopyFrom(getattr(send, body))
        (result,) = await self._settle([made])
        return _id_of(_outcome(made, result))

    async def _settle(self, sends: Sequence[BackendSend]) -> list[BackendSendResult]:
        """Send a batch, and those again whose outcome is not known yet."""
        results = [BackendSendResult()] * len(sends)
        left, give_up_s = list(range(len(sends))), time.monotonic() + GIVE_UP_S
        known = ReadToken()  # before this, none of these sends was tried
        if self._sent:
            known.CopyFrom(self._sent)
        for attempt in count():
            request = BackendSendRequest(sends=[sends[at] for at in left], token=known)
            answer = await self.call("Send", request, BackendSendResponse)
            for at, result in zip(left, answer.results, strict=True):
                results[at] = result
            self._note(answer.token)
            left = [at for at in left if results[at].refused.retriable]
            wait_s = BACK_OFF.wait_s(attempt, random())  # noqa: S311
            if not left or time.monotonic() + wait_s > give_up_s:
                break
            await asyncio.sleep(wait_s)
        if left:
            raise refused(results[left[0]].refused)
        return results

    def _note(self, token: ReadToken) -> None:
        if self._sent is None or self._sent.log_id != token.log_id:
            self._sent = token
            return
        for partition, offset in token.offsets.items():
            if offset > self._sent.offsets.get(partition, -1):
                self._sent.offsets[partition] = offset
                self._sent.clocks[partition] = token.clocks[partition]

    # -- users

    def history(self, user_id: str) -> History:
        """Return the history as a user sees it: chats with unread counts, messages, groups."""
        return History(user_id, _Calls(self, user_id))

    def files(self, user_id: str) -> Files:
        """Return the files of a user, to upload and read them in that user's name. The key of a
        message is the `client_message_id` of its files.
        """

        async def send(to: str, text: str, **how: Any) -> int:
            key = how.pop("client_message_id")
            return await self.send(user_id, to, text, key=key, **how)

        calling = _Calls(self, user_id)
        return Files(user_id, self._transfers, calling, send, lambda: self._sent)

    def groups(self, user_id: str) -> Groups:
        """Return the groups of a user, to make and change them in that user's name."""

        async def queue(send: Send, key: str | None) -> asyncio.Future[int]:
            done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            done.set_result(await self._do(user_id, send, key))
            return done

        return Groups(user_id, queue, self.history(user_id), _Told(self))

    async def revoke_tokens(
        self, user_id: str, *, sid: str = "", before: datetime | None = None
    ) -> None:
        """Bar the tokens that a user has, or those of one login, and end the sessions that were
        opened with them. `before` bars only tokens that were issued before then.
        """
        request = RevokeTokensRequest(user_id=user_id, sid=sid, before_ms=_ms(before))
        await self.call("RevokeTokens", request, RevokeTokensResponse)

    # -- calls

    @override
    async def call(self, name: str, request: Message, response: type[Answer]) -> Answer:
        """Make a call of `cecochat.v1.Backend`, again while its error is retriable."""
        return await self._calling.call(name, request, response)

    async def _supplied(self) -> str:
        token = await self._token() if callable(self._token) else self._token
        check_supplied(token)
        return token


class _Calls(Queries):
    """Calls in the name of a user."""

    def __init__(self, backend: Backend, user_id: str) -> None:
        self._backend = backend
        self._user_id = user_id

    @override
    async def call(self, name: str, request: Message, response: type[Answer]) -> Answer:
        kind: Any = getattr(backend_pb2, f"Backend{name}Request", None)
        if kind is None:
            raise Refused("unimplemented", f"the back end has no call {name}")
        asked = kind(user_id=self._user_id, request=request)
        return await self._backend.call(name, asked, response)


class _Told:
    """What the queries about groups have to hold."""

    group_changes: Mapping[ChatId, int] = MappingProxyType({})

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def read_token(self) -> ReadToken | None:
        return self._backend.token


def _outgoing(message: Outgoing) -> BackendSend:
    if message.text or not message.attachments:
        check_text(message.text, 0)
    check_attachments(message.attachments)
    check_mentions(message.mentions, message.text)
    chat_id = chat_of(message.user_id, message.to)
    made = _send(message.user_id, chat_id, message.key, message.since)
    made.as_system = message.as_system
    made.message.text = message.text
    made.message.reply_to_id = message.reply_to_id
    made.message.mentions.extend(map(to_proto, message.mentions))
    made.message.attachments.extend(map(attachment_proto, message.attachments))
    return made


def _send(user_id: str, chat_id: str, key: str | None, since: datetime | None) -> BackendSend:
    if key is not None:
        check_client_message_id(key)
    since_ms = _ms(since or (now() if key is None else None))
    return BackendSend(
        user_id=user_id,
        chat_id=chat_id,
        client_message_id=uuid4().hex if key is None else key,
        since_ms=since_ms,
        is_new=key is None,
    )


def now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


def _ms(at: datetime | None) -> int:
    return int(at.timestamp() * 1_000) if at else 0


def _batches(sends: Sequence[BackendSend]) -> Iterator[list[BackendSend]]:
    batch: list[BackendSend] = []
    size = 0
    for each in sends:
        if batch and (len(batch) == BATCH or size + each.ByteSize() > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += each.ByteSize()
    if batch:
        yield batch


def _outcome(send: BackendSend, result: BackendSendResult) -> Outcome:
    if result.message_id:
        return Outcome(result.message_id)
    return Outcome(error=SendRejected(send.client_message_id, result.refused))


def _id_of(outcome: Outcome) -> int:
    if outcome.error:
        raise outcome.error
    return outcome.message_id
