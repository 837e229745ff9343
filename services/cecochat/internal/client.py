"""The client side of the contract between servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx
from google.protobuf.message import DecodeError

from cecochat.domain.log.ids import UserId
from cecochat.domain.ownership import asks, calls
from cecochat.internal import paths
from cecochat.internal.asked import decode_answer, encode_asked
from cecochat.internal.called import decode_decided, encode_called
from cecochat.internal.v1.internal_pb2 import (
    Answer,
    Contact,
    Contacted,
    Decided,
    Found,
    Load,
    Partitions,
    Present,
    Queried,
    Query,
    Sessions,
    Sought,
    Tail,
    UserSessions,
)
from cecochat.ports.discovery import Instance

Said = TypeVar("Said", Load, Partitions, Sessions, Answer, Decided, Found, Queried, Contacted)
Params = Mapping[str, Sequence[str]]


class InternalClient:
    """Asks a server. The given HTTP client must send a token with the scope that a method names.

    Every method returns None if there is no answer. That is so if the server cannot be reached in
    time, refuses, is too old to know the question, or if another server now has its address.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def load(self, server: Instance) -> Load | None:
        """Return what a server carries, in the field of its kind. The scope is `metrics`."""
        load = await self._ask(server, paths.LOAD, Load)
        return load if load and load.WhichOneof("service") == server.service else None

    async def owned_by(self, server: Instance) -> dict[int, int] | None:
        """Return the partitions that a messaging server owns. The scope is `read`.

        Each comes with the offset below which the server has read it.
        """
        said = await self._ask(server, paths.PARTITIONS, Partitions)
        return None if said is None else {each.partition: each.read_to for each in said.owned}

    async def sessions(
        self, server: Instance, user_ids: Sequence[UserId]
    ) -> dict[UserId, UserSessions] | None:
        """Return the sessions of users, by user id. The scope is `people`.

        Users whose partitions the messaging server does not own are left out.
        """
        said = await self._ask(server, paths.SESSIONS, Sessions, {paths.USER: list(user_ids)})
        return None if said is None else {UserId(each.user_id): each for each in said.users}

    async def present(
        self, server: Instance, user_ids: Sequence[UserId]
    ) -> dict[UserId, UserSessions] | None:
        """Like `sessions`, for servers that ask often. The scope is `pass_on`."""
        body = Present(user_ids=user_ids).SerializeToString()
        said = await self._ask(server, paths.PRESENT, Sessions, body=body)
        return None if said is None else {UserId(each.user_id): each for each in said.users}

    async def ask_home(self, server: Instance, home: int, asked: asks.Asked) -> asks.Answer | None:
        """Ask the owner of a home of groups to accept what clients send. The scope is `pass_on`.

        None does not say that it has not come: it may have, and it may yet come.
        """
        body = encode_asked(home, asked).SerializeToString()
        said = await self._ask(server, paths.ASKED, Answer, body=body)
        return None if said is None else decode_answer(said)

    async def call(
        self, server: Instance, partition: int, sends: Sequence[calls.Called]
    ) -> Sequence[calls.Decision] | None:
        """Have the owner of a partition decide about sends of the back end. The scope is `pass_on`.

        None does not say that they have not come: they may have, and they may yet come.
        """
        body = encode_called(partition, sends).SerializeToString()
        said = await self._ask(server, paths.CALLED, Decided, body=body)
        return None if said is None else decode_decided(said)

    async def seek(self, server: Instance, sought: Sought) -> Sequence[int] | None:
        """Return the ids of those of these sends that the history has; 0: it has none, -1: nothing
        tells. None: it does not answer, or is not that far yet. The scope is `pass_on`.
        """
        said = await self._ask(server, paths.SOUGHT, Found, body=sought.SerializeToString())
        return None if said is None else said.message_ids

    async def contact(self, server: Instance, contact: Contact) -> Contacted | None:
        """Return whether somebody to whom a user writes has answered. None: the history does not
        answer, or is not that far yet. The scope is `pass_on`.
        """
        body = contact.SerializeToString()
        return await self._ask(server, paths.CONTACT, Contacted, body=body)

    async def query(self, server: Instance, query: Query) -> Queried | None:
        """Return what a history server answers in the name of a user. The scope is `pass_on`."""
        return await self._ask(server, paths.QUERIES, Queried, body=query.SerializeToString())

    @asynccontextmanager
    async def tail(self, server: Instance, tail: Tail) -> AsyncIterator[httpx.Response]:
        """Open a stream of events at a hook server. Its status says whether there is one. The scope
        is `pass_on`. Raises `httpx.HTTPError`.
        """
        url, body = f"{server.health_url}{paths.EVENTS}", tail.SerializeToString()
        async with self._http.stream("POST", url, content=body) as response:
            yield response

    async def _ask(
        self,
        server: Instance,
        path: str,
        kind: type[Said],
        params: Params | None = None,
        body: bytes | None = None,
    ) -> Said | None:
        method, url = "GET" if body is None else "POST", f"{server.health_url}{path}"
        try:
            response = await self._http.request(method, url, params=params, content=body)
            said = kind.FromString(response.content) if _is_answer(response) else None
        except (httpx.HTTPError, httpx.InvalidURL, DecodeError):
            return None
        return said if said and said.server_id == server.instance_id else None


def _is_answer(response: httpx.Response) -> bool:
    return response.is_success and response.headers.get("content-type") == paths.PROTOBUF
