"""The rules about recipients in the sender's own partition, who get the message itself, less one
each.
"""

from __future__ import annotations

from cecochat.domain.log.chain import Chain
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session import session
from tests.sim import oracle, without
from tests.sim.ablation import ablation
from tests.sim.shape import Shape

_UPGRADES = {"old_version": 0.05, "crash": 3, "restart": 3, "assign": 6, "learn": 4}
_UPGRADES |= {"forward": 0.3, "send": 2}
_TWO = Shape(partitions=2)  # so that most messages have a recipient at home

HOME_RULES = [
    ablation(
        "recipients at home get the message itself",
        (Chain, "add", without.add_for_those_elsewhere),
        expect=frozenset({oracle.MISSING}),
        seed=0,
        shape=_TWO,
    ),
    ablation(
        "recipients at home get it when they come back",
        (session, "concerns", without.concerns_its_sender),
        expect=frozenset({oracle.MISSING}),
        seed=38,
        shape=_TWO,
    ),
    ablation(
        "no message overtakes a copy at home",
        (Owner, "can_serve_home", without.always),
        expect=frozenset({oracle.MISSING, oracle.SWAPPED}),
        seed=49,
        weights=_UPGRADES,
        shape=_TWO,
    ),
]
