"""Compares the log with the history while both go on, all the time, at a bounded rate.

It judges what materialize says is whole, and tells nothing that it has not seen twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter as Counted
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.domain.errors import Trimmed, Unavailable
from cecochat.domain.log.ids import time_ms
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.ports.backplane import MESSAGES, Backplane
from cecochat.ports.history import History
from cecochat.runtime.metrics import Lag
from cecochat.servers.materialize.comparing import (
    Budget,
    Expected,
    Key,
    Missing,
    Walk,
    hole_of,
    missing,
    whole,
)

log = logging.getLogger(__name__)

GROUP = "audit"
EVERY_S = 5.0
SLOW_SHARE = 0.1  # of the rate, for what was compared before
AGAIN_S = 3_600.0  # between the beginnings of two comparisons of all that the log holds
BYTES_AT_ONCE = 32 << 20  # of records, that a round compares
KNOWN_MAX = 1_000
"""Rows that are missing; with so many, nothing is learnt from more, and it waits."""
SAID_MAX = 20  # at once, in the log of the server


class AuditMetrics:
    """What a materialize server tells of its comparison, by partition: of those it works on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.offset = Gauge(
            "cecochat_audit_complete_offset",
            "The history was seen to have everything of a partition up to this offset.",
            ["partition"],
            registry=registry,
        )
        self.time_s = Gauge(
            "cecochat_audit_complete_timestamp_seconds",
            "The same as the time of the last message up to there, s since 1970; 0: there is none.",
            ["partition"],
            registry=registry,
        )
        self.missing = Gauge(
            "cecochat_audit_missing_rows",
            "Rows that the history lacks, or has otherwise than the log says.",
            ["partition"],
            registry=registry,
        )
        self.rows = Counter(
            "cecochat_audit_rows",
            "Rows of the history that were compared with the log.",
            ["partition"],
            registry=registry,
        )
        self.lag = Lag("audit", "has in the history and not yet compared", registry)


class Complete(NamedTuple):
    """Up to where a partition was compared and lacks nothing."""

    offset: int
    time_ms: int  # of its last message, ms since 1970; 0: there is none


