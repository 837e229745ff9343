"""What the owner of a group's home partition decides: who may do what there, and which sends that
other owners ask for are accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from cecochat.domain.errors import Refusal
from cecochat.domain.groups.group import Group
from cecochat.domain.groups.rights import act_of
from cecochat.domain.log.groups import Groups
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.limits import SendLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Origin
from cecochat.domain.ownership import refusals
from cecochat.domain.ownership.asks import Answer, Asked, AskedSend, Known, Left, Result, Taken
from cecochat.domain.ownership.owner import Owner
from cecochat.v1.events_pb2 import Membership
from cecochat.v1.messaging_pb2 import Send

RECEIPTS_TOLD_MAX = 100
"""In a group with more members, receipts are told to the devices of their user alone: if all told
all, each message would cost the square of the members. The history has them all.
"""


BY_SYSTEM: Final = ("message", "deletion")
"""What the system does in a group without belonging to it, besides appointing an owner."""


class Ahead(NamedTuple):
    """A group after a change that was accepted and may not have been read back."""

    group: Group
    changed_id: int


class Latest(NamedTuple):
    """The latest request of a partition that was looked at."""

    epoch: Place
    number: int


class Home:
    """The home of groups, for its owner, whose epoch is the life of this object.

    Changes are checked against all that was accepted before, read back or not: if an origin turns
    out not to count, no later one of this epoch does.
    """

    def __init__(
        self, owner: Owner, limits: SendLimits, check: Callable[[UserId, Send, bool], None]
    ) -> None:
        """Make the home of an owner. `limits` may change; `check` raises `Refusal` for a send that
        is not accepted whatever its group is. It is told whether the system sends it.
        """
        self._limits = limits
        self._check = check
        self._owner = owner
        self._ahead: dict[ChatId, Ahead] = {}
        self._latest: dict[int, Latest] = {}
        self._targets: dict[ChatId, tuple[int, frozenset[int]]] = {}

    @property
    def _groups(self) -> Groups:
        groups = self._owner.fold.groups
        assert groups, "an owner knows groups"
        return groups

    # -- sends

    def accept(
        self, user_id: UserId, send: Send, now_ms: int, *, as_system: bool = False
    ) -> Origin:
        """Return the record to append for a send of a user to a group that is no repeat;
        `as_system`: who need not belong to it to write, delete and appoint its owner. Raises
        `Refusal`, and changes nothing then.
        """
        self._check(user_id, send, as_system)
        group = self._group(ChatId(send.chat_id))
        if send.HasField("membership"):
            settled = self._settled(user_id, send.membership, group, as_system)
            return self._accept_change(user_id, send, settled, group, now_ms)
        if not (as_system and group.exists and send.WhichOneof("body") in BY_SYSTEM):
            group.authorise(user_id, act_of(send))
        if send.HasField("receipt") and len(group.roles) > RECEIPTS_TOLD_MAX:
            return self._append(user_id, send, now_ms, self._elsewhere([user_id]), (user_id,))
        return self._append(user_id, send, now_ms, self._targets_of(group))

    def _settled(
        self, user_id: UserId, wanted: Membership, group: Group, as_system: bool
    ) -> Membership:
        if as_system:
            return group.hand_over(wanted)
        return group.settle(user_id, wanted, self._limits.of(user_id).members_max)

    def _accept_change(
        self, user_id: UserId, send: Send, change: Membership, group: Group, now_ms: int
    ) -> Origin:
        settled = Send()
        settled.CopyFrom(send)
        settled.membership.CopyFrom(change)
        if not group.exists:
            self._check_made(user_id)
            group.creator_id = user_id
        after, targets = group.after(change), self._targets_of(group)
        new = self._partitions(after) - targets
        origin = self._append(user_id, settled, now_ms, targets | new)
        origin.new_targets = tuple(sorted(new))
        self._ahead[group.chat_id] = Ahead(after, origin.id)
        return origin

    def _check_made(self, user_id: UserId) -> None:
        """Check that a user may make one more group here. All groups are kept in memory, also those
        that all have left, since nobody else is to get their ids.
        """
        groups = self._groups
        for chat_id, ahead in list(self._ahead.items()):
            if groups.changed_id(chat_id) >= ahead.changed_id:
                del self._ahead[chat_id]
        new = sum(
            each.group.creator_id == user_id and chat_id not in groups.at_home
            for chat_id, each in self._ahead.items()
        )
        made_max = self._limits.of(user_id).made_max
        if groups.made[user_id] + new >= made_max:
            raise refusals.too_many_groups(made_max)

    def _append(
        self,
        user_id: UserId,
        send: Send,
        now_ms: int,
        targets: frozenset[int],
        recipients: tuple[UserId, ...] = (),
    ) -> Origin:
        """Return a record for all members, or for these recipients alone."""
        origin = self._owner.accept(user_id, send, recipients, now_ms)
        origin.targets = tuple(sorted(targets))
        origin.changed_id = self._changed_id(ChatId(send.chat_id))
        return origin

    def _group(self, chat_id: ChatId) -> Group:
        """Return a group after all that was accepted."""
        groups = self._groups
        ahead = self._ahead.get(chat_id)
        if ahead and groups.changed_id(chat_id) < ahead.changed_id:
            return ahead.group
        self._ahead.pop(chat_id, None)
        return Group.of(groups.roster(chat_id))

    def _targets_of(self, group: Group) -> frozenset[int]:
        chat_id = group.chat_id
        changed_id = self._changed_id(chat_id)
        known = self._targets.get(chat_id)
        if known is None or known[0] != changed_id:
            known = self._targets[chat_id] = changed_id, self._partitions(group)
        return known[1]

    def _changed_id(self, chat_id: ChatId) -> int:
        ahead = self._ahead.get(chat_id)
        return ahead.changed_id if ahead else self._groups.changed_id(chat_id)

    def _partitions(self, group: Group) -> frozenset[int]:
        """Return the other partitions where members live."""
        return self._elsewhere(group.roles)

    def _elsewhere(self, users: Iterable[UserId]) -> frozenset[int]:
        """Return the other partitions where these users live."""
        here = self._owner.here
        return frozenset(map(here.partition_of, users)) - {here.partition}

    # -- requests

    def answer(self, asked: Asked, now_ms: int) -> tuple[Answer, list[Origin]]:
        """Return the answer to a request, and the records to append.

        A request for another owner, or one that its asker has given up since, is not looked at:
        what it asks for may have been refused meanwhile, or asked for once more.
        """
        owner = self._owner
        if not owner.ready or owner.epoch is None:
            return Answer(NOWHERE, ()), []
        if not self._is_for(asked) or self._is_overtaken(asked):
            return Answer(owner.epoch, ()), []
        self._latest[asked.partition] = Latest(asked.epoch, asked.number)
        origins: list[Origin] = []
        results = tuple(self._results(asked, now_ms, origins))
        last = owner.fold.chain.last_for(asked.partition).origin
        return Answer(owner.epoch, results, last), origins

    def _is_for(self, asked: Asked) -> bool:
        return self._owner.epoch is not None and self._owner.epoch.is_same(asked.home_epoch)

    def _is_overtaken(self, asked: Asked) -> bool:
        latest = self._latest.get(asked.partition)
        if latest is None or asked.epoch.lies_above(latest.epoch):
            return False
        return latest.epoch.lies_above(asked.epoch) or asked.number <= latest.number

    def _results(self, asked: Asked, now_ms: int, origins: list[Origin]) -> Iterator[Result]:
        refused: set[UserId] = set()
        for each in asked.sends:
            result = Left() if each.user_id in refused else self._take(asked, each, now_ms, origins)
            if isinstance(result, Refusal):
                refused.add(each.user_id)
            yield result

    def _take(
        self, asked: Asked, asked_send: AskedSend, now_ms: int, origins: list[Origin]
    ) -> Taken | Known | Refusal:
        user_id, send, verdict = asked_send
        if repeated := self._owner.repeat_of(user_id, send):
            return repeated
        if not self._knows(asked):
            return refusals.catch_up()
        if verdict:
            return verdict
        try:
            origins.append(self.accept(user_id, send, now_ms))
        except Refusal as refusal:
            return refusal
        return Taken()

    def _knows(self, asked: Asked) -> bool:
        """Return whether this owner knows every send that was accepted and of which the asker has
        read no copy. Whatever is accepted for a client concerns its partition. To know the latest
        ones makes it quick: else it would wait for all copies that are under way.
        """
        last = self._owner.fold.chain.last_for(asked.partition).origin
        return self._owner.sent.covers_place(asked.high) or not last.lies_above(asked.high)
