"""The rules for versions of the assignment, less one each."""

from __future__ import annotations

from tests.sim import assigning, oracle, without
from tests.sim.ablation import ablation
from tests.sim.assigning import Assignment, Control
from tests.sim.world import World

_UPHEAVALS = {"upheaval": 0.02, "crash": 0.3, "crash_all": 0, "pause": 0.3}

ASSIGNMENT_RULES = [
    ablation(
        "two contents of one version are ordered",
        (Assignment, "rank", property(without.rank_by_number)),
        expect=frozenset({oracle.DISAGREE}),
        seed=41,
        weights=_UPHEAVALS,
    ),
    ablation(
        "control asks what the servers follow",
        (Control, "remember", without.never),
        expect=frozenset({oracle.DISAGREE, oracle.STUCK}),
        seed=38,
        weights=_UPHEAVALS,
    ),
    ablation(
        "versions go on above every takeover",
        (assigning, "missing", without.missing_whatever_was_taken_over),
        expect=frozenset({oracle.STUCK}),
        seed=38,
        weights=_UPHEAVALS,
    ),
    ablation(
        "an earlier claim does not take a partition back",
        (World, "is_outdone", without.never),
        expect=frozenset({oracle.STUCK}),
        seed=5,
        weights=_UPHEAVALS,
    ),
    ablation(
        "a claim of one version needs a later one to be outdone",
        (World, "waits_for_ever", without.never),
        expect=frozenset({oracle.STUCK, oracle.MISSING}),
        seed=82,
        weights=_UPHEAVALS,
    ),
    ablation(
        "a server for another number of partitions does not start",
        (World, "fits", without.always),
        expect=frozenset({oracle.MISSING, oracle.STUCK, oracle.LOST, oracle.EXCEPTION}),
        seed=44,
        weights=_UPHEAVALS,
    ),
]
