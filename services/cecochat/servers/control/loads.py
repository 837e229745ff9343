"""Asks the servers of a set what they carry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.scaling import Load, Strain
from cecochat.internal.client import InternalClient
from cecochat.internal.rates import Pair, Reading
from cecochat.internal.v1 import internal_pb2
from cecochat.ports.discovery import Instance, Service

QUERIES_MIN = 1.0  # per second: how long fewer take says little about the load


class Carried(NamedTuple):
    """What a whole set carries. `complete` is true if every server has answered twice, so that all
    rates are known.
    """

    loads: tuple[Load, ...]
    strains: tuple[Strain, ...]
    complete: bool


class Loads:
    """Asks servers what they carry. Rates are those since the previous answer."""

    def __init__(self, client: InternalClient) -> None:
        self._client = client
        self._before: dict[str, Reading] = {}  # by instance

    async def of(self, service: Service, servers: Sequence[Instance], config: Config) -> Carried:
        """Ask all servers of a set at once."""
        readings = await asyncio.gather(*map(self._read, servers))
        pairs: list[Pair] = []
        for server, now in zip(servers, readings, strict=True):
            before = self._before.pop(server.instance_id, None)
            if now and before and now.at_s > before.at_s:
                pairs.append(Pair(before, now))
            if now:
                self._before[server.instance_id] = now
        loads, strains = _carried(service, pairs, config)
        return Carried(loads, strains, complete=len(pairs) == len(servers))

    async def _read(self, server: Instance) -> Reading | None:
        load = await self._client.load(server)
        return Reading(time.monotonic(), load) if load else None


def _carried(
    service: Service, pairs: Sequence[Pair], config: Config
) -> tuple[tuple[Load, ...], tuple[Strain, ...]]:
    def rate(counter: Callable[[internal_pb2.Load], float]) -> float:
        return sum(pair.rate(counter) for pair in pairs)

    now = [pair.now.load for pair in pairs]
    match service:
        case "messaging":
            sessions = float(sum(load.messaging.sessions for load in now))
            sends = rate(lambda load: load.messaging.sends_accepted)
            return (
                Load("sessions", sessions, config.scale_messaging_target),
                Load("sends/s", sends, config.scale_messaging_target_sends),
            ), ()
        case "materialize":
            if rate(lambda load: load.materialize.history_retries):
                return (), ()  # the database holds them up, so neither more nor fewer would help
            rows = rate(lambda load: load.materialize.rows_written)
            behind = float(max((load.materialize.lag_records for load in now), default=0))
            return (
                (Load("rows/s", rows, config.scale_materialize_target),),
                (Strain("records behind", behind, config.scale_materialize_lag_max),),
            )
        case "history":
            queries = rate(lambda load: load.history.queries)
            mean_ms = 0.0
            if queries >= QUERIES_MIN:
                mean_ms = rate(lambda load: load.history.query_seconds) / queries * 1_000
            return (
                (Load("queries/s", queries, config.scale_history_target),),
                (Strain("ms a query", mean_ms, config.scale_history_latency_max_ms),),
            )
        case "connect":
            lookups = rate(lambda load: load.connect.lookups)
            return (Load("lookups/s", lookups, config.scale_connect_target),), ()
        case "hooks":
            delivered = rate(lambda load: load.hooks.delivered)
            return (Load("webhooks/s", delivered, config.scale_hooks_target),), ()
        case "control":
            return (), ()
