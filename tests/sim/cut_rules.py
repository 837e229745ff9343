"""The rules about logs that are cut, less one each."""

from __future__ import annotations

from cecochat.domain.log import fold
from cecochat.domain.log.cut import CutLog
from cecochat.domain.log.fold import Fold
from cecochat.domain.ownership.owner import Owner
from tests.sim import beginning, loading, oracle, server, without, without_the_beginning
from tests.sim.ablation import HAND_OVERS, ablation
from tests.sim.history import History, Materializer
from tests.sim.server import Server

_CUTS = {"cut_log": 0.005, "found": 0}
_CUTS_AT_HANDOVERS = _CUTS | HAND_OVERS
_UNCOUNTED = _CUTS_AT_HANDOVERS | {"cut_log": 0.01, "assign": 8, "learn": 4, "fail": 1}
_UNCOUNTED |= {"materialize": 0.3, "spoil_other": 0}
_CUTS_UNFORWARDED = _CUTS | {"assign": 4, "learn": 3, "claim": 3, "forward": 0.3, "land": 0.7}
_CUTS_AND_CLOCKS = _CUTS | {"cut_log": 0.03, "wrong_clock": 300, "crash_all": 10, "restart": 3}
_CUTS_AND_CLOCKS |= {"elsewhere": 5, "trim": 0.1}
_CUTS_AND_FAILURES = _CUTS | {"cut_log": 0.02, "assign": 8, "learn": 4, "claim": 3, "fail": 6}
_CUTS_AND_FAILURES |= {"drop": 3, "trim": 0.1, "release": 0.1, "commit": 0.2}
_CUTS_AND_FAILURES |= {"spoil": 0, "spoil_other": 0}
_CUTS_AT_RESTARTS = _CUTS | {"cut_log": 0.02, "upheaval": 0.05, "assign": 3, "learn": 2, "cut": 4}
_CUTS_AT_RESTARTS |= {"elsewhere": 6, "crash": 1.5, "restart": 4}
CUT_RULES = [
    ablation(
        "what is left of a cut log is read",
        (Materializer, "held", without_the_beginning.read_from_the_end),
        expect=frozenset({oracle.HISTORY_WRONG, oracle.LOST}),
        seed=16,
        weights=_CUTS,
    ),
    ablation(
        "what a cut log lacks is told",
        (History, "note", without.never),
        expect=frozenset({oracle.SILENT}),
        seed=1,
        weights=_CUTS,
    ),
    ablation(
        "a state record proves what it has counted",
        (CutLog, "_first_number", without_the_beginning.count_nothing_before),
        expect=frozenset({oracle.HISTORY_WRONG, oracle.LOST}),
        seed=36,
        weights=_CUTS,
    ),
    ablation(
        "a state record proves no more than it has counted",
        (CutLog, "_complete", without_the_beginning.count_all_before),
        expect=frozenset({oracle.HISTORY_WRONG, oracle.DOUBLED, oracle.SWAPPED}),
        seed=224,
        weights=_UNCOUNTED,
    ),
    ablation(
        "all that is left of a cut log is forwarded",
        (beginning, "lowest_fold", without_the_beginning.lowest_by_state),
        expect=frozenset({oracle.MISSING}),
        seed=43,
        weights=_CUTS_UNFORWARDED,
    ),
    ablation(
        "what was cut before it was copied is told",
        (server, "uncopied", without_the_beginning.nothing_uncopied),
        expect=frozenset({oracle.MISSING}),
        seed=2,
        weights=_CUTS_UNFORWARDED,
    ),
    ablation(
        "what is left and proves nothing is told as not copied",
        (beginning, "lowest_fold", without_the_beginning.all_left_is_proven),
        expect=frozenset({oracle.MISSING}),
        seed=157,
        weights=_CUTS_UNFORWARDED,
    ),
    ablation(
        "reading again goes on up to what is wanted",
        (server, "Recall", without_the_beginning.recall_while_lanes_take),
        expect=frozenset({oracle.STUCK}),
        seed=13,
        weights=_CUTS_UNFORWARDED,
    ),
    ablation(
        "an owner that knows nothing takes what others have for brought",
        (Fold, "afresh", without_the_beginning.afresh_without_others),
        expect=frozenset({oracle.MISSING, oracle.WIRE_TWICE, oracle.SWAPPED}),
        seed=44,
        weights=_CUTS,
    ),
    ablation(
        "an id that nothing tells is by the clock of the log",
        (loading, "had", without_the_beginning.had_by_its_own_clock),
        expect=frozenset({oracle.MISSING}),
        seed=12,
        weights=_CUTS_AND_CLOCKS,
    ),
    ablation(
        "an owner that knows nothing begins anew no more once it has claimed",
        (Owner, "_is_outdated_by", without_the_beginning.outdated_whatever_it_claims),
        expect=frozenset({oracle.STUCK}),
        seed=0,
        weights=_CUTS_AT_RESTARTS,
    ),
    ablation(
        "a device that begins behind an id that is supposed misses nothing for it",
        (fold, "_lowered", without_the_beginning.as_supposed),
        expect=frozenset({oracle.MISSING}),
        seed=5960,
        weights=_CUTS_AT_RESTARTS,
    ),
    ablation(
        "the ids of an owner that knows nothing go on above all",
        (Fold, "_begin_ids", without.never),
        expect=frozenset({oracle.SWAPPED, oracle.DOUBLED}),
        seed=0,
        weights=_CUTS,
    ),
    ablation(
        "the ids of an owner that knows nothing begin a millisecond",
        (Fold, "_begin_ids", without_the_beginning.begin_ids_within_a_millisecond),
        expect=frozenset({oracle.DOUBLED, oracle.MISSING, oracle.SWAPPED}),
        seed=1897,
        weights=_CUTS_AND_FAILURES,
    ),
    ablation(
        "the owner of a cut log says soon what counts",
        (Server, "look_at_beginning", without.never),
        expect=frozenset({oracle.STUCK, oracle.HISTORY_WRONG, oracle.LOST}),
        seed=3,
        weights={"cut_log": 0.03},
    ),
]
