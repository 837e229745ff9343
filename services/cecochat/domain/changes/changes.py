"""What becomes of one message by all changes of it, in whatever order they come.

For each thing that can be changed, the change with the highest id is kept. So the result does not
depend on order or repetition (a state-based CRDT: Shapiro et al. 2011, "Conflict-free Replicated
Data Types"; each entry is a last-writer-wins register).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cecochat.domain.changes.about import About, about
from cecochat.domain.changes.texts import has_text
from cecochat.v1.events_pb2 import Event, Mention

EMOJI_MAX = 16
"""How many emoji of one user count on one message, those that were taken back among them."""


@dataclass(frozen=True, slots=True)
class Current:
    """What a message is now."""

    text: str  # empty if it is deleted
    mentions: tuple[Mention, ...]
    revision_id: int  # the edit that gave it this text; 0: it has its first text
    deletion_id: int  # 0: it is not deleted
    reactions: dict[str, tuple[str, ...]]  # emoji -> user ids, both in the order of their ids


class Changes:
    """The changes of one message that count. The message itself may come before or after them."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._standing: dict[About, Event] = {}
        for event in events:
            self.add(event)

    def add(self, event: Event) -> bool:
        """Take in a change of this message. Return whether anything is different now."""
        key = about(event)
        if key is None or (key.kind == "edit" and not has_text(event.edit)):
            return False
        if key in self._standing and event.id <= self._standing[key].id:
            return False
        self._standing[key] = event
        return key.kind != "reaction" or self._bound(event)

    def _bound(self, event: Event) -> bool:
        """Keep the newest reactions of this user. Return whether this one is among them."""
        of_user = sorted(
            (each.id, key)
            for key, each in self._standing.items()
            if key.kind == "reaction" and each.user_id == event.user_id
        )
        for _, key in of_user[:-EMOJI_MAX]:
            del self._standing[key]
        return about(event) in self._standing

    def reactions(self) -> list[Event]:
        """Return the reactions, also those that were taken back, in the order of their ids."""
        found = (each for key, each in self._standing.items() if key.kind == "reaction")
        return sorted(found, key=lambda event: event.id)

    def of(self, message: Event) -> Current:
        """Return what the message is now. What others did who may not do that does not count."""
        deletion_id = max((each.id for each in self._deletions(message)), default=0)
        if deletion_id:
            return Current("", (), 0, deletion_id, {})
        edit = self._standing.get(About(message.id, "edit", message.user_id))
        body = edit.edit if edit else message.message
        revision_id = edit.id if edit else 0
        return Current(body.text, tuple(body.mentions), revision_id, 0, self._by_emoji())

    def _deletions(self, message: Event) -> Iterator[Event]:
        for key in (message.user_id, ""):
            if deletion := self._standing.get(About(message.id, "deletion", key)):
                yield deletion

    def _by_emoji(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for event in self.reactions():
            if not event.reaction.removed:
                emoji = event.reaction.emoji
                found[emoji] = (*found.get(emoji, ()), event.user_id)
        return found
