"""Serves `cecochat.v1.History` over HTTP, by the Connect protocol."""

from __future__ import annotations

from google.protobuf.message import Message
from typing_extensions import override

from cecochat.domain.errors import Refusal
from cecochat.runtime import unary
from cecochat.runtime.http import App
from cecochat.runtime.unary import Unary
from cecochat.servers.history.calls import ANSWER_TIMEOUT_S, SERVICE, Call, Calls, Exchange, Request


def add_routes(app: App, calls: Calls) -> None:
    """Add the calls, each as `POST /cecochat.v1.History/NAME`."""
    for call in calls.offered:
        _add(app, calls, call)


def _add(app: App, calls: Calls, call: Call) -> None:
    async def answer(asked: Unary) -> Refusal | None:
        return await calls.respond(call, _OverHttp(asked, call.response))

    unary.add_route(app, f"/{SERVICE}/{call.name}", answer)


class _OverHttp(Exchange):
    def __init__(self, asked: Unary, response: type[Message]) -> None:
        self.authorization = asked.authorization
        self.traceparent = asked.traceparent
        self._asked = asked
        self._response = response

    @override
    def timeout_s(self) -> float:
        return self._asked.timeout_s(ANSWER_TIMEOUT_S)

    @override
    def drop(self) -> None:
        self._asked.drop()

    @override
    async def read(self, kind: type[Request]) -> Request:
        return await self._asked.read(kind)

    @override
    def encoded(self, answer: bytes) -> bytes:
        return self._asked.encoded(answer, self._response)

    @override
    async def write(self, encoded: bytes) -> None:
        await self._asked.write(encoded)

    @override
    def hang_up(self) -> None:
        self._asked.hang_up()
