"""Finds which servers are certainly gone while discovery does not answer, by asking them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import httpx

from cecochat.ports.discovery import Instance

REFUSALS = 2  # in a row: a single one may be from a server that is starting again


class GoneServers:
    """The servers that are gone: their machine refuses the connection, or another process answers
    there. No answer at all proves nothing, since the network may be down or the server busy.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._refusals: Counter[str] = Counter()

    @property
    def ids(self) -> set[str]:
        """The ids of the servers that are gone."""
        return {server for server, count in self._refusals.items() if count >= REFUSALS}

    async def ask(self, servers: Sequence[Instance]) -> None:
        """Ask each of these servers once, and forget all others."""
        answers = await asyncio.gather(*(_is_gone(self._client, each) for each in servers))
        before, self._refusals = self._refusals, Counter()
        for server, gone in zip(servers, answers, strict=True):
            if gone:
                self._refusals[server.instance_id] = before[server.instance_id] + 1


async def _is_gone(client: httpx.AsyncClient, server: Instance) -> bool:
    params = {"instance": server.instance_id}
    try:
        answer = await client.get(f"{server.health_url}/livez", params=params)
    except httpx.HTTPError as error:
        return _is_refusal(error)
    except httpx.InvalidURL:
        return False
    return answer.status_code == httpx.codes.GONE


def _is_refusal(error: BaseException | None) -> bool:
    """Return whether the connection was refused at every address of the host."""
    match error:
        case None | ConnectionRefusedError():
            return error is not None
        case BaseExceptionGroup():
            return all(map(_is_refusal, error.exceptions))
    return _is_refusal(error.__cause__ or error.__context__)
