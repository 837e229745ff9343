"""The asyncio shell of `Asking`: it asks the homes of groups to accept what clients send."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from cecochat.domain.errors import Refusal
from cecochat.domain.log.scope import is_of_group
from cecochat.domain.ownership.asks import Answer, Asked
from cecochat.domain.ownership.owner import Owner
from cecochat.runtime.clock import now_ms
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.v1.messaging_pb2 import Send

ASK_S = 5.0  # how long an answer may take: a refusal waits until the home has read its log
PAUSE_S = 0.2  # before a home is asked again that did not answer

Ask = Callable[[int, Asked], Awaitable[Answer | None]]
"""Asks the owner of a home, and returns None if it does not answer."""


class AskingHomes:
    """Makes the requests of one owner, while `run` runs."""

    def __init__(self, owner: Owner, ask: Ask, metrics: MessagingMetrics) -> None:
        self._owner = owner
        self._metrics = metrics
        self._ask = ask
        self._work = asyncio.Event()
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Make the requests that are due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._work.wait()
                self._work.clear()
                for home, asked in self._owner.asking.due():
                    group.create_task(self._request(home, asked))

    def look(self) -> None:
        """Look what is due, and let those go on who wait for room."""
        self._work.set()
        self._moved.set()

    async def _request(self, home: int, asked: Asked) -> None:
        answer: Answer | None = None
        try:
            async with asyncio.timeout(ASK_S):
                answer = await self._ask(home, asked)
        except TimeoutError:
            pass  # it may have come, and may yet come
        self._metrics.home_requests.labels("answered" if answer else "failed").inc()
        if answer:
            self._count(asked, answer)
            self._owner.asking.answered(home, asked, answer, now_ms())
        else:
            await asyncio.sleep(PAUSE_S)
            self._owner.asking.given_up(home, asked)
        self.look()

    def _count(self, asked: Asked, answer: Answer) -> None:
        for each, result in zip(asked.sends, answer.results, strict=False):
            if isinstance(result, Refusal) and not result.retriable:
                self._metrics.refuse(each.user_id, result)

    async def room(self, sends: Sequence[Send]) -> None:
        """Wait until the homes of these sends' groups may be asked for more."""
        chat_ids = [each.chat_id for each in sends if is_of_group(each)]
        while not all(map(self._owner.asking.has_room, chat_ids)):
            self._moved.clear()
            await self._moved.wait()
