"""What an owner of a partition begins with: the fold, and how far another one has forwarded."""

from __future__ import annotations

import logging
import uuid
from contextlib import aclosing

from cecochat.domain.errors import Trimmed
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import ALL_BEFORE, NOTHING, Copied, Origin
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.backplane import FORWARD_GROUP, MESSAGES
from cecochat.ports.reading import (
    between,
    dealt_with,
    first_known,
    known_fold_at,
    last_for,
    lowest_fold,
)
from cecochat.servers.messaging.host import Host

log = logging.getLogger(__name__)

# Read back at a takeover, so that repeats are known by heart across a restart.
RESEND_RECORDS = 1_000


class Loading:
    """Reads it from the log of one partition."""

    def __init__(self, host: Host, partition: int) -> None:
        self.partition = partition
        self._host = host
        self._log = host.log
        self._named = {"partition": partition}  # in the log
        self.lost = NOWHERE  # the last that was known of an end which the log has lost
        self._end = 0  # of the log when the owner was loaded
        self._begins = 0  # below that, the owner that was loaded forwards nothing
        self._lowest: tuple[int, int] | None = None  # (start of the log, first known position)

    async def load(self) -> Owner:
        """An owner with what the log says of the partition."""
        backplane, partition = self._log.backplane, self.partition
        start, end = await backplane.bounds(MESSAGES, partition)
        self._end = end
        lowest = await self.first_known(start)
        noted = await self.forwarded(await self.committed())
        forwarded = lowest if noted is None else noted
        if forwarded < lowest:
            return await self._load_after_trim(forwarded, end)
        position = max(min(forwarded, end - 1 - RESEND_RECORDS), lowest)
        fold = await known_fold_at(backplane, partition, position, self._log.place)
        if fold is None:
            return await self._load_afresh()
        if noted is None:
            fold.unread = max(position, 0)  # copies may have gone with the end
        return self._owner(fold, position, forwarded)

    async def _load_after_trim(self, forwarded: int, end: int) -> Owner:
        """The log begins above what is forwarded, or does not tell what of that counts: all that is
        left and is known to count is forwarded.
        """
        lowest = await lowest_fold(self._log.backplane, self.partition, end, self._log.place)
        if lowest.last is None:
            return await self._load_afresh()
        owner = self._owner(lowest.fold, lowest.position, max(forwarded, lowest.position))
        self._begins = lowest.begins
        return owner

    async def _load_afresh(self) -> Owner:
        """Nothing that is left tells of the partition. Raises `Trimmed`, where something does."""
        backplane = self._log.backplane
        start, end = await backplane.bounds(MESSAGES, self.partition)
        if await known_fold_at(backplane, self.partition, end - 1):
            raise Trimmed(self.partition, end - 1, start)  # it was cut meanwhile: begin anew
        log.error(
            "partition %s: no state is left below %s: it begins afresh",
            *(self.partition, end),
            extra=self._named,
        )
        had = {origin: await self._had(origin) for origin in range(self._log.partitions)}
        had[self.partition] = Copied(Place(0, end - 1), 0)
        fold = Fold.afresh(end - 1, had, self._log.place)
        owner = self._owner(fold, end - 1, end - 1)
        self._begins = ALL_BEFORE  # nor does it know what counts until it has taken over
        return owner

    async def _had(self, origin: int) -> Copied:
        """The last of another partition that was for this one. Where its log was cut, too, all that
        it has counts as that: ids grow along a log. Id 0: no origin is left that has one.
        """
        backplane = self._log.backplane
        last = await last_for(backplane, origin, self.partition, self._log.place)
        if last and (last.id or last == NOTHING):
            return last
        start, end = await backplane.bounds(MESSAGES, origin)
        last_id = clock_ms = 0
        async with aclosing(between(backplane, origin, start, end)) as records:
            async for _, known, at_ms in records:
                clock_ms = max(clock_ms, at_ms)
                if isinstance(known, Origin):
                    last_id = known.id
        return Copied(Place(clock_ms, end - 1), last_id)

    def _owner(self, fold: Fold, position: int, forwarded: int) -> Owner:
        self._begins = position + 1
        return Owner(
            self.partition,
            uuid.uuid4().hex,
            fold,
            cursor=position + 1,
            forwarded=forwarded,
            limits=self._host.limits,
            log_end=self._end,
        )

    async def committed(self) -> Place | None:
        """What was noted of how far the targets are."""
        return await self._log.backplane.committed(FORWARD_GROUP, MESSAGES, self.partition)

    async def forwarded(self, committed: Place | None) -> int | None:
        """Up to where the targets have all by that, as `dealt_with`."""
        done = await dealt_with(self._log.backplane, self.partition, committed)
        if committed and done is None:
            self.lost = max(self.lost, committed._replace(offset=committed.offset - 1))
            log.error(
                "partition %s: the log has lost its end and gives offsets again: all that is left "
                "is copied to the other partitions again, which count nothing twice",
                self.partition,
                extra=self._named,
            )
        return done

    def uncopied(self, committed: Place | None, end: int) -> tuple[int, int]:
        """What the log had dropped before it was copied, as far as is known, or does not prove any
        more, in a log that goes up to below `end`: offsets from the first to below the second; both
        0: nothing.
        """
        first, begins = committed.offset if committed else 0, self._begins
        if first >= begins:
            return 0, 0
        self._host.metrics.uncopied.inc(max(min(begins, end) - first, 0))
        log.error(
            "partition %s: offsets %s to %s were dropped before they were copied to all whom they "
            "concern: devices may lack messages",
            *(self.partition, first, min(begins, end) - 1),
            extra=self._named,
        )
        return first, begins

    async def first_known(self, start: int) -> int:
        """The lowest position that can be resumed from, in a log that begins at `start`."""
        if self._lowest is None or self._lowest[0] != start:
            self._lowest = (start, await first_known(self._log.backplane, self.partition))
        return self._lowest[1]

    def look_again(self) -> None:
        """The lowest known position turned out not to be known, as of a partition without a state
        record: the next to resume is told of a gap instead.
        """
        self._lowest = None
