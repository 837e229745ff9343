"""What the ids are of that a log has dropped."""

from __future__ import annotations

from pathlib import Path

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.domain.clock import OwnClock
from cecochat.domain.fold import Fold
from cecochat.domain.ids import message_id, stamp_at
from cecochat.domain.limits import CLOCKS_APART_MAX_MS, OwnerLimits
from cecochat.domain.owner import Owner
from cecochat.materialize.trims import trimmed
from cecochat.ports.backplane import NewRecord

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


async def test_the_hole_of_a_trim_has_every_id_that_was_dropped(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(
        tmp_path, partition_count=1, clock=lambda: APPENDED_AT_MS / 1_000
    )
    producer = await log.producer()
    await producer.append([NewRecord(0, b"", b"x", ())])
    hole = await trimmed(log, "log", 0, -1, (0, 1), 0)
    await log.close()
    assert farthest_id(APPENDED_AT_MS) <= hole.last_id
