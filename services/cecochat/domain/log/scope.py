"""Where what a user does belongs: to a group, or to the user's own partition."""

from __future__ import annotations

from cecochat.domain.log.ids import is_group
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Send


def is_of_group(what: Event | Send) -> bool:
    """Return whether something happens in a group, and so in its home. What a user sets for a group
    happens where the user lives.
    """
    return is_group(what.chat_id) and not what.HasField("settings")
