"""Keeps webhooks that no endpoint takes among the dead letters, and finds them there."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from cecochat.domain.hooks.endpoints import Endpoint
from cecochat.domain.hooks.lane import Item
from cecochat.domain.hooks.told import Told, of_event
from cecochat.domain.log.dead_letters import DeadLetter
from cecochat.ports.backplane import Log
from cecochat.ports.burying import letters_of
from cecochat.v1.events_pb2 import Event

LOOK_BACK: Final = 10_000
"""How many of the newest letters of a partition are looked through."""


class Parked(NamedTuple):
    """A parked webhook that nobody has replayed yet."""

    letter: DeadLetter
    at_ms: int  # when it was parked, ms since 1970

    @property
    def id(self) -> str:
        """The id of the webhook."""
        return self.letter.webhook.partition(" ")[2]

    @property
    def told(self) -> Told:
        """The webhook, as it was."""
        kind, _, id_ = self.letter.webhook.partition(" ")
        if self.letter.key == b"event":
            found = of_event(Event.FromString(self.letter.value), self.letter.value)
            assert found, "of another kind it would not have been told"
            return found
        return Told(id_, kind, "", self.at_ms, json.loads(self.letter.value))

    def as_json(self) -> dict[str, Any]:
        """Return it for people and programs, without its content."""
        told = self.told
        return {
            "id": told.id,
            "kind": told.kind,
            "chat_id": told.chat_id,
            "position": self.letter.position,
            "at_ms": self.at_ms,
            "reason": self.letter.reason,
        }


def letter_of(endpoint: Endpoint, partition: int, item: Item, why: str) -> DeadLetter:
    """Return the letter that keeps a webhook."""
    told = item.told
    return DeadLetter(
        "parked",
        partition,
        item.place.offset,
        why,
        b"event" if told.value else b"",
        told.value or json.dumps(told.data).encode(),
        endpoint=endpoint.name,
        webhook=f"{told.kind} {told.id}",
    )


def replayed(parked: Parked, by: str) -> DeadLetter:
    """Return the letter that says that the endpoint has a webhook now."""
    return parked.letter._replace(kind="replayed", reason=f"replayed by {by}", key=b"", value=b"")


async def parked_of(log: Log, endpoint: str) -> list[Parked]:
    """Return what is parked for an endpoint, the oldest of each partition first. Raises
    `Unavailable`.
    """
    found: list[Parked] = []
    for partition in range(log.partitions):
        waits: dict[str, Parked] = {}
        async with aclosing(letters_of(log.backplane, partition, LOOK_BACK)) as letters:
            async for at_ms, letter in letters:
                if letter.endpoint == endpoint:
                    waits.pop(letter.webhook, None)
                    if letter.kind == "parked":
                        waits[letter.webhook] = Parked(letter, at_ms)
        found += waits.values()
    return found
