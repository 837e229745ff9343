"""Compares the log with the history all the time while both go on, at a limited rate.

It compares what materialize says is complete, and reports only what it has seen missing twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter as Counted
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.domain.errors import Trimmed, Unavailable
from cecochat.domain.log.ids import time_ms
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.ports.backplane import MESSAGES, Backplane
from cecochat.ports.history import History
from cecochat.ports.reading import Standing
from cecochat.runtime.metrics import Lag
from cecochat.servers.materialize.comparing import (
    Budget,
    Expected,
    HiddenStretch,
    Key,
    MissingRow,
    Walk,
    find_missing,
    hole_of,
    joined,
)

log = logging.getLogger(__name__)

GROUP = "audit"
EVERY_S = 5.0
SLOW_SHARE = 0.1  # the part of the rate that is used to compare again
AT_ONCE = 16  # partitions to look at in a round, so that a round costs no more if there are many
QUIET_S = 60.0  # how long to believe that a log which does not move has lost nothing
AGAIN_S = 3_600.0  # the time between the starts of two comparisons of the whole log
BYTES_AT_ONCE = 32 << 20  # of the records that a round compares
KNOWN_MAX = 1_000
"""How many missing rows to remember. More would tell nothing new, so comparing stops there."""
SAID_MAX = 20  # how many missing rows a round writes to the server's log


class AuditMetrics:
    """The metrics of the comparison, for each partition that this server works on."""

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
        self.hidden = Gauge(
            "cecochat_audit_hidden_stretches",
            "Stretches of the log whose records have vanished, or may or may not count.",
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
    """Up to where a partition was compared, and lacks nothing."""

    offset: int
    time_ms: int  # of the last message up to there, in ms since 1970; 0: there is none


class Auditor:
    """Compares the partitions that `mine` returns; `run` runs until it is cancelled."""

    def __init__(
        self,
        backplane: Backplane,
        history: History,
        registry: CollectorRegistry,
        mine: Callable[[], Collection[int]],
    ) -> None:
        self.rate = 0.0  # records a second; 0: it compares only on request
        self.complete: dict[int, Complete] = {}
        self.missing_rows: dict[Key, MissingRow] = {}
        self.hidden: set[HiddenStretch] = set()
        self._backplane = backplane
        self._history = history
        self._mine = mine
        self._metrics = AuditMetrics(registry)
        self._suspects: dict[Key, MissingRow] = {}
        self._walks: dict[int, Walk] = {}
        self._compared: dict[int, Place] = {}  # partition -> up to where it was compared
        self._committed: dict[int, Place] = {}
        self._slow = _Slow()
        self._quiet = _Quiet()

    async def run(self) -> None:
        """Compare round after round. If the log or the database does not answer, try again."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.round()
            except (Unavailable, Trimmed) as error:
                self._walks.clear()  # what they have read was not compared
                self._slow.again()
                log.warning("the history cannot be compared with the log now: %s", error)

    async def round(self) -> None:
        """Look again at what was missing, then compare some more. Raises what `Walk.read` does."""
        await self._look_again()
        await self._take_partitions()
        await self._give_up_what_is_gone()
        records = int(self.rate * EVERY_S) if len(self.missing_rows) < KNOWN_MAX else 0
        budget = Budget(records, BYTES_AT_ONCE)
        standings = await asyncio.gather(*(Standing.of(self._backplane, p) for p in self._walks))
        due = self._quiet.due(standings, self._walks)
        wholes = {standing.partition: await self._whole(standing) for standing in due}
        expected = await self._newest(wholes, budget)
        budget.records = min(budget.records, int(records * SLOW_SHARE))
        expected += await self._slow.read(self._backplane, self._compared, budget)
        await self._compare(expected)
        self._hide([*self._slow.hidden, *(each for p in wholes for each in self._walks[p].hidden)])
        self._slow.compared()
        self._compared |= {partition: walk.place for partition, walk in self._walks.items()}
        await self._report({each.partition: each.said for each in standings} | wholes)

    async def _look_again(self) -> None:
        """Report what is missing for the second time, and forget what is there again."""
        seen = self._suspects | self.missing_rows
        still = await find_missing(self._history, [each.expected for each in seen.values()])
        confirmed = {key: seen[key] for key in still if key in seen}
        _warn([each for key, each in confirmed.items() if key not in self.missing_rows])
        for key in self.missing_rows.keys() - confirmed.keys():
            log.info("this is not missing any more: %s", self.missing_rows[key])
        # `note` may have added some meanwhile
        noted = {key: each for key, each in self.missing_rows.items() if key not in seen}
        self.missing_rows = confirmed | noted
        self._suspects = {key: each for key, each in still.items() if key not in seen}

    async def _take_partitions(self) -> None:
        mine = set(self._mine())
        self._forget_rows(self._compared.keys() - mine)
        for by_partition in (self._walks, self._compared, self._committed, self.complete):
            for partition in by_partition.keys() - mine:
                del by_partition[partition]
        for partition in sorted(mine - self._walks.keys()):
            if partition not in self._compared:
                place = await self._backplane.committed(GROUP, MESSAGES, partition)
                self._committed[partition] = place = place or Place(0, 0)
                self._compared[partition] = place._replace(offset=place.offset - 1)
            self._walks[partition] = Walk(self._backplane, partition, self._compared[partition])
            self._quiet.forget(partition)

    async def _give_up_what_is_gone(self) -> None:
        """Make holes of missing messages whose records the log has dropped, since those cannot be
        written again. Readers are told of holes, and operators acknowledge them.
        """
        rows = dict(self.missing_rows)  # a copy, since `note` may add to it meanwhile
        starts = {
            partition: (await self._backplane.bounds(MESSAGES, partition))[0]
            for partition in {each.expected.partition for each in rows.values()}
            | {each.partition for each in self.hidden}
        }
        self.hidden = {each for each in self.hidden if each.last >= starts[each.partition]}
        gone = {
            key: each
            for key, each in rows.items()
            if each.expected.offset < starts[each.expected.partition]
        }
        messages = [each for each in gone.values() if each.what in ("absent", "other")]
        if messages:
            log_id = await self._backplane.log_id()
            holes = [hole_of(log_id, each) for each in messages]
            await self._history.write([], [], None, holes)
        for key, each in gone.items():
            log.error(
                "this cannot be repaired any more, since the log has dropped its record: %s", each
            )
            self.missing_rows.pop(key, None)

    def _forget_rows(self, partitions: Collection[int]) -> None:
        """Forget what is missing in these partitions: whoever compares them next finds it again."""
        for rows in (self.missing_rows, self._suspects):
            for key, each in list(rows.items()):
                if each.expected.partition in partitions:
                    del rows[key]
        self.hidden = {each for each in self.hidden if each.partition not in partitions}

    async def _whole(self, standing: Standing) -> int:
        """Return the offset up to which materialize says that a partition is complete. If that has
        gone back, the database has lost rows, and everything is compared again; also if the log has
        lost what was compared.
        """
        partition = standing.partition
        walk = self._walks[partition]
        if not await walk.check(standing.bounds):
            self._forget_rows([partition])
        offset = await standing.materialized(self._backplane)
        if offset < walk.position:
            walk.begin_again()
        self._compared[partition] = walk.place
        self._quiet.looked(standing, walk.place)
        return offset

    async def _newest(self, wholes: dict[int, int], budget: Budget) -> list[Expected]:
        """Return the rows that are new since the last round, of the partition furthest behind
        first.
        """
        expected: list[Expected] = []
        if budget.is_spent():
            return expected
        for partition in sorted(wholes, key=lambda each: self._walks[each].position - wholes[each]):
            expected += await self._walks[partition].read(wholes[partition], budget)
        return expected

    def _hide(self, found: list[HiddenStretch]) -> None:
        """Note what the log does not show."""
        new = [each for each in joined(found) if each not in self.hidden]
        new = new[: max(KNOWN_MAX - len(self.hidden), 0)]
        self.hidden |= set(new)
        for each in new:
            log.error("%s", each, extra={"partition": each.partition})

    async def _compare(self, expected: list[Expected]) -> None:
        found = await find_missing(self._history, expected)
        self._suspects |= {key: each for key, each in found.items() if key not in self.missing_rows}
        for partition, rows in Counted(each.partition for each in expected).items():
            self._metrics.rows.labels(str(partition)).inc(rows)

    async def _report(self, wholes: dict[int, int]) -> None:
        self.complete = {partition: self._complete_in(partition) for partition in self._walks}
        metrics = self._metrics
        for gauge in (metrics.offset, metrics.time_s, metrics.missing, metrics.hidden):
            gauge.clear()
        for partition, (offset, at_ms) in self.complete.items():
            metrics.offset.labels(str(partition)).set(offset)
            metrics.time_s.labels(str(partition)).set(at_ms / 1_000)
            metrics.missing.labels(str(partition)).set(0)
            metrics.hidden.labels(str(partition)).set(0)
        for stretch in self.hidden:
            metrics.hidden.labels(str(stretch.partition)).inc()
        for each in self.missing_rows.values():
            metrics.missing.labels(str(each.expected.partition)).inc()
        metrics.lag.set({p: max(up_to - self.complete[p].offset, 0) for p, up_to in wholes.items()})
        await self._commit()

    def _complete_in(self, partition: int) -> Complete:
        all_rows = [*self.missing_rows.values(), *self._suspects.values()]
        rows = [each for each in all_rows if each.expected.partition == partition]
        walk = self._walks[partition]
        if not rows:
            return Complete(walk.position, time_ms(walk.last_id) if walk.last_id else 0)
        first = min(rows, key=lambda each: each.expected.offset)
        return Complete(first.expected.offset - 1, time_ms(first.message_id))

    async def _commit(self) -> None:
        """Commit up to where each partition lacks nothing, so that the next server that compares it
        finds what is missing, too.
        """
        places = {
            partition: Place(self._walks[partition].clock_ms, each.offset + 1)
            for partition, each in self.complete.items()
        }
        moved = {p: place for p, place in places.items() if self._committed.get(p) != place}
        if moved:
            await self._backplane.commit(GROUP, MESSAGES, moved)
            self._committed |= moved

    def note(self, found: list[MissingRow]) -> None:
        """Take in rows that were found missing twice on request."""
        new = [each for each in found if each.key not in self.missing_rows]
        new = new[: max(KNOWN_MAX - len(self.missing_rows), 0)]
        self.missing_rows |= {each.key: each for each in new}
        _warn(new)

    def as_json(self) -> dict[str, Any]:
        """Return how far the comparison is, for people and programs, as an object for JSON."""
        return {
            "rate": self.rate,
            "complete": {str(p): each._asdict() for p, each in sorted(self.complete.items())},
            "missing": [each.as_json() for each in self.missing_rows.values()],
            "hidden": [each.as_json() for each in sorted(self.hidden)],
        }


