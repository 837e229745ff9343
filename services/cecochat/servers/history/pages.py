"""Cuts pages that are too large. What is left out comes with the next page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from cecochat.servers.history.folding import Folded
from cecochat.v1.events_pb2 import Event


def not_too_old(found: list[Folded], kept_from: int) -> list[Folded]:
    """Return those of these events that are not too old: whose ids are at least `kept_from`."""
    return [each for each in found if Event.FromString(each.event).id >= kept_from]


def page_within(found: list[Folded], max_bytes: int, *, oldest_first: bool) -> list[Folded]:
    """Return the events of a page, without those that are furthest in the direction that was asked
    for, so that it has at most `max_bytes`. At least one event stays.
    """
    events = found if oldest_first else found[::-1]
    kept = first_within(events, max_bytes)
    return list(kept if oldest_first else kept[::-1])


def first_within(found: Sequence[Folded], max_bytes: int) -> Sequence[Folded]:
    """Return the first, as many as have at most `max_bytes` together. At least one stays."""
    return found[: _fitting((each.size for each in found), max_bytes)]


def _fitting(sizes: Iterable[int], max_bytes: int) -> int:
    """Return how many of the first sizes add up to at most `max_bytes`; at least one."""
    return max(1, sum(total <= max_bytes for total in accumulate(sizes)))
