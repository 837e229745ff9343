"""Whom an event mentions."""

from __future__ import annotations

from cecochat.domain.log.ids import UserId
from cecochat.v1.events_pb2 import Event


def mentioned(event: Event) -> tuple[UserId, ...]:
    """Return whom the text of a message or of an edit mentions, each once and sorted. Other events
    mention nobody.
    """
    mentions = [*event.message.mentions, *event.edit.mentions]  # one of them is not set
    return tuple(sorted({UserId(each.user_id) for each in mentions}))
