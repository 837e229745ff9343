"""What the owner of a sender's partition asks the home of a group, and what it answers itself."""

from __future__ import annotations

from itertools import count

import pytest

from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, LogRecord, decode, encode
from cecochat.domain.ownership.asks import Answer, Asked, Known, Taken
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session.session import Session
from cecochat.v1.errors_pb2 import ERROR_CODE_CATCH_UP, ERROR_CODE_REUSED_ID
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Ack, Send, ServerFrame

NOW_MS = 1_700_000_000_000
ANN, BEN, GROUP = UserId("ann"), UserId("ben"), "g:us"
HERE, HOME = 0, 1
EPOCH = Place(NOW_MS, 0)


class Senders:
    """A log and its owner: ann lives here, ben and the group in the other partition."""

    def __init__(self) -> None:
        fold = Fold(Here(HERE, {ANN: HERE, BEN: HOME, GROUP: HOME}.__getitem__))
        self.owner = Owner(HERE, "s", fold, cursor=0, forwarded=-1, limits=OwnerLimits())
        self.offsets = count()
        self.lands(self.owner.takeover("server", 1, NOW_MS))
        self.ann = Session("phone", ANN, queue_max_bytes=10_000, wake=lambda: None)
        self.owner.attach(self.ann)
        self.answers()

    def lands(self, record: LogRecord) -> None:
        self.owner.read(next(self.offsets), decode(*encode(record)), NOW_MS, NOW_MS)

    def copied(self, user: UserId, key: str, id_: int, offset: int) -> None:
        """A copy of what the home has at this offset is read, the first since the one before."""
        event = Event(id=id_, user_id=user, chat_id=GROUP, client_message_id=key)
        event.message.text = "hello"
        high = self.owner.fold.high_of(HOME)
        copy = Copy(id_, HOME, Place(NOW_MS, offset), high, (), event.SerializeToString())
        copy.group_event = event
        self.lands(copy)

    def sends(self, key: str, text: str = "hello", seen: int | None = None) -> bool:
        """Ann sends, and has seen all. Returns whether the home has to be asked."""
        send = Send(client_message_id=key, chat_id=GROUP)
        send.message.text = text
        offset = self.owner.cursor - 1 if seen is None else seen
        if self.owner.settle(self.ann, send, offset):
            return False
        self.owner.asking.take(self.ann, send, NOW_MS)
        return True

    def asks(self) -> Asked:
        """The first request is for the epoch of an owner of whom nothing is known."""
        [(home, asked)] = self.owner.asking.due()
        self.owner.asking.answered(home, asked, Answer(EPOCH, ()), NOW_MS)
        [(home, asked)] = self.owner.asking.due()
        assert home == HOME
        return asked

    def answered(self, asked: Asked, result: Known | Taken) -> None:
        answer = Answer(EPOCH, (result,), self.owner.fold.high_of(HOME))
        self.owner.asking.answered(HOME, asked, answer, NOW_MS)

    def answers(self) -> list[Ack]:
        """What ann is told of her sends."""
        frame = ServerFrame.FromString(b"".join(self.ann.take(100_000)))
        return [item.ack for item in frame.items if item.HasField("ack")]


@pytest.fixture
def senders() -> Senders:
    return Senders()


def test_the_copy_is_the_answer(senders: Senders) -> None:
    assert senders.sends("1")
    senders.answered(senders.asks(), Taken())
    assert senders.answers() == []
    senders.copied(ANN, "1", 71, 5)
    [ack] = senders.answers()
    assert (ack.message_id, ack.client_message_id) == (71, "1")


def test_a_request_says_up_to_where_the_home_was_read(senders: Senders) -> None:
    assert senders.sends("1")
    asked = senders.asks()
    assert (asked.high, asked.home_epoch) == (NOWHERE, EPOCH)
    senders.answered(asked, Taken())
    senders.copied(ANN, "1", 71, 5)
    assert senders.sends("2")
    [(_, asked)] = senders.owner.asking.due()
    assert asked.high == Place(NOW_MS, 5)
    assert [each.send.client_message_id for each in asked.sends] == ["2"]


def test_a_repeat_of_what_was_copied_is_answered_here(senders: Senders) -> None:
    senders.copied(ANN, "1", 71, 5)
    assert not senders.sends("1")
    [ack] = senders.answers()
    assert (ack.message_id, ack.home_offset) == (71, 5)
    assert not senders.sends("1", "something else")
    assert senders.ann.blocked
    assert senders.ann.blocked.error_code == ERROR_CODE_REUSED_ID


def test_who_may_not_know_of_a_copy_catches_up_first(senders: Senders) -> None:
    senders.copied(ANN, "1", 71, 5)
    for _ in range(2):  # what is announced is forgotten the next time
        senders.owner.sent.expire(NOW_MS + 1_000_000_000)
    assert not senders.sends("1", seen=senders.owner.cursor - 2)
    assert senders.ann.closed
    assert senders.ann.closed.error_code == ERROR_CODE_CATCH_UP


def test_what_others_here_are_told_is_no_answer(senders: Senders) -> None:
    senders.copied(BEN, "1", 71, 5)
    assert senders.sends("1")


def test_a_known_send_whose_copy_was_left_out_is_acknowledged_with_a_later_one(
    senders: Senders,
) -> None:
    assert senders.sends("1")
    senders.answered(senders.asks(), Known(71, Place(NOW_MS, 5)))
    senders.owner.expire(NOW_MS)
    assert senders.answers() == []
    senders.copied(BEN, "other", 79, 9)
    senders.owner.expire(NOW_MS)
    [ack] = senders.answers()
    assert (ack.message_id, ack.client_message_id) == (71, "1")
