"""What an answer of the history has in place of a message that was changed."""

from __future__ import annotations

from typing import Any

from cecochat.ports.history import CHANGES_MAX
from cecochat.servers.history.folding import Folded, changed_ids, folded
from cecochat.servers.history.pages import first_within, page_within
from cecochat.v1.events_pb2 import Deletion, Edit, Event, Mention, Message, Reaction
from cecochat.v1.history_pb2 import MessageState, ReactionState


def event(id_: int, user: str = "alice", **body: Any) -> bytes:
    return Event(id=id_, user_id=user, chat_id="d:alice~bob", **body).SerializeToString()


SAID = event(1, message=Message(text="first", reply_to_id=9, mentions=[Mention(user_id="bob")]))
EDIT = event(2, edit=Edit(message_id=1, text="second"))
DELETION = event(3, deletion=Deletion(message_id=1))
FORGED = event(4, "bob", edit=Edit(message_id=1, text="forged"))
LIKED = event(5, "bob", reaction=Reaction(message_id=1, emoji="👍"))
UNLIKED = event(6, "alice", reaction=Reaction(message_id=1, emoji="👍", removed=True))


def fold(what: bytes, *changes: bytes) -> tuple[Event, MessageState | None]:
    found = folded(what, {1: changes})
    return Event.FromString(found.event), found.state


def test_a_message_without_changes_goes_out_byte_for_byte() -> None:
    unknown = SAID + b"\xfa\x07\x03new"
    assert folded(unknown, {}) == folded(unknown, {1: []}) == Folded(unknown)


def test_an_edited_message_has_its_new_text_and_says_which() -> None:
    now, state = fold(SAID, EDIT, LIKED, UNLIKED)
    assert (now.message.text, list(now.message.mentions), now.message.reply_to_id) == (
        "second",
        [],
        9,
    )
    assert state == MessageState(
        message_id=1,
        revision_id=2,
        reactions=[
            ReactionState(id=5, user_id="bob", emoji="👍"),
            ReactionState(id=6, user_id="alice", emoji="👍", removed=True),
        ],
    )


def test_what_does_not_count_changes_no_text() -> None:
    now, _ = fold(SAID, FORGED)
    assert now == Event.FromString(SAID)


def test_nothing_of_a_deleted_message_is_left_but_that_it_was() -> None:
    now, state = fold(SAID, DELETION, EDIT, LIKED)
    assert now == Event(id=1, user_id="alice", chat_id="d:alice~bob", message=Message())
    assert now.HasField("message")
    assert state == MessageState(message_id=1, deletion_id=3)


def test_an_edit_of_a_deleted_message_has_no_text_either() -> None:
    assert fold(EDIT, EDIT, LIKED) == (Event.FromString(EDIT), None)
    by_admin = event(7, "carol", deletion=Deletion(message_id=1, as_admin=True))
    for deletion in (DELETION, by_admin):
        now, _ = fold(EDIT, EDIT, deletion)
        assert now == Event.FromString(event(2, edit=Edit(message_id=1)))
    by_another = event(7, "bob", deletion=Deletion(message_id=1))
    assert fold(EDIT, EDIT, by_another)[0] == Event.FromString(EDIT)
    assert fold(LIKED, DELETION, LIKED)[0] == Event.FromString(LIKED)


def test_the_changes_of_messages_and_of_what_edits_are_about_are_needed() -> None:
    other = event(8, edit=Edit(message_id=7, text="x"))
    assert changed_ids([SAID, other, EDIT, LIKED, DELETION]) == [1, 7]


def test_a_message_with_more_reactions_than_are_read_says_so() -> None:
    many = [
        event(10 + n, f"u{n}", reaction=Reaction(message_id=1, emoji="👍"))
        for n in range(CHANGES_MAX)
    ]
    for count, more in ((CHANGES_MAX, True), (CHANGES_MAX - 1, False)):
        _, state = fold(SAID, *many[:count])
        assert state
        assert (len(state.reactions), state.has_more_reactions) == (count, more)


def test_a_page_is_cut_by_what_it_has_with_its_changes() -> None:
    small, large = Folded(b"x" * 10), Folded(b"x" * 10, MessageState(revision_id=1 << 60))
    assert large.size > 15
    assert page_within([small, large, small], 30, oldest_first=True) == [small, large]
    assert page_within([large, small, small], 30, oldest_first=False) == [small, small]
    assert first_within([large, small], 1) == [large]
