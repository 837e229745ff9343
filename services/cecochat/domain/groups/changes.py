"""What the settled changes of a group say, in whatever order they are read: how each person stands
after a change, when somebody belonged to the group, and which of its events they see.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cecochat.domain.groups.group import Group
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.spans import STILL, Span, Spans
from cecochat.v1.events_pb2 import (
    ROLE_MEMBER,
    ROLE_UNSPECIFIED,
    GroupOptions,
    Membership,
    Role,
)


class Standing(NamedTuple):
    """How somebody stands in a group from an event on."""

    event_id: int
    role: Role.ValueType  # `ROLE_UNSPECIFIED`: not a member
    is_invited: bool = False


class Seen(NamedTuple):
    """What somebody sees of a chat."""

    role: Role.ValueType  # now; `ROLE_UNSPECIFIED`: not a member any more
    as_of: int  # the id at which they see who belongs to the group, and its options
    ranges: tuple[Span, ...]  # the ids of the events that they may read, oldest first
    stays: tuple[Span, ...]  # the ids of those that came while they belonged to it

    def covers(self, id_: int) -> bool:
        """Return whether they may read the event with that id."""
        return any(first_id <= id_ <= last_id for first_id, last_id in self.ranges)

    def overlap(self, first_id: int, last_id: int) -> tuple[int, int]:
        """Return what a span of ids has in common with what they see: from their first event on, up
        to the last if they have left.
        """
        end = STILL if self.role else self.as_of
        return max(first_id, self.ranges[0].first_id), min(last_id, end)


def standings(event_id: int, change: Membership) -> dict[UserId, Standing]:
    """Return how each person whom a settled change names stands after it."""
    found = {
        UserId(user): Standing(event_id, ROLE_UNSPECIFIED, True) for user in change.invited_ids
    }
    found |= {UserId(user): Standing(event_id, ROLE_MEMBER) for user in change.added_ids}
    for each in change.appointments:
        found[UserId(each.user_id)] = Standing(event_id, each.role)
    gone = Standing(event_id, ROLE_UNSPECIFIED)
    return found | {UserId(user): gone for user in change.removed_ids}


def stays(standings: Iterable[Standing]) -> list[Span]:
    """Return when somebody belonged to a group, given all their standings, oldest first."""
    spans = Spans[None]()
    for each in standings:
        if each.role:
            spans.begin(None, each.event_id)
        else:
            spans.end(None, each.event_id)
    return spans.of(None)


def readable(stays: Iterable[Span], shows_past: Iterable[bool]) -> tuple[Span, ...]:
    """Return the ids that somebody may read, given whether the group showed its past when each of
    their stays began.
    """
    ranges: list[Span] = []
    for stay, shows in zip(stays, shows_past, strict=True):
        ranges = [Span(0, stay.last_id)] if shows else [*ranges, stay]
    return tuple(ranges)


def seen(last: Standing, stays: list[Span], shows_past: Iterable[bool], up_to: int) -> Seen | None:
    """Return what somebody sees of a group of which only the events up to the id `up_to` are known;
    None if they never belonged to it. `last` is their last standing.
    """
    if not stays:
        return None
    as_of = min(stays[-1].last_id, up_to)
    ranges = _up_to(as_of, readable(stays, shows_past))
    return Seen(last.role, as_of, ranges, _up_to(as_of, stays))


def _up_to(last_id: int, spans: Sequence[Span]) -> tuple[Span, ...]:
    return (*spans[:-1], spans[-1]._replace(last_id=last_id))


def as_group(
    chat_id: ChatId, people: Iterable[tuple[UserId, Standing]], options: GroupOptions
) -> Group:
    """Return a group after all of these standings. Who came with one event comes in the order of
    their ids.
    """
    group = Group(chat_id)
    group.options.CopyFrom(options)
    for user, standing in sorted(people, key=lambda each: (each[1].event_id, each[0])):
        if standing.role:
            group.roles[user] = standing.role
        else:
            group.roles.pop(user, None)
        (group.invited.add if standing.is_invited else group.invited.discard)(user)
    return group
