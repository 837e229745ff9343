"""What the log has dropped or lost before it was in the history, as holes."""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.log.ids import PARTITIONS_MAX, message_id, stamp_at
from cecochat.domain.log.limits import IDS_AHEAD_MAX_MS
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Takeover
from cecochat.domain.log.undecided import Seen
from cecochat.ports.history import Hole
from cecochat.runtime.clock import now_ms


def trimmed(
    log_id: str, partition: int, held: int, start: int, appended_at_ms: int, above: int
) -> Hole:
    """The hole from above the offset `held` to where the log begins, of ids above `above`. Ids grow
    with time, so none that is gone lies above the highest that the first record which is left can
    have; that was appended at `appended_at_ms`.
    """
    text = f"the log had dropped the offsets {held + 1} to {start - 1} before they were read"
    span = (held + 1, start - 1, above + 1, max(_highest(appended_at_ms), above + 1))
    return Hole(log_id, partition, *span, "", "trimmed", text, now_ms())


def uncopied(
    log_id: str, partition: int, offset: int, takeover: Takeover, appended_at_ms: int
) -> Hole | None:
    """The hole of what was dropped before it was forwarded, as a new owner says in its takeover at
    `offset`, which was appended at `appended_at_ms`. None: nothing was.
    """
    first, below = takeover.uncopied[0], min(takeover.uncopied[1], offset)
    if first >= below:
        return None
    text = (
        f"the log had dropped the offsets {first} to {below - 1} before they were copied to all "
        "whom they concern: devices may lack messages that the history has"
    )
    span = (first, below - 1, 1, _highest(appended_at_ms))
    return Hole(log_id, partition, *span, "", "uncopied", text, now_ms())


class Loss(NamedTuple):
    """An end that a log has lost."""

    log_id: str
    partition: int
    known: Place  # in that end, as it was noted of it
    goes_on_at: int  # the first offset that was appended to since
    before_ms: int  # when that was, or by when nothing was

    def hole(self, above: int) -> Hole:
        """The hole of what the history had not read of it, of ids above `above`."""
        first, known = self.goes_on_at, self.known.offset
        text = (
            f"the log has lost its end: it had reached offset {known} at least and goes on at "
            f"{first}, and nothing tells whether all that is gone had been read"
        )
        span = (first, known, above + 1, max(_highest(self.before_ms), above + 1))
        return Hole(self.log_id, self.partition, *span, "", "lost", text, now_ms())

    def is_told_by(self, hole: Hole) -> bool:
        """Whether that is the same loss, or one that has taken all of this, too: it was found in a
        log that was shorter, or as long, and later than what is known of this.
        """
        same = (hole.log_id, hole.partition, hole.reason) == (self.log_id, self.partition, "lost")
        reaches = hole.last_id >= _highest(self.known.clock_ms)
        return same and hole.first_offset <= self.goes_on_at and reaches


def unproven(log_id: str, partition: int, seen: list[Seen]) -> Hole:
    """The hole of origins of which nothing tells any more whether they count."""
    ids = [each.id for each in seen]
    text = (
        f"{len(seen)} records stand between the beginning of the log and a takeover, without a "
        "state record that says which of them count"
    )
    span = (seen[0].offset, seen[-1].offset, min(ids), max(ids))
    return Hole(log_id, partition, *span, "", "unproven", text, now_ms())


def _highest(at_ms: int) -> int:
    """The highest id that a record can have which was appended by then."""
    return message_id(stamp_at(at_ms + IDS_AHEAD_MAX_MS + 1), PARTITIONS_MAX - 1)
