"""The server side of the contract between servers, on a server's internal listener."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from sanic import Request
from sanic.response import HTTPResponse, raw

from cecochat.domain.errors import Invalid, Refusal, Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.domain.ownership import asks
from cecochat.domain.ownership.calls import Called, Decision
from cecochat.internal import paths
from cecochat.internal.asked import decode_asked, encode_answer
from cecochat.internal.called import decode_called, encode_decided
from cecochat.internal.v1 import internal_pb2
from cecochat.internal.v1.internal_pb2 import (
    Asked,
    Contact,
    Contacted,
    Found,
    Load,
    OwnedPartition,
    Partitions,
    Present,
    Queried,
    Query,
    Sessions,
    Sought,
    Tail,
    UserSessions,
)
from cecochat.runtime import bodies
from cecochat.runtime.http import App, error_response
from cecochat.v1 import errors_pb2

Message_ = TypeVar("Message_", bound=Message)


class InternalRoutes:
    """Adds routes to an internal application. Each declares the scope that it requires.

    A server adds only the routes for which it has an answer.
    """

    def __init__(self, app: App, server_id: str) -> None:
        self._app = app
        self._server_id = server_id

    def load(self, carries: Callable[[], Load]) -> None:
        """Answer what this server carries now, in the field of its kind."""

        @self._app.get(paths.LOAD, ctx_scope="metrics")
        async def say_load(_: Request) -> HTTPResponse:
            said = carries()
            said.server_id = self._server_id
            return _protobuf(said)

    def partitions(self, owned: Callable[[], Iterable[OwnedPartition]]) -> None:
        """Answer which partitions this server owns now."""

        @self._app.get(paths.PARTITIONS, ctx_scope="read")
        async def say_partitions(_: Request) -> HTTPResponse:
            return _protobuf(Partitions(server_id=self._server_id, owned=owned()))

    def sessions(self, of: Callable[[str], UserSessions | None]) -> None:
        """Answer which sessions users have here.

        `of` returns None for a user whose partition this server does not own.
        """

        @self._app.get(paths.SESSIONS, ctx_scope="people")
        async def say_sessions(request: Request) -> HTTPResponse:
            try:
                users = users_in(request)
            except Refusal as refusal:
                return error_response(refusal)
            found = [said for user in users if (said := of(user))]
            return _protobuf(Sessions(server_id=self._server_id, users=found))

    def present(self, of: Callable[[UserId], UserSessions | None]) -> None:
        """Answer the same to servers that ask often."""

        @self._app.post(paths.PRESENT, ctx_scope="pass_on", stream=True)
        async def say_present(request: Request) -> HTTPResponse:
            try:
                asked = await _read(request, Present, paths.ASKED_MAX_BYTES)
                if len(asked.user_ids) > paths.USERS_MAX:
                    raise Invalid(f"{len(asked.user_ids)} users: name at most {paths.USERS_MAX}")
            except Refusal as refusal:
                return error_response(refusal)
            found = [said for user in map(UserId, asked.user_ids) if (said := of(user))]
            return _protobuf(Sessions(server_id=self._server_id, users=found))

    def asked(self, answer: Callable[[int, asks.Asked], Awaitable[asks.Answer | None]]) -> None:
        """Answer what other servers ask a home of groups, whose partition is given to `answer`. It
        returns None if this server does not own that, or not yet.
        """

        @self._app.post(paths.ASKED, ctx_scope="pass_on", stream=True)
        async def say_answer(request: Request) -> HTTPResponse:
            try:
                asked = await _read(request, Asked, paths.ASKED_MAX_BYTES)
            except Refusal as refusal:
                return error_response(refusal)
            said = await answer(asked.home, decode_asked(asked))
            if said is None:
                return error_response(_not_owner(asked.home))
            return _protobuf(encode_answer(self._server_id, said))

    def called(
        self, decide: Callable[[int, list[Called]], Awaitable[Sequence[Decision] | None]]
    ) -> None:
        """Answer what becomes of sends of the back end in a partition. `decide` returns None if
        this server does not own that, or not yet.
        """

        @self._app.post(paths.CALLED, ctx_scope="pass_on", stream=True)
        async def say_decisions(request: Request) -> HTTPResponse:
            try:
                called = await _read(request, internal_pb2.Called, paths.CALLED_MAX_BYTES)
            except Refusal as refusal:
                return error_response(refusal)
            said = await decide(called.partition, decode_called(called))
            if said is None:
                return error_response(_not_owner(called.partition))
            return _protobuf(encode_decided(self._server_id, said))

    def sought(self, find: Callable[[Sought], Awaitable[Sequence[int]]]) -> None:
        """Answer which sends the history has: the id of each; 0 if it has none, and -1 if nothing
        tells. `find` raises `Refusal` and `Unavailable`.
        """

        @self._app.post(paths.SOUGHT, ctx_scope="pass_on", stream=True)
        async def say_found(request: Request) -> HTTPResponse:
            try:
                ids = await find(await _read(request, Sought, paths.CALLED_MAX_BYTES))
            except Refusal as refusal:
                return error_response(refusal)
            except Unavailable as error:
                return error_response(Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, str(error)))
            return _protobuf(Found(server_id=self._server_id, message_ids=ids))

    def contact(self, find: Callable[[Contact], Awaitable[Contacted]]) -> None:
        """Answer whether somebody has answered in a dialog. `find` raises `Refusal` and
        `Unavailable`.
        """

        @self._app.post(paths.CONTACT, ctx_scope="pass_on", stream=True)
        async def say_contact(request: Request) -> HTTPResponse:
            try:
                said = await find(await _read(request, Contact, paths.ASKED_MAX_BYTES))
            except Refusal as refusal:
                return error_response(refusal)
            except Unavailable as error:
                return error_response(Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, str(error)))
            said.server_id = self._server_id
            return _protobuf(said)

    def queries(self, answer: Callable[[Query], Awaitable[bytes]]) -> None:
        """Answer queries in the name of users. `answer` raises `Refusal`."""

        @self._app.post(paths.QUERIES, ctx_scope="pass_on", stream=True)
        async def say_answer(request: Request) -> HTTPResponse:
            said = Queried(server_id=self._server_id)
            try:
                query = await _read(request, Query, paths.ASKED_MAX_BYTES)
                said.response = await answer(query)
            except Refusal as refusal:
                said.refused.CopyFrom(refusal.proto())
            return _protobuf(said)

    def events(self, stream: Callable[[Tail, Request], Awaitable[HTTPResponse | None]]) -> None:
        """Stream events. `stream` writes the answer by itself, or returns it if there is none."""

        @self._app.post(paths.EVENTS, ctx_scope="pass_on", stream=True)
        async def say_events(request: Request) -> HTTPResponse | None:
            try:
                tail = await _read(request, Tail, paths.ASKED_MAX_BYTES)
                return await stream(tail, request)
            except Refusal as refusal:
                return error_response(refusal)


def _not_owner(partition: int) -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        f"this server does not own partition {partition}, or not yet: ask the server that does",
    )


def users_in(request: Request) -> list[UserId]:
    """Return the users that a question about sessions names, each once. Raises `Refusal`."""
    users = list(map(UserId, dict.fromkeys(request.args.getlist(paths.USER, []))))
    if 1 <= len(users) <= paths.USERS_MAX:
        return users
    raise Invalid(
        f"{len(users)} users are named: name 1 to {paths.USERS_MAX}, as ?user=alice&user=bob",
    )


async def _read(request: Request, kind: type[Message_], max_bytes: int) -> Message_:
    """Return the body of a request. Raises `Refusal`."""
    body = await bodies.read(request, max_bytes)
    try:
        return kind.FromString(body)
    except DecodeError:
        raise Invalid(f"the body is no {kind.DESCRIPTOR.full_name}") from None


def _protobuf(message: Message) -> HTTPResponse:
    return raw(message.SerializeToString(), content_type=paths.PROTOBUF)
