"""Asks the product before a message is accepted, if it wants to be asked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import httpx

from cecochat.auth.hooks import Signer
from cecochat.documents.moderation import Moderation
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId, app_of
from cecochat.domain.moderation.before_send import (
    DEADLINE_MS,
    BeforeSend,
    Breaker,
    question,
    verdict,
    when_away,
)
from cecochat.runtime.clock import now_ms
from cecochat.runtime.web import client
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.v1.messaging_pb2 import Send

AT_ONCE: Final = 16
"""How many sends of one session are asked about at a time."""
UNDER_WAY_MAX: Final = 500
"""How many of all users of an app: with more, whoever is asked cannot keep up, and is away."""
ANSWER_MAX: Final = 64 << 10

Verdicts = dict[str, Refusal]
"""Why sends are to be refused, by their client message ids."""


class _Line:
    """How an application answers. None is in the way of another."""

    def __init__(self) -> None:
        self.breaker = Breaker(time.monotonic)
        self.under_way = 0

    @property
    def is_open(self) -> bool:
        """Whether it may be asked now."""
        return not self.breaker.is_open and self.under_way < UNDER_WAY_MAX


class Asker:
    """Asks about the sends of a server's sessions. A session waits for the answers to its own sends
    alone.
    """

    def __init__(
        self,
        moderation: Moderation,
        signer: Signer,
        metrics: MessagingMetrics,
    ) -> None:
        self._moderation = moderation
        self._http: httpx.AsyncClient | None = None
        self._signer = signer
        self._metrics = metrics
        self._lines: dict[str, _Line] = {}  # by app

    async def close(self) -> None:
        """Close its connections."""
        if self._http:
            await self._http.aclose()

    async def verdicts(self, user_id: UserId, sends: Sequence[Send]) -> Verdicts:
        """Return the verdicts about these sends."""
        rules = self._moderation.rules
        asked = rules.before_send.get(app_of(user_id)) if rules else None
        if asked is None:
            return {}
        wanted = [each for each in sends if asked.wants(each)]
        found: Verdicts = {}
        for first in range(0, len(wanted), AT_ONCE):
            part = wanted[first : first + AT_ONCE]
            said = await asyncio.gather(*(self._ask(asked, user_id, each) for each in part))
            found |= {
                each.client_message_id: refusal
                for each, refusal in zip(part, said, strict=True)
                if refusal
            }
        return found

    async def _ask(self, asked: BeforeSend, user_id: UserId, send: Send) -> Refusal | None:
        line = self._lines.setdefault(app_of(user_id), _Line())
        if not line.is_open:
            return self._away(asked)
        line.under_way += 1
        try:
            with self._metrics.before_send_seconds.time():
                async with asyncio.timeout(asked.deadline_ms / 1_000):
                    refusal = verdict(await self._post(asked, user_id, send))
        except (TimeoutError, httpx.TransportError):
            line.breaker.note(failed=True)
            return self._away(asked)
        except httpx.HTTPStatusError as error:  # others than 5xx may be about this one message
            line.breaker.note(failed=error.response.is_server_error)
            return self._away(asked)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError):
            line.breaker.note(failed=False)
            return self._away(asked)
        finally:
            line.under_way -= 1
        line.breaker.note(failed=False)
        self._metrics.before_send.labels("refused" if refusal else "allowed").inc()
        return refusal

    def _away(self, asked: BeforeSend) -> Refusal | None:
        self._metrics.before_send.labels("away").inc()
        return when_away(asked)

    async def _post(self, asked: BeforeSend, user_id: UserId, send: Send) -> bytes:
        """Return the body of the answer. Raises what httpx raises, and `ValueError` for an answer
        that is none.
        """
        body = json.dumps(question(user_id, send), ensure_ascii=False, separators=(",", ":"))
        about = f"{user_id} {send.client_message_id}".encode()  # clients choose it: any text
        id_ = f"before-send-{sha256(about).hexdigest()[:32]}"
        headers = dict(self._signer.headers(asked.endpoint, id_, body, now_ms()))
        headers |= {"content-type": "application/json", "accept-encoding": "identity"}
        self._http = self._http or client(DEADLINE_MS[1] / 1_000)
        sent = self._http.stream("POST", asked.url, content=body.encode(), headers=headers)
        async with sent as response:
            response.raise_for_status()
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ValueError("the answer is compressed, which nobody asked for")
            answer = b""
            async for part in response.aiter_raw():
                answer += part
                if len(answer) > ANSWER_MAX:
                    raise ValueError("the answer is too long")
            return answer
