"""The holes of what the log has dropped or lost before it was in the history, or hides."""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.log.cut import UnprovenOrigin
from cecochat.domain.log.gaps import Gap
from cecochat.domain.log.ids import PARTITIONS_MAX, message_id, stamp_at
from cecochat.domain.log.limits import IDS_AHEAD_MAX_MS
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Takeover
from cecochat.ports.history import ANY_CHAT, Hole
from cecochat.runtime.clock import now_ms


def trimmed(
    log_id: str, partition: int, held: int, start: int, appended_at_ms: int, above: int
) -> Hole:
    """Return the hole between the offset `held` and `start`, where the log begins, with ids above
    `above`.

    Ids grow with time. So none that is gone lies above the highest id that the first record that is
    left can have, which was appended at `appended_at_ms`.
    """
    text = f"the log had dropped the offsets {held + 1} to {start - 1} before they were read"
    span = (held + 1, start - 1, above + 1, max(_highest(appended_at_ms), above + 1))
    return Hole(log_id, partition, *span, ANY_CHAT, "trimmed", text, now_ms())


def uncopied(
    log_id: str, partition: int, offset: int, takeover: Takeover, appended_at_ms: int
) -> Hole | None:
    """Return the hole of what was dropped before it was forwarded, as a new owner says in its
    takeover. `offset` and `appended_at_ms` are those of the takeover. None if nothing was dropped.
    """
    first, below = takeover.uncopied[0], min(takeover.uncopied[1], offset)
    if first >= below:
        return None
    text = (
        f"the log had dropped the offsets {first} to {below - 1} before they were copied to all "
        "recipients: devices may lack messages that the history has"
    )
    span = (first, below - 1, 1, _highest(appended_at_ms))
    return Hole(log_id, partition, *span, ANY_CHAT, "uncopied", text, now_ms())


class Loss(NamedTuple):
    """An end that a log has lost."""

    log_id: str
    partition: int
    known: Place  # a place in that end
    goes_on_at: int  # the first offset that was appended after the loss
    before_ms: int  # when that was, or until when nothing was appended

    def hole(self, above: int) -> Hole:
        """Return the hole of what the history had not read of that end, with ids above `above`."""
        first, last = self.goes_on_at, self.known.offset
        text = (
            f"the log has lost its end: it had reached at least offset {last} and goes on at "
            f"{first}, and it is not known whether everything that is gone had been read"
        )
        span = (first, last, above + 1, max(_highest(self.before_ms), above + 1))
        return Hole(self.log_id, self.partition, *span, ANY_CHAT, "lost", text, now_ms())

    def is_told_by(self, hole: Hole) -> bool:
        """Return whether a hole covers this loss: it begins no later, and ends after what is known
        to be lost.
        """
        same = (hole.log_id, hole.partition, hole.reason) == (self.log_id, self.partition, "lost")
        reaches = hole.last_id >= _highest(self.known.clock_ms)
        return same and hole.first_offset <= self.goes_on_at and reaches


def unproven(log_id: str, partition: int, seen: list[UnprovenOrigin]) -> Hole:
    """Return the hole of origins of which it is not known any more whether they count."""
    ids = [each.id for each in seen]
    text = (
        f"{len(seen)} records are between the beginning of the log and a takeover, and no state "
        "record says which of them count"
    )
    span = (seen[0].offset, seen[-1].offset, min(ids), max(ids))
    return Hole(log_id, partition, *span, ANY_CHAT, "unproven", text, now_ms())


class Hidden:
    """Turns the gaps that a fold finds in a batch of records into holes: one for each stretch of
    offsets that have vanished, and one for each stretch of records in doubt.

    What was appended after `settled_ms` and cannot be read could never be read, so nothing is in
    doubt for it: its owner has ended the epoch, and senders have repeated what was in flight.
    """

    def __init__(self, log_id: str, partition: int, settled_ms: int | None = None) -> None:
        self._settled_ms = settled_ms
        self.holes: list[Hole] = []
        self._log_id = log_id
        self._partition = partition
        self._doubts: list[Gap] = []
        self._open: Hole | None = None  # it ends below the next valid id

    def add(self, gap: Gap) -> None:
        """Take in a gap."""
        if not gap.is_vanished:
            if self._settled_ms is None or gap.by_ms <= self._settled_ms:
                self._doubts.append(gap)
            return
        self.end()
        last_id = max(_highest(gap.by_ms), gap.above + 1)
        text = (
            f"the records at the offsets {gap.first} to {gap.last} have vanished from the log "
            "before they were read"
        )
        span = (gap.first, gap.last, gap.above + 1, last_id)
        self._open = Hole(
            self._log_id, self._partition, *span, ANY_CHAT, "vanished", text, now_ms()
        )

    def valid(self, id_: int) -> None:
        """Take in the id of the next valid origin. All ids that are missing before it are lower."""
        hole = self._open
        if hole:
            self._open = hole._replace(last_id=max(min(hole.last_id, id_ - 1), hole.first_id))
        self.end()

    def end(self) -> None:
        """Take in that the batch ends, or that what follows is another stretch."""
        if self._open:
            self.holes.append(self._open)
            self._open = None
        if self._doubts:
            self.holes.append(in_doubt(self._log_id, self._partition, self._doubts))
            self._doubts = []


def in_doubt(log_id: str, partition: int, gaps: list[Gap]) -> Hole:
    """Return the hole of records that cannot be read, and of origins behind hidden records."""
    first, last = gaps[0].first, gaps[-1].last
    text = (
        f"offsets {first} to {last}: records cannot be read, or follow hidden ones, and nothing "
        "shows whether they count"
    )
    ids = (min(gap.above + 1 for gap in gaps), max(gap.id or _highest(gap.by_ms) for gap in gaps))
    span = (first, last, ids[0], max(ids))
    return Hole(log_id, partition, *span, ANY_CHAT, "unproven", text, now_ms())


def _highest(at_ms: int) -> int:
    """Return the highest id that a record can have if it was appended by then."""
    return message_id(stamp_at(at_ms + IDS_AHEAD_MAX_MS + 1), PARTITIONS_MAX - 1)
