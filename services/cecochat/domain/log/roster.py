"""The members of one group, as its events have made them."""

from __future__ import annotations

from typing import TypeVar

from cecochat.domain.log.ids import ChatId, UserId
from cecochat.v1.events_pb2 import (
    ROLE_MEMBER,
    ROLE_UNSPECIFIED,
    GroupOptions,
    Membership,
    Role,
)

Self = TypeVar("Self", bound="Roster")


class Roster:
    """The members of a group after some of its events, with their roles. Nobody is a member of a
    group that does not exist, and of one that all have left.
    """

    def __init__(self, chat_id: ChatId, creator_id: UserId | None = None) -> None:
        self.chat_id = chat_id
        self.creator_id = creator_id
        self.options = GroupOptions()
        self.roles: dict[UserId, Role.ValueType] = {}  # in the order of their coming
        self.invited: set[UserId] = set()
        self.banned: set[UserId] = set()

    @property
    def exists(self) -> bool:
        """Whether it was created, even if all have left it since."""
        return bool(self.options.name)

    def role_of(self, user: UserId) -> Role.ValueType:
        """Return the role of a user; `ROLE_UNSPECIFIED` if they are not a member."""
        return self.roles.get(user, ROLE_UNSPECIFIED)

    def apply(self, change: Membership) -> None:
        """Take in a change that was settled."""
        if change.HasField("options"):
            self.options.CopyFrom(change.options)
        self.roles |= {UserId(user): ROLE_MEMBER for user in change.added_ids}
        self.roles |= {UserId(each.user_id): each.role for each in change.appointments}
        for user in change.removed_ids:
            self.roles.pop(UserId(user), None)
        self.invited |= {UserId(user) for user in change.invited_ids}
        self.invited -= {UserId(user) for user in (*change.added_ids, *change.removed_ids)}
        self.banned |= {UserId(user) for user in change.banned_ids}
        self.banned -= {UserId(user) for user in change.unbanned_ids}

    def after(self: Self, change: Membership) -> Self:
        """Return the group as it is after a change that was settled; this one stays as it is."""
        group = type(self)(self.chat_id, self.creator_id)
        group.options.CopyFrom(self.options)
        group.roles, group.invited = dict(self.roles), set(self.invited)
        group.banned = set(self.banned)
        group.apply(change)
        return group
