"""What a system does in a second, and how long messages take, from what its servers count."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from cecochat.internal.rates import Pair, Reading
from cecochat.internal.v1.internal_pb2 import Load, StageAges
from cecochat.overview.quantiles import quantile

RATES_S = 10.0
"""Rates are those of the last seconds."""
LATENCY_S = 60.0
"""How long messages took is that of the last minute, since few have a 99th percentile."""
STAGES = ("acknowledged", "forwarded", "delivered", "materialized")
SHARES = {"p50_ms": 0.5, "p99_ms": 0.99}


class Rates:
    """Remembers what servers have said lately."""

    def __init__(self) -> None:
        self._readings: dict[str, deque[Reading]] = {}  # by server

    def see(self, now_s: float, loads: Mapping[str, Load | None]) -> None:
        """Take in what all servers carry now, by id; None if one does not answer."""
        for gone in self._readings.keys() - loads.keys():
            del self._readings[gone]
        for server_id, load in loads.items():
            if load:
                readings = self._readings.setdefault(server_id, deque())
                readings.append(Reading(now_s, load))
                while readings[0].at_s < now_s - LATENCY_S:
                    readings.popleft()

    def shown(self, servers: Collection[str]) -> dict[str, Any]:
        """Return what these servers do together, as an object for JSON.

        A rate is None as long as no server has answered twice, a latency if no message was seen in
        `measured_s`, which is a minute after a while, and None at first.
        """
        pairs = list(self._pairs(servers, RATES_S))

        def rate(service: str, counter: Callable[[Load], float]) -> float | None:
            return _rate(pairs, service, counter)

        now = [self._readings[each][-1].load for each in servers if each in self._readings]
        queries = rate("history", lambda load: load.history.queries)
        took_s = rate("history", lambda load: load.history.query_seconds)
        return {
            "sessions": sum(load.messaging.sessions for load in now),
            "sends_per_s": rate("messaging", lambda load: load.messaging.sends_accepted),
            "deliveries_per_s": rate("messaging", lambda load: load.messaging.deliveries),
            "rows_per_s": rate("materialize", lambda load: load.materialize.rows_written),
            "lookups_per_s": rate("connect", lambda load: load.connect.lookups),
            "queries_per_s": queries,
            "query_ms": took_s / queries * 1_000 if queries and took_s is not None else None,
            "forward_lag_records": max([0, *(each.messaging.forward_lag_records for each in now)]),
            "materialize_lag_records": max([0, *(each.materialize.lag_records for each in now)]),
            "stages": {stage: self._latency(servers, stage) for stage in STAGES},
            "measured_s": self._measured_s(servers),
        }

    def _measured_s(self, servers: Collection[str]) -> float | None:
        """Return over how long latency was measured; None if no server has answered twice."""
        pairs = self._pairs(servers, LATENCY_S)
        return max((pair.now.at_s - pair.before.at_s for pair in pairs), default=None)

    def _pairs(self, servers: Collection[str], over_s: float) -> Iterator[Pair]:
        """Yield for each server its last reading, and the first one that is not too old for it."""
        for readings in (self._readings.get(each) for each in servers):
            if readings:
                since_s = readings[-1].at_s - over_s
                first = next(each for each in readings if each.at_s >= since_s)
                if first.at_s < readings[-1].at_s:
                    yield Pair(first, readings[-1])

    def _latency(self, servers: Collection[str], stage: str) -> dict[str, float] | None:
        bounds: tuple[float, ...] = ()
        counts: list[float] = []
        for pair in self._pairs(servers, LATENCY_S):
            its = _ages(pair.now.load, stage)
            if its is None or (bounds and tuple(its.bounds_s) != bounds):
                continue  # a server of another version measures in another way
            bounds = tuple(its.bounds_s)
            before = _ages(pair.before.load, stage)
            rises = _rises(before.counts if before else [0] * len(its.counts), its.counts)
            counts = [a + b for a, b in zip(counts or [0] * len(rises), rises, strict=True)]
        if not counts or not counts[-1]:
            return None
        found = {name: quantile(share, bounds, counts) or 0.0 for name, share in SHARES.items()}
        return {name: seconds * 1_000 for name, seconds in found.items()}


def _rate(pairs: Collection[Pair], service: str, counter: Callable[[Load], float]) -> float | None:
    its = [pair for pair in pairs if pair.now.load.WhichOneof("service") == service]
    return sum(pair.rate(counter) for pair in its) if its else None


def _rises(before: Collection[int], now: Collection[int]) -> list[float]:
    return [max(b - a, 0) for a, b in zip(before, now, strict=True)]


def _ages(load: Load, stage: str) -> StageAges | None:
    ages = (*load.messaging.ages, *load.materialize.ages)
    return next((each for each in ages if each.stage == stage), None)
