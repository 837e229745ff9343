"""The ids between which a user, or a partition that has members, belongs to a group. All events of
a group have ids of one partition, in one order, so two of them say it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key")
STILL = (1 << 63) - 1
"""The end of a span that has not ended."""


class Span(NamedTuple):
    """From the event that began it up to the one that ended it, both included."""

    first_id: int
    last_id: int


class Spans(Generic[Key]):
    """The spans of each key, oldest first."""

    def __init__(self) -> None:
        self._spans: dict[Key, list[Span]] = {}
        self.count = 0  # of those that belong to the group now

    def begin(self, key: Key, id_: int) -> None:
        """Note that it belongs to the group from this event on."""
        if not self.belongs(key):
            self._spans.setdefault(key, []).append(Span(id_, STILL))
            self.count += 1

    def end(self, key: Key, id_: int) -> None:
        """Note that this event was the last that it gets."""
        if self.belongs(key):
            spans = self._spans[key]
            spans[-1] = spans[-1]._replace(last_id=id_)
            self.count -= 1

    def belongs(self, key: Key) -> bool:
        """Return whether it belongs to the group now."""
        return self._spans.get(key, [Span(0, 0)])[-1].last_id == STILL

    def of(self, key: Key) -> list[Span]:
        """Return the spans of one key, oldest first."""
        return self._spans.get(key, [])

    def covers(self, key: Key, id_: int) -> bool:
        """Return whether it gets the event with that id."""
        return any(first <= id_ <= last for first, last in self._spans.get(key, ()))

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[Key]:
        """All that belong to the group, or did so in a span that is not forgotten."""
        return iter(self._spans)

    def forget(self, key: Key, up_to_id: int) -> None:
        """Drop its spans that have ended by that id: nobody asks about such events any more."""
        kept = [each for each in self._spans.get(key, ()) if each.last_id > up_to_id]
        if kept:
            self._spans[key] = kept
        else:
            self._spans.pop(key, None)