class _Quiet:
    """Knows when each partition was looked at, and how it stood then. As long as nothing moves, to
    look again would read the same records.
    """

    def __init__(self) -> None:
        self._found: dict[int, tuple[Standing, Place]] = {}
        self._looked_s: dict[int, float] = {}

    def looked(self, standing: Standing, compared: Place) -> None:
        """Note that a partition was looked at, and `compared` up to there."""
        self._found[standing.partition] = standing, compared
        self._looked_s[standing.partition] = asyncio.get_running_loop().time()

    def forget(self, partition: int) -> None:
        """Have it looked at soon."""
        self._found.pop(partition, None)

    def due(self, standings: Sequence[Standing], walks: Mapping[int, Walk]) -> list[Standing]:
        """Return those to look at now, a bounded number, the longest ago first."""
        since_s = asyncio.get_running_loop().time() - QUIET_S
        due = [
            each
            for each in standings
            if self._found.get(each.partition) != (each, walks[each.partition].place)
            or self._looked_s[each.partition] <= since_s
        ]
        due.sort(key=lambda each: self._looked_s.get(each.partition, 0.0))
        return due[:AT_ONCE]


class _Slow:
    """Compares again what was compared before, partition by partition and again and again, since
    rows may be lost at any time.
    """

    def __init__(self) -> None:
        self._begun_s = float("-inf")
        self._left: list[int] = []  # partitions that are still to be compared
        self._place = NOWHERE  # up to where the first of them was compared
        self._up_to = -1  # up to where it should be
        self._walk: Walk | None = None

    async def read(
        self, backplane: Backplane, compared: dict[int, Place], budget: Budget
    ) -> list[Expected]:
        """Return the next rows of one partition. `compared` is partition -> up to where to go."""
        if budget.is_spent():
            return []
        while self._left and self._left[0] not in compared:
            self._next()
        now_s = asyncio.get_running_loop().time()
        if not self._left and now_s - self._begun_s >= AGAIN_S:
            self._begun_s, self._left = now_s, sorted(compared)
        if not self._left:
            return []
        partition = self._left[0]
        self._walk = self._walk or Walk(backplane, partition, self._place)
        await self._walk.check()
        self._up_to = compared[partition].offset
        return await self._walk.read(self._up_to, budget)

    @property
    def hidden(self) -> list[HiddenStretch]:
        """What the log does not show of what was read last."""
        return self._walk.hidden if self._walk else []

    def compared(self) -> None:
        """Note that what was read last is compared."""
        if self._walk:
            self._place = self._walk.place
            if self._place.offset >= self._up_to or not self._walk.has_begun:
                self._next()

    def again(self) -> None:
        """Note that what was read last is not compared, and has to be read again."""
        self._walk = None

    def _next(self) -> None:
        self._left.pop(0)
        self._walk, self._place = None, NOWHERE


def _warn(found: list[MissingRow]) -> None:
    for each in found[:SAID_MAX]:
        fields = {"partition": each.expected.partition, "message_id": str(each.message_id)}
        log.error("this is missing in the history: %s", each, extra=fields)
    if len(found) > SAID_MAX:
        log.error("%s more rows are missing in the history", len(found) - SAID_MAX)
