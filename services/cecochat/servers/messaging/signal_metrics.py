"""The metrics of typing and presence."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class SignalMetrics:
    """The metrics of a messaging server, registered with its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.taken = Counter(
            "cecochat_signals_taken",
            "What clients have said, by kind: typing, watch, invisible; and skipped, typing that "
            "came too often.",
            ["kind"],
            registry=registry,
        )
        self.refused = Counter(
            "cecochat_signals_refused", "Signals refused, by code.", ["code"], registry=registry
        )
        self.published = Counter(
            "cecochat_signals_published",
            "Records for the topic of signals, each of many signals.",
            registry=registry,
        )
        self.heard = Counter(
            "cecochat_signals_heard",
            "Records read from the topic of signals; unreadable ones are skipped.",
            ["as"],
            registry=registry,
        )
        self.dropped = Counter(
            "cecochat_signals_dropped",
            "Signals dropped because too many waited: collected, before they became records; "
            "topic, records; sessions, since the client reads too slowly.",
            ["where"],
            registry=registry,
        )
        self.seconds = Histogram(
            "cecochat_signals_seconds",
            "From a record's being published to its being read.",
            registry=registry,
        )
        self.watched = Gauge(
            "cecochat_users_watched", "Users whose presence sessions here watch.", registry=registry
        )
