"""Grows and shrinks the server sets by what they carry."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.scaling import Observed, Policy, Scaler
from cecochat.domain.errors import CannotScale, Unavailable
from cecochat.internal.client import InternalClient
from cecochat.ports.deployment import Deployment, Limits, ServerSet
from cecochat.ports.discovery import Discovery, Service
from cecochat.runtime.asking import Asking
from cecochat.servers.control.decisions import Decisions
from cecochat.servers.control.loads import Carried, Loads

log = logging.getLogger(__name__)

EVERY_S = 5.0
SCALED: tuple[Service, ...] = ("messaging", "materialize", "history", "connect", "hooks")


@dataclass(frozen=True, slots=True)
class ObservedSet:
    """What was seen of one set. `managed` is None if this deployment does not run the set."""

    live: int
    carried: Carried
    managed: ScaledSet | None

    def shown(self) -> dict[str, Any]:
        """Return the set for people, as an object for JSON."""
        return {
            "live": self.live,
            "loads": [each._asdict() for each in self.carried.loads],
            "strains": [each._asdict() for each in self.carried.strains],
            **(self.managed.shown(self) if self.managed else {"wanted": None}),
        }


@dataclass(frozen=True, slots=True)
class ScaledSet:
    """How many servers a set has, and may have."""

    state: ServerSet
    policy: Policy

    def observed(self, seen: ObservedSet) -> Observed:
        """Return what a scaler has to know."""
        return Observed(self.state.wanted, seen.live, *seen.carried)

    def shown(self, seen: ObservedSet) -> dict[str, Any]:
        """Return how the set is scaled, for people, as an object for JSON."""
        scaling = Scaler.outlook(self.observed(seen), self.policy)
        return {
            "wanted": self.state.wanted,
            "min": self.policy.min,
            "max": self.policy.max,
            "rollout": self.state.rollout,
            "next": scaling._asdict() if scaling else None,
        }


class Sets:
    """Looks at the sets and scales them; `run` runs until it is cancelled. It scales only while
    `may_act()` is true.
    """

    def __init__(
        self,
        deployment: Deployment,
        discovery: Discovery,
        decisions: Decisions,
        may_act: Callable[[], bool],
        asking: Asking,
    ) -> None:
        self.config = Config()
        self.seen: dict[Service, ObservedSet] = {}
        self._deployment = deployment
        self._discovery = discovery
        self._decisions = decisions
        self._may_act = may_act
        self._asking = asking
        self._scalers = {service: Scaler() for service in SCALED}
        self._silent: set[Service] = set()

    async def run(self) -> None:
        """Look at every set from time to time, until cancelled."""
        async with self._asking() as http:
            loads = Loads(InternalClient(http))
            while True:
                for service in SCALED:
                    try:
                        await self._look(service, loads)
                        self._silent.discard(service)
                    except Unavailable as error:
                        if service not in self._silent:
                            log.warning("the set %s cannot be scaled now: %s", service, error)
                        self._silent.add(service)
                await asyncio.sleep(EVERY_S)

    async def _look(self, service: Service, loads: Loads) -> None:
        managed = await self._managed(service)
        live = self._discovery.live(service)
        seen = ObservedSet(len(live), await loads.of(service, live, self.config), managed)
        self.seen[service] = seen
        self._decisions.count_servers(service, managed.state.wanted if managed else None, len(live))
        if managed and self._may_act():
            await self._scale(service, managed, managed.observed(seen))
        else:
            self._scalers[service] = Scaler()  # what it has seen will be old by then

    async def _managed(self, service: Service) -> ScaledSet | None:
        try:
            state = await self._deployment.state(service)
        except CannotScale:
            return None
        return ScaledSet(state, _policy(self.config, service, state.limits))

    async def _scale(self, service: Service, managed: ScaledSet, observed: Observed) -> None:
        scaler, now_s = self._scalers[service], time.monotonic()
        scaling = scaler.decide(observed, managed.policy, now_s)
        if scaling is None:
            return
        scaler.changed(now_s, scaling.to)  # comes first, since the answer may be lost
        try:
            await self._deployment.scale(service, scaling.to, scaling.reason)
        except CannotScale as error:
            log.error("the set %s was not scaled: %s", service, error)
        else:
            self._decisions.scaled(service, observed.wanted, scaling)


def _policy(config: Config, service: Service, limits: Limits) -> Policy:
    """Return the limits that the configuration sets, within what the deployment can run."""

    def within(name: str) -> int:
        wanted: int = getattr(config, f"scale_{service}_{name}")
        return min(max(wanted, limits.min), limits.max)

    low = max(within("min"), 1)  # a set without servers has no load and would not grow again
    cooldown_s: float = getattr(config, f"scale_{service}_cooldown_s")
    return Policy(low, max(within("max"), low), cooldown_s)
