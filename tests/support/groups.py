"""Groups as their rows say: what an owner would have accepted, and what the history makes of it."""

from __future__ import annotations

from collections.abc import Iterable

from cecochat.domain.groups.changes import standings
from cecochat.domain.groups.group import Group
from cecochat.domain.log.ids import ChatId, UserId, message_id
from cecochat.domain.log.spans import Span, Spans
from cecochat.ports.history import MembershipRow, MessageRow, PersonRow
from cecochat.v1.events_pb2 import Event, Membership, Mention, Message

LIMIT = 10_000


class GroupWorld:
    """One group, whose events get ids of its home, one after the other."""

    def __init__(self, chat_id: str, home: int, partition_of: dict[str, int]) -> None:
        self.home = home
        self.partition_of = partition_of  # user -> where they live
        self.group = Group(ChatId(chat_id))
        self.groups: dict[int, Group] = {}  # event id -> the group just after it
        self.stays = Spans[UserId]()
        self.shown_past: dict[UserId, list[bool]] = {}  # of each stay, whether it shows the past
        self.rows: list[MessageRow] = []
        self._stamp = 0

    @property
    def chat_id(self) -> ChatId:
        return self.group.chat_id

    def next_id(self) -> int:
        self._stamp += 1 << 30
        return message_id(self._stamp, self.home)

    def say(self, user: str, text: str = "hello", mentioned: Iterable[str] = ()) -> MessageRow:
        """A message of somebody, whoever they are."""
        mentions = [Mention(user_id=each, length=1) for each in sorted(mentioned)]
        message = Message(text=text, mentions=mentions)
        return self._row(Event(id=self.next_id(), user_id=user, message=message), None)

    def change(self, actor: str, wanted: Membership) -> MessageRow:
        """What the change comes to. Raises `Refusal`."""
        settled = self.group.settle(UserId(actor), wanted, LIMIT)
        event = Event(id=self.next_id(), user_id=actor, membership=settled)
        self._note(event.id, settled)
        people = tuple(
            PersonRow(user, self.partition_of[user], standing)
            for user, standing in standings(event.id, settled).items()
        )
        has_options = settled.HasField("options")
        options = settled.options.SerializeToString() if has_options else None
        return self._row(event, MembershipRow(people, options))

    def _note(self, id_: int, settled: Membership) -> None:
        after = self.group.after(settled)
        for user in after.roles.keys() - self.group.roles.keys():
            self.stays.begin(user, id_)
            self.shown_past.setdefault(user, []).append(not after.options.hides_past)
        for user in self.group.roles.keys() - after.roles.keys():
            self.stays.end(user, id_)
        self.group = after

    def _row(self, event: Event, membership: MembershipRow | None) -> MessageRow:
        event.chat_id = self.chat_id
        event.recipient_ids.append(self.chat_id)
        self.groups[event.id] = self.group
        recipients = (UserId(self.chat_id),)
        value = event.SerializeToString()
        user = UserId(event.user_id)
        names = tuple(UserId(each.user_id) for each in event.message.mentions)
        row = MessageRow(event.id, self.chat_id, user, recipients, value, None, membership, names)
        self.rows.append(row)
        return row

    # -- what it should come to

    def sees(self, user: UserId) -> list[int]:
        """The ids of the events that somebody may read, from first to last."""
        ids = [row.message_id for row in self.rows]
        seen: set[int] = set()
        stays = zip(self.stays.of(user), self.shown_past.get(user, []), strict=True)
        for (first, last), shows_past in stays:
            seen |= {id_ for id_ in ids if id_ <= last and (shows_past or id_ >= first)}
        return sorted(seen)

    def unread(self, user: UserId, read_up_to: int) -> tuple[int, int]:
        """How many messages of others somebody has not read of those that they were there for, and
        how many of them mention them.
        """
        unread = [
            row
            for row in self.rows
            if row.membership is None
            and row.user_id != user
            and row.message_id > read_up_to
            and self.stays.covers(user, row.message_id)
        ]
        return len(unread), sum(user in row.mentioned for row in unread)


def within(ranges: Iterable[Span], ids: Iterable[int]) -> list[int]:
    """Those of the ids that lie in one of the ranges."""
    spans = list(ranges)
    return [id_ for id_ in ids if any(first <= id_ <= last for first, last in spans)]
