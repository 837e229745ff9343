"""Sends webhooks over HTTP, and says what became of each."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import httpx

from cecochat.auth.hooks import Signer
from cecochat.domain.errors import Unavailable
from cecochat.domain.hooks.endpoints import Endpoint
from cecochat.domain.hooks.told import Told, data_of
from cecochat.runtime.clock import now_ms
from cecochat.sealing.opening import Opening

ANSWER_S: Final = 15.0
"""How long an endpoint may take. What it does with a webhook should happen after its answer."""
PAUSE_MAX_S: Final = 300.0
"""The longest that an endpoint can ask to be left alone, with `Retry-After`."""
BODY_MAX: Final = 64 << 10
"""How much of an answer is read, so that its connection can be used again. It is not looked at."""
OF_THE_ENDPOINT: Final = frozenset({401, 403, 404, 405, 407, 408, 410, 421, 425, 426, 429})
"""Statuses that say nothing of this one webhook, but that the endpoint takes none now."""

Verdict = Literal["taken", "again", "refused"]


class Answer(NamedTuple):
    """What became of a webhook: whether the endpoint has it, is to get it again, or never takes
    it.
    """

    verdict: Verdict
    why: str
    pause_s: float = 0.0  # how long the endpoint wants to be left alone


def judge(status: int, retry_after: str) -> Answer:
    """Return what an HTTP status means, with the header `Retry-After` that came along."""
    why = f"status {status}"
    if 200 <= status < 300:
        return Answer("taken", why)
    if 400 <= status < 500 and status not in OF_THE_ENDPOINT:
        return Answer("refused", why)
    seconds = int(retry_after) if retry_after.isdecimal() and len(retry_after) < 9 else 0
    return Answer("again", why, min(seconds, PAUSE_MAX_S))


class Poster:
    """Opens, signs and sends webhooks."""

    def __init__(self, http: httpx.AsyncClient, signer: Signer, opening: Opening) -> None:
        self._http = http
        self._signer = signer
        self._opening = opening

    async def post(self, endpoint: Endpoint, told: Told) -> Answer:
        """Send a webhook once."""
        try:
            ((opened,),) = await self._opening.events([told.value])
            body = body_of(told._replace(value=opened))
            headers = self._signer.headers(endpoint, told.id, body, now_ms())
            async with asyncio.timeout(ANSWER_S):
                return await self._ask(endpoint.url, body, dict(headers))
        except Unavailable as error:
            return Answer("again", f"its text cannot be opened now: {error}"[:200])
        except TimeoutError:
            return Answer("again", f"no answer within {ANSWER_S:.0f} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Answer("again", f"{type(error).__name__}: {error}"[:200])

    async def _ask(self, url: str, body: str, headers: dict[str, str]) -> Answer:
        sent = headers | {"content-type": "application/json"}
        async with self._http.stream("POST", url, content=body.encode(), headers=sent) as response:
            answer = judge(response.status_code, response.headers.get("retry-after", ""))
            read = 0
            async for part in response.aiter_raw():
                read += len(part)
                if read > BODY_MAX:
                    break
            return answer


def body_of(told: Told) -> str:
    """Return the body of a webhook, whose text is open. This is the one place where an event
    becomes JSON.
    """
    at = datetime.fromtimestamp(told.at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    body = {"type": told.kind, "timestamp": at.replace("+00:00", "Z"), "data": data_of(told)}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


Spread = Callable[[], float]


def spread() -> float:
    """Draw from 0 to 1, so that what has failed together is not sent again together."""
    return random.random()  # noqa: S311 - nothing is secret about it
