"""What the ids are of that a log has dropped."""

from __future__ import annotations

from cecochat.domain.clock import OwnClock
from cecochat.domain.fold import Fold
from cecochat.domain.ids import message_id, stamp_at
from cecochat.domain.limits import CLOCKS_APART_MAX_MS, OwnerLimits
from cecochat.domain.owner import Owner
from cecochat.materialize.trims import trimmed

APPENDED_AT_MS = 1_795_000_000_000


def farthest_id(appended_at_ms: int) -> int:
    """Of an owner whose clock has just jumped, an answer to what a client shows of the future."""
    clock, ahead_ms = OwnClock(), appended_at_ms + CLOCKS_APART_MAX_MS
    clock.compare(ahead_ms, appended_at_ms)
    now_ms = ahead_ms + CLOCKS_APART_MAX_MS
    assert clock.is_right(now_ms)
    assert not clock.is_right(now_ms + 1)
    owner = Owner(0, "session", Fold(lambda _: 0), cursor=0, forwarded=-1, limits=OwnerLimits())
    seen = message_id(stamp_at(now_ms + 10 * CLOCKS_APART_MAX_MS), 0)
    return message_id(owner.next_stamp(now_ms, seen), 0)


def test_the_hole_of_a_trim_has_every_id_that_was_dropped() -> None:
    hole = trimmed("log", 0, -1, 1, APPENDED_AT_MS, 0)
    assert farthest_id(APPENDED_AT_MS) <= hole.last_id
