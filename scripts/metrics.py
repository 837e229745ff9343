"""Finds out which metrics each server has, by having the code register them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from typing_extensions import override

from cecochat.auth.tokens import key_age, token_failures
from cecochat.documents.follow import DocumentMetrics
from cecochat.ports.configuration import (
    APPS,
    ASSIGNMENT,
    CONFIGURATION,
    HOLDS,
    HOOKS,
    MODERATION,
    RETENTION,
    REVOCATIONS,
)
from cecochat.runtime.metrics import loop_lag, show_expiry, show_unproven
from cecochat.servers.connect.attachments import AttachmentMetrics
from cecochat.servers.connect.backend import BackendMetrics
from cecochat.servers.connect.lookups import ConnectMetrics
from cecochat.servers.control.decisions import Decisions
from cecochat.servers.control.late import late_records
from cecochat.servers.history.calls import QueryMetrics
from cecochat.servers.history.holes import history_holes
from cecochat.servers.hooks.metrics import HookMetrics
from cecochat.servers.materialize.auditor import AuditMetrics
from cecochat.servers.materialize.collecting import deleted_files
from cecochat.servers.materialize.indexing import search_lag
from cecochat.servers.materialize.metrics import MaterializeMetrics
from cecochat.servers.materialize.sweeping import SweepMetrics
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.servers.messaging.signal_metrics import SignalMetrics
from cecochat.telemetry.tracing import SpanCounts


def _spans(registry: CollectorRegistry) -> None:
    registry.register(SpanCounts({}))


def _unproven(registry: CollectorRegistry) -> None:
    show_unproven(registry, lambda: 0)


def _expiry(registry: CollectorRegistry) -> None:
    show_expiry(registry, {})


EVERY = (partial(DocumentMetrics, CONFIGURATION), loop_lag, _spans, _unproven, _expiry)
TELLING = partial(DocumentMetrics, RETENTION)
ASSIGNED = partial(DocumentMetrics, ASSIGNMENT)
VERIFYING = (
    token_failures,
    key_age,
    partial(DocumentMetrics, REVOCATIONS),
    partial(DocumentMetrics, MODERATION),
    partial(DocumentMetrics, APPS),
)
MADE: dict[str, tuple[Callable[[CollectorRegistry], object], ...]] = {
    "messaging": (MessagingMetrics, SignalMetrics, ASSIGNED, TELLING, *VERIFYING, *EVERY),
    "materialize": (
        MaterializeMetrics,
        AuditMetrics,
        search_lag,
        SweepMetrics,
        partial(DocumentMetrics, HOLDS),
        TELLING,
        deleted_files,
        partial(DocumentMetrics, REVOCATIONS),
        *EVERY,
    ),
    "history": (QueryMetrics, history_holes, TELLING, *VERIFYING, *EVERY),
    "connect": (ConnectMetrics, BackendMetrics, AttachmentMetrics, ASSIGNED, *VERIFYING, *EVERY),
    "hooks": (
        HookMetrics,
        TELLING,
        partial(DocumentMetrics, HOOKS),
        partial(DocumentMetrics, MODERATION),
        partial(DocumentMetrics, REVOCATIONS),
        *EVERY,
    ),
    "control": (Decisions, late_records, *EVERY),
}
"""Server -> what it makes at its start; `tests/integration/test_servers.py` compares."""

SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}


@dataclass(frozen=True)
class Metric:
    """One family of metrics."""

    name: str  # without the suffixes of a histogram, with that of a counter
    type: str
    labels: tuple[str, ...]
    help: str

    @property
    def samples(self) -> set[str]:
        """Return the names that a query may use."""
        return {self.name.removesuffix("_total") + end for end in SUFFIXES[self.type]}


class _Listing(CollectorRegistry):
    """Keeps the collectors, since a family without samples does not show its labels."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Any] = []

    @override
    def register(self, collector: Collector) -> None:
        super().register(collector)
        self.made.append(collector)


def of(server: str) -> list[Metric]:
    """Return the metrics of a server, by name."""
    registry = _Listing()
    for make in MADE[server]:
        make(registry)
    return sorted(map(_metric, registry.made), key=lambda metric: metric.name)


def _metric(collector: Any) -> Metric:
    (family,) = collector.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return Metric(name, family.type, collector._labelnames, family.documentation)


def servers() -> dict[Metric, list[str]]:
    """Return every metric by name, with the servers that have it."""
    found: dict[Metric, list[str]] = {}
    for server in MADE:
        for metric in of(server):
            found.setdefault(metric, []).append(server)
    return dict(sorted(found.items(), key=lambda each: each[0].name))
