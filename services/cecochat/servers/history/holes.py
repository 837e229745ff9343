"""Which holes the readers of a chat are told about, and how operators see them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.errors import Unavailable
from cecochat.domain.groups.changes import Seen
from cecochat.domain.log.ids import ChatId, UserId, is_group, participants
from cecochat.ports.history import History, Hole, HoleReason
from cecochat.v1 import history_pb2

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
ALL: Final = (0, (1 << 63) - 1)
"""The span of all ids."""

REASONS: dict[HoleReason, history_pb2.Hole.Reason.ValueType] = {
    "trimmed": history_pb2.Hole.REASON_TRIMMED,
    "unproven": history_pb2.Hole.REASON_UNPROVEN,
    "refused": history_pb2.Hole.REASON_REFUSED,
    "lost": history_pb2.Hole.REASON_LOST,
    "vanished": history_pb2.Hole.REASON_VANISHED,
}
"""The reasons of holes in the history. `uncopied` is missing, since it concerns devices."""


def of_chat(
    holes: Iterable[Hole], chat_id: ChatId, partitions: int, span: tuple[int, int] = ALL
) -> list[history_pb2.Hole]:
    """Return the holes that a reader of a chat is told about: those that overlap the span of ids,
    and concern the chat itself, the partition of one of its participants, or the home of the
    group.
    """
    homes: set[int] | None = None
    found = []
    for hole in holes:
        if hole.reason not in REASONS or hole.first_id > span[1] or hole.last_id < span[0]:
            continue
        if not hole.chat_id and homes is None:
            homes = {partition_of(key, partitions) for key in _keys(chat_id)}
        if hole.chat_id == chat_id or (not hole.chat_id and homes and hole.partition in homes):
            found.append(_proto(hole, chat_id))
    return found


def of_user(
    holes: Iterable[Hole], user_id: UserId, groups: Mapping[ChatId, Seen]
) -> list[history_pb2.Hole]:
    """Return the holes in single chats of which this user is a participant. `groups` says what they
    see of the groups among these chats.
    """
    return [_proto(hole, hole.chat_id) for hole in holes if _concerns(hole, user_id, groups)]


def _concerns(hole: Hole, user_id: UserId, groups: Mapping[ChatId, Seen]) -> bool:
    if sight := groups.get(hole.chat_id):
        first_id, last_id = sight.overlap(hole.first_id, hole.last_id)
        return first_id <= last_id
    return hole.chat_id.startswith("d:") and user_id in participants(hole.chat_id)


def _keys(chat_id: ChatId) -> tuple[UserId, ...]:
    """Return the keys of the partitions that have the messages of a chat."""
    if is_group(chat_id):
        return (UserId(chat_id),)
    return participants(chat_id) if chat_id.startswith("d:") else ()


def _proto(hole: Hole, chat_id: ChatId) -> history_pb2.Hole:
    return history_pb2.Hole(
        first_id=hole.first_id,
        last_id=hole.last_id,
        reason=REASONS[hole.reason],
        chat_id=chat_id,
        user_id=hole.user_id,
        client_message_id=hole.client_message_id,
    )


def as_json(hole: Hole) -> dict[str, Any]:
    """Return the hole as an object for JSON. Ids are strings, since JavaScript rounds 64-bit
    numbers.
    """
    ids = {"first_id": str(hole.first_id), "last_id": str(hole.last_id)}
    return {"name": hole.name, **hole._asdict(), **ids}


def history_holes(registry: CollectorRegistry) -> Gauge:
    """Return the metric that `HoleWatch` sets."""
    return Gauge(
        "cecochat_history_holes",
        "Holes of the history and of devices, by whether an operator has acknowledged them.",
        ["acknowledged"],
        registry=registry,
    )


class HoleWatch:
    """Counts the holes from time to time, so that an alert can fire."""

    def __init__(self, history: History, registry: CollectorRegistry) -> None:
        self._history = history
        self._gauge = history_holes(registry)
        self._set([])

    async def run(self) -> None:
        """Count until cancelled. While the database does not answer, the last count stays."""
        while True:
            try:
                self._set(await self._history.holes())
            except Unavailable as error:
                log.warning("the holes of the history cannot be counted now: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    def _set(self, holes: Sequence[Hole]) -> None:
        acknowledged = sum(hole.acknowledged_at_ms > 0 for hole in holes)
        self._gauge.labels("yes").set(acknowledged)
        self._gauge.labels("no").set(len(holes) - acknowledged)
