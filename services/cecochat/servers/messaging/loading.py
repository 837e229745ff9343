"""Loads what an owner of a partition begins with: the fold, and how far earlier owners have
forwarded.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import aclosing

from cecochat.domain.errors import ProducerEnded, Trimmed
from cecochat.domain.log.chain import Here
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
    lowest_fold,
)
from cecochat.servers.messaging.host import Host
from cecochat.v1.log_pb2 import GroupMembers

log = logging.getLogger(__name__)

LEARN_AGAIN_S = 1.0
RESEND_RECORDS = 1_000  # read back at a takeover, so that repeated sends are recognised after it


class Loading:
    """Loads owners of one partition from the log."""

    def __init__(self, host: Host, partition: int) -> None:
        self.partition = partition
        self._host = host
        self._log = host.log
        self._log_fields = {"partition": partition}
        self.lost = NOWHERE  # the last place that was forwarded, in an end that the log has lost
        self._end = 0  # of the log when the owner was loaded
        self._begins = 0  # the owner that was loaded forwards nothing below this offset
        self._lowest: tuple[int, int] | None = None  # (start of the log, first known position)

    async def load(self) -> Owner:
        """Load an owner with what the log says about the partition."""
        backplane, partition = self._log.backplane, self.partition
        start, end = await backplane.bounds(MESSAGES, partition)
        self._end = end
        lowest = await self.first_known(start)
        known_forwarded = await self.forwarded(await self.committed())
        forwarded = lowest if known_forwarded is None else known_forwarded
        if forwarded < lowest:
            return await self._load_after_trim(forwarded, end)
        position = max(min(forwarded, end - 1 - RESEND_RECORDS), lowest)
        fold = await known_fold_at(backplane, partition, position, self._log.partition_of)
        if fold is None:
            return await self._load_afresh()
        if known_forwarded is None:
            fold.unread = max(position, 0)  # copies may be lost with the end of the log
        return self._owner(fold, position, forwarded)

    async def _load_after_trim(self, forwarded: int, end: int) -> Owner:
        """Load an owner if the log has dropped records that were not forwarded, or does not say
        which of them count. The owner forwards what is left and is known to count.
        """
        lowest = await lowest_fold(self._log.backplane, self.partition, end, self._log.partition_of)
        if lowest.last is None:
            return await self._load_afresh()
        owner = self._owner(lowest.fold, lowest.position, max(forwarded, lowest.position))
        self._begins = lowest.begins
        return owner

    async def _load_afresh(self) -> Owner:
        """Load an owner that begins afresh, since the log does not say what the partition's state
        was. Raises `Trimmed` if a state record has come meanwhile.
        """
        backplane = self._log.backplane
        start, end = await backplane.bounds(MESSAGES, self.partition)
        if await known_fold_at(backplane, self.partition, end - 1, self._log.partition_of):
            raise Trimmed(self.partition, end - 1, start)  # the caller has to load again
        log.error(
            "partition %s begins afresh, since no state record is left below offset %s",
            *(self.partition, end),
            extra=self._log_fields,
        )
        high: dict[int, Copied] = {}
        groups: list[GroupMembers] = []
        for origin in range(self._log.partitions):
            high[origin] = await self._last_from(origin, groups)
        high[self.partition] = Copied(Place(0, end - 1), 0)
        here = Here(self.partition, self._log.partition_of)
        fold = Fold.afresh(end - 1, high, here, groups)
        owner = self._owner(fold, end - 1, end - 1)
        self._begins = ALL_BEFORE  # it does not know either what counts until it has taken over
        return owner

    async def _last_from(self, origin: int, groups: list[GroupMembers]) -> Copied:
        """Return the last origin of another partition that concerns this one, and add the groups
        that have their home there to `groups`. If that partition was cut, too, this is the last
        record that it has, since ids grow along a log. The id is 0 if no origin is left there.
        """
        backplane, partition_of = self._log.backplane, self._log.partition_of
        _, end = await backplane.bounds(MESSAGES, origin)
        other = await known_fold_at(backplane, origin, end - 1, partition_of)
        if other and other.groups:
            groups.extend(other.groups.homes(self._host.limits.part_members))
        last = other.chain.last_for(self.partition) if other else None
        if last and (last.id or last == NOTHING):
            return last
        start, end = await backplane.bounds(MESSAGES, origin)
        last_id = clock_ms = 0
        async with aclosing(between(backplane, origin, start, end)) as records:
            async for _, record, appended_at_ms in records:
                clock_ms = max(clock_ms, appended_at_ms)
                if isinstance(record, Origin):
                    last_id = record.id
        return Copied(Place(clock_ms, end - 1), last_id)

    async def learn_members(self, owner: Owner) -> None:
        """Learn who belongs to groups of which this log has lost that, from the logs of their
        homes. Raises `ProducerEnded` if one does not say it either.
        """
        groups, partition_of = owner.fold.groups, self._log.partition_of
        assert groups, "an owner knows groups"
        for chat in list(groups.wrong):
            home = owner.here.home_of(chat)
            last = owner.fold.high.get(home, NOTHING)
            backplane, at = self._log.backplane, last.origin.offset
            fold = await known_fold_at(backplane, home, at, partition_of)
            truth = fold.groups if fold else None
            if truth is None or chat in truth.wrong:
                await asyncio.sleep(LEARN_AGAIN_S)
                raise ProducerEnded(f"partition {home} does not say who belongs to {chat}")
            groups.correct(truth, chat, last.id)
            log.error(
                "partition %s had lost who belongs to %s, and has learned it from partition %s",
                *(self.partition, chat, home),
                extra=self._log_fields,
            )
        owner.hidden.note(owner.cursor - 1)
        owner.state_soon()

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
        """Return the place from which to forward, as it was committed last; None if never."""
        return await self._log.backplane.committed(FORWARD_GROUP, MESSAGES, self.partition)

    async def forwarded(self, committed: Place | None) -> int | None:
        """Return the offset up to which the targets have everything, according to `committed`; None
        if that is not known, like `dealt_with`.
        """
        done = await dealt_with(self._log.backplane, self.partition, committed)
        if committed and done is None:
            self.lost = max(self.lost, committed._replace(offset=committed.offset - 1))
            log.error(
                "partition %s has lost the end of its log and uses offsets again: everything that "
                "is left is copied to the other partitions again, which count nothing twice",
                self.partition,
                extra=self._log_fields,
            )
        return done

    def uncopied(self, committed: Place | None, end: int) -> tuple[int, int]:
        """Return the offsets (first, below) that the log dropped before they were copied, or of
        which it does not say any more whether they count. Both are 0 if there are none. The log
        ends below `end`.
        """
        first, begins = committed.offset if committed else 0, self._begins
        if first >= begins:
            return 0, 0
        self._host.metrics.uncopied.inc(max(min(begins, end) - first, 0))
        log.error(
            "the log has dropped the offsets of partition %s from %s to %s before they were copied "
            "to all recipients: devices may lack messages",
            *(self.partition, first, min(begins, end) - 1),
            extra=self._log_fields,
        )
        return first, begins

    async def first_known(self, start: int) -> int:
        """Return the lowest position from which a session can resume, in a log that begins at
        `start`.
        """
        if self._lowest is None or self._lowest[0] != start:
            self._lowest = (start, await first_known(self._log.backplane, self.partition))
        return self._lowest[1]

    def look_again(self) -> None:
        """Find the lowest known position anew, since it turned out not to be known after all. The
        next session that resumes there is told of a gap instead.
        """
        self._lowest = None
