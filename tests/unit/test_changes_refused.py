"""Which edits, deletions, reactions, replies and mentions pass the edge."""

from __future__ import annotations

from typing import Any

import pytest

from cecochat.domain.changes import rights
from cecochat.domain.changes.rights import EMOJI_MAX_BYTES, MENTIONS_MAX
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId, message_id
from cecochat.domain.session import intake
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Deletion, Edit, Mention, Message, Reaction
from cecochat.v1.messaging_pb2 import Send

PARTITION = 5
ID_MAX = message_id(1 << 20, PARTITION)
OWN = message_id(1 << 10, PARTITION)
OTHER = message_id(1 << 10, PARTITION + 1)


def check(**body: Any) -> tuple[str, ...]:
    send = Send(client_message_id="1", chat_id="d:alice~bob", **body)
    intake.check_plain(send)
    return intake.check_send(UserId("alice"), send, 100, lambda: ID_MAX, PARTITION)


def mentions(count: int, *, start: int = 0, length: int = 1) -> list[Mention]:
    return [Mention(user_id="bob", start=start, length=length)] * count


@pytest.mark.parametrize(
    "body",
    [
        {"message": Message(text="yes", reply_to_id=OTHER, mentions=mentions(MENTIONS_MAX))},
        {"message": Message(text="😀😀", mentions=mentions(1, start=1))},
        {"edit": Edit(message_id=OWN, text="x" * 100, mentions=mentions(1, start=99))},
        {"deletion": Deletion(message_id=OWN)},
        {"reaction": Reaction(message_id=OTHER, emoji="👍🏽")},
        {"reaction": Reaction(message_id=OWN, emoji="👩‍👩‍👧‍👦", removed=True)},
    ],
)
def test_what_can_be_meant_passes(body: dict[str, Any]) -> None:
    assert check(**body) == ("bob",)


def test_in_a_group_the_home_knows_who_may_do_what() -> None:
    """All messages of a group are of one partition, whoever wrote them."""
    for deletion in (Deletion(message_id=OTHER), Deletion(message_id=OTHER, as_admin=True)):
        rights.check_deletion(deletion, ID_MAX, None)
    rights.check_edit(Edit(message_id=OTHER, text="x"), 100, ID_MAX, None)
    with pytest.raises(Refusal):
        rights.check_deletion(Deletion(message_id=ID_MAX + 1), ID_MAX, None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"message": Message(text="no", reply_to_id=-1)}, "INVALID_ARGUMENT"),
        ({"message": Message(text="no", reply_to_id=ID_MAX + 1)}, "INVALID_ARGUMENT"),
        ({"message": Message(text="no", mentions=mentions(51))}, "INVALID_ARGUMENT"),
        ({"message": Message(text="no", mentions=mentions(1, start=2))}, "INVALID_ARGUMENT"),
        ({"message": Message(text="no", mentions=mentions(1, start=-1))}, "INVALID_ARGUMENT"),
        ({"message": Message(text="no", mentions=mentions(1, length=0))}, "INVALID_ARGUMENT"),
        (
            {"message": Message(text="no", mentions=[Mention(user_id="b ob", length=1)])},
            "INVALID_ARGUMENT",
        ),
        ({"message": Message(text="no", erased=True)}, "INVALID_ARGUMENT"),
        ({"message": Message(sealed=b"x" * 32)}, "INVALID_ARGUMENT"),
        ({"edit": Edit(message_id=OWN, text="no", sealed=b"x" * 32)}, "INVALID_ARGUMENT"),
        ({"edit": Edit(message_id=OWN)}, "INVALID_ARGUMENT"),
        ({"edit": Edit(message_id=OWN, text="x" * 101)}, "TOO_LARGE"),
        ({"edit": Edit(message_id=OWN, text="x", mentions=mentions(51))}, "INVALID_ARGUMENT"),
        ({"edit": Edit(text="no")}, "INVALID_ARGUMENT"),
        ({"edit": Edit(message_id=ID_MAX + 1, text="no")}, "INVALID_ARGUMENT"),
        ({"edit": Edit(message_id=OTHER, text="no")}, "FORBIDDEN"),
        ({"deletion": Deletion()}, "INVALID_ARGUMENT"),
        ({"deletion": Deletion(message_id=ID_MAX + 1)}, "INVALID_ARGUMENT"),
        ({"deletion": Deletion(message_id=OTHER)}, "FORBIDDEN"),
        ({"deletion": Deletion(message_id=OWN, as_admin=True)}, "FORBIDDEN"),
        ({"reaction": Reaction(emoji="👍")}, "INVALID_ARGUMENT"),
        ({"reaction": Reaction(message_id=ID_MAX + 1, emoji="👍")}, "INVALID_ARGUMENT"),
        ({"reaction": Reaction(message_id=OWN)}, "INVALID_ARGUMENT"),
        (
            {"reaction": Reaction(message_id=OWN, emoji="x" * (EMOJI_MAX_BYTES + 1))},
            "INVALID_ARGUMENT",
        ),
        ({"reaction": Reaction(message_id=OWN, emoji="a b")}, "INVALID_ARGUMENT"),
        ({"reaction": Reaction(message_id=OWN, emoji="\x1b[2J")}, "INVALID_ARGUMENT"),
    ],
)
def test_what_cannot_be_meant_is_refused(body: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal) as refused:
        check(**body)
    assert errors_pb2.ErrorCode.Name(refused.value.error_code) == f"ERROR_CODE_{code}"


@pytest.mark.parametrize(("sealed_bytes", "code"), [(17, None), (116, None), (117, "TOO_LARGE")])
def test_a_sealed_text_has_the_length_of_the_plain_one(sealed_bytes: int, code: str | None) -> None:
    message = Message(sealed=b"x" * sealed_bytes)
    if code is None:
        rights.check_message(message, 100, lambda: ID_MAX)
        return
    with pytest.raises(Refusal) as refused:
        rights.check_message(message, 100, lambda: ID_MAX)
    assert errors_pb2.ErrorCode.Name(refused.value.error_code) == f"ERROR_CODE_{code}"
