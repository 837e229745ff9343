"""What the servers of a set carry, from their metrics."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.scaling import Load, Strain
from cecochat.ports.discovery import Instance, Service

QUERIES_MIN = 1.0  # a second: what fewer take says little about the load


class Carried(NamedTuple):
    """Of a whole set. `complete`: every server was asked twice, so that its rates are known."""

    loads: tuple[Load, ...]
    strains: tuple[Strain, ...]
    complete: bool


class _Reading(NamedTuple):
    at_s: float
    values: Mapping[str, float]  # by name of the sample, summed over labels


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two readings of one server."""

    before: _Reading
    now: _Reading

    def rate(self, name: str) -> float:
        took_s = self.now.at_s - self.before.at_s
        return max(self.now.values.get(name, 0) - self.before.values.get(name, 0), 0) / took_s


class Loads:
    """Reads the metrics of servers now and then; rates are those since the reading before."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._before: dict[str, _Reading] = {}  # by instance

    async def of(self, service: Service, servers: Sequence[Instance], config: Config) -> Carried:
        """Ask all of them at once."""
        readings = await asyncio.gather(*map(self._read, servers))
        pairs: list[_Pair] = []
        for server, now in zip(servers, readings, strict=True):
            before = self._before.pop(server.instance_id, None)
            if now and before and now.at_s > before.at_s:
                pairs.append(_Pair(before, now))
            if now:
                self._before[server.instance_id] = now
        loads, strains = _carried(service, pairs, config)
        return Carried(loads, strains, complete=len(pairs) == len(servers))

    async def _read(self, server: Instance) -> _Reading | None:
        try:
            answer = await self._client.get(f"{server.health_url}/metrics")
            values = Counter[str]()
            for family in text_string_to_metric_families(answer.raise_for_status().text):
                for sample in family.samples:
                    values[sample.name] += sample.value  # type: ignore[assignment]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None
        return _Reading(time.monotonic(), values)


def _carried(
    service: Service, pairs: Sequence[_Pair], config: Config
) -> tuple[tuple[Load, ...], tuple[Strain, ...]]:
    def rate(name: str) -> float:
        return sum(pair.rate(name) for pair in pairs)

    def now(name: str) -> list[float]:
        return [pair.now.values.get(name, 0.0) for pair in pairs]

    match service:
        case "messaging":
            sessions = sum(now("cecochat_sessions"))
            sends = rate("cecochat_sends_accepted_total")
            return (
                Load("sessions", sessions, config.scale_messaging_target),
                Load("sends/s", sends, config.scale_messaging_target_sends),
            ), ()
        case "materialize":
            if rate("cecochat_history_retries_total"):
                return (), ()  # the database holds them up: neither more nor fewer help
            behind = max(now("cecochat_materialize_lag_records"), default=0.0)
            rows = Load(
                "rows/s", rate("cecochat_rows_written_total"), config.scale_materialize_target
            )
            return (rows,), (Strain("records behind", behind, config.scale_materialize_lag_max),)
        case "history":
            queries = rate("cecochat_query_seconds_count")
            mean_ms = 0.0
            if queries >= QUERIES_MIN:
                mean_ms = rate("cecochat_query_seconds_sum") / queries * 1_000
            return (
                (Load("queries/s", queries, config.scale_history_target),),
                (Strain("ms a query", mean_ms, config.scale_history_latency_max_ms),),
            )
        case "connect":
            lookups = rate("cecochat_connects_total")
            return (Load("lookups/s", lookups, config.scale_connect_target),), ()
        case "control":
            return (), ()
