"""The embedded system in this process, on free ports and a folder of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import grpc

from cecochat.adapters import build
from cecochat.auth.minting import SERVICE_SCOPES, mint, mint_for_service
from cecochat.client.backend import Backend
from cecochat.ports.configuration import CONFIGURATION, Configuration, Document
from cecochat.run import system
from cecochat.settings import private
from cecochat.settings.settings import Settings, made
from cecochat.v1 import errors_pb2
from cecochat.v1.history_pb2 import (
    GetChatsRequest,
    GetChatsResponse,
    GetGroupRequest,
    GetGroupResponse,
    GetMessagesRequest,
    GetMessagesResponse,
    ListMembersRequest,
    ListMembersResponse,
    SearchMessagesRequest,
    SearchMessagesResponse,
)
from cecochat.v1.messaging_pb2 import Position
from tests.integration import streams
from tests.integration.streams import Stream
from tests.support import operators
from tests.support.pipes import TransportName, typed_error

QUICK: Mapping[str, Any] = {
    "sends.rate_per_user": 100_000.0,
    "sends.burst": 100_000,
    "connects.rate_per_user": 100_000.0,
    "connects.burst": 100_000,
    "drain.spread_s": 0.0,
}
PORTS = (
    "connect_port",
    "messaging_port",
    "history_port",
    "messaging_health_port",
    "materialize_health_port",
    "history_health_port",
    "connect_health_port",
    "messaging_websocket_port",
    "history_http_port",
    "connect_grpc_port",
    "hooks_health_port",
)


class Refused(Exception):
    """A call was refused with a typed error."""

    def __init__(self, error: errors_pb2.Error) -> None:
        super().__init__(str(error))
        self.code = errors_pb2.ErrorCode.Name(error.code).removeprefix("ERROR_CODE_")
        self.error = error


def settings(folder: Path, **others: Any) -> Settings:
    ours = {"cluster_secret_file": operators.SECRET_FILE, **dict.fromkeys(PORTS, 0)}
    return made(data_dir=folder, **{**ours, **others})


@dataclass
class Running:
    """A started system, and what a test does to it."""

    transport: ClassVar[TransportName] = "grpc"  # of all streams, see the fixture `over_each`
    addresses: system.Addresses
    configuration: Configuration

    @property
    def where(self) -> str:
        """The address of the messaging server."""
        over_grpc = self.transport == "grpc"
        return self.addresses.messaging if over_grpc else self.addresses.websocket

    def token(self, user: str, lifetime_s: float = 3_600) -> str:
        return mint(self.secret, user, lifetime_s)

    def service_token(self, *scopes: str, name: str = "shop") -> str:
        return mint_for_service(self.secret, name, scopes or SERVICE_SCOPES, 3_600)

    def backend(self, *scopes: str) -> Backend:
        """The client of a back end with these scopes; without any, with all."""
        return Backend(self.addresses.connect, self.service_token(*scopes))

    @property
    def secret(self) -> bytes:
        """What signs development tokens."""
        assert self.addresses.token_secret_file
        return private.drawn_secret(Path(self.addresses.token_secret_file))

    def stream(
        self, user: str, position: Position | None = None
    ) -> AbstractAsyncContextManager[Stream]:
        return streams.caught_up(self.where, self.token(user), position)

    def opened(self, user: str) -> AbstractAsyncContextManager[Stream]:
        return streams.opened(self.where, self.token(user))

    async def refused(self, user: str) -> streams.Ended:
        """Why the user's stream is refused."""
        return await streams.refused(self.where, self.token(user))

    async def configure(self, keys: Mapping[str, Any]) -> Document:
        """Write the whole configuration document."""
        return await write_document(self.configuration, CONFIGURATION, keys)

    async def messages(self, user: str, request: GetMessagesRequest) -> GetMessagesResponse:
        answer: GetMessagesResponse = await self._call(
            user, "GetMessages", request, GetMessagesResponse
        )
        return answer

    async def chats(self, user: str, request: GetChatsRequest) -> GetChatsResponse:
        answer: GetChatsResponse = await self._call(user, "GetChats", request, GetChatsResponse)
        return answer

    async def group(self, user: str, chat_id: str) -> GetGroupResponse:
        request = GetGroupRequest(chat_id=chat_id)
        answer: GetGroupResponse = await self._call(user, "GetGroup", request, GetGroupResponse)
        return answer

    async def members(self, user: str, request: ListMembersRequest) -> ListMembersResponse:
        answer: ListMembersResponse = await self._call(
            user, "ListMembers", request, ListMembersResponse
        )
        return answer

    async def search(self, user: str, request: SearchMessagesRequest) -> SearchMessagesResponse:
        answer: SearchMessagesResponse = await self._call(
            user, "SearchMessages", request, SearchMessagesResponse
        )
        return answer

    async def patiently(self, user: str, request: Any) -> Any:
        """The answer once the history is not behind any more."""
        calls: dict[type[Any], Any] = {
            GetMessagesRequest: self.messages,
            GetChatsRequest: self.chats,
            SearchMessagesRequest: self.search,
        }
        async with asyncio.timeout(streams.WITHIN_S):
            while True:
                try:
                    return await calls[type(request)](user, request)
                except Refused as refused:
                    if refused.code != "BEHIND":
                        raise
                    await asyncio.sleep(refused.error.retry_after_ms / 1_000)

    async def _call(self, user: str, name: str, request: Any, response: Any) -> Any:
        async with grpc.aio.insecure_channel(self.addresses.history) as channel:
            call: Any = channel.unary_unary(
                f"/cecochat.v1.History/{name}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=response.FromString,
            )
            try:
                return await call(
                    request,
                    metadata=(("authorization", f"Bearer {self.token(user)}"),),
                    timeout=streams.WITHIN_S,
                )
            except grpc.aio.AioRpcError as error:
                typed = typed_error(error)
                if typed is None:
                    raise
                raise Refused(typed) from None


async def write_document(
    configuration: Configuration, name: str, value: Mapping[str, Any]
) -> Document:
    current = await configuration.get(name)
    return await configuration.put(name, value, expected=current.version, by="test")


@asynccontextmanager
async def running(
    folder: Path, configuration: Mapping[str, Any] = QUICK, **others: Any
) -> AsyncIterator[Running]:
    """A system that is ready, with that configuration in force from its start."""
    async with build.configuration(settings(folder, **others)) as documents:
        await write_document(documents, CONFIGURATION, configuration)
        async with system.started(settings(folder, **others)) as addresses:
            yield Running(addresses, documents)


async def metric(system: Running, server: str, name: str) -> float:
    """The sum of a metric of one server over its labels."""
    async with operators.client() as client:
        text = (await client.get(f"{system.addresses.health[server]}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith(name)]
    assert lines, f"no {name} in {text}"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def until_metric(system: Running, server: str, name: str, value: float) -> None:
    async with asyncio.timeout(streams.WITHIN_S):
        while True:
            if await metric(system, server, name) == value:
                return
            await asyncio.sleep(0.02)
