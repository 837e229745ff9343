"""Which servers are provably gone while discovery does not answer: control asks them itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import httpx

from cecochat.ports.discovery import Instance

REFUSALS = 2  # in a row; one may meet a server that is just starting again


class Gone:
    """The servers whose machine answers that nobody listens there any more, or where another
    process does. No answer proves nothing: the network may be at fault, or the server busy.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._refusals: Counter[str] = Counter()

    @property
    def ids(self) -> set[str]:
        """Of those that are gone."""
        return {server for server, count in self._refusals.items() if count >= REFUSALS}

    async def ask(self, servers: Sequence[Instance]) -> None:
        """Each once; who is not among them is forgotten."""
        refused = await asyncio.gather(*(_is_gone(self._client, each) for each in servers))
        before, self._refusals = self._refusals, Counter()
        for server, gone in zip(servers, refused, strict=True):
            if gone:
                self._refusals[server.instance_id] = before[server.instance_id] + 1


async def _is_gone(client: httpx.AsyncClient, server: Instance) -> bool:
    question = {"instance": server.instance_id}
    try:
        answer = await client.get(f"{server.health_url}/livez", params=question)
    except httpx.HTTPError as error:
        return _is_refusal(error)
    except httpx.InvalidURL:
        return False
    return answer.status_code == httpx.codes.GONE


def _is_refusal(error: BaseException | None) -> bool:
    """Whether a connection was refused, at every address of the host."""
    match error:
        case None | ConnectionRefusedError():
            return error is not None
        case BaseExceptionGroup():
            return all(map(_is_refusal, error.exceptions))
    return _is_refusal(error.__cause__ or error.__context__)
