"""The lookout sees what it is there for."""

from __future__ import annotations

import pytest

from tests.support.lookout import CRITICAL_MAX_S, Lookout


def test_a_server_given_for_too_long_after_it_was_critical_is_wrong() -> None:
    seen = Lookout(lookups=1)
    seen.see({"a:1", "b:1"}, set(), 10.0)
    seen.judge("a:1", 10.5)
    seen.see({"b:1"}, {"a:1"}, 11.0)
    seen.judge("a:1", 11.0 + CRITICAL_MAX_S)
    seen.judged()
    seen.judge("b:1", 99.0)
    seen.judge("a:1", 11.1 + CRITICAL_MAX_S)
    with pytest.raises(AssertionError, match=r"a:1 was given 2\.10 s after"):
        seen.judged()


def test_one_that_has_gone_is_dead_and_one_that_is_back_is_not() -> None:
    seen = Lookout(lookups=1)
    seen.see({"a:1", "b:1"}, set(), 10.0)
    seen.see({"b:1"}, set(), 11.0)
    seen.see({"a:1", "b:1"}, set(), 20.0)
    seen.judge("a:1", 20.1)
    seen.judged()
    seen.see({"b:1"}, set(), 21.0)
    seen.judge("a:1", 24.0)
    assert len(seen.wrong) == 1


def test_while_consul_does_not_answer_nobody_can_know() -> None:
    seen = Lookout(lookups=1)
    seen.see({"a:1"}, set(), 10.0)
    seen.see(set(), {"a:1"}, 11.0)
    seen.forget()
    seen.judge("a:1", 20.0)
    seen.judged()


@pytest.mark.parametrize("tried", [Lookout(critical={"a:1"}), Lookout(lookups=1)])
def test_a_run_in_which_nothing_was_tried_proves_nothing(tried: Lookout) -> None:
    with pytest.raises(AssertionError):
        tried.judged()
