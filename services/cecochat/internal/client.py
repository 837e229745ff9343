"""Asks a server what the contract between servers has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import httpx
from google.protobuf.message import DecodeError

from cecochat.internal import paths
from cecochat.internal.v1.internal_pb2 import Load, Partitions, Sessions, UserSessions
from cecochat.ports.discovery import Instance

Answer = TypeVar("Answer", Load, Partitions, Sessions)
Params = Mapping[str, Sequence[str]]


class InternalClient:
    """Asks through a client that `runtime.asking` has made, whose token needs the scope of what is
    asked.

    Every method returns None where there is no answer: the server cannot be reached in time,
    refuses, is of a version that does not know the question, or has gone and another one answers at
    its address.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def load(self, server: Instance) -> Load | None:
        """What it carries, as a server of its kind. The scope is `metrics`."""
        load = await self._ask(server, paths.LOAD, Load)
        return load if load and load.WhichOneof("service") == server.service else None

    async def owned_by(self, server: Instance) -> dict[int, int] | None:
        """The partitions that a messaging server owns, each with the offset below which the server
        has read it. The scope is `read`.
        """
        said = await self._ask(server, paths.PARTITIONS, Partitions)
        return None if said is None else {each.partition: each.read_to for each in said.owned}

    async def sessions(
        self, server: Instance, users: Sequence[str]
    ) -> dict[str, UserSessions] | None:
        """The sessions of those of the users whose partitions a messaging server owns. The scope is
        `people`.
        """
        said = await self._ask(server, paths.SESSIONS, Sessions, {paths.USER: list(users)})
        return None if said is None else {each.user_id: each for each in said.users}

    async def _ask(
        self, server: Instance, path: str, kind: type[Answer], params: Params | None = None
    ) -> Answer | None:
        try:
            response = await self._http.get(f"{server.health_url}{path}", params=params)
            said = kind.FromString(response.content) if _is_answer(response) else None
        except (httpx.HTTPError, httpx.InvalidURL, DecodeError):
            return None
        return said if said and said.server_id == server.instance_id else None


def _is_answer(response: httpx.Response) -> bool:
    return response.is_success and response.headers.get("content-type") == paths.PROTOBUF
