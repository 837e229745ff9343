"""Which calls are admitted: so many at once, per user and in all, and so often per user."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.session.bucket import Rates
from cecochat.v1 import errors_pb2

READS_AT_ONCE = 16
"""How many calls may ask the database at once. Each may have a page of the longest messages."""
BUSY_RETRY_MS = 500
BYTES_A_QUERY = 64 << 10
"""An answer costs its user one more query for each of these many bytes."""


class Admission:
    """Admits calls. A call counts as its user's from its beginning until its answer has left the
    server; if its client does not read, that is until the connection ends. It takes one of the
    server's places only while it is answered: once its request is there, and until its answer is.
    """

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._under_way: Counter[UserId] = Counter()
        self._taken = 0  # of the server's places
        self._rates = Rates("asks")
        self.reading = asyncio.Semaphore(READS_AT_ONCE)  # held while a call asks the database

    @contextmanager
    def admitted(self, user_id: UserId, cost: int = 1) -> Iterator[None]:
        """Admit a call that costs as much as `cost` queries, for as long as the context lasts.
        Raises `Refusal` (rate_limited).
        """
        self._check(user_id, cost)
        self._under_way[user_id] += 1
        try:
            yield
        finally:
            self._under_way[user_id] -= 1
            if not self._under_way[user_id]:
                del self._under_way[user_id]

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Take one of the server's places for as long as the context lasts, for a call whose
        request is there, and its answer is not. Raises `Refusal` (rate_limited).
        """
        self._check_places()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    def answered(self, user_id: UserId, size_bytes: int) -> None:
        """Let the user pay for the size of an answer."""
        config = self._config().of(user_id)
        self._rates.owe(
            user_id,
            time.monotonic(),
            config.queries_rate_per_user,
            config.queries_burst,
            size_bytes // BYTES_A_QUERY,
        )

    def _check(self, user_id: UserId, cost: int) -> None:
        config = self._config().of(user_id)
        if self._under_way[user_id] >= config.queries_at_once_per_user:
            raise _limited(
                f"{user_id} has {config.queries_at_once_per_user} queries under way: read their "
                "answers first",
                BUSY_RETRY_MS,
            )
        self._check_places()
        self._rates.check(
            user_id, time.monotonic(), config.queries_rate_per_user, config.queries_burst, cost
        )

    def _check_places(self) -> None:
        if self._taken >= self._config().queries_at_once_per_server:
            raise _limited("this server has too many queries under way: try again", BUSY_RETRY_MS)


def _limited(message: str, retry_after_ms: int) -> Refusal:
    return Refusal(errors_pb2.ERROR_CODE_RATE_LIMITED, message, retry_after_ms)
