"""Keeps webhooks that no endpoint takes among the dead letters, and finds them there."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from typing_extensions import override

from cecochat.domain.errors import Invalid
from cecochat.domain.hooks.endpoints import Endpoint
from cecochat.domain.hooks.lane import Item
from cecochat.domain.hooks.told import Told, of_event
from cecochat.domain.log.dead_letters import DeadLetter
from cecochat.ports.backplane import Log
from cecochat.ports.burying import letters_from
from cecochat.v1.events_pb2 import Event

PAGE: Final = 5_000
DIGITS: Final = 19


class Spot(NamedTuple):
    """Where a letter is among the dead ones. It is written as `partition:offset`."""

    partition: int
    offset: int

    @override
    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str, log: Log) -> Spot:
        """Read a spot. Raises `Refusal`."""
        partition, _, offset = text.partition(":")
        numbers = [each for each in (partition, offset) if each.isdecimal() and len(each) < DIGITS]
        if len(numbers) < 2 or int(partition) >= log.partitions:
            raise Invalid(f"{text[:40]!r} is no letter: use one that `cecochat hooks parked` names")
        return cls(int(partition), int(offset))


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


class Page(NamedTuple):
    """Some of what is parked, and where the next page begins; None: there is no more."""

    parked: list[dict[str, Any]]
    next: Spot | None


async def page_of(log: Log, endpoint: str, begin: Spot) -> Page:
    """Return what is parked for an endpoint from a spot on, the oldest of each partition first, at
    most `PAGE`. Raises `Unavailable`.
    """
    found: list[dict[str, Any]] = []
    spot: Spot | None = begin
    while spot and len(found) < PAGE:
        waiting, spot = await _waiting(log, endpoint, spot, PAGE - len(found))
        found += waiting
    return Page(found, spot)


async def _waiting(
    log: Log, endpoint: str, begin: Spot, room: int
) -> tuple[list[dict[str, Any]], Spot | None]:
    """Return what is parked in the partition of a spot, and where to go on. What is replayed says
    so further on, so the partition is read to its end.
    """
    waits: dict[str, dict[str, Any]] = {}
    more: Spot | None = None
    async with aclosing(letters_from(log.backplane, *begin)) as letters:
        async for offset, at_ms, letter in letters:
            if letter.endpoint != endpoint:
                continue
            waits.pop(letter.webhook, None)
            if letter.kind == "parked" and more is None:
                spot = Spot(begin.partition, offset)
                if len(waits) < room:
                    waits[letter.webhook] = Parked(letter, at_ms).as_json() | {"letter": str(spot)}
                else:
                    more = spot
    following = begin.partition + 1
    if more is None and following < log.partitions:
        more = Spot(following, 0)
    return list(waits.values()), more


async def find(log: Log, endpoint: str, id_: str, at: Spot | None) -> Parked | None:
    """Return the parked webhook of this id, from the letter at a spot; None: it is not parked.
    Without a spot, every letter is read. With one, it may have been replayed since. Raises
    `Unavailable`.
    """
    found: Parked | None = None
    for begin in [at] if at else [Spot(partition, 0) for partition in range(log.partitions)]:
        async with aclosing(letters_from(log.backplane, *begin)) as letters:
            async for _, at_ms, letter in letters:
                parked = Parked(letter, at_ms)
                if letter.endpoint == endpoint and parked.id == id_:
                    found = parked if letter.kind == "parked" else None
                if at:
                    break
    return found
