"""One group: its members, and what each change of them comes to.

The owner of the group's home partition checks a change against all that it has accepted before, and
writes down what it comes to. Whoever reads that applies it as it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.groups.rights import Act, may, not_found
from cecochat.domain.log.ids import ChatId, UserId, fellow
from cecochat.domain.log.roster import Roster
from cecochat.domain.printable import printable
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import (
    ROLE_ADMIN,
    ROLE_MEMBER,
    ROLE_MUTED,
    ROLE_OWNER,
    Appointment,
    GroupOptions,
    Membership,
)

NAME_MAX = 128
BANNED_MAX = 1_000
CHANGE_MAX = 100
"""How many people one change may name, so that no event grows with its group."""


class Group(Roster):
    """A group whose changes are checked."""

    @classmethod
    def of(cls, roster: Roster) -> Group:
        """Return the group with these members. It follows what becomes of them."""
        group = cls(roster.chat_id, roster.creator_id)
        group.options, group.roles = roster.options, roster.roles
        group.invited, group.banned = roster.invited, roster.banned
        return group

    def authorise(self, user: UserId, act: Act) -> None:
        """Raise `Refusal` if a user may not do that here. Who does not belong to a group cannot
        tell whether it exists.
        """
        role = self.role_of(user)
        if not role:
            raise not_found(self.chat_id)
        if not may(role, act, self.options):
            raise _forbidden(f"you may not {act.value}: ask somebody with a higher role")

    # -- changes

    def settle(self, actor: UserId, wanted: Membership, members_max: int) -> Membership:
        """Return what a change comes to, which is empty if all of it is so already. Raises
        `Refusal` if the actor may not do that.
        """
        _check(wanted, self.chat_id)
        if not self.exists:
            settled = self._new(actor, wanted)
        elif wanted.creates:
            settled = self._made(actor, wanted)
        else:
            settled = self._allowed(actor, wanted)
        after = self.after(settled)
        if not members_max and not self.exists:
            raise _forbidden("nobody may create groups here: ask an operator")
        if len(after.roles) > max(members_max, len(self.roles)):
            raise Invalid(f"a group may have {members_max} members: remove some first")
        if len(after.invited) > max(members_max, len(self.invited)):
            raise Invalid(f"a group may invite {members_max} people: remove some first")
        if len(after.banned) > max(BANNED_MAX, len(self.banned)):
            raise Invalid(f"a group may ban {BANNED_MAX} people: lift some bans first")
        if ROLE_OWNER not in after.roles.values() and (heir := _heir(after)):
            settled.appointments.append(Appointment(user_id=heir, role=ROLE_OWNER))
        return settled

    def hand_over(self, wanted: Membership) -> Membership:
        """Return what it comes to if the system, which belongs to no group, appoints an owner; it
        changes nothing else. Raises `Refusal`.
        """
        _check(wanted, self.chat_id)
        if not self.exists:
            raise not_found(self.chat_id)
        owns = [each for each in wanted.appointments if each.role == ROLE_OWNER]
        if not owns or wanted != Membership(appointments=owns):
            raise Invalid("as_system appoints an owner and changes nothing else: act as a member")
        heir = UserId(owns[0].user_id)
        if not self.role_of(heir):
            raise Invalid(f"{heir} is not a member: add them first")
        if self.role_of(heir) == ROLE_OWNER:
            return Membership()
        before = (user for user, role in self.roles.items() if role == ROLE_OWNER)
        admins = [Appointment(user_id=user, role=ROLE_ADMIN) for user in before]
        return Membership(appointments=[*admins, *owns])

    def _new(self, actor: UserId, wanted: Membership) -> Membership:
        if not wanted.options.name:
            raise not_found(self.chat_id)
        if wanted.removed_ids or wanted.appointments or wanted.banned_ids or wanted.unbanned_ids:
            raise Invalid("a new group has nobody to remove, appoint or ban: create it first")
        return Membership(
            added_ids=dict.fromkeys([actor, *wanted.added_ids]),
            appointments=[Appointment(user_id=actor, role=ROLE_OWNER)],
            invited_ids=sorted({*wanted.invited_ids} - {actor, *wanted.added_ids}),
            options=wanted.options,
        )

    def _made(self, actor: UserId, wanted: Membership) -> Membership:
        """What it comes to if somebody creates this group once more: nothing, if it is theirs."""
        if actor not in self.roles:
            raise not_found(self.chat_id)
        if self.role_of(actor) != ROLE_OWNER or wanted.options != self.options:
            raise Invalid(f"you belong to {self.chat_id} already: change it, or choose another id")
        return Membership()

    def _allowed(self, actor: UserId, wanted: Membership) -> Membership:
        settled = Membership(
            added_ids=self._added(actor, wanted.added_ids),
            removed_ids=self._removed(actor, [*wanted.removed_ids, *wanted.banned_ids]),
            invited_ids=self._invited(actor, {*wanted.invited_ids} - {*wanted.added_ids}),
            banned_ids=self._banned(actor, wanted),
            unbanned_ids=self._unbanned(actor, wanted.unbanned_ids),
        )
        settled.appointments.extend(self._appointed(actor, wanted.appointments))
        if wanted.HasField("options") and wanted.options != self.options:
            self._authorise_options(actor, wanted.options)
            settled.options.CopyFrom(wanted.options)
        return settled

    def _added(self, actor: UserId, users: Iterable[str]) -> list[UserId]:
        new = [UserId(each) for each in dict.fromkeys(users) if UserId(each) not in self.roles]
        if new == [actor]:
            if not self.options.is_open and actor not in self.invited:
                raise not_found(self.chat_id)
        elif new or not self.role_of(actor):
            self.authorise(actor, Act.ADD)
        self._check_banned(actor, new)
        return new

    def _check_banned(self, actor: UserId, users: Iterable[UserId]) -> None:
        """Raise `Refusal` if one of these is banned, who then cannot tell whether the group
        exists.
        """
        if banned := self.banned.intersection(users):
            if actor in banned:
                raise not_found(self.chat_id)
            raise Invalid(f"{min(banned)} is banned: lift that first")

    def _banned(self, actor: UserId, wanted: Membership) -> list[UserId]:
        """Return who is banned from now on. Members among them had a lower role than the actor, or
        they could not be removed. Who leaves while muted is, too, or would come back unmuted.
        """
        named = map(UserId, dict.fromkeys(wanted.banned_ids))
        new = [each for each in named if each not in self.banned]
        if new:
            self.authorise(actor, Act.BAN)
        if actor in new:
            raise Invalid("you cannot ban yourself: leave instead")
        sheds = actor in wanted.removed_ids and self.role_of(actor) == ROLE_MUTED
        return [*new, actor] if sheds else new

    def _unbanned(self, actor: UserId, users: Iterable[str]) -> list[UserId]:
        free = sorted(self.banned.intersection(map(UserId, users)))
        if free:
            self.authorise(actor, Act.BAN)
        return free

    def _removed(self, actor: UserId, users: Iterable[str]) -> list[UserId]:
        """Return who goes. To remove somebody who is only invited withdraws the invitation."""
        here = self.roles.keys() | self.invited
        gone = [UserId(each) for each in dict.fromkeys(users) if UserId(each) in here]
        for user in gone:
            self.authorise(actor, Act.LEAVE if user == actor else Act.REMOVE)
            if user != actor and self.role_of(user) >= self.roles[actor]:
                raise _forbidden(f"{user} does not have a lower role than you: ask the owner")
        return gone

    def _invited(self, actor: UserId, users: set[str]) -> list[str]:
        if not users:
            return []
        self.authorise(actor, Act.INVITE)
        new = sorted(users - self.roles.keys() - self.invited)
        self._check_banned(actor, map(UserId, new))
        return new

    def _appointed(
        self, actor: UserId, appointments: Iterable[Appointment]
    ) -> Iterator[Appointment]:
        """The owner who appoints another owner is an admin from then on."""
        for each in appointments:
            role = self.role_of(UserId(each.user_id))
            mutes = {role, each.role} == {ROLE_MUTED, ROLE_MEMBER}
            self.authorise(actor, Act.MUTE if mutes else Act.APPOINT)
            if not role:
                raise Invalid(f"{each.user_id} is not a member: add them first")
            if each.user_id == actor:
                raise Invalid("you cannot change your own role: appoint another owner, or leave")
            if each.role == ROLE_OWNER:
                yield Appointment(user_id=actor, role=ROLE_ADMIN)
            if each.role != role:
                yield each

    def _authorise_options(self, actor: UserId, options: GroupOptions) -> None:
        if options.name != self.options.name:
            self.authorise(actor, Act.RENAME)
        renamed = GroupOptions()
        renamed.CopyFrom(self.options)
        renamed.name = options.name
        if options != renamed:  # options of later versions count as well
            self.authorise(actor, Act.CONFIGURE)


def _check(wanted: Membership, chat_id: ChatId) -> None:
    named = (
        *wanted.added_ids,
        *wanted.removed_ids,
        *wanted.invited_ids,
        *wanted.banned_ids,
        *wanted.unbanned_ids,
        *(each.user_id for each in wanted.appointments),
    )
    for text in named:
        fellow(chat_id, text)
    if len(named) > CHANGE_MAX:
        raise Invalid(f"one change may name {CHANGE_MAX} people: make several changes")
    if len(wanted.appointments) > 1:
        raise Invalid("one change may appoint one person: make several changes")
    if {*wanted.added_ids} & {*wanted.removed_ids}:
        raise Invalid("one change cannot add and remove the same person: decide for one of them")
    if {*wanted.banned_ids} & {*wanted.added_ids, *wanted.invited_ids, *wanted.unbanned_ids}:
        raise Invalid("one change cannot ban and let in the same person: decide for one of them")
    if {*wanted.removed_ids, *wanted.banned_ids} & {each.user_id for each in wanted.appointments}:
        raise Invalid("one change cannot remove and appoint the same person: decide for one")
    for each in wanted.appointments:
        if each.role not in (ROLE_MUTED, ROLE_MEMBER, ROLE_ADMIN, ROLE_OWNER):
            raise Invalid(f"{each.role} is no role: use muted, member, admin or owner")
    name = wanted.options.name
    if wanted.HasField("options") and not (name.strip() and len(name) <= NAME_MAX):
        raise Invalid(f"a group needs a name of 1 to {NAME_MAX} characters, not {name[:80]!r}")
    if printable(name) != name or len(name.splitlines()) > 1:
        raise Invalid("a group's name has a character that is not shown as text: leave it out")


def _heir(group: Group) -> UserId | None:
    """Of those with the highest role, the one who came first; None: nobody who may write."""
    known = [user for user, role in group.roles.items() if role >= ROLE_MEMBER]
    return max(known, key=lambda user: group.roles[user]) if known else None


def _forbidden(message: str) -> Refusal:
    return Refusal(errors_pb2.ERROR_CODE_FORBIDDEN, message)
