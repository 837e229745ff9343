"""What a query costs the user who asks."""

from __future__ import annotations

import pytest

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.errors import Refusal
from cecochat.servers.history.admission import Admission


@pytest.mark.parametrize(("cost", "times"), [(1, 40), (10, 4), (1_000, 1)])
def test_what_costs_as_much_as_many_queries_may_be_asked_less_often(cost: int, times: int) -> None:
    """And at least once, whatever it costs."""
    config = Config(queries_burst=40, queries_rate_per_user=0.1)
    admission = Admission(lambda: config)
    for _ in range(times):
        with admission.admitted("alice", cost):
            pass
    with pytest.raises(Refusal, match="alice asks too often"), admission.admitted("alice", cost):
        pass
    with admission.admitted("bob", cost):
        pass
