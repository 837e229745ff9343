"""An owner that has read ahead in a log that is cut then, and takes over after one that began
afresh: too rare for random schedules, so this is written.
"""

from __future__ import annotations

from unittest.mock import patch

from cecochat.domain.ownership.owner import Owner
from tests.sim import oracle
from tests.sim.without_the_beginning import never_outdated
from tests.sim.world import World
from tests.sim.written import broken, say, world

CUT, ONE, OTHER = 2, 2, 1
"""The partition that is cut, the node that had it and waits to have it again, and another."""


def read_by(made: World, node: int) -> None:
    made.do_land_all(CUT)
    while made.do_read(node, CUT, 10):
        pass


def connect(made: World) -> None:
    made.do_connect("c0", ONE)
    for number in range(2):
        made.do_to_server("c0", number)
    made.do_to_device("c0", 10_000)


def goes_on_after_another() -> World:
    """Nobody brings a message to `c0` but the history, whose gap ends where that owner says."""
    made = world()
    connect(made)
    made.do_crash(ONE)
    made.do_restart(ONE)
    read_by(made, ONE)
    say(made, "a0", "d:a~c", 1)
    assert made.do_cut_log(CUT, made.logs[CUT].end)
    made.do_check(0)
    made.do_assign(CUT, OTHER)
    made.do_learn(OTHER)
    assert made.do_claim(OTHER, CUT)
    read_by(made, OTHER)
    made.do_claim(ONE, CUT)
    read_by(made, ONE)
    made.do_elsewhere("c0", 1_000)
    connect(made)
    for partition in (0, CUT):
        made.do_materialize(partition, 10)
    while made.do_land_row(0, 0) or made.do_fill("c0"):
        pass
    made.do_to_device("c0", 10_000)
    made.do_cut("c0")
    return made


def test_it_begins_anew_with_what_the_other_knew() -> None:
    assert broken(goes_on_after_another()) == set()


def test_by_what_it_had_read_a_device_would_miss_a_message() -> None:
    with patch.object(Owner, "_is_outdated_by", never_outdated):
        assert broken(goes_on_after_another()) == {oracle.MISSING}
