"""The server's side of a case, as the Python client sees it: a stream, and the history."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from typing_extensions import override

from cecochat.client.errors import ChatError, refused
from cecochat.client.lookup import Lookup
from cecochat.client.queries import Answer, HistoryCalls
from cecochat.client.transport.base import Call
from cecochat.domain.device.device import Device
from cecochat.v1.errors_pb2 import Error
from cecochat.v1.messaging_pb2 import ClientFrame, ServerFrame

Coming = ServerFrame | ChatError | None


class Stored:
    """What is stored of a device: a `State`, as text."""

    def __init__(self, device: Device) -> None:
        self._text = json.dumps(device.snapshot())

    def load(self) -> dict[str, Any]:
        """Return what a restart would find."""
        snapshot: dict[str, Any] = json.loads(self._text)
        return snapshot

    async def save(self, snapshot: dict[str, Any]) -> None:
        """Replace it."""
        self._text = json.dumps(snapshot)

    def close(self) -> None:
        """Do nothing: nobody else uses it."""


class ScriptedCall(Call):
    """A stream. What the client writes is kept in `frames`; what it reads is what `say` was given.
    None ends the stream, and so does an error. A send has to be in `stored` when it is written.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.frames: list[ClientFrame] = []
        self._coming: asyncio.Queue[Coming] = asyncio.Queue()

    def say(self, what: Coming) -> None:
        """Give the client something to read."""
        self._coming.put_nowait(what)

    @override
    async def begin(self, hello: ClientFrame) -> None:
        await self.write(hello)

    @override
    async def write(self, frame: ClientFrame) -> None:
        stored = {each["clientMessageId"] for each in self._stored.load()["outbox"]}
        assert {send.client_message_id for send in frame.sends} <= stored, "a send is not stored"
        kept = ClientFrame()
        kept.CopyFrom(frame)
        self.frames.append(kept)

    @override
    async def read(self) -> ServerFrame | None:
        coming = await self._coming.get()
        if isinstance(coming, ChatError):
            raise coming
        return coming


class ScriptedHistory(HistoryCalls):
    """A history that answers the queries of one step, and notes which were made."""

    def __init__(self, lookup: Lookup) -> None:
        super().__init__(lookup)
        self.answers: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []

    @override
    async def call(self, name: str, request: Any, response: type[Answer]) -> Answer:
        return ParseDict(self._answer(f"{name[0].lower()}{name[1:]}", request), response())

    def _answer(self, name: str, request: Any) -> dict[str, Any]:
        query = {name: MessageToDict(request)}
        query[name].pop("limit", None)
        if not any(each.get(name, {}).get("withChanges") for each in self.answers):
            query[name].pop("withChanges", None)  # the case leaves that to the client
        self.asked.append(query)
        for each in self.answers:
            if {name: each.get(name)} == query:
                if "error" in each:
                    raise refused(ParseDict(each["error"], Error()))
                answer: dict[str, Any] = each["answer"]
                return answer
        raise AssertionError(f"a query that the case does not have: {query}")
