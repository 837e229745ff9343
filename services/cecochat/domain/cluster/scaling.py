"""How many servers a set should have. This is pure: what is observed and the time are passed in."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

HEADROOM = 0.7
"""A set grows if its servers carry more than their target, but shrinks only if they would then
carry at most this part of it. The room in between keeps the set from swinging.
"""

RELAXED = 0.5
"""A set does not shrink while a strain is over this part of its limit."""

LASTING_S = 15.0
"""A strain counts only once it has lasted this long: one slow query or one burst is no reason."""

PATIENCE_MAX_S = 3_600.0


class Policy(NamedTuple):
    """How a set may be scaled: to `min` to `max` servers. At least `cooldown_s` passes between two
    changes, and the load has to be low for as long before the set shrinks.
    """

    min: int
    max: int
    cooldown_s: float


class Load(NamedTuple):
    """What a set carries as a whole (`total`), and what one server should carry (`target`), in the
    same unit.
    """

    name: str
    total: float
    target: float

    def servers(self, part: float = 1.0) -> int:
        """Return how many servers it takes if each carries this part of the target."""
        return math.ceil(self.total / (self.target * part))


class Strain(NamedTuple):
    """Something that one more server makes better, and its limit, in the same unit."""

    name: str
    value: float
    limit: float


class Observed(NamedTuple):
    """A set as it is. If `complete` is false, some live servers were not asked, and the real loads
    are higher.
    """

    wanted: int
    live: int
    loads: tuple[Load, ...] = ()
    strains: tuple[Strain, ...] = ()
    complete: bool = True


class Scaling(NamedTuple):
    """How many servers are wanted now, and why."""

    to: int
    reason: str


class Scaler:
    """Decides how many servers one set should have. All times are of one monotonic clock, in s.

    A set never shrinks below what can carry the load, by more than one at a time, or while more
    servers live than are wanted: one of them is still stopping, or a new version is being tried. A
    set does not grow while servers that are wanted are missing, or those that do not start would be
    asked for again and again.
    """

    def __init__(self) -> None:
        self._changed_s = -math.inf
        self._low_s: float | None = None  # since when fewer would do
        self._strained_s: float | None = None  # since when something is strained
        self._awaited: int | None = None  # so many were asked for and are not there yet
        self._taken_back = 0  # changes in a row that the deployment has undone

    def changed(self, now_s: float, to: int) -> None:
        """Note that the deployment was asked for `to` servers."""
        self._changed_s, self._awaited = now_s, to
        self._low_s = self._strained_s = None

    def decide(self, observed: Observed, policy: Policy, now_s: float) -> Scaling | None:
        """Return the next change, or None if the set stays as it is."""
        self._note(observed, now_s)
        wanted = observed.wanted
        if wanted > policy.max:
            return _one_less(observed, f"{wanted} are more than the maximum, {policy.max}")
        if wanted < policy.min and not (self._taken_back and self._waits(policy, now_s)):
            return Scaling(policy.min, f"{wanted} are fewer than the minimum, {policy.min}")
        if now_s - self._changed_s < policy.cooldown_s or observed.live < wanted:
            return None
        more = None if self._waits(policy, now_s) else self._more(observed, now_s)
        if more and wanted < policy.max:
            return Scaling(min(more.to, policy.max), more.reason)
        if (fewer := _fewer(observed)) and wanted > policy.min:
            lasted = _lasted(self._low_s, policy.cooldown_s, now_s)
            return _one_less(observed, fewer.reason) if lasted else None
        return None

    @staticmethod
    def outlook(observed: Observed, policy: Policy) -> Scaling | None:
        """Return what would be decided if everything stayed as it is for long, with no cooldown."""
        patient = Scaler()
        patient.decide(observed, policy, 0.0)
        return patient.decide(observed, policy, max(policy.cooldown_s, LASTING_S))

    def _waits(self, policy: Policy, now_s: float) -> bool:
        """Return whether it is too early to ask for more. The wait grows with each change that was
        undone: servers that cannot be placed or do not start are not asked for again and again.
        """
        patience_s = min(policy.cooldown_s * 2.0 ** min(self._taken_back, 20), PATIENCE_MAX_S)
        return now_s - self._changed_s < max(policy.cooldown_s, patience_s)

    def _more(self, observed: Observed, now_s: float) -> Scaling | None:
        """As many servers as the loads take, or one more if something is strained."""
        if (needed := _needed(observed.loads)) > observed.wanted:
            return Scaling(needed, _carried(observed, observed.wanted))
        strain = _strained(observed)
        if strain and _lasted(self._strained_s, LASTING_S, now_s):
            reason = f"{strain.name} is {strain.value:,.4g}, over {strain.limit:,.4g}"
            return Scaling(observed.wanted + 1, reason)
        return None

    def _note(self, observed: Observed, now_s: float) -> None:
        self._low_s = _since(self._low_s, now_s, holds=_fewer(observed) is not None)
        self._strained_s = _since(self._strained_s, now_s, holds=_strained(observed) is not None)
        if self._awaited is None:
            return
        if observed.wanted < self._awaited:
            self._awaited, self._taken_back = None, self._taken_back + 1
        elif observed.live >= self._awaited:
            self._awaited, self._taken_back = None, 0


def _since(since_s: float | None, now_s: float, *, holds: bool) -> float | None:
    if not holds:
        return None
    return now_s if since_s is None else since_s


def _lasted(since_s: float | None, wanted_s: float, now_s: float) -> bool:
    return since_s is not None and now_s - since_s >= wanted_s


def _strained(observed: Observed) -> Strain | None:
    return next((strain for strain in observed.strains if strain.value > strain.limit), None)


def _fewer(observed: Observed) -> Scaling | None:
    """Return one server less, if the others can carry the load with room to spare."""
    fewer = observed.wanted - 1
    if not observed.complete or not observed.loads or _needed(observed.loads, HEADROOM) > fewer:
        return None
    if any(strain.value > strain.limit * RELAXED for strain in observed.strains):
        return None
    return Scaling(fewer, _carried(observed, fewer))


def _one_less(observed: Observed, reason: str) -> Scaling | None:
    """Return one server less, unless one is still stopping."""
    return None if observed.live > observed.wanted else Scaling(observed.wanted - 1, reason)


def _needed(loads: Iterable[Load], part: float = 1.0) -> int:
    return max((load.servers(part) for load in loads), default=0)


def _carried(observed: Observed, servers: int) -> str:
    load = max(observed.loads, key=lambda load: load.total / load.target)
    each = load.total / servers if servers else load.total
    return f"{servers} would carry {each:,.4g} {load.name} each, against {load.target:,.4g}"
