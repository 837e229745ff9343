"""What a partition's log says of groups: who belongs to those whose home it is, and which of the
users who live in it belong to any group.

All events of a group are origins of its home partition. Other partitions get those that concern
users who live there, as copies, in the same order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from cecochat.domain.log.chain import Here
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.roster import Roster
from cecochat.domain.log.spans import Spans
from cecochat.v1.events_pb2 import ROLE_UNSPECIFIED, Appointment, Event, Membership, Role
from cecochat.v1.log_pb2 import GroupMembers

_NOBODY: Spans[UserId] = Spans()


class Groups:
    """The groups that a fold knows.

    Each event names the change of its group before it. Where that is not the last one known here,
    the log has lost one, here or in the home, and the home has to say who belongs. What its own log
    says is what holds.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self.at_home: dict[ChatId, Roster] = {}
        self.made: Counter[UserId] = Counter()  # how many of them each user has made
        self.members: dict[ChatId, Spans[UserId]] = {}  # those who live here
        self._changed: dict[ChatId, int] = {}  # the last change that was applied
        # Those of which nobody knows who belongs to them, with the first event that showed it.
        self.wrong: dict[ChatId, int] = {}
        self.size = 0  # how many memberships a snapshot has, about

    def take(self, event: Event, changed_id: int) -> None:
        """Take in an event that counts; `changed_id` is the change of its group before it."""
        chat_id = ChatId(event.chat_id)
        if not self._follows(chat_id, changed_id):
            self.wrong.setdefault(chat_id, event.id)
        if not event.HasField("membership"):
            return
        self._changed[chat_id] = event.id
        if self._here.has(chat_id):
            self._home_of(chat_id, UserId(event.user_id)).apply(event.membership)
        self._take_members(chat_id, event.id, event.membership)

    def _home_of(self, chat_id: ChatId, creator_id: UserId) -> Roster:
        """Return a group that has its home here, and note who made it if it is new."""
        if chat_id not in self.at_home:
            self.at_home[chat_id] = Roster(chat_id, creator_id)
            self.made[creator_id] += 1
        return self.at_home[chat_id]

    def _follows(self, chat_id: ChatId, changed_id: int) -> bool:
        """Return whether that change is the last one known here. A partition without members gets
        no changes. A home goes on without a change that has vanished there, as if it were undone.
        """
        if self._here.has(chat_id):
            return True
        gets_them = self.members.get(chat_id, _NOBODY).count
        return changed_id == (self.changed_id(chat_id) if gets_them else 0)

    def _take_members(self, chat_id: ChatId, id_: int, change: Membership) -> None:
        spans = self.members.setdefault(chat_id, Spans())
        for user in change.added_ids:
            if self._here.has(user):
                spans.begin(UserId(user), id_)
        for user in change.removed_ids:
            spans.end(UserId(user), id_)
        self.size += len(change.added_ids) - len(change.removed_ids)

    def correct(self, truth: Groups, chat_id: ChatId, id_: int) -> None:
        """Learn from the home of a group who belongs to it after the event `id_`. Who does not may
        have seen what was before it turned out.
        """
        self._changed[chat_id] = truth.changed_id(chat_id)
        roles = truth.roster(chat_id).roles
        spans = self.members.setdefault(chat_id, Spans())
        for user in [each for each in spans if each not in roles]:
            spans.end(user, self.wrong[chat_id] - 1)
        for user in filter(self._here.has, roles):
            spans.begin(user, id_)
        del self.wrong[chat_id]

    def roster(self, chat_id: ChatId) -> Roster:
        """Return the members of a group that has its home here; nobody if it does not exist."""
        return self.at_home.get(chat_id) or Roster(chat_id)

    def changed_id(self, chat_id: ChatId) -> int:
        """Return the id of the last change of a group; 0 if there was none."""
        return self._changed.get(chat_id, 0)

    def concerned(self, event: Event, users: Collection[UserId]) -> list[UserId]:
        """Return which of these users an event of a group concerns, if they live here. One that
        names recipients concerns nobody else.
        """
        if event.recipient_ids:
            return [user for user in map(UserId, event.recipient_ids) if user in users]
        spans = self.members.get(ChatId(event.chat_id), _NOBODY)
        fewer: Iterable[UserId] = spans if len(spans) < len(users) else users
        return [user for user in fewer if spans.covers(user, event.id)]

    def all_concerned(self, event: Event) -> list[UserId]:
        """Return all who live here and whom an event of a group concerns."""
        if event.recipient_ids:
            return [user for user in map(UserId, event.recipient_ids) if self._here.has(user)]
        spans = self.members.get(ChatId(event.chat_id), _NOBODY)
        return [user for user in spans if spans.covers(user, event.id)]

    def belongs(self, chat_id: ChatId, user_id: UserId) -> bool:
        """Return whether a user who lives here belongs to a group now."""
        return self.members.get(chat_id, _NOBODY).belongs(user_id)

    def covers(self, event: Event, user_id: UserId) -> bool:
        """Return whether an event of a group concerns a user who lives here."""
        if event.recipient_ids:
            return user_id in event.recipient_ids
        return self.members.get(ChatId(event.chat_id), _NOBODY).covers(user_id, event.id)

    def forget(self, event: Event) -> None:
        """Note that nobody asks any more about this event and those before it."""
        if spans := self.members.get(ChatId(event.chat_id)):
            for user in event.membership.removed_ids:
                spans.forget(UserId(user), event.id)

    # -- keeping it

    def parts(self, members_max: int) -> Iterator[tuple[GroupMembers, ...]]:
        """Return all that holds from now on, in at least one part. It depends only on the records
        that were read, so that all readers make the same parts.
        """
        part: list[GroupMembers] = []
        size = 0
        for entry in self._snapshot(members_max):
            if part and size + len(entry.members) > members_max:
                yield tuple(part)
                part, size = [], 0
            part.append(entry)
            size += max(_size(entry), 1)
        yield tuple(part)

    def _snapshot(self, members_max: int) -> Iterator[GroupMembers]:
        for chat_id, spans in sorted(self.members.items()):
            roster = self.at_home.get(chat_id)
            here = sorted(user for user in spans if spans.belongs(user))
            if roster or here:
                members = roster.roles if roster else dict.fromkeys(here, ROLE_UNSPECIFIED)
                yield from self._entries(chat_id, members, roster, members_max)

    def _entries(
        self,
        chat_id: ChatId,
        members: Mapping[UserId, Role.ValueType],
        roster: Roster | None,
        members_max: int,
    ) -> Iterator[GroupMembers]:
        rest = iter(members.items())
        invited = iter(sorted(roster.invited) if roster else ())
        banned = iter(sorted(roster.banned) if roster else ())
        while True:
            entry = GroupMembers(
                chat_id=chat_id,
                changed_id=self._changed[chat_id],
                members=[
                    Appointment(user_id=user, role=role) for user, role in islice(rest, members_max)
                ],
                invited_ids=islice(invited, members_max),
                banned_ids=islice(banned, members_max),
                options=roster.options if roster else None,
                creator_id=(roster and roster.creator_id) or "",
            )
            yield entry
            if _size(entry) < members_max:
                return

    def homes(self, members_max: int) -> Iterator[GroupMembers]:
        """Return those that have their home here, as in a snapshot."""
        return (each for each in self._snapshot(members_max) if each.chat_id in self.at_home)

    @classmethod
    def restored(cls, entries: Iterable[GroupMembers], here: Here) -> Groups:
        """Return the groups as they were when this snapshot was taken."""
        groups = cls(here)
        for entry in entries:
            groups._restore(entry)
        return groups

    def _restore(self, entry: GroupMembers) -> None:
        chat_id = ChatId(entry.chat_id)
        self._changed[chat_id] = entry.changed_id
        self.size += len(entry.members)
        spans = self.members.setdefault(chat_id, Spans())
        for each in entry.members:
            if self._here.has(each.user_id):
                spans.begin(UserId(each.user_id), 0)
        if self._here.has(chat_id):
            roster = self._home_of(chat_id, UserId(entry.creator_id))
            roster.options.CopyFrom(entry.options)
            roster.roles |= {UserId(each.user_id): each.role for each in entry.members}
            roster.invited |= {UserId(user) for user in entry.invited_ids}
            roster.banned |= {UserId(user) for user in entry.banned_ids}


def _size(entry: GroupMembers) -> int:
    return max(len(entry.members), len(entry.invited_ids), len(entry.banned_ids))
