"""What every call goes through that a connect server answers: who asks, how long it may take, and
what is told of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from google.protobuf.message import Message
from prometheus_client import Histogram

from cecochat.auth.tokens import Identity, Verifier, bearer
from cecochat.domain.errors import Refusal, Unavailable
from cecochat.runtime.arriving import Arrivals
from cecochat.runtime.exchange import Exchange, deadline
from cecochat.runtime.grpc import INTERNAL
from cecochat.runtime.tarpit import Tarpit
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)


class Call(NamedTuple):
    """A call, and who answers it."""

    name: str
    request: type[Message]
    response: type[Message]
    answer: Callable[[Identity, Any], Awaitable[bytes]]


class Answering:
    """Answers calls of those whose tokens a verifier accepts, each within `answer_s` seconds, and
    observes how long that took in `seconds`, by call and code.
    """

    def __init__(self, verifier: Verifier, seconds: Histogram, answer_s: float) -> None:
        self._verifier = verifier
        self._seconds = seconds
        self._answer_s = answer_s
        self._arrivals = Arrivals()
        self._tarpit = Tarpit()

    async def respond(self, call: Call, exchange: Exchange) -> Refusal | None:
        """Answer a call, or return why it is refused, after the wait that a flood has to expect."""
        begun_s = time.monotonic()
        refusal: Refusal | None = None
        try:
            caller = self._verifier.verify(bearer(exchange.authorization))
            async with self._arrivals.soon():
                request = await exchange.read(call.request)
            async with deadline(exchange, self._answer_s):
                answer = await call.answer(caller, request)
            await exchange.write(exchange.encoded(answer))
        except Refusal as refused:
            refusal = refused.detached()
        except (Unavailable, TimeoutError) as error:
            why = str(error) or "the other servers are too slow: try again"
            refusal = Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, why, 1_000)
        except Exception:
            log.exception("%s failed", call.name)
            refusal = INTERNAL
        finally:
            code = refusal.name if refusal else "ok"
            self._seconds.labels(call.name, code).observe(time.monotonic() - begun_s)
        if refusal:
            exchange.drop()
            await self._tarpit.hold(refusal)
        return refusal
