"""What an owner of a partition begins with: the fold, and how far another one has forwarded."""

from __future__ import annotations

import logging
import uuid
from typing import NamedTuple

from cecochat.domain.fold import Fold
from cecochat.domain.limits import OwnerLimits
from cecochat.domain.owner import Owner
from cecochat.domain.partitions import partition_of
from cecochat.domain.place import Place
from cecochat.messaging.metrics import MessagingMetrics
from cecochat.ports.backplane import FORWARD_GROUP, MESSAGES, Backplane
from cecochat.runtime.reading import dealt_with, first_known, fold_at, lowest_fold

log = logging.getLogger(__name__)

# Read back at a takeover, so that repeats are known by heart across a restart.
RESEND_RECORDS = 1_000


class Log(NamedTuple):
    """The log, and what never changes about it."""

    backplane: Backplane
    id: str
    partitions: int


class Loading:
    """Reads it from the log of one partition."""

    def __init__(
        self, log_: Log, partition: int, limits: OwnerLimits, metrics: MessagingMetrics
    ) -> None:
        self.log = log_
        self.partition = partition
        self._limits = limits
        self._metrics = metrics
        self._named = {"partition": partition}  # in the log
        self._lowest: tuple[int, int] | None = None  # (start of the log, first known position)

    async def load(self) -> Owner:
        """An owner with what the log says of the partition."""
        backplane, partition = self.log.backplane, self.partition
        start, end = await backplane.bounds(MESSAGES, partition)
        lowest = await self.first_known(start)
        noted = await self.forwarded(await self.committed())
        forwarded = lowest if noted is None else noted
        if forwarded < lowest:
            return await self._load_after_trim(forwarded, end)
        position = max(min(forwarded, end - 1 - RESEND_RECORDS), lowest)
        fold = await fold_at(backplane, partition, position, self.place)
        if noted is None:
            fold.unread = position  # copies may have gone with the end
        return self._owner(fold, position, forwarded)

    async def _load_after_trim(self, forwarded: int, end: int) -> Owner:
        """The log begins above what is forwarded, or does not tell what of that counts: all that is
        left and is known to count is forwarded.
        """
        position, fold = await lowest_fold(self.log.backplane, self.partition, end, self.place)
        return self._owner(fold, position, max(forwarded, position))

    def _owner(self, fold: Fold, position: int, forwarded: int) -> Owner:
        return Owner(
            self.partition,
            uuid.uuid4().hex,
            fold,
            cursor=position + 1,
            forwarded=forwarded,
            limits=self._limits,
        )

    def place(self, user_id: str) -> int:
        """The partition of a user."""
        return partition_of(user_id, self.log.partitions)

    async def committed(self) -> Place | None:
        """What was noted of how far the targets are."""
        return await self.log.backplane.committed(FORWARD_GROUP, MESSAGES, self.partition)

    async def forwarded(self, committed: Place | None) -> int | None:
        """Up to where the targets have all by that, as `dealt_with`."""
        done = await dealt_with(self.log.backplane, self.partition, committed)
        if done is None:
            log.error(
                "partition %s: the log has lost its end and gives offsets again: all that is left "
                "is copied to the other partitions again, which count nothing twice",
                self.partition,
                extra=self._named,
            )
        return done

    def uncopied(self, committed: Place | None, begins: int) -> tuple[int, int]:
        """What the log had dropped before it was copied, below where this owner begins; both 0:
        nothing. A commit that Kafka has forgotten says nothing: what was released had been
        forwarded.
        """
        if committed is None or committed.offset >= begins:
            return 0, 0
        self._metrics.uncopied.inc(begins - committed.offset)
        log.error(
            "partition %s: offsets %s to %s were dropped before they were copied to all whom they "
            "concern: devices may lack messages",
            *(self.partition, committed.offset, begins - 1),
            extra=self._named,
        )
        return committed.offset, begins

    async def first_known(self, start: int) -> int:
        """The lowest position that can be resumed from, in a log that begins at `start`."""
        if self._lowest is None or self._lowest[0] != start:
            self._lowest = (start, await first_known(self.log.backplane, self.partition))
        return self._lowest[1]

    def look_again(self) -> None:
        """The lowest known position turned out not to be known, as of a partition without a state
        record: the next to resume is told of a gap instead.
        """
        self._lowest = None
