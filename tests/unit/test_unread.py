"""Answers that wait until their clients read them."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.log.ids import UserId
from cecochat.runtime.unread import Unread


class Held:
    """Answers that nobody reads, by name, and those that were given up."""

    def __init__(self, max_bytes: int) -> None:
        self._unread, self._stack = Unread(max_bytes), ExitStack()
        self.given_up: list[str] = []

    def add(self, user: str, size_bytes: int, name: str) -> None:
        context = self._unread.held(UserId(user), size_bytes, lambda: self.given_up.append(name))
        self._stack.enter_context(context)

    def read(self) -> None:
        """All of them."""
        self._stack.close()


def test_who_has_most_loses_the_oldest() -> None:
    held = Held(max_bytes=100)
    held.add("bob", 30, "bob's")
    for name in ("first", "second", "third"):
        held.add("alice", 30, name)
    assert held.given_up == ["first"]
    held.add("carol", 30, "carol's")
    assert held.given_up == ["first", "second"]


def test_what_was_read_makes_room() -> None:
    held = Held(max_bytes=100)
    for _ in range(3):
        held.add("alice", 100, "alice's")
        held.read()
    assert held.given_up == []


def test_one_answer_alone_may_be_larger() -> None:
    held = Held(max_bytes=100)
    held.add("alice", 300, "large")
    assert held.given_up == []
    held.add("alice", 10, "small")
    assert held.given_up == ["large"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60))))
def test_there_is_never_too_much(answers: list[tuple[str, int]]) -> None:
    held, sizes = Held(max_bytes=100), {}
    for number, (user, size_bytes) in enumerate(answers):
        name = str(number)
        sizes[name] = size_bytes
        held.add(user, size_bytes, name)
        assert sum(sizes[each] for each in sizes if each not in held.given_up) <= 100
        assert len(held.given_up) == len(set(held.given_up))
    before = list(held.given_up)
    held.read()
    assert held.given_up == before
