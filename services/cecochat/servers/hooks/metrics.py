"""The metrics of a hook server."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.domain.hooks.endpoints import Endpoint
from cecochat.internal.v1.internal_pb2 import HooksLoad
from cecochat.runtime.metrics import of_apps
from cecochat.servers.hooks.posting import Answer


class HookMetrics:
    """The metrics, by endpoint, of which there are few."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, meaning: str) -> Counter:
            return Counter(f"cecochat_hooks_{name}", meaning, ["endpoint"], registry=registry)

        self.taken = counter("delivered", "Webhooks that an endpoint has taken.")
        self.failed = counter(
            "failed",
            "Times that an endpoint did not take a webhook, which is sent again or parked.",
        )
        self.parked = counter(
            "parked", "Webhooks that an endpoint does not take, and that are kept for an operator."
        )
        self.dropped = counter(
            "dropped_records",
            "Records that the log had dropped or lost before an endpoint was told of them.",
        )
        self.lost = counter(
            "lost_places", "Times that the log had lost an end of which an endpoint was told."
        )
        self._waiting = Gauge(
            "cecochat_hooks_waiting",
            "Webhooks that were read from the log and are not delivered yet.",
            ["endpoint"],
            registry=registry,
        )
        self._oldest = Gauge(
            "cecochat_hooks_oldest_seconds",
            "Age of the oldest webhook that an endpoint has not taken; 0: there is none.",
            ["endpoint"],
            registry=registry,
        )
        self.app_taken = of_apps("webhooks", "Webhooks that endpoints have taken", registry)
        self.load = HooksLoad()  # what control asks for

    def of(self, endpoint: Endpoint) -> OfEndpoint:
        """Return the metrics of one endpoint."""
        return OfEndpoint(self, endpoint)

    def wait(self, waiting: Mapping[str, tuple[int, float]]) -> None:
        """Set how much waits for each endpoint, and how old the oldest is, in s."""
        self._waiting.clear()
        self._oldest.clear()
        for endpoint, (count, oldest_s) in waiting.items():
            self._waiting.labels(endpoint).set(count)
            self._oldest.labels(endpoint).set(oldest_s)


class OfEndpoint:
    """Counts for one endpoint."""

    def __init__(self, metrics: HookMetrics, endpoint: Endpoint) -> None:
        self._metrics = metrics
        self._endpoint = endpoint.name
        self._app = endpoint.app
        counters = (metrics.taken, metrics.failed, metrics.parked, metrics.dropped, metrics.lost)
        for counter in counters:
            counter.labels(
                endpoint.name
            )  # begins at 0, so that the first one can be seen as a rise

    def answered(self, answer: Answer) -> None:
        """Count what became of a webhook."""
        is_taken = answer.verdict == "taken"
        self._metrics.load.delivered += is_taken
        counter = self._metrics.taken if is_taken else self._metrics.failed
        counter.labels(self._endpoint).inc()
        if is_taken:
            self._metrics.app_taken.labels(self._app).inc()

    def parked(self) -> None:
        """Count a webhook that is parked."""
        self._metrics.parked.labels(self._endpoint).inc()

    def dropped(self, records: int) -> None:
        """Count records of which the endpoint is not told."""
        self._metrics.dropped.labels(self._endpoint).inc(records)

    def lost_place(self) -> None:
        """Count an end of the log that was told and is lost."""
        self._metrics.lost.labels(self._endpoint).inc()
