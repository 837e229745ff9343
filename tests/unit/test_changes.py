"""What becomes of a message, in whatever order its changes come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.changes.about import about
from cecochat.domain.changes.changes import EMOJI_MAX, Changes, Current
from cecochat.v1.events_pb2 import Deletion, Edit, Event, Message, Reaction

CASES = Path(__file__).parents[2] / "conformance" / "changes.json"
MESSAGE = Event(id=1, user_id="alice", chat_id="d:alice~bob", message=Message(text="first"))


def changes_of(ids: st.SearchStrategy[list[int]]) -> st.SearchStrategy[list[Event]]:
    users = st.sampled_from(["alice", "bob"])
    emoji = st.sampled_from([chr(0x1F600 + n) for n in range(EMOJI_MAX + 4)])
    bodies = st.one_of(
        st.builds(lambda n: Event(edit=Edit(message_id=1, text=f"text {n}")), st.integers(0, 9)),
        st.builds(lambda a: Event(deletion=Deletion(message_id=1, as_admin=a)), st.booleans()),
        st.builds(
            lambda e, r: Event(reaction=Reaction(message_id=1, emoji=e, removed=r)),
            emoji,
            st.booleans(),
        ),
    )

    def made(id_: int, user: str, body: Event) -> Event:
        event = Event(id=id_, user_id=user, chat_id=MESSAGE.chat_id)
        event.MergeFrom(body)
        return event

    return ids.flatmap(
        lambda some: st.tuples(*(st.builds(made, st.just(id_), users, bodies) for id_ in some)).map(
            list
        )
    )


IDS = st.lists(st.integers(2, 1_000), unique=True, max_size=40)


@given(events=changes_of(IDS), data=st.data())
def test_any_order_and_any_repetition_come_to_the_same(
    events: list[Event], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(events), max_size=9)) if events else []
    order = data.draw(st.permutations([*events, *again]))
    assert Changes(order).of(MESSAGE) == Changes(events).of(MESSAGE)


@given(events=changes_of(IDS), data=st.data())
def test_what_a_subset_has_kept_and_then_the_rest_come_to_the_same(
    events: list[Event], data: st.DataObject
) -> None:
    size = data.draw(st.integers(0, len(events)))
    order = data.draw(st.permutations(events))
    first = Changes(order[:size])
    for event in order[size:]:
        before = first.of(MESSAGE)
        if not first.add(event):
            assert first.of(MESSAGE) == before
    assert first.of(MESSAGE) == Changes(events).of(MESSAGE)


@given(events=changes_of(IDS))
def test_the_result_is_what_a_plain_reading_of_the_rules_says(events: list[Event]) -> None:
    own = [each for each in events if each.user_id == "alice"]
    edits = [each for each in own if each.HasField("edit")]
    deletions = [
        each
        for each in events
        if each.HasField("deletion") and (each.deletion.as_admin or each.user_id == "alice")
    ]
    now = Changes(events).of(MESSAGE)
    if deletions:
        assert now == Current("", (), 0, max(each.id for each in deletions), {})
        return
    last = max(edits, key=lambda event: event.id, default=None)
    expected = (last.edit.text, last.id) if last else ("first", 0)
    assert (now.text, now.revision_id, now.deletion_id) == (*expected, 0)
    assert now.reactions == standing(events)


def standing(events: list[Event]) -> dict[str, tuple[str, ...]]:
    """The newest reactions of each user, without those taken back, in the order of their ids."""
    last: dict[str, dict[str, Event]] = {}
    for event in sorted(events, key=lambda event: event.id):
        if event.HasField("reaction"):
            of_user = last.setdefault(event.user_id, {})
            of_user.pop(event.reaction.emoji, None)
            of_user[event.reaction.emoji] = event
    kept = [each for of_user in last.values() for each in list(of_user.values())[-EMOJI_MAX:]]
    found: dict[str, tuple[str, ...]] = {}
    for event in sorted(kept, key=lambda event: event.id):
        if not event.reaction.removed:
            users = found.get(event.reaction.emoji, ())
            found[event.reaction.emoji] = (*users, event.user_id)
    return found


@pytest.mark.parametrize("case", json.loads(CASES.read_text()), ids=lambda case: case["about"])
def test_the_cases_for_clients(case: dict[str, Any]) -> None:
    events = [json_format.ParseDict(each, Event()) for each in case["changes"]]
    now = Changes(events).of(json_format.ParseDict(case["message"], Event()))
    assert {
        "text": now.text,
        "revisionId": str(now.revision_id),
        "deletionId": str(now.deletion_id),
        "reactions": {emoji: list(users) for emoji, users in now.reactions.items()},
    } == case["now"]


def test_a_message_changes_nothing() -> None:
    assert about(MESSAGE) is None
    assert not Changes().add(MESSAGE)
