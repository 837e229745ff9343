"""How many servers a set should have: pure, told what is seen and what time it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

HEADROOM = 0.7
"""A set shrinks only to where a server carries at most that part of its target, and grows where it
carries more than all of it: what lies between keeps it from swinging.
"""

RELAXED = 0.5  # nor while a strain is over that part of its limit


class Policy(NamedTuple):
    """Limits of a set; `cooldown_s` lies between two changes, and a low load lasts that long."""

    min: int
    max: int
    cooldown_s: float


class Load(NamedTuple):
    """What a set carries as a whole, against what one server should; in one unit."""

    name: str
    total: float
    target: float

    def servers(self, part: float = 1.0) -> int:
        """How many it takes at that part of the target."""
        return math.ceil(self.total / (self.target * part))


class Strain(NamedTuple):
    """What one more server eases, against its limit; in one unit."""

    name: str
    value: float
    limit: float


class Observed(NamedTuple):
    """A set as it is. `complete`: every live server was asked; else its loads are too low."""

    wanted: int
    live: int
    loads: tuple[Load, ...] = ()
    strains: tuple[Strain, ...] = ()
    complete: bool = True


class Scaling(NamedTuple):
    """Want that many, and why."""

    to: int
    reason: str


class Scaler:
    """What to do with one set. Times are of one monotonic clock, in s.

    It never shrinks below what holds the load, and does nothing while servers that it wants are
    missing: those that do not start would be wanted again and again.
    """

    def __init__(self) -> None:
        self._changed_s = -math.inf
        self._low_s: float | None = None  # since when fewer would do

    def changed(self, now_s: float) -> None:
        """What was decided is done."""
        self._changed_s, self._low_s = now_s, None

    def decide(self, observed: Observed, policy: Policy, now_s: float) -> Scaling | None:
        """The next change; None: it stays."""
        wanted = observed.wanted
        if wanted < policy.min:
            return Scaling(policy.min, f"{wanted} are fewer than the least, {policy.min}")
        if wanted > policy.max:
            return Scaling(policy.max, f"{wanted} are more than the most, {policy.max}")
        self._note_low(_fewer(observed), now_s)
        if now_s - self._changed_s < policy.cooldown_s or observed.live < wanted:
            return None
        if (more := _more(observed)) and wanted < policy.max:
            return Scaling(min(more.to, policy.max), more.reason)
        lasted = self._low_s is not None and now_s - self._low_s >= policy.cooldown_s
        if (fewer := _fewer(observed)) and lasted and wanted > policy.min:
            return fewer
        return None

    @staticmethod
    def outlook(observed: Observed, policy: Policy) -> Scaling | None:
        """What would be done if all stayed as it is for long, cooldowns aside."""
        patient = Scaler()
        patient.decide(observed, policy, 0.0)
        return patient.decide(observed, policy, policy.cooldown_s)

    def _note_low(self, fewer: Scaling | None, now_s: float) -> None:
        if fewer is None:
            self._low_s = None
        elif self._low_s is None:
            self._low_s = now_s


def _more(observed: Observed) -> Scaling | None:
    """As many as the loads take, and one more where something is strained."""
    for strain in observed.strains:
        if strain.value > strain.limit:
            reason = f"{strain.name} is {strain.value:,.4g}, over {strain.limit:,.4g}"
            return Scaling(max(observed.wanted + 1, _needed(observed.loads)), reason)
    if (needed := _needed(observed.loads)) > observed.wanted:
        return Scaling(needed, _carried(observed, observed.wanted))
    return None


def _fewer(observed: Observed) -> Scaling | None:
    """One less, where the rest can carry it with room to spare."""
    fewer = observed.wanted - 1
    if not observed.complete or not observed.loads or _needed(observed.loads, HEADROOM) > fewer:
        return None
    if any(strain.value > strain.limit * RELAXED for strain in observed.strains):
        return None
    return Scaling(fewer, _carried(observed, fewer))


def _needed(loads: Iterable[Load], part: float = 1.0) -> int:
    return max((load.servers(part) for load in loads), default=0)


def _carried(observed: Observed, servers: int) -> str:
    load = max(observed.loads, key=lambda load: load.total / load.target)
    each = load.total / servers if servers else load.total
    return f"{servers} would carry {each:,.4g} {load.name} each, against {load.target:,.4g}"
