"""The judge is judged: from records made by hand it names each broken promise, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.sim import oracle
from tests.sim.evidence import (
    Acknowledgement,
    Change,
    Delivery,
    DeviceRecord,
    Evidence,
    GapTold,
    Loss,
    Now,
    Range,
    Row,
    SendRecord,
    Shown,
    View,
)
from tests.sim.oracle import judge
from tests.sim.recount import Recount
from tests.sim.shape import GROUP

CHAT = "d:a~b"


def good() -> Evidence:
    """a sends 1 and 2, b answers 3 after it saw both."""
    alice = DeviceRecord(
        "a0",
        "a",
        wire=[
            Acknowledgement(1, 1, 10),
            Acknowledgement(2, 2, 11),
            Delivery(3, "b", 3, CHAT, 20),
        ],
        shown=[Shown("a", 1, CHAT, 10), Shown("a", 2, CHAT, 11), Shown("b", 3, CHAT, 20)],
        sends=[SendRecord(1, CHAT, 0), SendRecord(2, CHAT, 0)],
        live_from=1,
    )
    bob = DeviceRecord(
        "b0",
        "b",
        wire=[
            Delivery(1, "a", 1, CHAT, 10),
            Delivery(2, "a", 2, CHAT, 11),
            Acknowledgement(3, 3, 20),
        ],
        shown=[Shown("a", 1, CHAT, 10), Shown("a", 2, CHAT, 11), Shown("b", 3, CHAT, 20)],
        sends=[SendRecord(3, CHAT, 11)],
        live_from=1,
    )
    rows = {
        Row(10, "a", 1, CHAT, ("b",)),
        Row(11, "a", 2, CHAT, ("b",)),
        Row(20, "b", 3, CHAT, ("a",)),
    }
    return Evidence([alice, bob], set(rows), set(rows))


def _lost(e: Evidence) -> None:
    e.history.remove(Row(20, "b", 3, CHAT, ("a",)))
    e.valid = None
    for device in e.devices:
        device.shown.pop()
    e.devices[0].wire.pop()
    e.devices[1].wire[-1] = Acknowledgement(3, 3, 20)


def _doubled(e: Evidence) -> None:
    e.history.add(Row(12, "a", 2, CHAT, ("b",)))
    e.valid = None


def _same_id(e: Evidence) -> None:
    e.history.add(Row(20, "c", 4, "d:c~d", ("d",)))
    e.valid = None


def _unknown(e: Evidence) -> None:
    e.devices[0].shown.append(Shown("b", 4, CHAT, 21))


def _shown_twice(e: Evidence) -> None:
    e.devices[0].shown.append(e.devices[0].shown[-1])


def _wire_twice(e: Evidence) -> None:
    e.devices[0].wire.append(Delivery(4, "b", 3, CHAT, 20))


def _acked_then_delivered(e: Evidence) -> None:
    e.devices[0].wire.insert(2, Delivery(2 + 1, "a", 2, CHAT, 11))
    e.devices[0].wire[3] = Delivery(4, "b", 3, CHAT, 20)


def _swapped_on_the_wire(e: Evidence) -> None:
    e.devices[1].wire[:2] = [Delivery(1, "a", 2, CHAT, 11), Delivery(2, "a", 1, CHAT, 10)]


def _swapped_on_the_screen(e: Evidence) -> None:
    e.devices[1].shown[:2] = reversed(e.devices[1].shown[:2])


def _swapped_in_history(e: Evidence) -> None:
    e.devices[0].sends.reverse()


def _missing(e: Evidence) -> None:
    e.devices[1].shown.pop(0)


def _early_reply(e: Evidence) -> None:
    e.devices[1].sends = [SendRecord(3, CHAT, 30)]


def _unanswered(e: Evidence) -> None:
    e.devices[0].unanswered = {4}


def _restless(e: Evidence) -> None:
    e.quiet = False


def _refused_yet_accepted(e: Evidence) -> None:
    e.devices[0].rejected.add(2)


def _history_lacks(e: Evidence) -> None:
    assert e.valid is not None
    e.valid.add(Row(30, "c", 4, "d:c~d", ("d",)))


def _needless_gap(e: Evidence) -> None:
    e.devices[0].wire.append(GapTold(9))


def _backwards(e: Evidence) -> None:
    e.devices[1].wire[:2] = [Delivery(2, "a", 1, CHAT, 10), Delivery(1, "a", 2, CHAT, 11)]


def _sent_away(e: Evidence) -> None:
    e.sent_away.append("a0")


def _unacknowledged(e: Evidence) -> None:
    e.unacknowledged.append("3")


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (_sent_away, oracle.SENT_AWAY),
        (_unacknowledged, oracle.UNACKNOWLEDGED),
        (_lost, oracle.LOST),
        (_doubled, oracle.DOUBLED),
        (_same_id, oracle.ID_NOT_UNIQUE),
        (_unknown, oracle.NOT_IN_HISTORY),
        (_shown_twice, oracle.SHOWN_TWICE),
        (_wire_twice, oracle.WIRE_TWICE),
        (_acked_then_delivered, oracle.WIRE_TWICE),
        (_swapped_on_the_wire, oracle.SWAPPED),
        (_swapped_on_the_screen, oracle.SWAPPED),
        (_swapped_in_history, oracle.SWAPPED),
        (_missing, oracle.MISSING),
        (_early_reply, oracle.EARLY_REPLY),
        (_unanswered, oracle.STUCK),
        (_restless, oracle.STUCK),
        (_refused_yet_accepted, oracle.REFUSED_YET_ACCEPTED),
        (_history_lacks, oracle.HISTORY_WRONG),
        (_needless_gap, oracle.NEEDLESS_GAP),
        (_backwards, oracle.WIRE_BACKWARDS),
    ],
)
def test_each_broken_promise_is_named(spoil: Callable[[Evidence], None], kind: str) -> None:
    evidence = good()
    spoil(evidence)
    kinds = {each.kind for each in judge(evidence)}
    along = {oracle.NOT_IN_HISTORY} if kind == oracle.LOST else set()  # the ack names its id
    assert kinds == {kind} | along


def test_nothing_is_named_where_all_is_well() -> None:
    assert judge(good()) == []


def test_a_gap_with_a_cause_may_move_a_device_back() -> None:
    evidence = good()
    evidence.devices[0].gap_expected = True
    evidence.devices[0].wire.append(GapTold(1))
    evidence.devices[0].wire.append(Delivery(2, "b", 4, CHAT, 25))
    evidence.devices[0].shown.append(Shown("b", 4, CHAT, 25))
    evidence.devices[1].shown.append(Shown("b", 4, CHAT, 25))
    evidence.history.add(Row(25, "b", 4, CHAT, ("a",)))
    assert judge(replace(evidence, valid=None)) == []


def test_what_lies_above_such_a_gap_may_come_once_more_and_no_more() -> None:
    """As where the end of the log that the device was in is lost, and the owner had read less."""
    evidence = good()
    evidence.devices[0].gap_expected = True
    evidence.devices[0].wire.append(GapTold(1))
    again = Delivery(3, "b", 3, CHAT, 20)
    evidence.devices[0].wire.append(again)
    assert judge(evidence) == []
    evidence.devices[0].wire.append(again._replace(offset=4))
    assert {each.kind for each in judge(evidence)} == {oracle.WIRE_TWICE}


def test_what_was_sent_before_a_device_came_is_not_owed_to_it() -> None:
    evidence = good()
    evidence.devices[1].live_from = 2
    evidence.devices[1].shown.pop(0)
    assert judge(evidence) == []


def test_a_loss_that_operators_were_told_is_no_silent_one() -> None:
    evidence = good()
    evidence.devices[1].shown.pop(0)
    assert judge(replace(evidence, told={(10, "b")})) == []
    for told in ((11, "b"), (10, "a")):
        kinds = {each.kind for each in judge(replace(evidence, told={told}))}
        assert kinds == {oracle.MISSING}


EDIT = Change(12, 10, "a", "edit", "new")
STRANGE = Change(13, 10, "b", "edit", "other")
DELETION = Change(14, 10, "a", "deletion")
BY_A_STRANGER = Change(14, 10, "b", "deletion")
AS_ADMIN = Change(14, 10, "a", "deletion", flag=True)
REACTION = Change(15, 10, "b", "reaction", "+")
TAKEN_BACK = Change(16, 10, "b", "reaction", "+", flag=True)
FIRST, NEW, OTHER, GONE, LIKED = (
    Now(".", False, frozenset()),
    Now("new", False, frozenset()),
    Now("other", False, frozenset()),
    Now("", True, frozenset()),
    Now(".", False, frozenset({("+", "b")})),
)


@pytest.mark.parametrize(
    ("changes", "now"),
    [
        ([], FIRST),
        ([EDIT, STRANGE], NEW),
        ([DELETION, EDIT], GONE),
        ([EDIT, BY_A_STRANGER], NEW),
        ([AS_ADMIN], FIRST),
        ([REACTION], LIKED),
        ([TAKEN_BACK, REACTION], FIRST),
    ],
)
def test_what_a_message_has_become_is_recounted(changes: list[Change], now: Now) -> None:
    told = {each.id for each in changes}
    for other in (FIRST, NEW, OTHER, GONE, LIKED):
        assert Recount(Row(10, "a", 1, CHAT, ("b",)), changes, told, {}).allows(other) == (
            other == now
        )


def test_what_somebody_was_not_told_may_be_there_or_not() -> None:
    recount = Recount(Row(10, "a", 1, CHAT, ("b",)), [EDIT, REACTION, TAKEN_BACK], {12, 15}, {})
    allowed = [LIKED._replace(text="new"), NEW]
    assert [now for now in (FIRST, NEW, OTHER, GONE, LIKED, *allowed) if recount.allows(now)] == [
        NEW,
        *allowed,
    ]


def test_devices_and_the_history_show_what_changes_say() -> None:
    evidence = replace(good(), changes=[Change(20, 10, "b", "reaction", "+")])
    for device in evidence.devices:
        device.messages = {10: LIKED}
    evidence.views = [View("a", 10, LIKED), View("b", 10, LIKED)]
    assert judge(evidence) == []
    evidence.views[1] = View("b", 10, FIRST)
    assert [each.kind for each in judge(evidence)] == [oracle.DIVERGED]
    evidence.devices[0].messages = {10: FIRST}
    assert [each.kind for each in judge(evidence)] == [oracle.DIVERGED] * 2
    lost = replace(evidence, loss=Loss(changed=frozenset({10})))
    assert judge(lost) == []


@pytest.mark.parametrize(
    ("ranges", "kinds"),
    [([Range(0, 11, 90)], set()), ([Range(0, 12, 90)], {oracle.SILENT}), ([], {oracle.SILENT})],
)
def test_what_went_with_the_end_of_a_log_is_in_the_history_or_told(
    ranges: list[Range], kinds: set[str]
) -> None:
    gone = Row(11, "a", 2, CHAT, ("b",))
    evidence = replace(good(), taken={gone}, loss=Loss(frozenset({11})), ranges=ranges)
    assert evidence.valid
    evidence.valid.remove(gone)
    assert judge(evidence) == [], "the history has it"
    evidence = replace(good(), taken={gone}, loss=Loss(frozenset({11})), ranges=ranges)
    assert evidence.valid
    evidence.valid.remove(gone)
    evidence.history.remove(gone)
    evidence.devices[0].sends.pop()
    assert {each.kind for each in judge(evidence)} == kinds


def test_whoever_was_appointed_deletes_what_others_wrote_from_then_on() -> None:
    row, deletion = Row(10, "a", 1, GROUP, ("b",)), Change(15, 10, "b", "deletion", flag=True)
    for admins, is_deleted in (({}, False), ({"b": 14}, True), ({"b": 16}, False)):
        assert Recount(row, [deletion], {15}, admins).allows(GONE) is is_deleted
