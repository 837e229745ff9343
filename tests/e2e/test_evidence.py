"""What the records show of a fault, on a record written by hand."""

from __future__ import annotations

from tests.support.evidence import faults
from tests.support.records import (
    SERVER,
    Acked,
    CaughtUp,
    Closed,
    Delivered,
    DeviceKey,
    Entry,
    Happening,
    Sent,
    ServerDied,
    ServerReady,
    ServerSignalled,
)
from tests.support.story import ALICE, BOB, ONE, THREE, TWO, acked, sent


def record(*lines: tuple[float, DeviceKey, Happening]) -> list[Entry]:
    return [Entry(at_s, who, 1, what) for at_s, who, what in lines]


def test_a_kill_is_seen_with_all_that_followed() -> None:
    (fault,) = faults(
        record(
            (0.0, SERVER, ServerReady(7)),
            (1.0, ALICE, sent(ONE)),
            (2.5, ALICE, sent(TWO)),
            (2.6, ALICE, sent(THREE)),
            (2.7, ALICE, acked(ONE, 6)),
            (2.8, BOB, Delivered(3, TWO)),  # the sender may not know, but it was accepted
            (3.0, SERVER, ServerSignalled(7, "SIGKILL")),
            (3.1, ALICE, Closed("", "UNAVAILABLE")),
            (3.1, SERVER, ServerDied(7, -9)),
            (3.2, BOB, Closed("", "UNAVAILABLE")),
            (4.0, SERVER, ServerReady(8)),
            (4.5, ALICE, CaughtUp(9)),
            (4.6, ALICE, sent(THREE)),
            (4.7, ALICE, CaughtUp(10)),
        )
    )
    assert (fault.pid, fault.signal, fault.return_code, fault.next_pid) == (7, "SIGKILL", -9, 8)
    assert (fault.sent_before, fault.unanswered, fault.sent_again) == (2, 1, 1)
    assert fault.cut_off == {ALICE, BOB}
    assert fault.codes == {""}
    assert fault.back_s == {ALICE: 1.5}, "Bob is not back"


def test_each_fault_is_told_apart() -> None:
    first, second = faults(
        record(
            (1.0, SERVER, ServerSignalled(7, "SIGTERM")),
            (1.1, ALICE, Closed("DRAINING", "")),
            (1.2, SERVER, ServerDied(7, 0)),
            (2.0, SERVER, ServerReady(8)),
            (2.1, ALICE, CaughtUp(9)),
            (5.0, SERVER, ServerSignalled(8, "SIGKILL")),
            (5.1, SERVER, ServerDied(8, -9)),
        )
    )
    assert (first.codes, set(first.back_s), first.return_code) == ({"DRAINING"}, {ALICE}, 0)
    assert (second.codes, second.back_s, second.return_code) == (set(), {}, -9)
    assert second.next_pid is None


def test_without_a_fault_there_is_none() -> None:
    assert faults(record((0.0, SERVER, ServerReady(7)), (1.0, ALICE, Sent("a", "b", "c")))) == []
    assert faults(record((0.0, ALICE, Acked("a", 1, 1)))) == []
