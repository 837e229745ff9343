"""What servers measure: ages, lags, a late loop, what does not count, tokens that are refused."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from cecochat.auth.minting import mint
from cecochat.auth.tokens import Verifier
from cecochat.domain.cluster.revocations import Revocations
from cecochat.domain.errors import Refusal
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId, message_id, stamp_at
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied, Copy, Origin, Takeover
from cecochat.domain.moderation.rules import Rules
from cecochat.runtime import metrics
from cecochat.servers.messaging.metrics import MessagingMetrics, ReadBatch
from cecochat.v1.events_pb2 import Event
from tests.support.eventually import eventually

SECRET = b"a secret of at least thirty-two bytes, for tests"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"cecochat_{name}", labels)


def id_of(age_s: float) -> int:
    """Of a message that is that old."""
    return message_id(stamp_at(int((time.time() - age_s) * 1_000)), 3)


def origin(age_s: float) -> Origin:
    return Origin(
        id_of(age_s), Place(5_000, 0), 0, UserId("alice"), "m", (UserId("bob"),), b"", Event()
    )


def copied(age_s: float) -> Copy:
    return Copy(id_of(age_s), 3, Place(5_000, 1), NOWHERE, (UserId("bob"),), b"")


def test_the_age_of_a_message_follows_from_its_id(registry: CollectorRegistry) -> None:
    metrics.MessageAges(registry).observe("forwarded", id_of(7))
    age_s = sample(registry, "message_seconds_sum", stage="forwarded")
    assert age_s == pytest.approx(7, abs=1)


def test_a_message_of_a_clock_ahead_is_not_younger_than_new(registry: CollectorRegistry) -> None:
    metrics.MessageAges(registry).observe("delivered", id_of(-20))
    assert sample(registry, "message_seconds_sum", stage="delivered") == 0


def test_of_a_batch_the_oldest_that_counts_is_measured(registry: CollectorRegistry) -> None:
    batch, fold = ReadBatch(), Fold()
    fold.high[copied(0).origin_partition] = Copied(copied(0).origin, 1)
    batch.add(Takeover("server", "session", 1), True, fold)
    batch.add(origin(900), False, fold)
    batch.add(copied(800), False, fold)
    batch.add(replace(copied(700), origin=Place(0, 1_000), after=Place(0, 999)), False, fold)
    batch.add(replace(copied(700), origin=Place(0, 1_001), after=Place(0, 1_000)), False, fold)
    for age_s in (60, 30):
        batch.add(origin(age_s), True, fold)
        batch.add(copied(age_s + 200), True, fold)
    MessagingMetrics(registry).read(batch)
    for stage, age_s in (("acknowledged", 60), ("delivered", 260)):
        assert sample(registry, "message_seconds_count", stage=stage) == 1
        assert sample(registry, "message_seconds_sum", stage=stage) == pytest.approx(age_s, abs=1)
    assert sample(registry, "records_void_total", kind="origin") == 1
    assert sample(registry, "copies_not_counted_total", reason="repeat") == 1
    assert sample(registry, "copies_not_counted_total", reason="broken_chain") == 2


def test_a_batch_of_neither_measures_nothing(registry: CollectorRegistry) -> None:
    MessagingMetrics(registry).read(ReadBatch())
    assert sample(registry, "message_seconds_count", stage="acknowledged") is None
    assert sample(registry, "copies_not_counted_total", reason="repeat") is None


def test_a_lag_is_that_of_the_most_backward_partition(registry: CollectorRegistry) -> None:
    lag = metrics.Lag("forward", "has not forwarded", registry)
    lag.set({0: 5, metrics.PARTITION_GROUPS: 9, 1: 2})
    assert sample(registry, "forward_lag_records") == 9
    assert sample(registry, "forward_lag_group_records", group="0") == 9
    assert sample(registry, "forward_lag_group_records", group="1") == 2


def test_a_partition_that_went_to_another_server_is_not_behind_here(
    registry: CollectorRegistry,
) -> None:
    lag = metrics.Lag("forward", "has not forwarded", registry)
    lag.set({0: 5, 1: 2})
    lag.set({1: 1})
    assert sample(registry, "forward_lag_records") == 1
    assert sample(registry, "forward_lag_group_records", group="0") is None
    lag.set({})
    assert sample(registry, "forward_lag_records") == 0


def test_there_are_no_more_groups_than_that(registry: CollectorRegistry) -> None:
    metrics.Lag("forward", "has not forwarded", registry).set(dict.fromkeys(range(4_096), 1))
    (groups,) = [f for f in registry.collect() if f.name == "cecochat_forward_lag_group_records"]
    assert len(groups.samples) == metrics.PARTITION_GROUPS


async def test_a_loop_that_is_held_up_is_late(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LOOK_EVERY_S", 0.001)
    watching = asyncio.create_task(metrics.watch_loop(registry))
    await asyncio.sleep(0)
    time.sleep(0.05)  # noqa: ASYNC251 - it is to hold up the loop
    await eventually(lambda: sample(registry, "event_loop_lag_seconds_count"))
    assert (sample(registry, "event_loop_lag_seconds_sum") or 0) > 0.04
    watching.cancel()
    await asyncio.wait([watching])


def test_each_server_counts_the_tokens_that_it_refuses() -> None:
    verifier = Verifier(secret=SECRET)
    one, other = CollectorRegistry(), CollectorRegistry()
    counted, good = verifier.counted(one), verifier.counted(other)
    for each in (counted, good):
        each.revoke(Revocations())
        each.moderate(Rules())
        each.know({})
    good.verify(mint(SECRET, "alice", 60))
    assert counted.verify(mint(SECRET, "alice", 60)).user_id == "alice"
    for token in ("nonsense", mint(b"another secret of thirty-two bytes!!", "alice", 60)):
        with pytest.raises(Refusal):
            counted.verify(token)
    with pytest.raises(Refusal):
        counted.verify(mint(SECRET, "alice", -60))
    assert sample(one, "token_failures_total", code="unauthenticated") == 2
    assert sample(one, "token_failures_total", code="token_expired") == 1
    assert sample(other, "token_failures_total", code="unauthenticated") is None
