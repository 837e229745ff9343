"""What a webhook tells: each event once, from one partition for each chat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.hooks.told import (
    KINDS,
    OF_EVENTS,
    Told,
    chat_matches,
    first_of,
    kind_of,
    of_dropped,
    of_event,
    told_of,
)
from cecochat.domain.log.chain import Here
from cecochat.domain.log.ids import UserId, dialog, message_id, stamp_at
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, LogRecord, Origin, Takeover
from cecochat.servers.hooks.posting import body_of
from cecochat.v1 import events_pb2
from cecochat.v1.events_pb2 import Event

PARTITIONS = 4
AT_MS = 1_800_000_000_123
ID = message_id(stamp_at(AT_MS), 0)
USERS = [UserId(f"user{number}") for number in range(8)]
BODIES: dict[str, Any] = {
    "message": events_pb2.Message(text="hello"),
    "edit": events_pb2.Edit(message_id=1, text="hi"),
    "deletion": events_pb2.Deletion(message_id=1),
    "reaction": events_pb2.Reaction(message_id=1, emoji="+"),
    "receipt": events_pb2.Receipt(read_up_to=1),
    "membership": events_pb2.Membership(added_ids=["bob"]),
    "settings": events_pb2.ChatSettings(pinned=True),
}

IN_DIALOGS = sorted(BODIES.keys() - {"membership"})


def lives(user: str) -> int:
    return partition_of(UserId(user), PARTITIONS)


def records(event: Event, *, serves_home: bool) -> list[tuple[int, LogRecord]]:
    """The origin of an event and its copies, each with its partition."""
    value, recipients = event.SerializeToString(), tuple(map(UserId, event.recipient_ids))
    in_group = event.chat_id.startswith("g:") and not event.HasField("settings")
    home = lives(event.chat_id if in_group else event.user_id)
    origin = Origin(
        event.id, Place(0, 1), 0, UserId(event.user_id), "c", recipients, value, event,
        serves_home=serves_home,
    )  # fmt: skip
    copied = range(PARTITIONS) if in_group else {lives(user) for user in recipients}
    targets = [p for p in copied if p != home or not (serves_home or in_group)]
    copies = [
        (
            p,
            Copy(
                event.id,
                home,
                Place(0, 5),
                NOWHERE,
                recipients,
                value,
                "",
                event if in_group else None,
            ),
        )
        for p in targets
    ]
    return [(home, origin), *copies]


def told(event: Event, *, serves_home: bool = True) -> list[tuple[int, Told]]:
    """Everything that is told of an event, with the partition that it is told from."""
    found = []
    for partition, record in records(event, serves_home=serves_home):
        here = Here(partition, lives)
        if tells := told_of(record, here):
            found.append((partition, tells))
    return found


@given(
    st.permutations(USERS), st.sampled_from(sorted(BODIES.keys() - {"membership"})), st.booleans()
)
def test_an_event_of_a_dialog_is_told_once_from_where_its_first_user_lives(
    users: list[UserId], body: str, serves_home: bool
) -> None:
    sender, other, *_ = users
    chat = dialog(sender, other)
    event = Event(id=ID, user_id=sender, chat_id=chat, **{body: BODIES[body]})
    if body != "settings":
        event.recipient_ids.append(other)
    ((partition, found),) = told(event, serves_home=serves_home)
    assert partition == lives(sender if body == "settings" else first_of(chat))
    assert found == Told(
        f"event-{ID}", kind_of(event), chat, AT_MS, None, event.SerializeToString()
    )


@pytest.mark.parametrize("body", sorted(BODIES))
def test_an_event_of_a_group_is_told_from_its_home(body: str) -> None:
    """But what a user sets for it, from where the user lives."""
    event = Event(id=ID, user_id="bob", chat_id="g:hikers", **{body: BODIES[body]})
    ((partition, found),) = told(event)
    assert partition == lives("bob" if body == "settings" else "g:hikers")
    assert found.kind in KINDS


def test_each_body_of_an_event_has_a_kind() -> None:
    never = {"typing", "presence"}
    bodies = {each.name for each in Event.DESCRIPTOR.oneofs_by_name["body"].fields}
    assert BODIES.keys() == bodies - never
    assert {kind_of(Event(**{name: body})) for name, body in BODIES.items()} == set(OF_EVENTS)


def test_what_is_no_event_tells_nothing() -> None:
    here = Here(0, lives)
    assert told_of(Takeover("a", "b", 1), here) is None
    assert of_event(Event(id=ID, chat_id="g:a"), b"") is None, "of a kind that is not known"


def test_the_body_is_the_event_as_json() -> None:
    event = Event(id=ID, user_id="bob", chat_id="g:hikers", message=events_pb2.Message(text="hé"))
    found = of_event(event, event.SerializeToString())
    assert found
    assert json.loads(body_of(found)) == {
        "type": "message.created",
        "timestamp": "2027-01-15T08:00:00.123Z",
        "data": {
            "id": str(ID),
            "userId": "bob",
            "chatId": "g:hikers",
            "message": {"text": "hé"},
        },
    }


def test_what_is_dropped_is_told_by_its_offsets() -> None:
    found = of_dropped(3, 10, 20, AT_MS)
    assert found.id == "dropped-3-10-20"
    assert json.loads(body_of(found))["data"] == {
        "partition": 3,
        "fromOffset": "10",
        "belowOffset": "20",
    }


@pytest.mark.parametrize(
    ("chat", "patterns", "matches"),
    [
        ("g:team-a", (), True),
        ("g:team-a", ("g:team-a",), True),
        ("g:team-a", ("g:team-*",), True),
        ("g:team-a", ("g:team",), False),
        ("d:a~b", ("g:*", "d:a~b"), True),
        ("", ("g:*",), False),
    ],
)
def test_chats_are_chosen_by_id_or_by_how_they_begin(
    chat: str, patterns: tuple[str, ...], matches: bool
) -> None:
    assert chat_matches(chat, "", patterns) is matches
    assert not chat_matches(chat, "shop", patterns)
