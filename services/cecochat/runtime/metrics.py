"""What several servers measure alike; no label has unbounded values."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from prometheus_client import CollectorRegistry, Gauge, Histogram

from cecochat.auth.certificates import Certificate
from cecochat.domain.log.ids import time_ms

Stage = Literal["acknowledged", "forwarded", "delivered", "materialized"]

# From a good day on one machine to an outage that was waited for.
AGES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600)
PARTITION_GROUPS = 16
LOOK_EVERY_S = 0.25


class MessageAges:
    """How old messages are where they get to, by the time in their ids: sampled, the oldest of a
    batch.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "cecochat_message_seconds",
            "From the time in a message's id to where it is acknowledged, forwarded (the copy is "
            "durable), delivered (queued for its recipients' sessions), materialized; of the "
            "oldest of each batch.",
            ["stage"],
            buckets=AGES_S,
            registry=registry,
        )

    def observe(self, stage: Stage, id_: int) -> None:
        """The oldest message of a batch has got there."""
        age_s = time.time() - time_ms(id_) / 1_000
        self._seconds.labels(stage).observe(max(age_s, 0))  # clocks differ


class Lag:
    """How many records the partitions of a server are behind."""

    def __init__(self, name: str, what: str, registry: CollectorRegistry) -> None:
        self._most = Gauge(
            f"cecochat_{name}_lag_records",
            f"Records that its most backward partition {what}.",
            registry=registry,
        )
        self._groups = Gauge(
            f"cecochat_{name}_lag_group_records",
            f"The same of each group of partitions: number modulo {PARTITION_GROUPS}.",
            ["group"],
            registry=registry,
        )

    def set(self, behind: Mapping[int, int]) -> None:
        """Of every partition that this server has now."""
        groups: dict[int, int] = {}
        for partition, records in behind.items():
            group = partition % PARTITION_GROUPS
            groups[group] = max(records, groups.get(group, 0))
        self._most.set(max(groups.values(), default=0))
        self._groups.clear()  # the partitions of some groups may be another server's by now
        for group, records in groups.items():
            self._groups.labels(str(group)).set(records)


def show_unproven(registry: CollectorRegistry, count: Callable[[], int]) -> None:
    """Looked at whenever the metrics are asked for."""
    Gauge(
        "cecochat_registrations_unproven",
        "Registrations in Consul, as of live servers of this cluster, that are not signed with its "
        "secret: nobody is sent there.",
        registry=registry,
    ).set_function(count)


def show_expiry(registry: CollectorRegistry, used: Mapping[str, Certificate | None]) -> None:
    """Looked at whenever the metrics are asked for. `used`: by who is answered with it."""
    left = Gauge(
        "cecochat_certificate_left_seconds",
        "How long the certificate that is in use still holds, by who is answered with it: clients, "
        "or the other servers (internal).",
        ["listener"],
        registry=registry,
    )
    for listener, certificate in used.items():
        if certificate:
            left.labels(listener).set_function(partial(getattr, certificate, "expires_in_s"))


def loop_lag(registry: CollectorRegistry) -> Histogram:
    """Measured by `watch_loop`."""
    return Histogram(
        "cecochat_event_loop_lag_seconds",
        "How late the event loop comes to what is due, looked at four times a second.",
        buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        registry=registry,
    )


async def watch_loop(registry: CollectorRegistry) -> None:
    """Measure until cancelled how late the running loop is."""
    lag, loop = loop_lag(registry), asyncio.get_running_loop()
    while True:
        due_s = loop.time() + LOOK_EVERY_S
        await asyncio.sleep(LOOK_EVERY_S)
        lag.observe(max(loop.time() - due_s, 0))
