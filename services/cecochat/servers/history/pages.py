"""Cuts pages that are too large. What is left out comes with the next page."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from cecochat.ports.history import ChatRow, Page


def events_within(page: Page, max_bytes: int, *, oldest_first: bool) -> Page:
    """Return the page, without the events that are furthest in the direction that was asked for, so
    that it has at most `max_bytes`. At least one event stays.
    """
    events = page.events if oldest_first else page.events[::-1]
    kept = events[: _fitting(map(len, events), max_bytes)]
    in_order = kept if oldest_first else kept[::-1]
    return Page(in_order, page.has_more or len(kept) < len(events))


def chats_within(rows: list[ChatRow], max_bytes: int) -> list[ChatRow]:
    """Return the first rows, as many as have at most `max_bytes` together. At least one stays."""
    return rows[: _fitting((len(row.last_event) for row in rows), max_bytes)]


def _fitting(sizes: Iterable[int], max_bytes: int) -> int:
    """Return how many of the first sizes add up to at most `max_bytes`; at least one."""
    return max(1, sum(total <= max_bytes for total in accumulate(sizes)))
