"""Ids: one grammar, dialogs the same whoever asks, message ids that order as they were stamped."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cecochat.domain.errors import Refusal
from cecochat.domain.log import ids
from cecochat.domain.log.ids import UserId
from cecochat.v1 import errors_pb2

USER_ID = r"(?=.{1,64}\Z)([a-z0-9][a-z0-9\-]{0,19}/)?[A-Za-z0-9._:@+\-]+"
OF_NO_APP = st.from_regex(r"[A-Za-z0-9._:@+\-]{1,64}", fullmatch=True).map(UserId)
OF_AN_APP = st.from_regex(r"[a-z0-9][a-z0-9\-]{0,19}/[A-Za-z0-9._:@+\-]{1,43}", fullmatch=True)
USER_IDS = OF_NO_APP | st.from_regex(r"shop/[A-Za-z0-9._:@+\-]{1,59}", fullmatch=True).map(UserId)
STAMPS = st.integers(0, (1 << 51) - 1)
PARTITIONS = st.integers(0, ids.PARTITIONS_MAX - 1)


@given(USER_IDS)
def test_a_user_id_stays_as_it_is(user: UserId) -> None:
    assert ids.user_id(user) == user


@given(st.text())
def test_everything_else_is_refused(text: str) -> None:
    assume(not re.fullmatch(USER_ID, text, re.ASCII))
    with pytest.raises(Refusal) as refused:
        ids.user_id(text)
    assert refused.value.error_code == errors_pb2.ERROR_CODE_INVALID_ARGUMENT
    with pytest.raises(Refusal):
        ids.chat_id(f"g:{text}")


@pytest.mark.parametrize(
    "text",
    [
        "alice\n",
        "",
        "a" * 65,
        "älice",
        "a~b",
        "a b",
        "\uff41",
        "A/b",
        "a/",
        "/b",
        "a/b/c",
        "-a/b",
        f"{'a' * 21}/b",
        f"a/{'b' * 63}",
    ],
)
def test_near_misses_are_no_user_ids(text: str) -> None:
    with pytest.raises(Refusal):
        ids.user_id(text)


@given(USER_IDS, USER_IDS)
def test_a_dialog_is_the_same_whoever_asks(a: UserId, b: UserId) -> None:
    assume(a != b and ids.app_of(a) == ids.app_of(b))
    chat = ids.dialog(a, b)
    assert chat == ids.dialog(b, a) == ids.chat_id(chat)
    assert set(ids.participants(chat)) == {a, b}
    assert ids.participants(chat) == tuple(sorted((a, b), key=str.encode))
    assert ids.authorise(a, chat) == (b,)
    assert ids.authorise(b, chat) == (a,)


@given(USER_IDS, USER_IDS, USER_IDS)
def test_a_third_takes_no_part(a: UserId, b: UserId, c: UserId) -> None:
    assume(len({a, b, c}) == 3)
    with pytest.raises(Refusal) as refused:
        ids.authorise(c, ids.dialog(a, b))
    assert refused.value.error_code == errors_pb2.ERROR_CODE_FORBIDDEN


@given(USER_IDS, USER_IDS)
def test_a_dialog_has_one_spelling(a: UserId, b: UserId) -> None:
    first, second = max(a, b), min(a, b)  # also with oneself
    with pytest.raises(Refusal):
        ids.chat_id(f"d:{first}~{second}")


@given(USER_IDS)
def test_groups_are_not_built_yet(user: UserId) -> None:
    with pytest.raises(Refusal) as refused:
        ids.authorise(user, ids.chat_id("g:team"))
    assert refused.value.error_code == errors_pb2.ERROR_CODE_UNIMPLEMENTED


@given(STAMPS, PARTITIONS)
def test_a_message_id_keeps_its_parts(stamp: int, partition: int) -> None:
    id_ = ids.message_id(stamp, partition)
    assert 0 <= id_ < 1 << 63
    assert ids.stamp_of(id_) == stamp
    assert id_ >> ids.SEQUENCE_BITS & (ids.PARTITIONS_MAX - 1) == partition
    assert ids.time_ms(id_) == (stamp >> ids.SEQUENCE_BITS) + ids.EPOCH_MS


@given(STAMPS, STAMPS, PARTITIONS)
def test_ids_of_a_partition_order_as_their_stamps(one: int, other: int, partition: int) -> None:
    assert (one < other) == (ids.message_id(one, partition) < ids.message_id(other, partition))


@given(STAMPS, STAMPS, PARTITIONS, PARTITIONS)
def test_ids_are_unique_and_order_by_time(one: int, other: int, p: int, q: int) -> None:
    same = (one, p) == (other, q)
    assert (ids.message_id(one, p) == ids.message_id(other, q)) == same
    if one >> ids.SEQUENCE_BITS < other >> ids.SEQUENCE_BITS:
        assert ids.message_id(one, p) < ids.message_id(other, q)


@given(OF_AN_APP.map(UserId), USER_IDS)
def test_no_dialog_is_between_apps(a: UserId, b: UserId) -> None:
    assert ids.user_id(a) == a
    assume(ids.app_of(a) != ids.app_of(b))
    for refused in (
        lambda: ids.chat_id(ids.dialog(a, b)),
        lambda: ids.fellow(a, b),
        lambda: ids.fellow(b, a),
        lambda: ids.check_same_app(b, f"g:{a}"),
    ):
        with pytest.raises(Refusal):
            refused()


def test_the_app_of_an_id() -> None:
    assert [ids.app_of(each) for each in ("shop/a", "d:shop/a~shop/b", "g:shop/a")] == ["shop"] * 3
    assert [ids.app_of(each) for each in ("a", "d:a~b", "g:a", "d:a:b", "")] == [""] * 5
