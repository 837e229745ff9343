"""Sends of the product's back end, as they come in: their texts are sealed like all others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cecochat.domain.errors import Refusal, Unavailable
from cecochat.domain.ownership.calls import Called, Decision
from cecochat.domain.session import intake
from cecochat.sealing.keyring import KeyRing
from cecochat.servers.messaging.blocking import Blocking
from cecochat.uploads.receipts import Receipts

Decide = Callable[[int, Sequence[Called]], Awaitable[list[Decision] | None]]


class Calling:
    """Seals sends for the owner that decides about them."""

    def __init__(
        self, decide: Decide, keys: KeyRing, receipts: Receipts, blocking: Blocking
    ) -> None:
        self._decide = decide
        self._keys = keys
        self._receipts = receipts
        self._blocking = blocking

    async def call(self, partition: int, sends: Sequence[Called]) -> list[Decision] | None:
        """Decide about sends in a partition; None if this server does not own it, or not yet, or
        has no keys.
        """
        refused: dict[int, Refusal] = {}
        try:
            await self._keys.of({each.user_id for each in sends})  # at once
            for at, each in enumerate(sends):
                if refusal := await self._refuses(each):
                    refused[at] = refusal
        except Unavailable:
            return None
        left = [await self._judged(each) for at, each in enumerate(sends) if at not in refused]
        decided = await self._decide(partition, left)
        if decided is None:
            return None
        decisions = iter(decided)
        return [refused.get(at) or next(decisions) for at in range(len(sends))]

    async def _judged(self, called: Called) -> Called:
        refused = await self._blocking.refused(called.user_id, [called.send])
        return called._replace(verdict=refused.get(called.send.client_message_id))

    async def _refuses(self, called: Called) -> Refusal | None:
        """Seal the text of a send, or return why it is refused."""
        try:
            intake.check_plain(called.send)
            self._receipts.check(called.user_id, called.send)
            if key := await self._keys.own(called.user_id):
                key.seal(called.send)
        except Refusal as refusal:
            return refusal.detached()
        return None
