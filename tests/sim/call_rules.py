"""The rules about sends of the product's back end, less one each."""

from __future__ import annotations

from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.ownership import calls, owner
from cecochat.domain.ownership.calls import Called, Calls
from cecochat.domain.ownership.sent import SentTable
from tests.sim import oracle, without
from tests.sim.ablation import ablation
from tests.sim.history import History

_CALLS = {"call": 0.3, "lose_call": 0.5, "expire": 10, "long_tick": 2, "tick": 10, "send": 2}
_CALLS |= {"assign": 4, "learn": 3, "crash": 0.3, "trim": 0.3}
_CUTS = {"call": 0.3, "lose_call": 0.7, "cut_log": 0.05, "found": 0, "assign": 8, "learn": 4}
_TWICE = frozenset({oracle.DOUBLED, oracle.SHOWN_TWICE})


def new_if_it_says_so(self: Calls, called: Called, latest_ms: int) -> bool:
    sent = self._owner.sent
    return sent.covers_place(called.absent_up_to) or 0 < sent.floor.clock_ms < called.since_ms


def covers_all(_: Place, limits: OwnerLimits) -> SentTable:
    return SentTable(NOWHERE, limits)


CALL_RULES = [
    ablation(
        "a call that may be a repeat is looked for in the history",
        (Calls, "_is_new", without.always),
        expect=_TWICE,
        seed=1,
        weights=_CALLS,
    ),
    ablation(
        "the history is asked once it holds all that may be there",
        (History, "covers", without.always),
        expect=_TWICE,
        seed=33,
        weights=_CALLS,
    ),
    ablation(
        "a caller's clock may be a minute ahead",
        (Calls, "_is_new", new_if_it_says_so),
        expect=_TWICE,
        seed=37,
        weights=_CALLS,
    ),
    ablation(
        "no call is from the future",
        (calls, "CLOCKS_APART_MAX_MS", 10 * 366 * 86_400_000),
        expect=_TWICE,
        seed=9,
        weights=_CALLS,
    ),
    ablation(
        "who took over a log that was cut knows no send from before",
        (owner, "SentTable", covers_all),
        expect=_TWICE,
        seed=3,
        weights=_CUTS,
    ),
]
