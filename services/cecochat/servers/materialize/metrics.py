"""The metrics of a materialize server."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cecochat.internal.ages import of_stages
from cecochat.internal.v1.internal_pb2 import MaterializeLoad
from cecochat.runtime.metrics import AGES_S, Lag, MessageAges
from cecochat.servers.materialize.rows import Rows


class MaterializeMetrics:
    """The metrics, registered with the server's own registry. All labels have few values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ages = MessageAges(registry)
        self._load = MaterializeLoad()  # what control asks for; the metrics have the same
        self._rows = Counter("cecochat_rows_written", "Rows written.", ["table"], registry=registry)
        self._skipped = Counter(
            "cecochat_events_skipped",
            "Events of kinds that this version does not know, which are in no row.",
            registry=registry,
        )
        self.dead = Counter(
            "cecochat_dead_letters", "Records that could not be understood.", registry=registry
        )
        self.refused = Counter(
            "cecochat_rows_refused",
            "Records whose rows the database refuses for what they are; they are dead letters.",
            registry=registry,
        )
        self.holes = Counter(
            "cecochat_holes_found",
            "Ranges of the log that cannot be materialized any more, by reason.",
            ["reason"],
            registry=registry,
        )
        self._retries = Counter(
            "cecochat_history_retries", "Writes that the database did not take.", registry=registry
        )
        self.write_seconds = Histogram(
            "cecochat_history_write_seconds",
            "Time until the database has the rows of a batch, retries included.",
            buckets=AGES_S,
            registry=registry,
        )
        self._lag = Lag("materialize", "is behind", registry)
        self.lag_seconds = Gauge(
            "cecochat_materialize_lag_seconds",
            "Age of the oldest record that is being written.",
            registry=registry,
        )
        self.retention = Gauge(
            "cecochat_retention_seconds", "How long the log keeps records.", registry=registry
        )
        self.partitions = Gauge(
            "cecochat_partitions_materialized", "Partitions worked on.", registry=registry
        )

    @property
    def load(self) -> MaterializeLoad:
        """What this server carries now."""
        carried = MaterializeLoad(lag_records=self._lag.most, ages=of_stages(self.ages))
        carried.MergeFrom(self._load)
        return carried

    def wrote(self, rows: Rows) -> None:
        """Note that the database has these rows."""
        changes = sum(row.about is not None for row in rows.messages)
        self._rows.labels("messages").inc(len(rows.messages) - changes)
        self._rows.labels("changes").inc(changes)
        self._skipped.inc(rows.skipped)
        self._rows.labels("marks").inc(len(rows.marks))
        self._load.rows_written += len(rows.messages) + len(rows.marks)

    def retry(self) -> None:
        """Note that the database did not take a write."""
        self._retries.inc()
        self._load.history_retries += 1

    def behind(self, records: Mapping[int, int]) -> None:
        """Set the lag of every partition that this server works on: partition -> records."""
        self._lag.set(records)
