"""The rules about messages that are too old to be kept, less one each."""

from __future__ import annotations

from cecochat.v1.events_pb2 import Event
from tests.sim import oracle
from tests.sim.ablation import ablation
from tests.sim.device_rules import GAPS
from tests.sim.history import History

_AGING = GAPS | {"outlive": 0.1, "to_device": 0.5, "fill": 3, "trim": 8, "commit_materialized": 6}

_page = History.page


def page_without_what_is_too_old(
    self: History, user: str, chat: str, after: int, limit: int
) -> tuple[list[Event], bool]:
    return _page(self, user, chat, max(after, self.kept_from - 1), limit)


AGING_RULES = [
    ablation(
        "what is too old still answers who sent it",
        (History, "page", page_without_what_is_too_old),
        expect=frozenset({oracle.DOUBLED, oracle.SWAPPED, oracle.SHOWN_TWICE}),
        seed=1,
        weights=_AGING,
    ),
]
