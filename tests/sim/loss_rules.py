"""The rules about telling what a log lost with its end, less one each."""

from __future__ import annotations

from cecochat.servers.materialize.trims import Loss
from tests.sim import oracle, without
from tests.sim.ablation import ablation
from tests.sim.history import Materializer
from tests.sim.server import Server

LOSSES = {"lose": 40.0, "commit": 2, "land_commit": 2, "materialize": 3, "connect": 3, "cut": 2}
LOSSES |= {"land_row": 2, "crash": 0.3, "pause": 0.3, "fail": 0.3}
_UNREAD = LOSSES | {"materialize": 0.3, "leave": 30, "lose": 60}

LOSS_RULES = [
    ablation(
        "an end that is lost before it was read is told",
        (Materializer, "note_loss", without.never),
        expect=frozenset({oracle.SILENT}),
        seed=7,
        weights=_UNREAD,
    ),
    ablation(
        "an owner says what it finds lost",
        (Server, "sees_loss", without.never),
        expect=frozenset({oracle.SILENT}),
        seed=7,
        weights=_UNREAD,
    ),
    ablation(
        "one loss is one hole",
        (Loss, "is_told_by", without.never),
        expect=frozenset({oracle.TOLD_AGAIN}),
        seed=0,
        weights=LOSSES,
    ),
]
