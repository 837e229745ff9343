"""The metrics of a messaging server."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cecochat.domain.errors import Refusal
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import app_of
from cecochat.domain.log.records import Copy, LogRecord, Origin
from cecochat.runtime.metrics import Lag, MessageAges, of_apps


class ReadBatch:
    """What to measure of a batch of records: the oldest message of each kind, and how many records
    do not count.
    """

    __slots__ = ("broken_copies", "delivered", "origin", "repeated_copies", "void_origins")

    def __init__(self) -> None:
        self.origin: Origin | None = None
        self.delivered: Origin | Copy | None = None  # to recipients
        self.void_origins = 0
        self.repeated_copies = 0
        self.broken_copies = 0

    def add(self, record: LogRecord, counts: bool, fold: Fold) -> None:
        """Take in the next record. `fold` is the fold after it."""
        if isinstance(record, Copy):
            self.delivered = self.delivered or (record if counts else None)
            repeated = not fold.is_new(record, fold.high_of(record.origin_partition))
            self.repeated_copies += not counts and repeated
            self.broken_copies += not counts and not repeated
        elif isinstance(record, Origin):
            self.origin = self.origin or (record if counts else None)
            at_home = counts and fold.chain.home
            self.delivered = self.delivered or (record if at_home else None)
            self.void_origins += not counts


class MessagingMetrics:
    """The metrics, registered with the server's own registry. All labels have few values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ages = MessageAges(registry)
        self.streams = Counter(
            "cecochat_streams",
            "Streams that ended, by code; ok: the client left.",
            ["code"],
            registry=registry,
        )
        self.before_send = Counter(
            "cecochat_before_send",
            "Sends of which the application was asked, by outcome; away: it did not answer, or was "
            "not asked since it did not answer before.",
            ["outcome"],
            registry=registry,
        )
        self.before_send_seconds = Histogram(
            "cecochat_before_send_seconds",
            "How long the application took to say whether a send is allowed.",
            registry=registry,
        )
        self.streams_open = Gauge(
            "cecochat_streams_open",
            "Streams that are open and have shown a token, by transport.",
            ["transport"],
            registry=registry,
        )
        self.resume_seconds = Histogram(
            "cecochat_resume_seconds",
            "From a session's hello until it was told all that it had missed.",
            registry=registry,
        )
        self._sessions = Gauge("cecochat_sessions", "Sessions that are open.", registry=registry)
        self._app_sessions = Gauge(
            "cecochat_app_sessions", "Sessions that are open, by app.", ["app"], registry=registry
        )
        self.sessions_max = Gauge(
            "cecochat_sessions_max", "Sessions that it may hold.", registry=registry
        )
        self.queue_bytes = Gauge(
            "cecochat_queue_bytes",
            "Bytes that wait: sessions, to be read by clients; append, for the log to take them.",
            ["queue"],
            registry=registry,
        )
        self.append_wait = Gauge(
            "cecochat_append_wait_seconds",
            "How long the oldest append that is under way has taken so far.",
            registry=registry,
        )
        self.group_wait = Gauge(
            "cecochat_group_send_wait_seconds",
            "How long the oldest send to a group whose home is another partition has waited for "
            "its copy so far.",
            registry=registry,
        )
        self.home_requests = Counter(
            "cecochat_home_requests",
            "Requests to the homes of groups: answered, or failed, which are made again.",
            ["result"],
            registry=registry,
        )
        self.append_seconds = Histogram(
            "cecochat_append_seconds",
            "From an append to its being durable, of own records and of copies, a batch each.",
            ["records"],
            registry=registry,
        )
        self.partitions = Gauge(
            "cecochat_partitions_owned", "Partitions whose takeover is done.", registry=registry
        )
        self.forward_lag = Lag("forward", "has read and not forwarded", registry)
        self.uncopied = Counter(
            "cecochat_uncopied_records",
            "Records that the log had dropped before they were forwarded.",
            registry=registry,
        )
        self.appended = Counter(
            "cecochat_records_appended", "Records appended, of every kind.", registry=registry
        )
        self.accepted = 0  # sends since the start, like the metric below
        self._sends = Counter(
            "cecochat_sends_accepted",
            "Sends that were checked and appended; repeats are not.",
            registry=registry,
        )
        self.delivered = 0  # since the start, like the metric below
        self._deliveries = Counter(
            "cecochat_deliveries",
            "Events queued for open sessions when they were read from the log; what sessions catch "
            "up with is not counted.",
            registry=registry,
        )
        self._refused = Counter(
            "cecochat_sends_refused", "Sends refused, by code.", ["code"], registry=registry
        )
        self._app_sends = of_apps("sends_accepted", "Sends that were accepted", registry)
        self._app_refused = of_apps("sends_refused", "Sends refused", registry)
        self._app_deliveries = of_apps("deliveries", "Events queued for open sessions", registry)
        self.repeats = Counter(
            "cecochat_sends_repeated",
            "Sends that were accepted before, and joined to the first.",
            registry=registry,
        )
        self.void = Counter(
            "cecochat_records_void",
            "Records read that do not count: origin, of a fenced owner.",
            ["kind"],
            registry=registry,
        )
        self.not_counted = Counter(
            "cecochat_copies_not_counted",
            "Copies read that do not count: repeat, copied before; broken_chain, since the one "
            "before it is missing, so both are brought again.",
            ["reason"],
            registry=registry,
        )
        self.chains_broken = Gauge(
            "cecochat_chains_broken",
            "Partitions whose copies are missing in a partition owned here, although they were "
            "asked for, so that some messages are not delivered.",
            registry=registry,
        )
        self.clock_ahead = Gauge(
            "cecochat_clock_ahead_seconds",
            "How far the clock of this server is ahead of the log's, at least. Over 60 it accepts "
            "no sends.",
            registry=registry,
        )
        self.asked = Counter(
            "cecochat_copies_asked_again",
            "Times that another partition was asked to bring its copies again.",
            registry=registry,
        )
        self.lost = Counter(
            "cecochat_copies_lost",
            "Times that copies could not be brought again, since the log has dropped the messages; "
            "the history has them, devices were not told.",
            registry=registry,
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

    def count_sessions(self, user_id: str, opened: int) -> None:
        """Note that a session of a user was opened, 1, or has ended, -1."""
        self._sessions.inc(opened)
        self._app_sessions.labels(app_of(user_id)).inc(opened)

    def accept(self, user_id: str) -> None:
        """Note that a send of a user was checked and appended."""
        self.accepted += 1
        self._sends.inc()
        self._app_sends.labels(app_of(user_id)).inc()

    def refuse(self, user_id: str, refusal: Refusal) -> None:
        """Note that a send of a user was refused."""
        self._refused.labels(refusal.name).inc()
        self._app_refused.labels(app_of(user_id)).inc()

    def deliver(self, events: Mapping[str, int]) -> None:
        """Note that so many events were queued for sessions of each app."""
        for app, count in events.items():
            self.delivered += count
            self._deliveries.inc(count)
            self._app_deliveries.labels(app).inc(count)

    def read(self, batch: ReadBatch) -> None:
        """Note that an owner that is ready has read a batch."""
        if batch.origin:
            self.ages.observe("acknowledged", batch.origin.id)
        if batch.delivered:
            self.ages.observe("delivered", batch.delivered.id)
        if batch.repeated_copies:
            self.not_counted.labels("repeat").inc(batch.repeated_copies)
        if batch.broken_copies:
            self.not_counted.labels("broken_chain").inc(batch.broken_copies)
        if batch.void_origins:
            self.void.labels("origin").inc(batch.void_origins)
