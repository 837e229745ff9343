"""What a messaging server counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class MessagingMetrics:
    """Registered with the server's own registry; no label has unbounded values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sessions = Gauge("cecochat_sessions", "Sessions that are open.", registry=registry)
        self.partitions = Gauge(
            "cecochat_partitions_owned", "Partitions whose takeover is done.", registry=registry
        )
        self.forward_lag = Gauge(
            "cecochat_forward_lag_records",
            "Records that its most backward partition has read and not forwarded.",
            registry=registry,
        )
        self.appended = Counter(
            "cecochat_records_appended", "Records appended, of every kind.", registry=registry
        )
        self.sends = Counter(
            "cecochat_sends_accepted",
            "Sends that were checked and appended; repeats are not.",
            registry=registry,
        )
        self.refused = Counter(
            "cecochat_sends_refused", "Sends refused, by code.", ["code"], registry=registry
        )
        self.disconnects = Counter(
            "cecochat_disconnects",
            "Sessions ended by the server, by code.",
            ["code"],
            registry=registry,
        )
        self.resumes = Counter(
            "cecochat_resumes",
            "Sessions started, by how: live, tail, log, gap.",
            ["how"],
            registry=registry,
        )
        self.takeovers = Counter(
            "cecochat_takeovers", "Takeovers of a partition.", registry=registry
        )
        self.recalls = Counter(
            "cecochat_forward_recalls",
            "Readings of the log again, for targets that had fallen behind.",
            registry=registry,
        )
        self.producer_failures = Counter(
            "cecochat_producer_failures", "Epochs that a failed append ended.", registry=registry
        )
        self.takeover_seconds = Histogram(
            "cecochat_takeover_seconds",
            "From the start of a takeover to accepting.",
            registry=registry,
        )
