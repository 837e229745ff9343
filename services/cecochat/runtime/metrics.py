"""The metrics that several servers share. No label has an unbounded number of values."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cecochat.auth.certificates import Certificate
from cecochat.domain.log.ids import time_ms

Stage = Literal["acknowledged", "forwarded", "delivered", "materialized"]

# From a good day on one machine to an outage that messages had to wait for.
AGES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600)
PARTITION_GROUPS = 16
LOOK_EVERY_S = 0.25


def of_apps(name: str, meaning: str, registry: CollectorRegistry) -> Counter:
    """Make a counter by app; "": no app. It has few values, as nobody signs in for an app that was
    not added.
    """
    return Counter(f"cecochat_app_{name}", f"{meaning}, by app.", ["app"], registry=registry)


class MessageAges:
    """How old messages are at each stage, by the time in their ids.

    Only the oldest message of each batch is measured.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "cecochat_message_seconds",
            "Time from the accepted message, by its id, until it is acknowledged, forwarded (its "
            "copy is durable), delivered (queued for its recipients' sessions) or materialized. "
            "Measured for the oldest message of each batch.",
            ["stage"],
            buckets=AGES_S,
            registry=registry,
        )

    def observe(self, stage: Stage, id_: int) -> None:
        """Note that the oldest message of a batch has reached a stage."""
        age_s = time.time() - time_ms(id_) / 1_000
        self._seconds.labels(stage).observe(max(age_s, 0))  # clocks differ

    def counts(self) -> dict[str, list[int]]:
        """Return for each stage how many messages were at most as old as each of `AGES_S`.

        The last number is how many there were.
        """
        found: dict[str, list[int]] = {}
        for metric in self._seconds.collect():
            for sample in metric.samples:
                if sample.name.endswith("_bucket"):
                    found.setdefault(sample.labels["stage"], []).append(int(sample.value))
        return found


class Lag:
    """How many records the partitions of a server are behind."""

    def __init__(self, name: str, what: str, registry: CollectorRegistry) -> None:
        self.most = 0
        self._most = Gauge(
            f"cecochat_{name}_lag_records",
            f"Records that the partition furthest behind {what}.",
            registry=registry,
        )
        self._groups = Gauge(
            f"cecochat_{name}_lag_group_records",
            f"The same for each group of partitions, which is their number modulo "
            f"{PARTITION_GROUPS}.",
            ["group"],
            registry=registry,
        )

    def set(self, behind: Mapping[int, int]) -> None:
        """Set the lag of every partition that this server has now."""
        groups: dict[int, int] = {}
        for partition, records in behind.items():
            group = partition % PARTITION_GROUPS
            groups[group] = max(records, groups.get(group, 0))
        self.most = max([0, *groups.values()])  # negative if the log was cut
        self._most.set(max(groups.values(), default=0))
        self._groups.clear()  # another server may have the partitions of some groups by now
        for group, records in groups.items():
            self._groups.labels(str(group)).set(records)


def show_unproven(registry: CollectorRegistry, count: Callable[[], int]) -> None:
    """Add a gauge that calls `count` whenever the metrics are read."""
    Gauge(
        "cecochat_registrations_unproven",
        "Registrations in Consul that claim to be live servers of this cluster, but are not signed "
        "with its secret. Nobody is sent there.",
        registry=registry,
    ).set_function(count)


def show_expiry(registry: CollectorRegistry, used: Mapping[str, Certificate | None]) -> None:
    """Add a gauge for the certificates in use, by the listener that uses them."""
    left = Gauge(
        "cecochat_certificate_left_seconds",
        "How long the certificate in use is still valid, by whom it is for: clients, or other "
        "servers (internal).",
        ["listener"],
        registry=registry,
    )
    for listener, certificate in used.items():
        if certificate:
            left.labels(listener).set_function(partial(getattr, certificate, "expires_in_s"))


def loop_lag(registry: CollectorRegistry) -> Histogram:
    """Add the histogram that `watch_loop` fills."""
    return Histogram(
        "cecochat_event_loop_lag_seconds",
        "How late the event loop runs what is due, measured four times a second.",
        buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        registry=registry,
    )


async def watch_loop(registry: CollectorRegistry) -> None:
    """Measure how late the running loop is, until cancelled."""
    lag, loop = loop_lag(registry), asyncio.get_running_loop()
    while True:
        due_s = loop.time() + LOOK_EVERY_S
        await asyncio.sleep(LOOK_EVERY_S)
        lag.observe(max(loop.time() - due_s, 0))
