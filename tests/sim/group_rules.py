"""The rules about groups, less one each: what is asked of a group's home, and who belongs to it."""

from __future__ import annotations

from cecochat.domain.log.groups import Groups
from cecochat.domain.log.reliable import ReliableStates
from cecochat.domain.log.spans import Spans
from cecochat.domain.ownership import asking
from cecochat.domain.ownership.asking import Asking
from cecochat.domain.ownership.home import Home
from cecochat.domain.ownership.owner import Owner
from tests.sim import oracle, without
from tests.sim import without_groups as less
from tests.sim.ablation import Override, ablation

_ASKS = {"give_up_ask": 10, "lose_answer": 6, "lose_ask": 3, "member": 4, "ask": 2, "answer_ask": 2}
_HOMES_MOVE = _ASKS | {"assign": 6, "learn": 4, "pause": 2, "resume": 2}
_HOMES_FAIL = _HOMES_MOVE | {"crash": 4, "fail": 5}
_CHANGES = {"member": 8}
_NEW_OWNERS = {"crash": 8, "restart": 5, "commit": 6, "land_commit": 8, "forward": 2, "read": 2}
_NEW_OWNERS |= {"assign": 6, "learn": 4}
_LOST_CHANGES = {"vanish": 0.03, "member": 6}
_VANISHED_CHANGES = {"vanish": 0.1, "materialize": 3, "land_row": 3}

_UNTOLD: Override = (Groups, "_follows", less.always)
"""Else it costs time alone: who belongs would be found out once an event shows that it is wrong."""

_ASKING = [
    ablation(
        "after a refusal, later sends of its user are left",
        (Home, "_results", less.results_beyond_refusals),
        expect=frozenset({oracle.SWAPPED}),
        seed=31,
        weights=_ASKS,
    ),
    ablation(
        "a home refuses no repeat, whatever the judge says",
        (Home, "_take", less.take_at_its_word),
        expect=frozenset({oracle.REFUSED_YET_ACCEPTED}),
        seed=145,
        weights=_ASKS | {"judge": 0.1, "cut": 3},
    ),
    ablation(
        "a request that was given up is not looked at",
        (Home, "_is_overtaken", without.never),
        expect=frozenset({oracle.REFUSED_YET_ACCEPTED}),
        seed=81,
        weights=_ASKS,
    ),
    ablation(
        "a request is for one owner of the home",
        (Home, "_is_for", less.always),
        expect=frozenset({oracle.SWAPPED}),
        seed=137,
        weights=_HOMES_MOVE,
    ),
    ablation(
        "a request says what its partition has read",
        (Home, "_knows", less.always),
        expect=frozenset({oracle.DOUBLED}),
        seed=127,
        weights=_HOMES_FAIL | {"forward": 0.2, "ask": 4},
    ),
    ablation(
        "a partition that has the last copy has all",
        (Home, "_knows", less.knows_what_it_covers),
        expect=frozenset({oracle.STUCK, oracle.UNACKNOWLEDGED}),
        seed=124,
        weights=_HOMES_FAIL | {"send": 0.5},
    ),
    ablation(
        "a repeat of what was copied here is answered here",
        (Owner, "_read_answer", less.forget_copies),
        expect=frozenset({oracle.DOUBLED, oracle.MISSING, oracle.SWAPPED}),
        seed=135,
        weights=_ASKS | {"lose": 2},
    ),
    ablation(
        "a known send is acknowledged after its copy",
        (Asking, "_acknowledge_read", less.acknowledge_what_is_known),
        expect=frozenset({oracle.WIRE_TWICE, oracle.MISSING}),
        seed=4,
        weights=_ASKS,
    ),
    ablation(
        "a copy of what is known is asked for",
        (Asking, "_await_copy", without.never),
        expect=frozenset({oracle.STUCK}),
        seed=104,
        weights={"member": 6, "lose": 60, "connect": 3, "commit": 0.1},
    ),
    ablation(
        "who lacks copies asks nothing until they come",
        (asking, "_is_behind", less.not_at_all),
        expect=frozenset({oracle.STUCK}),
        seed=1,
        weights=_ASKS | {"spoil_other": 0.03},
    ),
    ablation(
        "what has not come back is asked for again",
        (Asking, "expire", without.never),
        expect=frozenset({oracle.STUCK}),
        seed=562,
        weights=_HOMES_FAIL,
    ),
]

_BELONGING = [
    ablation(
        "a change is checked against all that was accepted",
        (Home, "_group", less.group_as_read),
        expect=frozenset({oracle.MISSING, oracle.SWAPPED, oracle.LEAKED, oracle.NEEDLESS_GAP}),
        seed=1,
        weights=_CHANGES,
    ),
    ablation(
        "copies go wherever members live",
        (Home, "_partitions", less.partitions_as_read),
        expect=frozenset({oracle.MISSING}),
        seed=0,
        weights=_CHANGES,
    ),
    ablation(
        "who belonged gets it",
        (Spans, "covers", less.belongs_now),
        expect=frozenset({oracle.MISSING}),
        seed=0,
        weights=_CHANGES,
    ),
    ablation(
        "nobody else gets it",
        (Spans, "covers", less.belonged_once),
        expect=frozenset({oracle.LEAKED}),
        seed=0,
        weights=_CHANGES,
    ),
    ablation(
        "who left is remembered for those who come back",
        (Spans, "forget", less.forget_all),
        expect=frozenset({oracle.MISSING}),
        seed=479,
        weights=_CHANGES,
    ),
    ablation(
        "an owner begins where all of groups is said",
        (ReliableStates, "_joined", less.state_itself),
        _UNTOLD,
        expect=frozenset({oracle.MISSING}),
        seed=449,
        weights=_NEW_OWNERS,
    ),
    ablation(
        "an event names the change before it",
        _UNTOLD,
        expect=frozenset({oracle.MISSING}),
        seed=12,
        weights=_LOST_CHANGES,
    ),
    ablation(
        "an epoch ends where a change is missing",
        (Owner, "lacks_members", False),
        expect=frozenset({oracle.MISSING}),
        seed=12,
        weights=_LOST_CHANGES,
    ),
    ablation(
        "a home goes on without a change that has vanished",
        (Groups, "_follows", less.follows_at_home),
        expect=frozenset({oracle.STUCK}),
        seed=48,
        weights=_VANISHED_CHANGES,
    ),
]

GROUP_RULES = [*_ASKING, *_BELONGING]
