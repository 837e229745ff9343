"""What a person is told, made of facts: each step with its state, and nothing that is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place as LogPlace
from cecochat.v1.events_pb2 import Event
from cecochat.where.answer import (
    Answer,
    Facts,
    LiveSession,
    Owner,
    Recipient,
    Record,
    RecordPlace,
    answer,
    as_json,
    seen_by,
    trace_id_in,
)

ID = 1 << 40
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
EVENT = Event(id=ID, user_id="alice", chat_id="d:alice~bob", recipient_ids=["bob"])
EVENT.message.text = "not to be told"

RECORD = Record(
    place=RecordPlace(4, 17, 1_000),
    epoch=LogPlace(500, 3),
    number=12,
    server_id="m-1",
    counts=True,
    epoch_in_force=LogPlace(500, 3),
    server_in_force="m-1",
    traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
)
PHONE = LiveSession("m-2/1", "phone", position=30, began_at=9, began="resumed", queued_bytes=0)
BOB = Recipient(
    user_id=UserId("bob"),
    partition=7,
    owner=Owner("m-2", live=True, read_to=40),
    devices=(PHONE,),
    forwarded=True,
    copy=RecordPlace(7, 22, 1_003),
    delivered_up_to=0,
    read_up_to=0,
)
ARRIVED = Facts(
    message_id=ID,
    event=EVENT,
    record=RECORD,
    kept=True,
    owner=Owner("m-1", live=True, read_to=18),
    forwarded_to=18,
    receivers=(BOB,),
    materialized_to=17,
    row=True,
    row_at_ms=None,
)


def states(found: Answer) -> dict[str, str]:
    return {step.name: step.state for step in found.steps}


def with_bob(**changes: Any) -> Facts:
    return replace(ARRIVED, receivers=(replace(BOB, **changes),))


def with_phone(**changes: Any) -> Facts:
    return with_bob(devices=(PHONE._replace(**changes),))


def test_a_message_that_has_arrived() -> None:
    found = answer(ARRIVED)
    assert (found.state, found.waits_for, found.trace_id) == ("arrived", [], TRACE)
    assert list(states(found).items()) == [
        *(("accepted", "done"), ("acknowledged", "done"), ("forwarded", "done")),
        *(("delivered", "done"), ("materialized", "done")),
    ]
    assert [step.at_ms for step in found.steps] == [1_000, None, 1_003, None, None]


def test_its_text_is_told_to_nobody() -> None:
    assert "not to be told" not in str(as_json(answer(ARRIVED)))


@pytest.mark.parametrize(
    ("facts", "waits_for"),
    [
        (with_bob(forwarded=False, copy=None), ["forwarded to partition 7", "delivered to bob"]),
        (with_bob(devices=()), ["delivered to bob"]),
        (with_phone(position=21), ["delivered to bob"]),
        (with_phone(queued_bytes=300), ["delivered to bob"]),
        (with_phone(began="live", began_at=25), ["delivered to bob"]),
        (with_phone(began="gap", began_at=25), ["delivered to bob"]),
        (with_bob(devices=None, owner=Owner("m-2", live=False)), ["delivered to bob"]),
        (replace(ARRIVED, materialized_to=16, row=False), ["materialized"]),
        (replace(ARRIVED, materialized_to=-1, row=False), ["materialized"]),
    ],
)
def test_a_message_on_its_way_says_what_it_waits_for(facts: Facts, waits_for: list[str]) -> None:
    found = answer(replace(facts, forwarded_to=17))
    assert (found.state, found.waits_for) == ("on_its_way", waits_for)


@pytest.mark.parametrize(
    "facts",
    [
        with_phone(began="resumed", began_at=25),
        with_bob(devices=(), delivered_up_to=ID),
        with_bob(devices=None, read_up_to=ID),
        with_bob(devices=(PHONE._replace(position=1), PHONE)),
        replace(ARRIVED, materialized_to=16),  # its row is there, and the progress is stored later
        replace(ARRIVED, row=None),  # no message, such as a receipt
    ],
)
def test_a_session_or_a_receipt_is_enough(facts: Facts) -> None:
    assert answer(facts).state == "arrived"


def test_a_receipt_for_what_came_before_says_nothing() -> None:
    facts = with_bob(devices=(), delivered_up_to=ID - 1, read_up_to=ID - 1)
    assert answer(facts).waits_for == ["delivered to bob"]


@pytest.mark.parametrize(
    ("owner", "state"),
    [
        (Owner("m-1", live=True, read_to=17), "waits"),  # in the log, and not read back
        (Owner("m-1", live=True), "unknown"),  # it does not answer
        (Owner("m-1", live=False), "unknown"),  # it may have told the client before it died
        (Owner(None, live=False), "unknown"),
    ],
)
def test_what_its_owner_has_not_read_is_not_acknowledged(owner: Owner, state: str) -> None:
    facts = with_bob(forwarded=False, copy=None)
    found = answer(replace(facts, owner=owner, forwarded_to=17))
    assert states(found)["acknowledged"] == state


def test_what_was_forwarded_was_acknowledged_though_its_owner_is_silent() -> None:
    found = answer(replace(ARRIVED, owner=Owner("m-1", live=True), forwarded_to=0))
    assert states(found)["acknowledged"] == "done"


def test_what_does_not_answer_is_unknown() -> None:
    found = answer(replace(with_bob(devices=None), materialized_to=None, row=None))
    assert (found.state, found.waits_for) == ("on_its_way", [])
    assert (states(found)["delivered"], states(found)["materialized"]) == ("unknown", "unknown")


def test_when_it_was_materialized_is_said_where_the_database_keeps_it() -> None:
    (*_, kept), (*_, unknown) = (
        answer(replace(ARRIVED, row_at_ms=1_250)).steps,
        answer(ARRIVED).steps,
    )
    assert (kept.at_ms, unknown.at_ms) == (1_250, None)
    assert unknown.text.startswith("by now, ")


def test_a_row_that_the_history_should_have_is_not_said_to_be_there() -> None:
    assert states(answer(replace(ARRIVED, row=False)))["materialized"] == "unknown"


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (
            replace(RECORD, epoch_in_force=LogPlace(700, 15), server_in_force="m-2"),
            "m-2 had taken over at offset",
        ),
        (
            replace(RECORD, epoch_in_force=LogPlace(700, 15), server_in_force=None),
            "another had taken over",
        ),
        (
            replace(RECORD, epoch_in_force=LogPlace(700, 3), server_in_force="m-2"),
            "m-2 had taken over at offset 3",  # given again, by a log that had lost its end
        ),
        (RECORD, "after a record that failed"),
    ],
)
def test_a_record_that_does_not_count_says_why(record: Record, says: str) -> None:
    found = answer(replace(ARRIVED, record=replace(record, counts=False), receivers=()))
    assert (found.state, [step.state for step in found.steps]) == ("void", ["refused"])
    assert says in found.steps[0].text


def test_what_is_not_in_the_log_is_absent_or_gone() -> None:
    nowhere = replace(ARRIVED, event=None, record=None, receivers=(), row=None)
    assert answer(nowhere).state == "absent"
    assert answer(replace(nowhere, kept=False)).state == "gone"
    stored = replace(with_bob(copy=None, delivered_up_to=ID), record=None, kept=False)
    found = answer(stored)
    assert (found.state, set(states(found).values())) == ("gone", {"done"})
    assert found.steps[0].at_ms == (ID >> 22) + 1_577_836_800_000


def test_a_participant_is_not_told_where_others_are_connected() -> None:
    mine, hers = (answer(seen_by(ARRIVED, UserId(name))) for name in ("bob", "alice"))
    assert "m-2/1" in str(as_json(mine))
    assert "m-2/1" not in str(as_json(hers))
    assert hers.waits_for == ["delivered to bob"]


@pytest.mark.parametrize(
    "text", [None, "", "00-abc-def-01", f"00-{TRACE}", f"00-{TRACE.upper()}-00f067aa0ba902b7-01"]
)
def test_what_names_no_trace(text: str | None) -> None:
    assert trace_id_in(text) is None
