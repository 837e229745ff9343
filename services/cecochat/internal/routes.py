"""The server side of the contract between servers, on a server's internal listener."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from google.protobuf.message import DecodeError, Message
from sanic import Request
from sanic.response import HTTPResponse, raw

from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.ownership import asks
from cecochat.internal import paths
from cecochat.internal.asked import decode_asked, encode_answer
from cecochat.internal.v1.internal_pb2 import (
    Asked,
    Load,
    OwnedPartition,
    Partitions,
    Sessions,
    UserSessions,
)
from cecochat.runtime import bodies
from cecochat.runtime.http import App, error_response
from cecochat.v1 import errors_pb2


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

    def asked(self, answer: Callable[[int, asks.Asked], Awaitable[asks.Answer | None]]) -> None:
        """Answer what other servers ask a home of groups, whose partition is given to `answer`. It
        returns None if this server does not own that, or not yet.
        """

        @self._app.post(paths.ASKED, ctx_scope="pass_on", stream=True)
        async def say_answer(request: Request) -> HTTPResponse:
            try:
                body = await bodies.read(request, paths.ASKED_MAX_BYTES)
                asked = Asked.FromString(body)
            except Refusal as refusal:
                return error_response(refusal)
            except DecodeError:
                return error_response(Invalid("this is no request to a home of groups"))
            said = await answer(asked.home, decode_asked(asked))
            if said is None:
                return error_response(_not_home(asked.home))
            return _protobuf(encode_answer(self._server_id, said))


def _not_home(home: int) -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        f"this server does not own partition {home}, or not yet: ask the server that does",
    )


def users_in(request: Request) -> list[UserId]:
    """Return the users that a question about sessions names, each once. Raises `Refusal`."""
    users = list(map(UserId, dict.fromkeys(request.args.getlist(paths.USER, []))))
    if 1 <= len(users) <= paths.USERS_MAX:
        return users
    raise Invalid(
        f"{len(users)} users are named: name 1 to {paths.USERS_MAX}, as ?user=alice&user=bob",
    )


def _protobuf(message: Message) -> HTTPResponse:
    return raw(message.SerializeToString(), content_type=paths.PROTOBUF)
