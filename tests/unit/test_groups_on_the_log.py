"""What a partition's log says of groups, and what of that is kept in state records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.errors import Invalid
from cecochat.domain.groups.group import Group
from cecochat.domain.log.chain import Here
from cecochat.domain.log.groups import Groups
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.v1.events_pb2 import Event, GroupOptions, Membership

PEOPLE = [UserId(f"user-{number}") for number in range(6)]
LIVES = {user: number % 3 for number, user in enumerate(PEOPLE)} | {UserId("g:us"): 0}
CHAT = ChatId("g:us")
CHANGES = st.lists(st.tuples(st.sampled_from(PEOPLE[1:]), st.sampled_from("+-ibu")), max_size=25)
NAMED = {"+": "added_ids", "-": "removed_ids", "i": "invited_ids", "b": "banned_ids"}
NAMED |= {"u": "unbanned_ids"}


def here(partition: int) -> Here:
    return Here(partition, LIVES.__getitem__)


def events(wanted: list[tuple[UserId, str]]) -> list[tuple[Event, int]]:
    """What the home writes down, each with the change before it."""
    group, events_, changed_id = Group(CHAT), [], 0
    changes = [Membership(added_ids=PEOPLE[1:2], options=GroupOptions(name="us"))]
    for user, what in wanted:
        changes.append(Membership(**{NAMED[what]: [user]}))  # type: ignore[arg-type]
    for id_, change in enumerate(changes, start=1):
        try:
            settled = group.settle(PEOPLE[0], change, 100)
        except Invalid:  # somebody who is banned
            continue
        group = group.after(settled)
        events_.append((Event(id=id_, chat_id=CHAT, membership=settled), changed_id))
        changed_id = id_
    return events_


def read(groups: Groups, told: list[tuple[Event, int]]) -> Groups:
    for event, changed_id in told:
        groups.take(event, changed_id)
    return groups


def known(groups: Groups) -> object:
    roster = groups.roster(CHAT)
    return list(roster.roles.items()), roster.invited, roster.banned, roster.options.name


@given(CHANGES, st.integers(0, 25), st.integers(1, 4), st.sampled_from([0, 1]))
def test_who_begins_at_a_state_record_knows_what_who_has_read_all_knows(
    wanted: list[tuple[UserId, str]], until: int, members_max: int, partition: int
) -> None:
    told = events(wanted)
    whole = read(Groups(here(partition)), told[:until])
    parts = list(whole.parts(members_max))
    assert all(len(each.members) <= members_max for part in parts for each in part)
    begun = Groups.restored((each for part in parts for each in part), here(partition))
    assert list(begun.parts(members_max)) == parts, "whoever writes it, it is the same"
    read(whole, told[until:])
    read(begun, told[until:])
    assert known(begun) == known(whole)
    for event, _ in told[until:]:
        assert sorted(begun.concerned(event, PEOPLE)) == sorted(whole.concerned(event, PEOPLE))


@given(CHANGES)
def test_members_get_what_happens_from_when_they_come_until_they_go(
    wanted: list[tuple[UserId, str]],
) -> None:
    told = events(wanted)
    groups = read(Groups(here(0)), told)
    assert not groups.wrong
    belongs: set[str] = set()
    for event, _ in told:
        before, change = set(belongs), event.membership
        belongs = (belongs | {*change.added_ids}) - {*change.removed_ids}
        those = {user for user in before | belongs if LIVES[UserId(user)] == 0}
        assert set(groups.concerned(event, PEOPLE)) == those


def test_a_change_that_is_missing_shows_and_the_home_puts_it_right() -> None:
    told = events([(PEOPLE[4], "+"), (PEOPLE[4], "-"), (PEOPLE[4], "+")])
    groups = read(Groups(here(1)), told[:2] + told[3:])
    assert groups.wrong == {CHAT: told[3][0].id}
    groups.correct(read(Groups(here(0)), told), CHAT, told[3][0].id)
    assert not groups.wrong
    assert groups.concerned(told[3][0], PEOPLE) == [PEOPLE[1], PEOPLE[4]]


def test_a_home_goes_on_without_a_change_that_has_vanished() -> None:
    told = events([(PEOPLE[3], "+"), (PEOPLE[4], "+"), (PEOPLE[2], "+")])
    groups = read(Groups(here(0)), [*told[:2], *told[3:]])
    assert not groups.wrong, "there is nobody who could put it right"
    assert sorted(groups.roster(CHAT).roles) == [*PEOPLE[:4]]


def test_a_partition_that_has_no_members_expects_no_changes() -> None:
    told = events([(PEOPLE[2], "+"), (PEOPLE[2], "-"), (PEOPLE[1], "-"), (PEOPLE[2], "+")])
    groups = Groups(here(2))
    for event, changed_id, gains in [(*told[1], True), (*told[2], False), (*told[4], True)]:
        groups.take(event, 0 if gains else changed_id)
    assert not groups.wrong
    groups.take(told[3][0], 0)
    assert groups.wrong, "it has members by then"
