"""What the ids are of that a log has dropped."""

from __future__ import annotations

import pytest

from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import message_id, stamp_at
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS, OwnerLimits
from cecochat.domain.log.place import Place
from cecochat.domain.ownership.clock import OwnClock
from cecochat.domain.ownership.owner import Owner
from cecochat.servers.materialize.trims import Loss, trimmed

APPENDED_AT_MS = 1_795_000_000_000

HERE = Here(0, lambda _: 0)


def farthest_id(appended_at_ms: int) -> int:
    """Of an owner whose clock has just jumped, an answer to what a client shows of the future."""
    clock, ahead_ms = OwnClock(), appended_at_ms + CLOCKS_APART_MAX_MS
    clock.compare(ahead_ms, appended_at_ms)
    now_ms = ahead_ms + CLOCKS_APART_MAX_MS
    assert clock.is_right(now_ms)
    assert not clock.is_right(now_ms + 1)
    owner = Owner(0, "session", Fold(HERE), cursor=0, forwarded=-1, limits=OwnerLimits())
    seen = message_id(stamp_at(now_ms + 10 * CLOCKS_APART_MAX_MS), 0)
    return message_id(owner.next_stamp(now_ms, seen), 0)


def test_the_hole_of_a_trim_has_every_id_that_was_dropped() -> None:
    hole = trimmed("log", 0, -1, 1, APPENDED_AT_MS, 0)
    assert farthest_id(APPENDED_AT_MS) <= hole.last_id


# -- an end that is lost

KNOWN = Place(APPENDED_AT_MS - 5, 20)
LOSS = Loss("log", 0, KNOWN, goes_on_at=10, before_ms=APPENDED_AT_MS)


def test_the_hole_of_a_lost_end_has_every_id_that_went_with_it() -> None:
    hole = LOSS.hole(above=7)
    assert (hole.reason, hole.first_offset, hole.last_offset) == ("lost", 10, 20)
    assert hole.first_id == 8
    assert farthest_id(APPENDED_AT_MS) <= hole.last_id


@pytest.mark.parametrize(
    "seen",
    [
        LOSS,
        LOSS._replace(known=Place(APPENDED_AT_MS - 1, 30)),
        LOSS._replace(known=Place(1, 12)),
        LOSS._replace(goes_on_at=15),  # retention has dropped what is before
    ],
)
def test_one_loss_is_told_once_whatever_shows_it(seen: Loss) -> None:
    assert seen.is_told_by(LOSS.hole(above=7))


@pytest.mark.parametrize(
    "later",
    [
        LOSS._replace(goes_on_at=9),  # it has taken more
        LOSS._replace(known=Place(APPENDED_AT_MS + 1, 11)),  # after the first record since
        LOSS._replace(partition=1),
        LOSS._replace(log_id="another"),
    ],
)
def test_another_loss_is_told(later: Loss) -> None:
    assert not later.is_told_by(LOSS.hole(above=7))
