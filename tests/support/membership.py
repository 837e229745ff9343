"""Groups whose members come and go: the devices of a run, and a judge who recounts from the events
in the history who belonged to a group when. It knows the protos and the promises alone.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from typing_extensions import override

from cecochat.v1.events_pb2 import ROLE_MEMBER, Event, GroupOptions, Membership, Role
from cecochat.v1.history_pb2 import GetChatsRequest, GetChatsResponse
from cecochat.v1.messaging_pb2 import Ack, ReadToken, Send, ServerItem, Welcome
from tests.support.device import BACK_OFF_S, Device
from tests.support.rawclient import GET_CHATS, NotFound, RawHistory, code_name
from tests.support.records import home_in

COUNTED_MAX = 1_000
STILL = 1 << 63
"""Above every id."""


class MemberDevice(Device):
    """A device that notes what it sends and gets, and where its user belongs as far as it knows."""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        self.said: dict[str, Send] = {}
        self.refused: dict[str, str] = {}  # client message id -> code, of those refused for good
        self.got: dict[int, Event] = {}  # by id, in the order of the stream, own sends among them
        self.twice: list[int] = []
        self.groups: set[str] = set()
        self._began: Welcome | None = None
        self._welcome = Welcome()
        self._is_here = asyncio.Event()
        self._is_here.set()

    @override
    async def run(self) -> None:
        while True:
            await self._is_here.wait()
            with suppress(NotFound):
                await self.session()
            await asyncio.sleep(BACK_OFF_S)

    async def stays_away(self, for_s: float) -> None:
        """Be connected again only after a while."""
        self._is_here.clear()
        self.leave()
        try:
            await asyncio.sleep(for_s)
        finally:
            self._is_here.set()

    @override
    def put(self, send: Send, client_message_id: str = "") -> str:
        name = super().put(send, client_message_id)
        self.said[name] = send
        return name

    @override
    def _take(self, item: ServerItem) -> bool:
        match item.WhichOneof("item"):
            case "welcome":
                self._welcome = item.welcome
                self._began = self._began or item.welcome
            case "delivered":
                if item.delivered.event.id in self.got:
                    self.twice.append(item.delivered.event.id)
                self._note(item.delivered.event)
            case "ack" if item.ack.message_id not in self.got:  # else it answers a repeat
                self._note(self._accepted(item.ack))
            case "refused" if not item.refused.error.retriable:
                self.refused[item.refused.client_message_id] = code_name(item.refused.error.code)
        return super()._take(item)

    @override
    async def _missed(self, pages: RawHistory, token: ReadToken) -> list[Event]:
        """Of every group of its user, what the stream does not bring, and is not older than this
        device.
        """
        listed = await pages.ask(
            GET_CHATS, GetChatsRequest(after_chat_id="", token=token), GetChatsResponse
        )
        found = [
            event
            for chat in listed.chats
            for event in await pages.events(chat.chat_id, token, with_changes=True)
            if self._is_due(event.id)
        ]
        for event in found:
            if event.id not in self.got:
                self._note(event)
        return found

    def _is_due(self, id_: int) -> bool:
        assert self._began, "a gap before the welcome"
        home, now = home_in(id_), self._welcome
        return id_ > self._began.up_to[home] and (id_ <= now.up_to[home] or id_ < now.log_began_id)

    def _accepted(self, ack: Ack) -> Event:
        send = self.said[ack.client_message_id]
        event = Event(id=ack.message_id, user_id=self.who.user_id, chat_id=send.chat_id)
        event.client_message_id = ack.client_message_id
        event.MergeFromString(_body(send).SerializeToString())
        return event

    def _note(self, event: Event) -> None:
        self.got[event.id] = event
        if self.who.user_id in event.membership.added_ids:
            self.groups.add(event.chat_id)
        if self.who.user_id in event.membership.removed_ids:
            self.groups.discard(event.chat_id)


def _body(send: Send) -> Event:
    """What a send says, as an event without anything else: the bodies have the same names."""
    body = Event()
    name = send.WhichOneof("body")
    assert name, "it says nothing"
    getattr(body, name).CopyFrom(getattr(send, name))
    return body


class Stay(NamedTuple):
    """From the event that added somebody to the one that removed them."""

    first_id: int
    last_id: int
    shows_past: bool


@dataclass
class Recount:
    """What a group is after its events, and who belonged to it when."""

    events: Sequence[Event]
    roles: dict[str, Role.ValueType] = field(default_factory=dict)
    invited: set[str] = field(default_factory=set)
    options: GroupOptions = field(default_factory=GroupOptions)
    stays: dict[str, list[Stay]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for event in self.events:
            if event.HasField("membership"):
                self._apply(event.id, event.membership)

    def _apply(self, id_: int, change: Membership) -> None:
        if change.HasField("options"):
            self.options = change.options
        for user in change.added_ids:
            if user not in self.roles:
                self.stays[user].append(Stay(id_, STILL, not self.options.hides_past))
            self.roles[user] = ROLE_MEMBER
        for each in change.appointments:
            self.roles[each.user_id] = each.role
        for user in change.removed_ids:
            if self.roles.pop(user, None):
                self.stays[user][-1] = self.stays[user][-1]._replace(last_id=id_)
        self.invited |= set(change.invited_ids)
        self.invited -= {*change.added_ids, *change.removed_ids}

    def had(self, user: str, id_: int) -> bool:
        """Whether somebody belonged to it at that event."""
        return any(stay.first_id <= id_ <= stay.last_id for stay in self.stays[user])

    def always_had(self, user: str) -> bool:
        """Whether somebody belongs to it from its first event on."""
        return self.had(user, self.events[0].id) and self.stays[user][0].last_id == STILL

    def may_read(self, user: str) -> list[int]:
        """The ids in the pages of somebody."""
        shown: set[int] = set()
        for stay in self.stays[user]:
            first_id = 0 if stay.shows_past else stay.first_id
            shown |= {each.id for each in self.events if first_id <= each.id <= stay.last_id}
        return sorted(shown)

    def unread(self, user: str, read_up_to: int) -> tuple[int, int]:
        """How many messages of others came after what they have read, of the last thousand while
        they were there, and how many of them mention them.
        """
        said = [each for each in self.events if each.HasField("message")]
        came = [each for each in said if self.had(user, each.id)]
        unread = [
            {mention.user_id for mention in each.message.mentions}
            for each in came[-COUNTED_MAX:]
            if each.user_id != user and each.id > read_up_to
        ]
        return len(unread), sum(user in mentioned for mentioned in unread)


Groups = Mapping[str, Recount]


def judge(devices: Collection[MemberDevice], groups: Groups) -> Iterator[str]:
    """What is wrong with a run at rest, of which all devices were there from before the groups."""
    for chat_id, recount in groups.items():
        yield from _order(chat_id, recount)
    for device in devices:
        yield from _sends(device, groups)
        yield from (f"{device.who} got {id_} twice" for id_ in device.twice)
        for chat_id, recount in groups.items():
            yield from _deliveries(device, chat_id, recount, _receipts(devices, chat_id))


def _order(chat_id: str, recount: Recount) -> Iterator[str]:
    """Ids rise, each send is there once, and nobody speaks who does not belong."""
    for before, after in pairwise(recount.events):
        if before.id >= after.id:
            yield f"{chat_id}: {after.id} comes after {before.id}"
    keys = [(each.user_id, each.client_message_id) for each in recount.events]
    if len(set(keys)) < len(keys):
        yield f"{chat_id}: a send is there twice"
    for each in recount.events:
        if not recount.had(each.user_id, each.id) and each.user_id not in each.membership.added_ids:
            yield f"{chat_id}: {each.user_id} was heard without belonging: {each.id}"


def _sends(device: MemberDevice, groups: Groups) -> Iterator[str]:
    """What was acknowledged is there as it was sent, and what was refused is not."""
    user_id = device.who.user_id
    stored = {
        each.client_message_id: each
        for recount in groups.values()
        for each in recount.events
        if each.user_id == user_id
    }
    acked = {each.client_message_id for each in device.got.values() if each.user_id == user_id}
    for name, send in device.said.items():
        there = stored.get(name)
        if name in device.refused:
            if there or name in acked:
                yield f"{device.who}: {name} was refused and accepted"
            if not send.HasField("membership") and groups[send.chat_id].always_had(user_id):
                yield f"{device.who}: {name} was refused to somebody who always belonged"
        elif name not in acked:
            yield f"{device.who}: {name} is not answered"
        elif there is None and not send.HasField("receipt"):
            yield f"{device.who}: {name} was acknowledged and is lost"
        if there and (there.chat_id, there.message) != (send.chat_id, send.message):
            yield f"{device.who}: {name} was changed: {there}"


def _receipts(devices: Iterable[MemberDevice], chat_id: str) -> dict[int, Event]:
    """Those that were accepted. The history keeps none of them as an event."""
    return {
        each.id: each
        for device in devices
        for each in device.got.values()
        if each.chat_id == chat_id
        and each.HasField("receipt")
        and each.user_id == device.who.user_id
    }


def _deliveries(
    device: MemberDevice, chat_id: str, recount: Recount, receipts: Mapping[int, Event]
) -> Iterator[str]:
    """A device got all that happened while its user belonged to the group, in order, no more."""
    happened = sorted({each.id for each in recount.events} | receipts.keys())
    expected = [id_ for id_ in happened if recount.had(device.who.user_id, id_)]
    got = [each.id for each in device.got.values() if each.chat_id == chat_id]
    if got == expected:
        return
    where = f"{device.who} in {chat_id}"
    if lacks := [id_ for id_ in expected if id_ not in device.got]:
        yield f"{where} lacks {lacks[:9]}, {len(lacks)} in all"
    if leaked := [id_ for id_ in got if id_ not in set(expected)]:
        yield f"{where} got {leaked[:9]}, {len(leaked)} in all, which are not for it"
    if got != sorted(got):
        swapped = [pair for pair in pairwise(got) if pair[0] > pair[1]]
        yield f"{where} got {swapped[:9]} in that order"


def read_up_to(devices: Iterable[MemberDevice], user_id: str, chat_id: str) -> int:
    """How far somebody has read a group, as their accepted receipts say."""
    accepted = _receipts(devices, chat_id).values()
    return max((e.receipt.read_up_to for e in accepted if e.user_id == user_id), default=0)
