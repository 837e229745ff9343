"""Folds changes into the messages of an answer, so that it has what they are now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cecochat.domain.changes.about import About, about
from cecochat.domain.changes.changes import Changes
from cecochat.ports.history import CHANGES_MAX
from cecochat.v1.events_pb2 import Event
from cecochat.v1.history_pb2 import MessageState, ReactionState


class Folded(NamedTuple):
    """A serialized event as it goes out, and what has become of it if it is a changed message."""

    event: bytes
    state: MessageState | None = None

    @property
    def size(self) -> int:
        """How many bytes of the answer it takes, about."""
        return len(self.event) + (self.state.ByteSize() if self.state else 0)


def changed_ids(events: Iterable[bytes]) -> list[int]:
    """Return the ids of the messages whose changes `folded` needs for these events."""
    ids: dict[int, None] = {}
    for event in map(Event.FromString, events):
        change = about(event)
        if change is None:
            ids[event.id] = None
        elif change.kind == "edit":
            ids[change.message_id] = None
    return list(ids)


def folded(event: bytes, changes: Mapping[int, Sequence[bytes]]) -> Folded:
    """Fold into an event what is known of its message: message id -> changes that count."""
    parsed = Event.FromString(event)
    change = about(parsed)
    found = changes.get(change.message_id if change else parsed.id)
    if not found:
        return Folded(event)
    if change is None:
        return _message(parsed, found)
    return _change(event, parsed, change, found)


def _message(message: Event, changes: Sequence[bytes]) -> Folded:
    if message.message.expired:
        return Folded(message.SerializeToString())
    standing = Changes(map(Event.FromString, changes))
    now = standing.of(message)
    state = MessageState(
        message_id=message.id,
        revision_id=now.revision_id,
        deletion_id=now.deletion_id,
        reactions=() if now.deletion_id else map(_reaction, standing.reactions()),
        has_more_reactions=len(changes) >= CHANGES_MAX and not now.deletion_id,
    )
    if now.deletion_id:
        message.message.Clear()
        message.message.SetInParent()
    elif now.revision_id:
        message.message.text = now.text
        del message.message.mentions[:]
        message.message.mentions.extend(now.mentions)
    return Folded(message.SerializeToString(), state)


def _reaction(event: Event) -> ReactionState:
    reaction = event.reaction
    return ReactionState(
        id=event.id, user_id=event.user_id, emoji=reaction.emoji, removed=reaction.removed
    )


def _change(event: bytes, parsed: Event, change: About, changes: Sequence[bytes]) -> Folded:
    """Take the text out of an edit whose message is deleted. An edit by somebody else than the
    author never counts, so only deletions by its own user matter, and those by admins.
    """
    deletions = {change._replace(kind="deletion"), About(change.message_id, "deletion", "")}
    if change.kind != "edit" or deletions.isdisjoint(map(about, map(Event.FromString, changes))):
        return Folded(event)
    parsed.edit.ClearField("text")
    del parsed.edit.mentions[:]
    return Folded(parsed.SerializeToString())
