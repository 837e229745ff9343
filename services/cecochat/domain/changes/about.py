"""Which message an event changes, and in which respect."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cecochat.v1.events_pb2 import Event

Kind = Literal["deletion", "edit", "reaction"]
KINDS: tuple[Kind, ...] = ("deletion", "edit", "reaction")


class About(NamedTuple):
    """What a change is about. Of several changes about the same, the one with the highest id
    counts.
    """

    message_id: int  # the message that it changes
    kind: Kind
    key: str
    """The user who did it, then a space and the emoji if it is a reaction; empty for a deletion by
    an admin.
    """


def about(event: Event) -> About | None:
    """Return what an event changes, or None if it changes no message."""
    match event.WhichOneof("body"):
        case "deletion":
            key = "" if event.deletion.as_admin else event.user_id
            return About(event.deletion.message_id, "deletion", key)
        case "edit":
            return About(event.edit.message_id, "edit", event.user_id)
        case "reaction":
            key = f"{event.user_id} {event.reaction.emoji}"
            return About(event.reaction.message_id, "reaction", key)
    return None