class Auditor:
    """`run` compares the partitions that `mine` names until it is cancelled."""

    def __init__(
        self,
        backplane: Backplane,
        history: History,
        registry: CollectorRegistry,
        mine: Callable[[], Collection[int]],
    ) -> None:
        self.rate = 0.0  # records a second; 0: it does nothing unless it is asked
        self.complete: dict[int, Complete] = {}
        self.known: dict[Key, Missing] = {}
        self._backplane = backplane
        self._history = history
        self._mine = mine
        self._metrics = AuditMetrics(registry)
        self._suspects: dict[Key, Missing] = {}
        self._walks: dict[int, Walk] = {}
        self._judged: dict[int, Place] = {}  # partition -> up to where it was compared
        self._committed: dict[int, Place] = {}
        self._slow = _Slow()

    async def run(self) -> None:
        """A log or a database that does not answer is asked again."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.round()
            except (Unavailable, Trimmed) as error:
                self._walks.clear()  # what they have read was not compared
                self._slow.again()
                log.warning("the history is not compared with the log just now: %s", error)

    async def round(self) -> None:
        """Look again at what was missing, then compare some more. Raises as `Walk.read`."""
        await self._look_again()
        await self._take_partitions()
        await self._give_up_what_is_gone()
        records = int(self.rate * EVERY_S) if len(self.known) < KNOWN_MAX else 0
        budget = Budget(records, BYTES_AT_ONCE)
        wholes = {partition: await self._whole(partition) for partition in self._walks}
        expected = await self._newest(wholes, budget)
        budget.records = min(budget.records, int(records * SLOW_SHARE))
        expected += await self._slow.read(self._backplane, self._judged, budget)
        await self._compare(expected)
        self._slow.compared()
        self._judged |= {partition: walk.place for partition, walk in self._walks.items()}
        await self._tell(wholes)

    async def _look_again(self) -> None:
        """What is missing twice is told, what is there again is forgotten."""
        seen = self._suspects | self.known
        still = await missing(self._history, [each.expected for each in seen.values()])
        told = {key: seen[key] for key in still if key in seen}
        _warn([each for key, each in told.items() if key not in self.known])
        for key in self.known.keys() - told.keys():
            log.info("not missing any more: %s", self.known[key])
        noted = {key: each for key, each in self.known.items() if key not in seen}  # meanwhile
        self.known = told | noted
        self._suspects = {key: each for key, each in still.items() if key not in seen}

    async def _take_partitions(self) -> None:
        mine = set(self._mine())
        self._forget_rows(self._judged.keys() - mine)
        for known in (self._walks, self._judged, self._committed, self.complete):
            for partition in known.keys() - mine:
                del known[partition]
        for partition in sorted(mine - self._walks.keys()):
            if partition not in self._judged:
                place = await self._backplane.committed(GROUP, MESSAGES, partition)
                self._committed[partition] = place = place or Place(0, 0)
                self._judged[partition] = place._replace(offset=place.offset - 1)
            self._walks[partition] = Walk(self._backplane, partition, self._judged[partition])

    async def _give_up_what_is_gone(self) -> None:
        """A message that is missing and whose record the log has dropped cannot be written again:
        it becomes a hole, of which readers are told and that operators acknowledge.
        """
        known = dict(self.known)  # `note` may add to it meanwhile
        starts = {
            partition: (await self._backplane.bounds(MESSAGES, partition))[0]
            for partition in {each.expected.partition for each in known.values()}
        }
        gone = {
            key: each
            for key, each in known.items()
            if each.expected.offset < starts[each.expected.partition]
        }
        messages = [each for each in gone.values() if each.what in ("absent", "other")]
        if messages:
            log_id = await self._backplane.log_id()
            holes = [hole_of(log_id, each) for each in messages]
            await self._history.write([], [], None, holes)
        for key, each in gone.items():
            log.error("cannot be repaired any more, as the log has dropped its record: %s", each)
            self.known.pop(key, None)

    def _forget_rows(self, partitions: Collection[int]) -> None:
        """Who compares these partitions finds them again."""
        for known in (self.known, self._suspects):
            for key, each in list(known.items()):
                if each.expected.partition in partitions:
                    del known[key]

    async def _whole(self, partition: int) -> int:
        """Where that went back, the database has lost rows: all is compared again, and so it is
        where the log has lost what was compared.
        """
        walk = self._walks[partition]
        if not await walk.check():
            self._forget_rows([partition])
        at = await whole(self._backplane, partition)
        if at < walk.position:
            walk.begin_again()
        self._judged[partition] = walk.place
        return at

    async def _newest(self, wholes: dict[int, int], budget: Budget) -> list[Expected]:
        """What came into the history since. Who is furthest behind comes first."""
        expected: list[Expected] = []
        if budget.is_spent():
            return expected
        for partition in sorted(wholes, key=lambda each: self._walks[each].position - wholes[each]):
            expected += await self._walks[partition].read(wholes[partition], budget)
        return expected

    async def _compare(self, expected: list[Expected]) -> None:
        found = await missing(self._history, expected)
        self._suspects |= {key: each for key, each in found.items() if key not in self.known}
        for partition, rows in Counted(each.partition for each in expected).items():
            self._metrics.rows.labels(str(partition)).inc(rows)

    async def _tell(self, wholes: dict[int, int]) -> None:
        self.complete = {partition: self._complete_in(partition) for partition in self._walks}
        metrics = self._metrics
        for gauge in (metrics.offset, metrics.time_s, metrics.missing):
            gauge.clear()
        for partition, (offset, at_ms) in self.complete.items():
            metrics.offset.labels(str(partition)).set(offset)
            metrics.time_s.labels(str(partition)).set(at_ms / 1_000)
            metrics.missing.labels(str(partition)).set(0)
        for each in self.known.values():
            metrics.missing.labels(str(each.expected.partition)).inc()
        metrics.lag.set({p: max(at - self.complete[p].offset, 0) for p, at in wholes.items()})
        await self._commit()

    def _complete_in(self, partition: int) -> Complete:
        seen = [*self.known.values(), *self._suspects.values()]
        of_it = [each for each in seen if each.expected.partition == partition]
        walk = self._walks[partition]
        if not of_it:
            return Complete(walk.position, time_ms(walk.last_id) if walk.last_id else 0)
        first = min(of_it, key=lambda each: each.expected.offset)
        return Complete(first.expected.offset - 1, time_ms(first.message_id))

    async def _commit(self) -> None:
        """So that the next server to compare a partition finds what is missing, too."""
        now = {
            partition: Place(self._walks[partition].clock_ms, each.offset + 1)
            for partition, each in self.complete.items()
        }
        moved = {p: at for p, at in now.items() if self._committed.get(p) != at}
        if moved:
            await self._backplane.commit(GROUP, MESSAGES, moved)
            self._committed |= moved

    def note(self, found: list[Missing]) -> None:
        """Somebody else has found it twice; it stays known until it is there again."""
        new = [each for each in found if each.key not in self.known]
        new = new[: max(KNOWN_MAX - len(self.known), 0)]
        self.known |= {each.key: each for each in new}
        _warn(new)

    def as_json(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            "rate": self.rate,
            "complete": {str(p): each._asdict() for p, each in sorted(self.complete.items())},
            "missing": [each.as_json() for each in self.known.values()],
        }


class _Slow:
    """Goes through what was compared before, partition by partition, and begins again some time
    later, since rows may be lost at any time.
    """

    def __init__(self) -> None:
        self._begun_s = float("-inf")
        self._left: list[int] = []
        self._place = NOWHERE  # in the first of these
        self._up_to = -1  # what of it was to be read last
        self._walk: Walk | None = None

    async def read(
        self, backplane: Backplane, judged: dict[int, Place], budget: Budget
    ) -> list[Expected]:
        """More of one partition. `judged`: partition -> up to where."""
        if budget.is_spent():
            return []
        while self._left and self._left[0] not in judged:
            self._next()
        now_s = asyncio.get_running_loop().time()
        if not self._left and now_s - self._begun_s >= AGAIN_S:
            self._begun_s, self._left = now_s, sorted(judged)
        if not self._left:
            return []
        partition = self._left[0]
        self._walk = self._walk or Walk(backplane, partition, self._place)
        await self._walk.check()
        self._up_to = judged[partition].offset
        return await self._walk.read(self._up_to, budget)

    def compared(self) -> None:
        """What was read last."""
        if self._walk:
            self._place = self._walk.place
            if self._place.offset >= self._up_to or not self._walk.has_begun:
                self._next()

    def again(self) -> None:
        """What was read last was not compared."""
        self._walk = None

    def _next(self) -> None:
        self._left.pop(0)
        self._walk, self._place = None, NOWHERE


def _warn(found: list[Missing]) -> None:
    for each in found[:SAID_MAX]:
        named = {"partition": each.expected.partition, "message_id": str(each.message_id)}
        log.error("missing in the history: %s", each, extra=named)
    if len(found) > SAID_MAX:
        log.error("missing in the history: %s rows more", len(found) - SAID_MAX)
