"""Sends spans to a collector, in a thread of its own.

A collector that is slow or away costs memory for at most `QUEUE_MAX` spans. What is lost is
counted.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from typing_extensions import override

from cecochat import __version__
from cecochat.domain.errors import InvalidSettings
from cecochat.telemetry.spans import INSTANCE, RELEASE, SERVICE

log = logging.getLogger(__name__)

QUEUE_MAX = 4_096
BATCH_MAX = 512
EXPORT_EVERY_MS = 1_000
EXPORT_TIMEOUT_S = 5.0
FLUSH_S = 2.0


def over_http(otlp: str) -> SpanExporter:
    """Return an exporter to a collector, by OTLP over HTTP. Raises `InvalidSettings`."""
    if not otlp.startswith(("http://", "https://")):
        raise InvalidSettings(f"CECOCHAT_OTLP_URL is {otlp!r}: use a URL such as http://host:4318")
    return OTLPSpanExporter(endpoint=f"{otlp.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)


class Exporting:
    """Exports the spans of one process.

    `counts` receives what becomes of them. `given` returns the id of the next trace, or 0 if it is
    to be random.
    """

    def __init__(
        self,
        otlp: str,
        exporter: SpanExporter | None,
        counts: dict[str, int],
        given: Callable[[], int],
    ) -> None:
        """Start the thread. Raises `InvalidSettings`."""
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `_Counting` logs failures
        self._counts = counts
        self._ids = _Ids(given)
        self._processor = BatchSpanProcessor(
            _Counting(exporter or over_http(otlp), counts, otlp),
            max_queue_size=QUEUE_MAX,
            schedule_delay_millis=EXPORT_EVERY_MS,
            max_export_batch_size=BATCH_MAX,
        )

    def tracer(self, service: str, server_id: str) -> trace.Tracer:
        """Return a tracer for one server of the process."""
        named = {SERVICE: f"cecochat-{service}", INSTANCE: server_id}
        resource = Resource({**named, RELEASE: __version__})
        provider = TracerProvider(
            ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids
        )
        provider.add_span_processor(_Ended(self._processor, self._counts))
        return provider.get_tracer("cecochat", __version__)

    async def close(self) -> None:
        """Send what is left, for at most `FLUSH_S`."""
        thread = threading.Thread(target=self._processor.shutdown, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, FLUSH_S)


class _Ids(RandomIdGenerator):
    """Makes random ids, unless one is given."""

    def __init__(self, given: Callable[[], int]) -> None:
        self._given = given

    @override
    def generate_trace_id(self) -> int:
        return self._given() or super().generate_trace_id()


class _Ended(SpanProcessor):
    """Counts spans, and passes them to the processor that all servers of the process share."""

    def __init__(self, shared: BatchSpanProcessor, counts: dict[str, int]) -> None:
        self._shared = shared
        self._counts = counts

    @override
    def on_end(self, span: ReadableSpan) -> None:
        self._counts["ended"] += 1
        self._shared.on_end(span)


class _Counting(SpanExporter):
    """Logs once when spans can no longer be exported, and once when they can again."""

    def __init__(self, exporter: SpanExporter, counts: dict[str, int], where: str) -> None:
        self._exporter = exporter
        self._counts = counts
        self._where = where
        self._fails = False

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, the servers go on
            log.debug("spans cannot be exported: %r", error)
            result = SpanExportResult.FAILURE
        good = result is SpanExportResult.SUCCESS
        self._counts["exported" if good else "failed"] += len(spans)
        if good == self._fails:
            self._fails = not good
            what = "accepts spans again" if good else "does not accept spans, so they are lost"
            log.warning("the collector at %s %s", self._where, what)
        return result

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()
