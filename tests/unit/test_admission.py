"""What a query costs the user who asks."""

from __future__ import annotations

import pytest

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.servers.history.admission import Admission


@pytest.mark.parametrize(("cost", "times"), [(1, 40), (10, 4), (1_000, 1)])
def test_what_costs_as_much_as_many_queries_may_be_asked_less_often(cost: int, times: int) -> None:
    """And at least once, whatever it costs."""
    config = Config(queries_burst=40, queries_rate_per_user=0.1)
    admission = Admission(lambda: config)
    for _ in range(times):
        with admission.admitted(UserId("alice"), cost):
            pass
    with (
        pytest.raises(Refusal, match="alice asks too often"),
        admission.admitted(UserId("alice"), cost),
    ):
        pass
    with admission.admitted(UserId("bob"), cost):
        pass


def test_large_answers_are_owed_and_at_most_a_burst_of_them() -> None:
    """64 KiB of an answer cost one query more: alice, who has 10, has asked for a thousand."""
    config = Config(queries_burst=10, queries_rate_per_user=100.0)
    admission = Admission(lambda: config)
    with admission.admitted(UserId("alice")):
        admission.answered(UserId("alice"), 1_000 * (64 << 10))
    with (
        pytest.raises(Refusal, match=r"wait 0\.1\d s") as refused,
        admission.admitted(UserId("alice")),
    ):
        pass
    assert 100 < refused.value.retry_after_ms <= 111  # 10 owed and 1 more at 100 a second
    with admission.admitted(UserId("bob")):
        admission.answered(UserId("bob"), (64 << 10) - 1)
    for _ in range(9):
        with admission.admitted(UserId("bob")):
            pass
