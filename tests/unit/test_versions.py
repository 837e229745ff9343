"""The order of the versions of a central document, and that everybody ends at the same one."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.cluster.versions import Claim, Rank, digest, missing, rank

VALUES = st.dictionaries(st.text(max_size=2), st.integers(0, 2) | st.text(max_size=2), max_size=2)
RANKS = st.builds(rank, st.integers(0, 4), VALUES)
NOTHING = rank(0, {})


def test_a_higher_number_is_later_whatever_it_says() -> None:
    contents: list[dict[str, Any]] = [{"0": "a"}, {"0": "z"}]
    assert max(rank(9, each) for each in contents) < min(rank(10, each) for each in contents)
    assert len({rank(9, each) for each in contents}) == 2


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.floats(allow_nan=False)))
def test_the_digest_is_of_what_a_document_says(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert digest(turned) == digest(value) == digest(json.loads(json.dumps(value)))


@given(VALUES, VALUES)
def test_other_contents_have_other_digests(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_what_is_nested_too_deeply_comes_first() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert rank(1, deep) < rank(1, [])


def test_what_a_store_has_to_be_given() -> None:
    low, high = sorted((Rank(42, "a"), Rank(42, "b")))
    assert missing(NOTHING, high) == 42, "it came back empty: the very version"
    assert missing(Rank(41, "z"), low) == 42, "it came back old"
    assert missing(high, high) is None
    assert missing(high, low) is None, "all others follow it"
    assert missing(low, high) == 43, "a version once told cannot be told again with another content"
    assert missing(Rank(43, "a"), high) is None
    assert missing(Rank(3, "a"), Rank(3, "a"), taken_over=42) == 43
    assert missing(Rank(42, "a"), Rank(42, "a"), taken_over=42) is None
    assert missing(NOTHING, NOTHING, taken_over=42) is None, "there is no content to give"


@given(RANKS, RANKS, st.integers(0, 6))
def test_a_store_is_never_given_a_version_that_is_not_above_its_own(
    stored: Rank, known: Rank, taken_over: int
) -> None:
    version = missing(stored, known, taken_over)
    if version is None:
        assert stored >= known
        assert stored.version >= taken_over or not stored.version
    else:
        assert version > stored.version
        assert version >= known.version


@given(
    st.lists(st.tuples(st.integers(0, 3), VALUES), min_size=1, max_size=5),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_servers_and_store_end_at_one_content_in_any_order(
    remembered: list[tuple[int, dict[str, Any]]], taken_over: int, random: Any
) -> None:
    """The first is what the store holds, the others what live servers follow. Each turn, a server
    reads the store, or control asks a server and gives the store what it lacks.
    """
    (store, *servers), known = remembered, remembered[0]

    def tell(server: int) -> None:
        nonlocal store, known
        known = max(known, servers[server], store, key=lambda each: rank(*each))
        if (version := missing(rank(*store), rank(*known), taken_over)) is not None:
            assert version > store[0]
            store = version, known[1]

    def read(server: int) -> None:
        servers[server] = max(servers[server], store, key=lambda each: rank(*each))

    turns = [(step, server) for step in (tell, read) for server in range(len(servers))] * 2
    random.shuffle(turns)
    for step, server in turns:
        step(server)
    for step in (tell, read, tell):
        for server in range(len(servers)):
            step(server)
    for server in range(len(servers)):
        read(server)
    assert all(server == store for server in servers)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=2), st.permutations(["a", "b"]))
def test_of_two_claims_one_gives_way(versions: list[int], names: list[str]) -> None:
    one, other = map(Claim, versions, names)
    assert (one < other) != (other < one)
