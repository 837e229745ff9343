"""Refuses what users write in dialogs to those who block them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from cecochat.domain.errors import Refusal, Unavailable
from cecochat.domain.log.ids import ChatId, UserId, is_group, participants
from cecochat.ports.moderation import Blocks
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import Send

log = logging.getLogger(__name__)

FRESH_S: Final = 15.0
"""How long it may take until a block, or its end, is in force."""
ASK_S: Final = 1.0
"""How long a send waits for the store."""
AWAY_S: Final = 5.0
"""How long the store is not asked after it did not answer."""
KEPT_MAX: Final = 20_000
"""Of how many users it is known who blocks them."""
SAYING: Final = frozenset({"message", "edit", "reaction"})

T = TypeVar("T")


class _Known(NamedTuple):
    blockers: frozenset[UserId]
    is_all: bool
    at_s: float


class Blocking:
    """Knows who blocks the users that write. While the store does not answer, it goes by what it
    knew last, and nobody is refused of whom it knows nothing.
    """

    def __init__(self, blocks: Blocks, clock: Callable[[], float] = time.monotonic) -> None:
        self._blocks = blocks
        self._clock = clock
        self._known: OrderedDict[UserId, _Known] = OrderedDict()
        self._away_until_s = 0.0

    async def refused(self, user_id: UserId, sends: Sequence[Send]) -> dict[str, Refusal]:
        """Return which of these sends are refused, by their client message ids."""
        others = {each.client_message_id: _other(user_id, each) for each in sends}
        if not (asked := {each for each in others.values() if each}):
            return {}
        blockers = await self._blockers_among(user_id, asked)
        return {id_: _blocked() for id_, other in others.items() if other in blockers}

    async def _blockers_among(self, user_id: UserId, others: Iterable[UserId]) -> set[UserId]:
        known = await self._known_of(user_id)
        found = {each for each in others if each in known.blockers}
        if not known.is_all:
            for other in {*others} - found:
                if await self._asked(partial(self._blocks.has, other, user_id)):
                    found.add(other)
        return found

    async def _known_of(self, user_id: UserId) -> _Known:
        known = self._known.get(user_id)
        if known and self._clock() - known.at_s < FRESH_S:
            return known
        if told := await self._asked(partial(self._blocks.blockers_of, user_id)):
            self._keep(user_id, _Known(*told, self._clock()))
        return self._known.get(user_id) or _Known(frozenset(), True, 0.0)

    def _keep(self, user_id: UserId, known: _Known) -> None:
        self._known[user_id] = known
        self._known.move_to_end(user_id)
        if len(self._known) > KEPT_MAX:
            self._known.popitem(last=False)

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """Return what the store says; None: it does not answer now."""
        if self._clock() < self._away_until_s:
            return None
        try:
            async with asyncio.timeout(ASK_S):
                return await ask()
        except (TimeoutError, Unavailable) as error:
            log.warning("it is not known now who blocks whom: %s", error or "no answer in time")
            self._away_until_s = self._clock() + AWAY_S
            return None


def _other(user_id: UserId, send: Send) -> UserId | None:
    """Return who is written to in a dialog of that user; None: nobody, or it is no such dialog."""
    chat_id = ChatId(send.chat_id)
    if send.WhichOneof("body") not in SAYING or is_group(chat_id) or "~" not in chat_id:
        return None
    first, second = participants(chat_id)
    return second if first == user_id else first


def _blocked() -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_BLOCKED, "this user does not take messages from you: nothing helps"
    )
