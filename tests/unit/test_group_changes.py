"""What settled changes say of each person, whoever reads them and in whatever order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.errors import Refusal
from cecochat.domain.groups.changes import Standing, as_group, seen, standings, stays
from cecochat.domain.groups.group import Group
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.spans import STILL, Span
from cecochat.ports.groups import Resident, StandingRow, residents
from cecochat.v1.events_pb2 import (
    ROLE_ADMIN,
    ROLE_MEMBER,
    ROLE_OWNER,
    ROLE_UNSPECIFIED,
    Appointment,
    GroupOptions,
    Membership,
)

PEOPLE = tuple(map(UserId, ("ann", "bob", "carol", "dan")))
SOME = st.lists(st.sampled_from(PEOPLE), max_size=3, unique=True)
APPOINTED = st.builds(
    Appointment,
    user_id=st.sampled_from(PEOPLE),
    role=st.sampled_from([ROLE_MEMBER, ROLE_ADMIN, ROLE_OWNER]),
)
WANTED = st.builds(
    Membership,
    added_ids=SOME,
    removed_ids=SOME,
    invited_ids=SOME,
    appointments=st.lists(APPOINTED, max_size=1),
)


@given(wanted=st.lists(st.tuples(st.sampled_from(PEOPLE), WANTED), max_size=12), data=st.data())
def test_the_standings_of_all_are_the_group(
    wanted: list[tuple[UserId, Membership]], data: st.DataObject
) -> None:
    group = Group(ChatId("g:us"))
    rows: list[tuple[UserId, Standing]] = []
    created = (PEOPLE[0], Membership(options=GroupOptions(name="Us", is_open=True)))
    for id_, (actor, change) in enumerate([created, *wanted], 1):
        try:
            settled = group.settle(actor, change, 9)
        except Refusal:
            continue
        group = group.after(settled)
        rows += standings(id_, settled).items()
    same = as_group(group.chat_id, data.draw(st.permutations(rows)), group.options)
    assert (same.roles, same.invited) == (group.roles, group.invited)


def test_who_came_first_stays_first_with_another_role() -> None:
    change = Membership(added_ids=["bob"])
    rows = [*standings(1, change).items(), *standings(2, Membership(added_ids=["ann"])).items()]
    rows.append((UserId("bob"), Standing(3, ROLE_ADMIN)))
    assert list(as_group(ChatId("g:us"), rows, GroupOptions()).roles) == ["bob", "ann"]


def of(*roles: int) -> list[Standing]:
    """The standings after the events 10, 20, 30 ..."""
    return [Standing(10 * at, role) for at, role in enumerate(roles, 1)]  # type: ignore[arg-type]


def test_a_stay_goes_on_through_appointments_and_ends_with_a_removal() -> None:
    roles = (ROLE_UNSPECIFIED, ROLE_MEMBER, ROLE_ADMIN, ROLE_UNSPECIFIED, ROLE_UNSPECIFIED)
    assert stays(of(*roles, ROLE_MEMBER)) == [Span(20, 40), Span(60, STILL)]


def test_who_was_never_a_member_sees_nothing() -> None:
    invited = Standing(10, ROLE_UNSPECIFIED, is_invited=True)
    assert seen(invited, stays([invited]), [], 99) is None


def test_what_a_member_sees_ends_at_what_is_known() -> None:
    here = of(ROLE_MEMBER)
    sight = seen(here[-1], stays(here), [False], 15)
    assert sight
    assert (sight.role, sight.as_of, sight.ranges) == (ROLE_MEMBER, 15, (Span(10, 15),))


def test_a_removed_member_sees_it_as_it_was_then() -> None:
    gone = of(ROLE_MEMBER, ROLE_UNSPECIFIED)
    sight = seen(gone[-1], stays(gone), [False], 99)
    assert sight
    assert (sight.role, sight.as_of, sight.ranges) == (ROLE_UNSPECIFIED, 20, (Span(10, 20),))


def test_a_group_that_shows_its_past_shows_also_what_was_said_between_two_stays() -> None:
    back = of(ROLE_MEMBER, ROLE_UNSPECIFIED, ROLE_MEMBER)
    spans = stays(back)
    for shows_past, ranges in (
        ([False, False], (Span(10, 20), Span(30, 99))),
        ([True, False], (Span(0, 20), Span(30, 99))),
        ([False, True], (Span(0, 99),)),
    ):
        sight = seen(back[-1], spans, shows_past, 99)
        assert sight
        assert sight.ranges == ranges
        assert sight.stays == (Span(10, 20), Span(30, 99)), "whatever is shown of the past"


@given(cuts=st.sets(st.integers(1, 6)))
async def test_what_is_known_of_a_resident_may_come_in_several_pages(cuts: set[int]) -> None:
    us, them = ChatId("g:us"), ChatId("g:them")
    rows = [(them, PEOPLE[0], each) for each in of(ROLE_MEMBER, ROLE_ADMIN)]
    rows += [(us, PEOPLE[0], each) for each in of(ROLE_MEMBER, ROLE_UNSPECIFIED, ROLE_MEMBER)]
    rows += [(us, PEOPLE[1], each) for each in of(ROLE_OWNER, ROLE_MEMBER)]

    async def pages() -> AsyncIterator[list[StandingRow]]:
        for first, end in pairwise((0, *sorted(cuts), len(rows))):
            yield rows[first:end]

    assert [each async for each in residents(pages(), {0: 20})] == [
        Resident(them, PEOPLE[0], rows[1][2], [Span(10, STILL)]),
        Resident(us, PEOPLE[0], rows[3][2], [Span(10, 20)]),
        Resident(us, PEOPLE[1], rows[6][2], [Span(10, STILL)]),
    ]
    assert [each async for each in residents(pages(), {1: 20})] == []
