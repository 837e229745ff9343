"""The token bucket: how much may be sent, and how long one waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.session.bucket import TokenBucket

TAKES = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 20)), max_size=40)


@given(TAKES, st.floats(0.1, 100), st.integers(1, 50))
def test_sends_over_the_rate_wait_as_long_as_they_have_to(
    takes: list[tuple[float, int]], rate: float, burst: int
) -> None:
    """What is taken within any time from the beginning is at most the burst and the rate, and who
    waits as long as was said gets at least one.
    """
    bucket, now_s, taken = TokenBucket(burst, 0.0), 0.0, 0
    for pause_s, count in takes:
        now_s += pause_s
        if not (got := bucket.take_up_to(count, now_s, rate, burst)):
            now_s += bucket.wait_s(1, rate) + 1e-6
            got = bucket.take_up_to(count, now_s, rate, burst)
        assert 1 <= got <= count
        taken += got
        assert taken <= burst + rate * now_s + 1e-6


@given(TAKES, st.floats(0.1, 100), st.integers(1, 50))
def test_a_connect_is_let_in_when_it_was_said(
    takes: list[tuple[float, int]], rate: float, burst: int
) -> None:
    bucket, now_s = TokenBucket(burst, 0.0), 0.0
    for pause_s, _ in takes:
        now_s += pause_s
        wait_s = bucket.take_or_wait_s(now_s, rate, burst)
        if wait_s:
            assert bucket.take_or_wait_s(now_s, rate, burst) == pytest.approx(wait_s)
            now_s += wait_s + 1e-6
            assert bucket.take_or_wait_s(now_s, rate, burst) == 0.0


def test_a_clock_that_turns_back_gives_nothing() -> None:
    bucket = TokenBucket(1, 100.0)
    assert bucket.take_or_wait_s(100.0, 1.0, 1) == 0.0
    assert bucket.take_or_wait_s(50.0, 1.0, 1) == 1.0
