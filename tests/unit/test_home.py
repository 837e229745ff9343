"""Recipients in the sender's own partition: they get the message itself, but not before a copy that
an owner of the first version still owed them.
"""

from __future__ import annotations

from itertools import count

from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.records import Copy, LogRecord, Origin, decode, encode
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session.session import Session, concerns
from cecochat.v1.messaging_pb2 import Send, ServerFrame

NOW_MS = 1_700_000_000_000
ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")


class Home:
    """A log and its owner: alice and bob are at home, carol is not."""

    def __init__(self) -> None:
        fold = Fold(Here(0, {ALICE: 0, BOB: 0, CAROL: 1}.__getitem__))
        self.owner = Owner(0, "s", fold, cursor=0, forwarded=-1, limits=OwnerLimits())
        self.offsets, self.numbers = count(), count()
        self.alice, self.bob = self.session(ALICE), self.session(BOB)
        self.lands(self.owner.takeover("server", 1, NOW_MS))
        for each in (self.alice, self.bob):
            self.owner.attach(each)
            each.take(1_000)

    @staticmethod
    def session(user_id: UserId) -> Session:
        return Session(user_id, user_id, queue_max_bytes=10_000, wake=lambda: None)

    def accepts(self, *recipients: UserId) -> Origin:
        send = Send(client_message_id=str(next(self.numbers)), chat_id="d:alice~bob")
        send.message.text = "hello"
        origin = self.owner.accept(ALICE, send, recipients, NOW_MS)
        self.owner.wait(self.alice, send.client_message_id)
        return origin

    def lands(self, record: LogRecord) -> None:
        self.owner.read(next(self.offsets), decode(*encode(record)), NOW_MS, NOW_MS)

    def copies(self) -> list[Copy]:
        """What is to be appended now, and is taken for appended."""
        taken = self.owner.forwarder.take(10)
        for target, copies in taken:
            self.owner.forwarder.acknowledged(target, len(copies))
        return [copy for _, copies in taken for copy in copies]


def delivered(session: Session) -> list[int]:
    frame = ServerFrame.FromString(b"".join(session.take(100_000)))
    return [item.delivered.event.id for item in frame.items if item.HasField("delivered")]


def test_a_recipient_at_home_gets_the_message_itself_and_others_a_copy() -> None:
    home = Home()
    origin = home.accepts(BOB, CAROL)
    home.lands(origin)
    assert delivered(home.bob) == [origin.id]
    (copy,) = home.copies()
    assert copy.recipient_ids == (CAROL,)
    assert not home.owner.forwarder.owes


def test_a_message_for_nobody_elsewhere_is_one_record() -> None:
    home = Home()
    home.lands(home.accepts(BOB))
    assert home.copies() == []
    assert home.owner.forwarder.done == 1


def test_a_message_says_in_the_log_whether_it_is_for_recipients_at_home() -> None:
    origin = Home().accepts(BOB)
    assert decode(*encode(origin)) == origin
    assert concerns(origin, BOB)
    origin.serves_home = False
    assert not concerns(decode(*encode(origin)), BOB)


def test_no_message_overtakes_a_copy_that_is_still_on_its_way() -> None:
    home = Home()
    old = home.accepts(BOB)
    old.serves_home = False  # as the first version wrote it
    home.lands(old)
    (first,) = home.copies()
    home.owner._serves_home = False
    second = home.accepts(BOB)
    home.lands(first)
    third = home.accepts(BOB)
    assert not second.serves_home, "the copy of the first was on its way"
    assert not third.serves_home, "the second was on its way, and is to be copied"
    for origin in (second, third):
        home.lands(origin)
    for copy in home.copies():
        home.lands(copy)
    fourth = home.accepts(BOB)
    assert fourth.serves_home
    home.lands(fourth)
    assert delivered(home.bob) == [each.id for each in (old, second, third, fourth)]
