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
SCALED: tuple[Service, ...] = ("messaging", "materialize", "history", "connect")


@dataclass(frozen=True, slots=True)
class Seen:
    """One set as it was looked at last. `managed`: None where others run it."""

    live: int
    carried: Carried
    managed: Managed | None

    def shown(self) -> dict[str, Any]:
        """For people."""
        return {
            "live": self.live,
            "loads": [each._asdict() for each in self.carried.loads],
            "strains": [each._asdict() for each in self.carried.strains],
            **(self.managed.shown(self) if self.managed else {"wanted": None}),
        }


@dataclass(frozen=True, slots=True)
class Managed:
    """How many servers a set has, and may have."""

    state: ServerSet
    policy: Policy

    def observed(self, seen: Seen) -> Observed:
        """For a scaler."""
        return Observed(self.state.wanted, seen.live, *seen.carried)

    def shown(self, seen: Seen) -> dict[str, Any]:
        """For people."""
        scaling = Scaler.outlook(self.observed(seen), self.policy)
        return {
            "wanted": self.state.wanted,
            "min": self.policy.min,
            "max": self.policy.max,
            "rollout": self.state.rollout,
            "next": scaling._asdict() if scaling else None,
        }


class Sets:
    """`run` scales until it is cancelled, while `may_act()`."""

    def __init__(
        self,
        deployment: Deployment,
        discovery: Discovery,
        decisions: Decisions,
        may_act: Callable[[], bool],
        asking: Asking,
    ) -> None:
        self.config = Config()
        self.seen: dict[Service, Seen] = {}
        self._deployment = deployment
        self._discovery = discovery
        self._decisions = decisions
        self._may_act = may_act
        self._asking = asking
        self._scalers = {service: Scaler() for service in SCALED}
        self._silent: set[Service] = set()

    async def run(self) -> None:
        """Look at every set now and then."""
        async with self._asking() as http:
            loads = Loads(InternalClient(http))
            while True:
                for service in SCALED:
                    try:
                        await self._look(service, loads)
                        self._silent.discard(service)
                    except Unavailable as error:
                        if service not in self._silent:
                            log.warning("%s cannot be scaled just now: %s", service, error)
                        self._silent.add(service)
                await asyncio.sleep(EVERY_S)

    async def _look(self, service: Service, loads: Loads) -> None:
        managed = await self._managed(service)
        live = self._discovery.live(service)
        seen = Seen(len(live), await loads.of(service, live, self.config), managed)
        self.seen[service] = seen
        self._decisions.count_servers(service, managed.state.wanted if managed else None, len(live))
        if managed and self._may_act():
            await self._scale(service, managed, managed.observed(seen))
        else:
            self._scalers[service] = Scaler()  # what it has seen is old when it may act again

    async def _managed(self, service: Service) -> Managed | None:
        try:
            state = await self._deployment.state(service)
        except CannotScale:
            return None
        return Managed(state, _policy(self.config, service, state.limits))

    async def _scale(self, service: Service, managed: Managed, observed: Observed) -> None:
        scaler, now_s = self._scalers[service], time.monotonic()
        scaling = scaler.decide(observed, managed.policy, now_s)
        if scaling is None:
            return
        scaler.changed(now_s, scaling.to)  # also where the answer is lost
        try:
            await self._deployment.scale(service, scaling.to, scaling.reason)
        except CannotScale as error:
            log.error("%s", error)
        else:
            self._decisions.scaled(service, observed.wanted, scaling)


def _policy(config: Config, service: Service, limits: Limits) -> Policy:
    """What the configuration says, within what the deployment can run."""

    def within(name: str) -> int:
        wanted: int = getattr(config, f"scale_{service}_{name}")
        return min(max(wanted, limits.min), limits.max)

    low = max(within("min"), 1)  # from none it would not grow again
    cooldown_s: float = getattr(config, f"scale_{service}_cooldown_s")
    return Policy(low, max(within("max"), low), cooldown_s)
