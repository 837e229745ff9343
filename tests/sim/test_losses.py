"""A log that lost its end and has grown beyond it again before its readers look: too rare for
random schedules, so these are written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from tests.sim import oracle, without
from tests.sim.history import History, Materializer
from tests.sim.server import Server
from tests.sim.world import World
from tests.sim.written import HOME, append, broken, say, world


def materialize(made: World) -> None:
    """The history has all, and it is noted that it has."""
    store(made)
    made.do_commit_materialized(HOME)


def store(made: World) -> None:
    """The history has all."""
    while made.do_materialize(HOME, 10):
        while made.do_land_row(HOME, 0):
            pass


def forward(made: World) -> None:
    """The targets have all."""
    while made.do_forward(HOME, HOME, 10) or made.do_recall(HOME, HOME, 10):
        for partition in range(3):
            append(made, partition)


def note(made: World) -> None:
    """It is noted how far all is forwarded."""
    assert made.do_commit(HOME, HOME)
    assert made.do_land_commit(0)


def lose_and_go_on(made: World, messages: int, lost: int = 3, chat: str = "d:b~d") -> None:
    """The log loses its last records, its owner finds out and takes it over again, and so many new
    ones come.
    """
    assert made.do_lose(HOME, lost)
    append(made, HOME)
    made.do_claim(HOME, HOME)
    append(made, HOME)
    say(made, "d0", chat, messages)


def while_nobody_materializes(made: World) -> None:
    """The history has noted a place that the log has lost."""
    say(made, "a0", "d:a~c", 4)
    materialize(made)
    made.do_leave(HOME, True)
    lose_and_go_on(made, 5)


def while_nothing_is_forwarded(made: World) -> None:
    """The watermark is a place that the log has lost, and the owner after that dies."""
    say(made, "a0", "d:a~c", 4)
    forward(made)
    note(made)
    lose_and_go_on(made, 1)
    made.do_crash(HOME)


def while_a_gap_is_filled(made: World) -> None:
    """The history is further than the gap's token by offsets, in a log that is gone."""
    say(made, "a0", "d:a~c", 8)
    materialize(made)
    made.do_leave(HOME, True)
    lose_and_go_on(made, 1, lost=8, chat="d:a~d")
    forward(made)
    made.do_cut("a0")
    made.do_connect("a0", HOME)
    for _ in range(4):
        made.do_to_server("a0", 1)
        made.do_to_device("a0", 10_000)
    while made.do_fill("a0"):
        pass


def while_the_history_is_read_again(made: World) -> None:
    """It had come further than this, and further than the log goes by then."""
    say(made, "a0", "d:a~c", 3)
    store(made)
    say(made, "a0", "d:a~c", 2)
    made.do_crash_materializer(HOME)
    lose_and_go_on(made, 1, lost=5)


@pytest.mark.parametrize(
    ("happens", "rule", "kind"),
    [
        (while_nobody_materializes, (Materializer, "held", without.held_by_offset), oracle.LOST),
        (
            while_nothing_is_forwarded,
            (Server, "forwarded", without.forwarded_by_offset),
            oracle.MISSING,
        ),
        (
            while_the_history_is_read_again,
            (Materializer, "look_back", without.never),
            oracle.SILENT,
        ),
        (while_a_gap_is_filled, (History, "covers", without.covers_by_offset), oracle.MISSING),
    ],
)
def test_what_comes_after_a_loss_is_not_taken_for_what_was_there(
    happens: Callable[[World], None], rule: tuple[Any, str, object], kind: str
) -> None:
    with_it = world()
    happens(with_it)
    assert broken(with_it) == set()
    with patch.object(*rule):
        without_it = world()
        happens(without_it)
        assert kind in broken(without_it)


def test_what_told_of_a_loss_may_itself_be_lost_and_forgotten() -> None:
    """Then nothing that is left shows the first loss, and nobody is asked to tell it."""
    made = world()
    say(made, "a0", "d:a~c", 1)
    forward(made)
    note(made)
    lose_and_go_on(made, 0)
    note(made)
    assert made.do_lose(HOME, 3)
    made.do_forget(HOME)
    assert broken(made) == set()
