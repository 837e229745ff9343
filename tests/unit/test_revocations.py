"""The document of revocations: what it bars, for how long it is kept, and how large it can get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.cluster.revocations import (
    Revocation,
    Revocations,
    document,
    parse,
    with_one,
)
from cecochat.domain.cluster.room import OF_AN_APP_MAX, OF_NO_APP_MAX
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.v1 import errors_pb2

NOW_MS = 1_800_000_000_000
LIFE_S = 3_600
TIMES = st.integers(NOW_MS - 3 * LIFE_S * 1_000, NOW_MS)
USERS, SIDS = (
    st.sampled_from(["alice", "shop/bob", "news/carol"]),
    st.sampled_from(["phone", "web"]),
)
ENTRIES = st.one_of(
    st.builds(Revocation, st.just(""), st.just(""), TIMES, st.sampled_from(["", "shop", "news"])),
    st.builds(Revocation, USERS, st.just(""), TIMES, st.just("")),
    st.builds(Revocation, USERS, SIDS, TIMES, st.just("")),
)


def made(*entries: Revocation, now_ms: int = NOW_MS) -> Revocations:
    revoked = Revocations()
    for entry in entries:
        revoked = with_one(revoked, entry, now_ms=now_ms, lifetime_max_s=LIFE_S)
    return revoked


@given(st.lists(ENTRIES), USERS, SIDS)
def test_the_latest_that_covers_a_login_counts(
    entries: list[Revocation], user: str, sid: str
) -> None:
    covering = [each.before_ms for each in entries if covers(each, user, sid)]
    held = [ms for ms in covering if ms > NOW_MS - LIFE_S * 1_000]
    before_ms = made(*entries).before_ms(user, sid)
    if held:
        assert before_ms == max(held)
    else:  # what is left bars only what has expired
        assert before_ms <= NOW_MS - LIFE_S * 1_000


def covers(entry: Revocation, user: str, sid: str) -> bool:
    is_in_app = entry.app in ("", user.partition("/")[0])
    return is_in_app and entry.user in ("", user) and entry.sid in ("", sid)


@given(st.lists(ENTRIES))
def test_what_is_stored_says_the_same(entries: list[Revocation]) -> None:
    revoked = made(*entries)
    assert parse(document(revoked)) == revoked


def test_what_bars_nothing_any_more_goes_with_the_next_one() -> None:
    old = Revocation("alice", "", NOW_MS)
    later_ms = NOW_MS + LIFE_S * 1_000
    revoked = made(old)
    kept = with_one(
        revoked, Revocation("bob", "", NOW_MS + 5), now_ms=later_ms - 1, lifetime_max_s=LIFE_S
    )
    assert kept.before_ms("alice", "") == NOW_MS
    gone = with_one(kept, Revocation("bob", "", later_ms), now_ms=later_ms, lifetime_max_s=LIFE_S)
    assert gone.users == {"bob": later_ms}


def test_a_wider_one_takes_the_place_of_those_that_it_covers() -> None:
    logins = [Revocation("alice", f"s{n}", NOW_MS - 10 + n) for n in range(10)]
    revoked = made(*logins, Revocation("alice", "", NOW_MS - 5))
    assert {sid for _, sid in revoked.logins} == {"s6", "s7", "s8", "s9"}
    assert len(made(*logins, Revocation("bob", "", NOW_MS), Revocation("", "", NOW_MS))) == 1


def full() -> Revocations:
    return Revocations(users={f"user{n}": NOW_MS - n for n in range(OF_NO_APP_MAX)})


def test_it_is_bounded_and_says_what_to_do() -> None:
    more = Revocation("one-more", "", NOW_MS)
    with pytest.raises(Refusal, match=r"5000 .* lower tokens\.lifetime_max_s") as refused:
        with_one(full(), more, now_ms=NOW_MS, lifetime_max_s=LIFE_S)
    assert refused.value.error_code == errors_pb2.ERROR_CODE_TOO_LARGE
    known = Revocation("user7", "", NOW_MS)
    again = with_one(full(), known, now_ms=NOW_MS, lifetime_max_s=LIFE_S)
    assert again.before_ms("user7", "") == NOW_MS
    shorter = with_one(full(), more, now_ms=NOW_MS, lifetime_max_s=2)
    assert len(shorter) == 2_001
    of_app = with_one(
        full(), Revocation("", "", NOW_MS, "shop"), now_ms=NOW_MS, lifetime_max_s=LIFE_S
    )
    assert of_app.before_ms("shop/alice", "") == NOW_MS, "that of an app always finds room"
    one_more = with_one(full(), more, now_ms=NOW_MS, lifetime_max_s=LIFE_S, is_bounded=False)
    assert len(one_more) == OF_NO_APP_MAX + 1, "an erasure always finds room"
    everyone = Revocation("", "", NOW_MS)
    assert len(with_one(full(), everyone, now_ms=NOW_MS, lifetime_max_s=LIFE_S)) == 1


def test_no_app_takes_the_room_of_others() -> None:
    of_shop = Revocations(users={f"shop/u{n}": NOW_MS - n for n in range(OF_AN_APP_MAX)})

    def with_user(user: str) -> Revocations:
        wanted = Revocation(user, "", NOW_MS)
        return with_one(of_shop, wanted, now_ms=NOW_MS, lifetime_max_s=LIFE_S)

    with pytest.raises(Refusal, match="room for 1000"):
        with_user("shop/u")
    for user in ("bob", "news/bob"):
        assert user in with_user(user).users


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Revocation("alice", "", NOW_MS + 61_000), "in the future"),
        (Revocation("alice", "", 0), "in the future"),
        (Revocation("", "phone", NOW_MS), "name the user too"),
        (Revocation("al ice", "", NOW_MS), "al ice"),
        (Revocation("alice", "s" * 129, NOW_MS), "128 bytes"),
        (Revocation("", "", NOW_MS, "Shop"), "no name of an app"),
        (Revocation("shop/alice", "", NOW_MS, "shop"), "leave out the app"),
    ],
)
def test_what_cannot_be_meant_is_refused(wanted: Revocation, why: str) -> None:
    with pytest.raises(Refusal, match=why) as refused:
        made(wanted)
    assert refused.value.error_code == errors_pb2.ERROR_CODE_INVALID_ARGUMENT


@pytest.mark.parametrize(
    "value",
    [[], "x", {"user": {}}, {"users": []}, {"users": {"a b": 1}}, {"users": {"a": "1"}},
     {"users": {"a": True}}, {"users": {"a": -1}}, {"users": {"a": 10**400}}, {"everyone": 1.5},
     {"apps": ["shop"]}, {"apps": {"Shop": 1}}, {"logins": {"a": 1}},
     {"logins": {"a": {"s": None}}}],
)  # fmt: skip
def test_a_document_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(InvalidSettings, match="revo"):
        parse(value)


def test_one_of_an_app_takes_the_place_of_those_of_its_users() -> None:
    users = [Revocation(f"{app}/alice", "phone", NOW_MS - 5) for app in ("shop", "news")]
    revoked = made(*users, Revocation("", "", NOW_MS, "shop"))
    assert revoked.entries() == [Revocation("", "", NOW_MS, "shop"), users[1]]
    assert "apps" not in document(made(*users)), "servers that know no apps follow it, too"


def test_an_empty_document_revokes_nothing() -> None:
    assert parse({}) == Revocations()
    assert parse({}).before_ms("alice", "phone") == 0
