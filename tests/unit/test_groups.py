"""Who belongs to a group, and who may do what there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.groups.group import BANNED_MAX, CHANGE_MAX, Group
from cecochat.domain.groups.rights import Act, act_of
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import (
    ROLE_ADMIN,
    ROLE_MEMBER,
    ROLE_MUTED,
    ROLE_OWNER,
    Appointment,
    Deletion,
    Edit,
    GroupOptions,
    Membership,
    Message,
    Reaction,
    Receipt,
)
from cecochat.v1.messaging_pb2 import Send

ANN, BOB, CAROL, DAN = map(UserId, ("ann", "bob", "carol", "dan"))
PEOPLE = (ANN, BOB, CAROL, DAN)
LIMIT = 1_000
OWNS = Appointment(user_id=BOB, role=ROLE_OWNER)


def changed(group: Group, actor: UserId, wanted: Membership, limit: int = LIMIT) -> Group:
    return group.after(group.settle(actor, wanted, limit))


def appointed(user: UserId, role: int) -> Membership:
    return Membership(appointments=[Appointment(user_id=user, role=role)])  # type: ignore[arg-type]


@pytest.fixture
def group() -> Group:
    """Of Ann, the owner, and Bob, an admin, and Carol."""
    new = Membership(added_ids=[BOB, CAROL], options=GroupOptions(name="Us"))
    return changed(changed(Group(ChatId("g:us")), ANN, new), ANN, appointed(BOB, ROLE_ADMIN))


def refused(group: Group, actor: UserId, wanted: Membership, limit: int = LIMIT) -> int:
    with pytest.raises(Refusal) as refusal:
        group.settle(actor, wanted, limit)
    return refusal.value.error_code


def test_who_creates_a_group_owns_it(group: Group) -> None:
    assert group.roles == {ANN: ROLE_OWNER, BOB: ROLE_ADMIN, CAROL: ROLE_MEMBER}


@pytest.mark.parametrize(
    ("wanted", "least"),
    [
        (Membership(added_ids=[DAN]), BOB),
        (Membership(invited_ids=[DAN]), BOB),
        (Membership(removed_ids=[CAROL]), BOB),
        (Membership(options=GroupOptions(name="We")), BOB),
        (Membership(options=GroupOptions(name="Us", is_open=True)), ANN),
        (Membership(options=GroupOptions(name="Us", is_channel=True)), ANN),
        (Membership(options=GroupOptions(name="Us", hides_past=True)), ANN),
        (appointed(CAROL, ROLE_ADMIN), ANN),
        (appointed(CAROL, ROLE_MUTED), BOB),
        (Membership(banned_ids=[DAN]), BOB),
        (Membership(removed_ids=[CAROL], banned_ids=[CAROL]), BOB),
    ],
)
def test_the_table_says_who_may(group: Group, wanted: Membership, least: UserId) -> None:
    members = [CAROL, BOB, ANN]
    for actor in members[members.index(least) :]:
        assert group.settle(actor, wanted, LIMIT) == wanted
    for actor in [each for each in members[: members.index(least)] if each != CAROL]:
        assert refused(group, actor, wanted) == errors_pb2.ERROR_CODE_FORBIDDEN
    assert refused(group, DAN, wanted) == errors_pb2.ERROR_CODE_NOT_FOUND


def test_who_is_muted_reads_and_leaves_and_does_nothing_else(group: Group) -> None:
    muted = changed(group, BOB, appointed(CAROL, ROLE_MUTED))
    for act in (Act.RECEIVE, Act.RETRACT, Act.LEAVE):
        muted.authorise(CAROL, act)
    for act in {*Act} - {Act.RECEIVE, Act.RETRACT, Act.LEAVE}:
        with pytest.raises(Refusal, match="you may not"):
            muted.authorise(CAROL, act)
    assert changed(muted, BOB, appointed(CAROL, ROLE_MEMBER)).roles == group.roles
    assert refused(muted, CAROL, appointed(CAROL, ROLE_MEMBER)) == errors_pb2.ERROR_CODE_FORBIDDEN
    assert refused(group, BOB, appointed(ANN, ROLE_MUTED)) == errors_pb2.ERROR_CODE_FORBIDDEN
    assert refused(group, BOB, appointed(CAROL, ROLE_ADMIN)) == errors_pb2.ERROR_CODE_FORBIDDEN


def test_who_leaves_while_muted_does_not_come_back_unmuted(group: Group) -> None:
    options = GroupOptions(name="Us", is_open=True)
    muted = changed(group, ANN, Membership(options=options))
    muted = changed(muted, BOB, appointed(CAROL, ROLE_MUTED))
    left = changed(muted, CAROL, Membership(removed_ids=[CAROL]))
    assert refused(left, CAROL, Membership(added_ids=[CAROL])) == errors_pb2.ERROR_CODE_NOT_FOUND
    for last in (ANN, BOB):
        muted = changed(muted, last, Membership(removed_ids=[last]))
    assert muted.roles == {CAROL: ROLE_MUTED}, "nobody inherits who may not write"


def test_who_is_banned_is_gone_and_cannot_come_back(group: Group) -> None:
    invited = changed(group, ANN, Membership(invited_ids=[DAN]))
    settled = invited.settle(BOB, Membership(banned_ids=[DAN, CAROL]), LIMIT)
    assert settled == Membership(removed_ids=[DAN, CAROL], banned_ids=[DAN, CAROL])
    banned = invited.after(settled)
    assert {*banned.roles} == {ANN, BOB}
    assert not banned.invited
    opened = changed(banned, ANN, Membership(options=GroupOptions(name="Us", is_open=True)))
    assert refused(opened, DAN, Membership(added_ids=[DAN])) == errors_pb2.ERROR_CODE_NOT_FOUND
    for wanted in (Membership(added_ids=[DAN]), Membership(invited_ids=[CAROL])):
        assert refused(banned, ANN, wanted) == errors_pb2.ERROR_CODE_INVALID_ARGUMENT
    assert banned.settle(BOB, Membership(banned_ids=[DAN]), LIMIT) == Membership()
    free = changed(opened, BOB, Membership(unbanned_ids=[DAN]))
    assert changed(free, DAN, Membership(added_ids=[DAN])).role_of(DAN) == ROLE_MEMBER


@pytest.mark.parametrize(
    "wanted",
    [
        Membership(banned_ids=[BOB]),
        Membership(banned_ids=[DAN], added_ids=[DAN]),
        Membership(banned_ids=[DAN], invited_ids=[DAN]),
        Membership(banned_ids=[DAN], unbanned_ids=[DAN]),
        Membership(banned_ids=["no name"]),
    ],
)
def test_wrong_bans_are_refused(group: Group, wanted: Membership) -> None:
    assert refused(group, BOB, wanted) == errors_pb2.ERROR_CODE_INVALID_ARGUMENT


def test_nobody_bans_who_has_no_lower_role(group: Group) -> None:
    assert refused(group, BOB, Membership(banned_ids=[ANN])) == errors_pb2.ERROR_CODE_FORBIDDEN
    assert refused(group, CAROL, Membership(banned_ids=[DAN])) == errors_pb2.ERROR_CODE_FORBIDDEN


def test_a_group_has_so_many_bans(group: Group) -> None:
    for first in range(0, BANNED_MAX, 100):
        users = [f"user-{number}" for number in range(first, first + 100)]
        group = changed(group, ANN, Membership(banned_ids=users))
    wanted = Membership(banned_ids=[DAN])
    assert refused(group, ANN, wanted) == errors_pb2.ERROR_CODE_INVALID_ARGUMENT


def test_options_of_a_later_version_are_the_owners_as_well(group: Group) -> None:
    later = GroupOptions.FromString(GroupOptions(name="Us").SerializeToString() + b"\x28\x01")
    wanted = Membership(options=later)
    for actor in (BOB, CAROL):
        assert refused(group, actor, wanted) == errors_pb2.ERROR_CODE_FORBIDDEN
    assert group.settle(ANN, wanted, LIMIT) == wanted


def test_only_admins_write_in_a_channel(group: Group) -> None:
    group.authorise(CAROL, Act.SEND)
    channel = changed(group, ANN, Membership(options=GroupOptions(name="Us", is_channel=True)))
    channel.authorise(BOB, Act.SEND)
    with pytest.raises(Refusal, match="you may not write"):
        channel.authorise(CAROL, Act.SEND)


def test_everybody_reacts_and_deletes_their_own_and_admins_moderate(group: Group) -> None:
    options = GroupOptions(name="Us", is_channel=True)
    channel = changed(group, ANN, Membership(options=options))
    for of in (group, channel):
        for act in (Act.RECEIVE, Act.REACT, Act.RETRACT):
            of.authorise(CAROL, act)
        of.authorise(BOB, Act.MODERATE)
        with pytest.raises(Refusal, match="you may not delete messages of other members"):
            of.authorise(CAROL, Act.MODERATE)


@pytest.mark.parametrize(
    ("send", "act"),
    [
        (Send(message=Message(text="hello")), Act.SEND),
        (Send(edit=Edit(message_id=1, text="hello")), Act.SEND),
        (Send(receipt=Receipt(read_up_to=1)), Act.RECEIVE),
        (Send(reaction=Reaction(message_id=1, emoji="👍")), Act.REACT),
        (Send(deletion=Deletion(message_id=1)), Act.RETRACT),
        (Send(deletion=Deletion(message_id=1, as_admin=True)), Act.MODERATE),
    ],
)
def test_each_send_is_an_act(send: Send, act: Act) -> None:
    assert act_of(send) == act


def test_who_is_outside_cannot_tell_whether_a_group_exists(group: Group) -> None:
    other = Group(group.chat_id)
    for act in Act:
        with pytest.raises(Refusal) as here:
            group.authorise(DAN, act)
        with pytest.raises(Refusal) as nowhere:
            other.authorise(DAN, act)
        assert here.value.proto() == nowhere.value.proto()
    for wanted in (Membership(added_ids=[DAN]), Membership(removed_ids=[ANN]), Membership()):
        assert refused(group, DAN, wanted) == errors_pb2.ERROR_CODE_NOT_FOUND


def test_a_group_is_created_once(group: Group) -> None:
    again = Membership(added_ids=[DAN], options=group.options, creates=True)
    assert group.settle(ANN, again, LIMIT) == Membership()
    other = Membership(options=GroupOptions(name="Others"), creates=True)
    for actor, wanted in ((ANN, other), (BOB, again)):
        assert refused(group, actor, wanted) == errors_pb2.ERROR_CODE_INVALID_ARGUMENT
    assert refused(group, DAN, again) == errors_pb2.ERROR_CODE_NOT_FOUND
    created = Group(group.chat_id).settle(ANN, other, LIMIT)
    assert not created.creates
    assert created.options == other.options


def test_joining_takes_an_invitation_or_an_open_group(group: Group) -> None:
    joins = Membership(added_ids=[DAN])
    invited = changed(group, BOB, Membership(invited_ids=[DAN]))
    assert changed(invited, DAN, joins).role_of(DAN) == ROLE_MEMBER
    is_open = changed(group, ANN, Membership(options=GroupOptions(name="Us", is_open=True)))
    assert changed(is_open, DAN, joins).role_of(DAN) == ROLE_MEMBER


def test_who_is_added_is_not_invited_as_well(group: Group) -> None:
    both = Membership(added_ids=[DAN], invited_ids=[DAN])
    assert group.settle(ANN, both, LIMIT) == Membership(added_ids=[DAN])


def test_an_invitation_is_good_for_one_coming(group: Group) -> None:
    invited = changed(group, BOB, Membership(invited_ids=[DAN]))
    left = changed(changed(invited, DAN, Membership(added_ids=[DAN])), DAN, leaves(DAN))
    assert refused(left, DAN, Membership(added_ids=[DAN])) == errors_pb2.ERROR_CODE_NOT_FOUND


def test_an_invitation_can_be_withdrawn(group: Group) -> None:
    invited = changed(group, BOB, Membership(invited_ids=[DAN]))
    assert refused(invited, CAROL, leaves(DAN)) == errors_pb2.ERROR_CODE_FORBIDDEN
    withdrawn = changed(invited, BOB, leaves(DAN))
    assert refused(withdrawn, DAN, Membership(added_ids=[DAN])) == errors_pb2.ERROR_CODE_NOT_FOUND


def test_no_more_people_are_invited_than_may_be_members(group: Group) -> None:
    invited = changed(group, BOB, Membership(invited_ids=["a", "b", "c"]), 3)
    with pytest.raises(Invalid, match="invite 3 people"):
        invited.settle(BOB, Membership(invited_ids=["d"]), 3)
    assert changed(invited, BOB, Membership(removed_ids=["a"]), 1).invited == {"b", "c"}


def leaves(user: UserId) -> Membership:
    return Membership(removed_ids=[user])


def test_of_two_admins_who_remove_each_other_the_first_stays(group: Group) -> None:
    both = changed(group, ANN, appointed(CAROL, ROLE_ADMIN))
    assert refused(both, BOB, leaves(CAROL)) == errors_pb2.ERROR_CODE_FORBIDDEN
    after = changed(changed(both, ANN, leaves(BOB)), CAROL, Membership(added_ids=[BOB]))
    assert after.role_of(BOB) == ROLE_MEMBER


def test_the_owner_who_appoints_another_becomes_an_admin(group: Group) -> None:
    after = changed(group, ANN, appointed(CAROL, ROLE_OWNER))
    assert after.roles == {ANN: ROLE_ADMIN, BOB: ROLE_ADMIN, CAROL: ROLE_OWNER}


def test_the_system_appoints_an_owner_and_changes_nothing_else(group: Group) -> None:
    muted = changed(group, ANN, appointed(CAROL, ROLE_MUTED))
    after = muted.after(muted.hand_over(appointed(CAROL, ROLE_OWNER)))
    assert after.roles == {ANN: ROLE_ADMIN, BOB: ROLE_ADMIN, CAROL: ROLE_OWNER}
    assert Group.of(after).hand_over(appointed(CAROL, ROLE_OWNER)) == Membership()
    for wanted in (
        Membership(),
        appointed(CAROL, ROLE_ADMIN),
        appointed(DAN, ROLE_OWNER),
        Membership(removed_ids=[BOB]),
        Membership(appointments=[OWNS], added_ids=[DAN]),
        Membership(appointments=[OWNS], options=GroupOptions(name="Mine")),
        Membership(options=GroupOptions(name="Us"), creates=True),
    ):
        with pytest.raises(Invalid):
            group.hand_over(wanted)
    with pytest.raises(Refusal, match="no group"):
        Group(ChatId("g:none")).hand_over(appointed(ANN, ROLE_OWNER))


def test_an_owner_who_leaves_has_an_heir(group: Group) -> None:
    settled = group.settle(ANN, leaves(ANN), LIMIT)
    assert [*settled.appointments] == [Appointment(user_id=BOB, role=ROLE_OWNER)]
    assert group.after(settled).roles == {BOB: ROLE_OWNER, CAROL: ROLE_MEMBER}


def test_nobody_comes_back_to_a_group_that_all_have_left(group: Group) -> None:
    for user in (ANN, BOB, CAROL):
        group = changed(group, user, leaves(user))
    assert group.exists
    assert not group.roles
    again = Membership(options=GroupOptions(name="Mine now"))
    assert refused(group, ANN, again) == errors_pb2.ERROR_CODE_NOT_FOUND


def test_a_full_group_takes_nobody(group: Group) -> None:
    with pytest.raises(Invalid, match="may have 3 members"):
        group.settle(ANN, Membership(added_ids=[DAN]), 3)
    assert changed(group, BOB, leaves(CAROL), 1).roles.keys() == {ANN, BOB}, "a lower limit"


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Membership(added_ids=["no id!"]), "is no user id"),
        (Membership(added_ids=[f"u{n}" for n in range(CHANGE_MAX + 1)]), "make several changes"),
        (Membership(added_ids=[DAN], removed_ids=[DAN]), "add and remove the same"),
        (Membership(removed_ids=[BOB], appointments=[OWNS]), "remove and appoint the same"),
        (Membership(options=GroupOptions(name=" ")), "needs a name"),
        (Membership(options=GroupOptions(name="n" * 129)), "needs a name"),
        (appointed(DAN, ROLE_ADMIN), "not a member"),
        (appointed(ANN, ROLE_MEMBER), "your own role"),
        (appointed(BOB, 9), "is no role"),
    ],
)
def test_nonsense_is_refused(group: Group, wanted: Membership, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        group.settle(ANN, wanted, LIMIT)


users = st.sampled_from(PEOPLE)
some = st.lists(users, max_size=2, unique=True)
roles = st.sampled_from([ROLE_MEMBER, ROLE_ADMIN, ROLE_OWNER])
appointments = st.lists(st.builds(Appointment, user_id=users, role=roles), max_size=1)
options = st.none() | st.builds(
    GroupOptions, name=st.sampled_from(["Us", "We"]), is_open=st.booleans()
)
changes = st.builds(
    Membership,
    added_ids=some,
    removed_ids=some,
    invited_ids=some,
    appointments=appointments,
    options=options,
)


@given(st.lists(st.tuples(users, changes), max_size=30))
def test_whatever_people_do(done: list[tuple[UserId, Membership]]) -> None:
    """A group with members has one owner, invites only others, and takes nothing twice."""
    group = Group(ChatId("g:us"))
    for actor, wanted in done:
        try:
            settled = group.settle(actor, wanted, 3)
        except Refusal:
            continue
        before, group = group, group.after(settled)
        assert [*group.roles.values()].count(ROLE_OWNER) == (1 if group.roles else 0)
        assert not group.invited & group.roles.keys()
        assert len(group.roles) <= 3
        assert len(group.invited) <= 3
        assert vars(group.after(settled)) == vars(group), "twice is once"
        if not settled.ByteSize():
            assert vars(group) == vars(before), "what is empty changes nothing"
