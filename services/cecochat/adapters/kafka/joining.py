"""Joins questions: what is asked in one turn of the event loop goes to a broker as one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

To = TypeVar("To", bound=Hashable)
About = TypeVar("About", bound=Hashable)
Answer = TypeVar("Answer")


class Joined(Generic[To, About, Answer]):
    """Questions to one place, each about something else, such as a partition.

    `ask` sends one request for all of them, and returns the answer or the error for each.
    """

    def __init__(
        self,
        ask: Callable[[To, Sequence[About]], Awaitable[Mapping[About, Answer | KafkaError]]],
    ) -> None:
        self._ask = ask
        self._waiting: dict[To, dict[About, list[asyncio.Future[Answer]]]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def answer(self, to: To, about: About) -> asyncio.Future[Answer]:
        """Ask, and return what the answer will be. It may be an error of Kafka."""
        if to not in self._waiting:
            self._waiting[to] = {}
            asking = asyncio.create_task(self._ask_all(to))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[to].setdefault(about, []).append(answer)
        return answer

    async def _ask_all(self, to: To) -> None:
        """Begins in the next turn, so all questions of this one have joined."""
        waiting = self._waiting.pop(to)
        answers: Mapping[About, Answer | Exception]
        try:
            given = await self._ask(to, list(waiting))
            answers = {about: given[about] for about in waiting}
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            answers = dict.fromkeys(waiting, error)
        for about, futures in waiting.items():
            for future in futures:
                _settle(future, answers[about])


def _settle(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():  # whoever asked was cancelled
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
        future.exception()  # else asyncio complains if nobody waits any more
    else:
        future.set_result(answer)
