"""The rules about what a device is told and shows, less one each: by its stream, after a gap, and
when it comes back.
"""

from __future__ import annotations

from cecochat.domain.device.device import Device
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session import resume
from cecochat.domain.session.session import Session
from tests.sim import oracle, without
from tests.sim.ablation import ablation
from tests.sim.client import Client
from tests.sim.history import History, Materializer
from tests.sim.server import Server

_REFUSALS = {"limit": 10, "cut": 3, "send": 1.5, "crash": 0.3}
GAPS = {"commit": 3, "land_commit": 3, "commit_materialized": 3, "trim": 4, "cut": 4}
_CALM = dict.fromkeys("crash pause assign fail crash_all trim stall limit skew drop".split(), 0.0)
READ_WHILE_WRITTEN = _CALM | {"elsewhere": 100, "cut": 6, "connect": 4, "fill": 30, "send": 3}
READ_WHILE_WRITTEN |= {
    "forward": 0.05,
    "land_row": 1,
    "materialize": 12,
    "look": 3,
    "learn": 0.2,
    "claim": 0.2,
}
READ_WHILE_WRITTEN |= {"to_device": 2, "to_server": 3, "land": 2, "read": 2}
_SLOW_HISTORY = {"elsewhere": 60, "cut": 4, "connect": 3, "fill": 20, "materialize": 0.3}
_SLOW_IN_PEACE = {"materialize": 0.2, "send": 3, "crash": 0.1, "assign": 0.1, "pause": 0.1}
_SLOW_IN_PEACE |= {"trim": 0.1, "fail": 0.1}

DEVICE_RULES = [
    ablation(
        "history looked up after a gap",
        (Client, "fills", without.fill_without_own),
        expect=frozenset({oracle.DOUBLED}),
        seed=73,
        weights={"elsewhere": 5, "cut": 3},
    ),
    ablation(
        "the history shows nothing above what it has whole",
        (History, "shows", without.always),
        expect=frozenset({oracle.HOLE}),
        seed=38,
        weights=READ_WHILE_WRITTEN,
    ),
    ablation(
        "what the history refuses is told",
        (Materializer, "bury", without.never),
        expect=frozenset({oracle.HISTORY_WRONG}),
        seed=1,
    ),
    ablation(
        "a page names what it lacks",
        (Client, "misses", without.never),
        expect=frozenset({oracle.MISSING}),
        seed=1,
        weights=READ_WHILE_WRITTEN | {"unfit": 1},
    ),
    ablation(
        "an own message that a page lacks was accepted",
        (Client, "misses", without.miss_own_too),
        expect=frozenset({oracle.SWAPPED, oracle.DOUBLED}),
        seed=10,
        weights=READ_WHILE_WRITTEN | {"unfit": 1, "cut": 30, "to_server": 6},
    ),
    ablation(
        "a gap is filled with what it misses and no more",
        (Client, "fills", without.fill_with_all),
        expect=frozenset({oracle.MISSING, oracle.SWAPPED}),
        seed=6,
    ),
    ablation(
        "a refusal stops the session",
        (Session, "refuse", without.refuse_and_go_on),
        (Client, "rejected", without.never),
        expect=frozenset({oracle.SWAPPED}),
        seed=84,
        weights=_REFUSALS,
    ),
    ablation(
        "a new hello ends the older sessions of its device",
        (Server, "replace", without.never),
        expect=frozenset({oracle.REFUSED_YET_ACCEPTED, oracle.SWAPPED}),
        seed=6,
    ),
    ablation(
        "a repeat is never refused",
        (Server, "receive", without.refuse_before_settling),
        expect=frozenset({oracle.REFUSED_YET_ACCEPTED}),
        seed=1,
    ),
    ablation(
        "position moves in stream order",
        (Server, "appended", without.acknowledge_early),
        expect=frozenset({oracle.MISSING}),
        seed=0,
    ),
    ablation(
        "resends in order",
        (Device, "resends", without.resends_newest_first),
        expect=frozenset({oracle.SWAPPED}),
        seed=2,
    ),
    ablation(
        "a gap is told",
        (resume, "start", without.resume_anywhere),
        expect=frozenset({oracle.MISSING}),
        seed=1,
        weights=GAPS,
    ),
    ablation(
        "a gap's token names the partition itself",
        (resume, "gap", without.gap_without_its_partition),
        expect=frozenset({oracle.MISSING}),
        seed=15,
        weights=_SLOW_HISTORY,
    ),
    ablation(
        "a gap's token names the partitions of others",
        (resume, "gap", without.gap_of_its_partition_alone),
        expect=frozenset({oracle.MISSING}),
        seed=25,
        weights=_SLOW_HISTORY | _SLOW_IN_PEACE,
    ),
    ablation(
        "a resume starts above the position",
        (resume, "start", without.resume_at_the_last),
        expect=frozenset({oracle.WIRE_TWICE}),
        seed=1,
    ),
    ablation(
        "a device knows what it has shown",
        (Device, "show", without.show_again),
        expect=frozenset({oracle.SHOWN_TWICE}),
        seed=2,
    ),
    ablation(
        "an answer lowers no mark",
        (Device, "answered", without.answered_with_a_lower_mark),
        expect=frozenset({oracle.SHOWN_TWICE}),
        seed=7,
    ),
    ablation(
        "what the tail lacks comes from the log",
        (Owner, "can_attach", without.always),
        expect=frozenset({oracle.MISSING}),
        seed=12,
    ),
    ablation(
        "room in the queue before replaying",
        (Session, "has_room", property(without.always)),
        expect=frozenset({oracle.STUCK}),
        seed=92,
        weights={"to_device": 0.2, "send": 2},
    ),
]
