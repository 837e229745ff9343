"""Receipts: one is good for one file of one message, and nobody else can make one."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.changes.attachments import KEPT_MS, USABLE_MS, begun_ms, check_sent
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId, message_id, stamp_at
from cecochat.uploads.receipts import For, Receipts
from cecochat.v1.events_pb2 import Attachment, Message
from cecochat.v1.messaging_pb2 import Send

ALICE = UserId("alice")
FOR = For(ALICE, "d:alice~bob", "1")
RECEIPTS = Receipts(b"a secret of the system")
NOW_MS = 1_790_000_000_000


def attachment(receipts: Receipts = RECEIPTS, for_: For = FOR, name: str = "a.png") -> Attachment:
    made = Attachment(name=name, media_type="image/png", size_bytes=3, sha256=bytes(32))
    made.id = receipts.begin(for_, made, NOW_MS)
    made.receipt = receipts.finish(made)
    return made


def send(*attachments: Attachment) -> Send:
    return Send(
        chat_id=FOR.chat_id,
        client_message_id=FOR.client_message_id,
        message=Message(attachments=attachments),
    )


def accepted(sent: Send, user_id: UserId = ALICE) -> bool:
    try:
        RECEIPTS.check(user_id, sent)
    except Refusal:
        return False
    return True


def test_a_receipt_is_no_part_of_the_message() -> None:
    sent = send(attachment(), attachment(name="b.png"))
    assert accepted(sent)
    assert [each.receipt for each in sent.message.attachments] == [b"", b""]
    assert not accepted(sent), "without its receipt it is not taken again"


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "b.png"},
        {"media_type": "text/html"},
        {"size_bytes": 4},
        {"sha256": bytes(31) + b"1"},
        {"id": ""},
        {"id": "A" * 24},
        {"receipt": b""},
        {"receipt": bytes(32)},
    ],
)
def test_nothing_of_it_can_be_changed(changed: dict[str, object]) -> None:
    made = attachment()
    for name, value in changed.items():
        setattr(made, name, value)
    assert not accepted(send(made))


def test_it_is_for_one_message_of_one_user() -> None:
    made = attachment()
    assert not accepted(send(made), UserId("bob"))
    for changed in ({"chat_id": "d:alice~eve"}, {"client_message_id": "2"}):
        other = send(made)
        for name, value in changed.items():
            setattr(other, name, value)
        assert not accepted(other)
    assert not accepted(send(attachment(Receipts(b"another secret"))))


def test_parts_cannot_be_moved_between_fields() -> None:
    made = attachment(for_=For(ALICE, "d:alice~bob", "12"), name="a.png")
    other = deepcopy(made)
    sent = send(other)
    sent.chat_id, sent.client_message_id = "d:alice~bob1", "2"
    assert not accepted(sent)


@given(st.integers(0, (1 << 48) - 1))
def test_an_id_says_when_its_upload_began(at_ms: int) -> None:
    assert begun_ms(RECEIPTS.begin(FOR, Attachment(), at_ms)) == at_ms


def test_an_upload_can_be_sent_for_a_day_and_is_kept_for_longer() -> None:
    def sent_at(at_ms: int) -> None:
        check_sent([attachment()], lambda: message_id(stamp_at(at_ms), 0))

    sent_at(NOW_MS + USABLE_MS)
    with pytest.raises(Refusal, match="older than a day"):
        sent_at(NOW_MS + USABLE_MS + 1)
    assert KEPT_MS >= 2 * USABLE_MS
