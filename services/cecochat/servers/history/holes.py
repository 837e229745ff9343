"""Which holes a reader of a chat is told, and what operators see of all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, participants
from cecochat.ports.history import History, Hole, HoleReason
from cecochat.v1 import history_pb2

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
ALL: Final = (0, (1 << 63) - 1)
"""Of ids."""

REASONS: dict[HoleReason, history_pb2.Hole.Reason.ValueType] = {
    "trimmed": history_pb2.Hole.REASON_TRIMMED,
    "unproven": history_pb2.Hole.REASON_UNPROVEN,
    "refused": history_pb2.Hole.REASON_REFUSED,
    "lost": history_pb2.Hole.REASON_LOST,
}
"""Those of the history; `uncopied` concerns devices."""


def told(
    holes: Iterable[Hole], chat_id: str, partitions: int, span: tuple[int, int] = ALL
) -> list[history_pb2.Hole]:
    """Those of a chat that overlap the span of ids: of the chat itself, or of a partition in which
    one of its participants lives.
    """
    homes: set[int] | None = None
    found = []
    for hole in holes:
        if hole.reason not in REASONS or hole.first_id > span[1] or hole.last_id < span[0]:
            continue
        if not hole.chat_id and homes is None:
            homes = {partition_of(user, partitions) for user in _members(chat_id)}
        if hole.chat_id == chat_id or (not hole.chat_id and homes and hole.partition in homes):
            found.append(_proto(hole, chat_id))
    return found


def told_to(holes: Iterable[Hole], user: str) -> list[history_pb2.Hole]:
    """Those of one chat each in which that user is."""
    return [_proto(hole, hole.chat_id) for hole in holes if user in _members(hole.chat_id)]


def _members(chat_id: str) -> tuple[str, ...]:
    """Of a dialog; nobody is known to be in what is none."""
    return participants(ChatId(chat_id)) if chat_id.startswith("d:") else ()


def _proto(hole: Hole, chat_id: str) -> history_pb2.Hole:
    return history_pb2.Hole(
        first_id=hole.first_id,
        last_id=hole.last_id,
        reason=REASONS[hole.reason],
        chat_id=chat_id,
        user_id=hole.user_id,
        client_message_id=hole.client_message_id,
    )


def as_json(hole: Hole) -> dict[str, Any]:
    """For people; ids as strings, since JavaScript loses 64-bit numbers."""
    ids = {"first_id": str(hole.first_id), "last_id": str(hole.last_id)}
    return {"name": hole.name, **hole._asdict(), **ids}


def history_holes(registry: CollectorRegistry) -> Gauge:
    """Set by `HoleWatch`."""
    return Gauge(
        "cecochat_history_holes",
        "Holes of the history and of devices, by whether an operator has acknowledged them.",
        ["acknowledged"],
        registry=registry,
    )


class HoleWatch:
    """Counts the holes now and then, so that an alert can fire."""

    def __init__(self, history: History, registry: CollectorRegistry) -> None:
        self._history = history
        self._gauge = history_holes(registry)
        self._tell([])

    async def run(self) -> None:
        """Until cancelled; what was seen last stays while the database does not answer."""
        while True:
            try:
                self._tell(await self._history.holes())
            except Unavailable as error:
                log.warning("the holes of the history cannot be counted just now: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    def _tell(self, holes: Sequence[Hole]) -> None:
        known = sum(hole.acknowledged_at_ms > 0 for hole in holes)
        self._gauge.labels("yes").set(known)
        self._gauge.labels("no").set(len(holes) - known)
