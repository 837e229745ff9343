"""A sealed text can be read with the key of its user, where it belongs, and not otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from cecochat.adapters.embedded.keys import EmbeddedKeys
from cecochat.domain.changes.texts import SEALED_MORE_BYTES, SEALED_TAG, text_bytes
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.ownership.sent import content_of
from cecochat.domain.session import frames
from cecochat.ports.keys import Erased
from cecochat.sealing.cipher import UserKey, Wrapping
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import REMEMBERED_BYTES, REMEMBERED_S, Opening, Remembered
from cecochat.v1.events_pb2 import Attachment, Edit, Event, Mention, Message
from cecochat.v1.messaging_pb2 import Send

ALICE = UserId("alice")
WRAPPING = Wrapping(b"a secret")
WRAPPED = WRAPPING.new(ALICE)
KEY = WRAPPING.unwrap(ALICE, WRAPPED)


def sealed(text: str, key: UserKey = KEY) -> Send:
    send = Send(client_message_id="1", chat_id="d:alice~bob", message=Message(text=text))
    key.seal(send)
    return send


def event_of(send: Send, **changes: str) -> Event:
    event = Event(
        user_id=ALICE,
        chat_id=send.chat_id,
        client_message_id=send.client_message_id,
        message=send.message,
    )
    for name, value in changes.items():
        setattr(event, name, value)
    return event


@given(st.text(min_size=1))
def test_a_text_comes_back_and_is_in_no_byte(text: str) -> None:
    send = sealed(text)
    stored = send.SerializeToString()
    assert KEY.open(event_of(send), send.message.sealed) == text
    assert send.message.text == ""
    assert len(text) < 3 or text.encode() not in stored
    assert SEALED_TAG in stored
    assert text_bytes(send.message) == len(text.encode())
    assert len(send.message.sealed) == len(text.encode()) + SEALED_MORE_BYTES


@given(st.text())
def test_a_plain_text_never_looks_sealed(text: str) -> None:
    assert SEALED_TAG not in text.encode()


def test_what_is_sent_again_is_the_same_and_another_text_is_not() -> None:
    assert content_of(sealed("hello")) == content_of(sealed("hello"))
    assert content_of(sealed("hello")) != content_of(sealed("hellp"))
    assert content_of(sealed("hello")) == content_of(event_of(sealed("hello")))


def test_of_an_edit_the_text_alone_is_sealed() -> None:
    named = [Mention(user_id="bob", length=1)]
    send = Send(chat_id="g:x", edit=Edit(message_id=7, text="new", mentions=named))
    KEY.seal(send)
    assert (send.edit.message_id, send.edit.text, [*send.edit.mentions]) == (7, "", named)
    event = Event(user_id=ALICE, chat_id="g:x", edit=send.edit)
    assert KEY.open(event, send.edit.sealed) == "new"


@pytest.mark.parametrize("change", [{"chat_id": "d:alice~eve"}, {"client_message_id": "2"}])
def test_a_sealed_text_cannot_be_moved_elsewhere(change: dict[str, str]) -> None:
    send = sealed("hello")
    assert KEY.open(event_of(send, **change), send.message.sealed) is None


def test_nobody_elses_key_opens_it() -> None:
    bob = UserId("bob")
    send, other = sealed("hello"), WRAPPING.unwrap(bob, WRAPPING.new(bob))
    assert other.open(event_of(send), send.message.sealed) is None
    *whole, last = send.message.sealed
    assert KEY.open(event_of(send), bytes([*whole, last ^ 1])) is None


def test_a_key_is_unwrapped_for_its_user_with_the_same_secret_alone() -> None:
    for wrapping, user in ((WRAPPING, "bob"), (Wrapping(b"another secret"), "alice")):
        with pytest.raises(InvalidTag):
            wrapping.unwrap(UserId(user), WRAPPED)
    assert Wrapping(b"a secret").check == WRAPPING.check != Wrapping(b"another secret").check


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Memory:
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.remembered = Remembered(self.clock)


def chunk(number: int) -> bytes:
    return frames.delivered(Place(1, number), event_of(sealed("hello")).SerializeToString())


def test_what_was_opened_is_forgotten_in_time() -> None:
    memory = Memory()
    memory.remembered.add(chunk(1), b"opened")
    memory.clock.now_s += REMEMBERED_S - 1
    assert memory.remembered.find(chunk(1)) == b"opened"
    memory.clock.now_s += REMEMBERED_S
    assert memory.remembered.find(chunk(1)) == b"opened", "it is old now"
    memory.clock.now_s += REMEMBERED_S
    assert memory.remembered.find(chunk(1)) is None


def test_after_a_long_pause_nothing_is_known() -> None:
    memory = Memory()
    memory.remembered.add(chunk(1), b"opened")
    memory.clock.now_s += 3 * REMEMBERED_S
    assert memory.remembered.find(chunk(1)) is None


def test_what_is_remembered_is_bounded() -> None:
    memory, large = Memory(), b"x" * (REMEMBERED_BYTES // 4)
    for number in range(20):
        memory.remembered.add(chunk(number), large)
    found = [memory.remembered.find(chunk(number)) for number in range(20)]
    assert found[-1] == large
    assert found[0] is None
    assert 0 < sum(each is not None for each in found) <= 8


def test_nothing_is_left_once_all_is_to_be_forgotten() -> None:
    memory = Memory()
    memory.remembered.add(chunk(1), b"opened")
    memory.remembered.forget()
    assert memory.remembered.find(chunk(1)) is None


FILE = Attachment(
    id="A" * 24, name="quicksilver.png", media_type="image/png", size_bytes=3, sha256=bytes(32)
)


def carrying(text: str = "", key: UserKey = KEY) -> Send:
    send = sealed(text, key)
    send.message.attachments.extend([FILE, Attachment(id="B" * 24, name="b.png")])
    key.seal(send)
    return send


def test_of_an_attachment_all_but_its_id_is_sealed() -> None:
    send = carrying()
    first, second = send.message.attachments
    assert (first.id, second.id) == ("A" * 24, "B" * 24)
    assert b"quicksilver" not in send.SerializeToString()
    assert SEALED_TAG in first.SerializeToString()
    event = event_of(send)
    assert KEY.open_attachment(event, event.message.attachments[0])
    assert event.message.attachments[0] == FILE
    assert content_of(carrying("hello")) == content_of(carrying("hello"))


@pytest.mark.parametrize("changes", [{"chat_id": "d:alice~eve"}, {"client_message_id": "2"}])
def test_an_attachment_cannot_be_read_elsewhere(changes: dict[str, str]) -> None:
    event = event_of(carrying(), **changes)
    first, second = event.message.attachments
    assert not KEY.open_attachment(event, first)
    swapped = Attachment(id=second.id, sealed=first.sealed)
    assert not KEY.open_attachment(event_of(carrying()), swapped)


@pytest.mark.parametrize("text", ["", "hello"])
async def test_attachments_end_with_the_key_of_their_user(text: str, tmp_path: Path) -> None:
    keys = await EmbeddedKeys.open(tmp_path)
    ring = KeyRing(keys, b"a secret")
    await ring.start()
    key = await ring.own(ALICE)
    assert key
    event = event_of(carrying(text, key)).SerializeToString()
    opening = Opening(ring)
    ((opened,),) = await opening.events([event])
    told = Event.FromString(opened).message
    assert (told.text, told.attachments[0], told.erased) == (text, FILE, False)
    await keys.destroy(Erased(ALICE, 5_000, "root"))
    opening.forget([ALICE])
    ((opened,),) = await opening.events([event])
    assert Event.FromString(opened).message == Message(erased=True)
    await keys.close()
