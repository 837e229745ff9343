"""Which rows an origin becomes, by the kind of its event."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cecochat.domain.changes.about import About
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Origin
from cecochat.ports.backplane import Record
from cecochat.servers.materialize.metrics import MaterializeMetrics
from cecochat.servers.materialize.rows import Rows
from cecochat.v1.events_pb2 import Deletion, Edit, Event, Message, Reaction, Receipt

CHAT = "d:alice~bob"
OF_A_LATER_VERSION = b"\xa2\x06\x03new"  # field 100


def rows_of(more: bytes = b"", **body: Any) -> Rows:
    event = Event(id=7, user_id="alice", chat_id=CHAT, recipient_ids=["bob"], **body)
    value = event.SerializeToString() + more
    origin = Origin(
        *(7, Place(0, 0), 1, UserId("alice"), "c1", (UserId("bob"),)),
        value,
        Event.FromString(value),
    )
    rows = Rows("log", 0)
    rows.add(Record(0, 0, b"alice", value, ()), origin, 1)
    return rows


@pytest.mark.parametrize(
    ("body", "about"),
    [
        ({"message": Message(text="hello")}, None),
        ({"edit": Edit(message_id=5, text="x")}, About(5, "edit", "alice")),
        ({"deletion": Deletion(message_id=5)}, About(5, "deletion", "alice")),
        ({"deletion": Deletion(message_id=5, as_admin=True)}, About(5, "deletion", "")),
        ({"reaction": Reaction(message_id=5, emoji="👍")}, About(5, "reaction", "alice 👍")),
    ],
)
def test_messages_and_their_changes_are_rows(body: dict[str, Any], about: About | None) -> None:
    rows = rows_of(**body)
    (row,) = rows.messages
    assert (row.message_id, row.chat_id, row.about) == (7, CHAT, about)
    assert (rows.marks, rows.skipped) == ([], 0)


def test_a_receipt_is_a_mark() -> None:
    rows = rows_of(receipt=Receipt(read_up_to=3))
    assert (len(rows.marks), rows.messages, rows.skipped) == (1, [], 0)


def test_an_event_of_a_later_version_is_skipped_and_counted() -> None:
    rows = rows_of(OF_A_LATER_VERSION)
    assert (rows.messages, rows.marks, rows.skipped) == ([], [], 1)
    registry = CollectorRegistry()
    metrics = MaterializeMetrics(registry)
    metrics.wrote(rows)
    metrics.wrote(rows_of(edit=Edit(message_id=5, text="x")))
    assert registry.get_sample_value("cecochat_events_skipped_total") == 1
    written = "cecochat_rows_written_total"
    assert registry.get_sample_value(written, {"table": "changes"}) == 1
    assert registry.get_sample_value(written, {"table": "messages"}) == 0
