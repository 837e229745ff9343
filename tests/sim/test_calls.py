"""A schedule that is hardly ever drawn: an owner that was paused refuses what the next one has
accepted.
"""

from __future__ import annotations

from unittest.mock import patch

from tests.sim import oracle
from tests.sim.calling import Calling
from tests.sim.schedule import replay
from tests.sim.server import Server
from tests.sim.spoiling import Action

SCHEDULE: list[Action] = [
    ("learn", 1), ("claim", 1, 1), ("land", "1.1.1", 1), ("read", 1, 1, 5),
    ("pause", 1), ("check", 0), ("assign", 1, 2), ("learn", 2), ("claim", 2, 1),
    ("land", "2.1.1", 1), ("read", 2, 1, 5),
    ("call", "b", "d:a~b", 0, False), ("try_call", 0), ("land_call", 0, 2), ("land", "2.1.1", 1),
    ("lose_call_answer", 0),
    ("resume", 1), ("limit", 1, True), ("try_call", 0), ("land_call", 0, 1), ("answer_call", 0),
]  # fmt: skip


def nothing_to_read(self: Calling, server: Server) -> int:
    return 0


def test_who_refuses_a_call_has_read_the_log() -> None:
    done = replay(SCHEDULE)
    assert done.broken == []
    assert len(done.actions) == len(SCHEDULE) - 1, "all but the last, which has to wait"
    with patch.object(Calling, "end_to_read_for", nothing_to_read):
        assert oracle.REFUSED_YET_ACCEPTED in replay(SCHEDULE).kinds
