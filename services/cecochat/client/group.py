"""What a group is, who belongs to it, and what changes there: plain, immutable values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from cecochat.domain.log import ids
from cecochat.v1 import events_pb2, history_pb2

Role = Literal["muted", "member", "admin", "owner"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """What a group is called, and what holds in it.

    - `is_channel`: only admins and the owner write.
    - `is_open`: whoever knows its id may join; otherwise only those who are invited.
    - `hides_past`: new members see nothing of what was said before they came.
    """

    name: str
    is_channel: bool = False
    is_open: bool = False
    hides_past: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who belongs to a group, or is only invited; `role` is then None."""

    user_id: str
    role: Role | None
    is_invited: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A group, as it is after the events up to the id `as_of`.

    `role` is what the user is there; None if the user has left it. All this is then as it was when
    the user left.
    """

    chat_id: str
    options: GroupOptions
    role: Role | None
    as_of: int

    @property
    def name(self) -> str:
        """What the group is called."""
        return self.options.name


@dataclass(frozen=True, slots=True)
class Members:
    """A page of those who belong to a group and those who are invited, sorted by user id."""

    members: list[Member]
    has_more: bool
    as_of: int  # it is so after the events up to this id


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What `user_id` has changed in a group: from this event on, all that is given is so.

    It is what the change came to, so it is empty if all of it was so before. What this device has
    asked for itself does not arrive; the history has it.
    """

    id: int
    chat_id: str
    user_id: str
    added: tuple[str, ...] = ()  # they are members now
    removed: tuple[str, ...] = ()  # they left or had to go, or are no longer invited
    invited: tuple[str, ...] = ()
    appointed: tuple[Member, ...] = ()  # members who have another role now
    options: GroupOptions | None = None  # all of them, if any of them has changed
    client_message_id: str = ""
    banned: tuple[str, ...] = ()  # they cannot come back until that is lifted
    unbanned: tuple[str, ...] = ()

    @property
    def sent_at(self) -> datetime:
        """The time at which the server accepted it, in UTC."""
        return datetime.fromtimestamp(ids.time_ms(self.id) / 1_000, UTC)

    @property
    def is_first(self) -> bool:
        """Whether this created the group."""
        return self.options is not None and self.user_id in self.added


def to_proto(options: GroupOptions) -> events_pb2.GroupOptions:
    """Convert the options of a group."""
    return events_pb2.GroupOptions(
        name=options.name,
        is_channel=options.is_channel,
        is_open=options.is_open,
        hides_past=options.hides_past,
    )


def options_of(options: events_pb2.GroupOptions) -> GroupOptions:
    """Convert the options of a group."""
    return GroupOptions(options.name, options.is_channel, options.is_open, options.hides_past)


def role_number(role: Role) -> events_pb2.Role.ValueType:
    """Return the number of a role."""
    return events_pb2.Role.Value(f"ROLE_{role}".upper())  # that of "muted" is below 0


def role_of(role: events_pb2.Role.ValueType) -> Role | None:
    """Convert a role. One that only later versions know counts as the nearest that is less."""
    known = {role_number(each): each for each in ROLES}
    if not role:
        return None
    return known.get(role) or ("member" if role > 0 else "muted")


def group_change_of(event: events_pb2.Event) -> GroupChange:
    """Convert an event that is a change of a group."""
    change = event.membership
    return GroupChange(
        event.id,
        event.chat_id,
        event.user_id,
        tuple(change.added_ids),
        tuple(change.removed_ids),
        tuple(change.invited_ids),
        tuple(Member(each.user_id, role_of(each.role)) for each in change.appointments),
        options_of(change.options) if change.HasField("options") else None,
        event.client_message_id,
        tuple(change.banned_ids),
        tuple(change.unbanned_ids),
    )


def group_of(chat_id: str, answer: history_pb2.GetGroupResponse) -> Group:
    """Convert what the history says of a group."""
    return Group(chat_id, options_of(answer.options), role_of(answer.role), answer.as_of)


def members_of(answer: history_pb2.ListMembersResponse) -> Members:
    """Convert a page of the members of a group."""
    found = [Member(each.user_id, role_of(each.role), each.is_invited) for each in answer.members]
    return Members(found, answer.has_more, answer.as_of)
