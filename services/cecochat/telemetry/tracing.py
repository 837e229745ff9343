"""Decides which messages and calls are traced, and makes their spans (OpenTelemetry, over OTLP).

Wherever a context is stored or sent, it is the text of a W3C `traceparent`. What is not sampled
costs no span and no object.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.session.bucket import TokenBucket
from cecochat.telemetry.spans import Spec

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from cecochat.telemetry.exporting import Exporting

log = logging.getLogger(__name__)

Attributes = Mapping[str, str | int]

SAMPLED = 0x01  # one of the flags in a `traceparent`

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_W3C = TraceContextTextMapPropagator()

GIVEN: ContextVar[int] = ContextVar("the id that a new trace gets; 0: one by chance", default=0)


def valid(traceparent: str) -> bool:
    """Return whether a text is a `traceparent` of version 00 (W3C Trace Context, section 3.2)."""
    return _TRACEPARENT.fullmatch(traceparent) is not None


def traceparent(span: Span) -> str:
    """Return the context of a span as a `traceparent`, to be stored or sent."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent", "")


def derived_trace_id(*what: str | int) -> int:
    """Derive a trace id from a name.

    Several processes that trace the same thing afterwards arrive at the same id on their own.
    """
    named = "/".join(map(str, what))
    return int.from_bytes(blake2b(named.encode(), digest_size=16).digest()) or 1


@contextmanager
def contained() -> Iterator[None]:
    """Log an error in tracing and suppress it, so that messages go on."""
    try:
        yield
    except Exception:
        log.exception("tracing failed; messages go on")


def failed(span: Span, why: str) -> None:
    """End a span as an error."""
    span.set_status(Status(StatusCode.ERROR, why))
    span.end()


@contextmanager
def until_done(made: Sequence[Span]) -> Iterator[None]:
    """End spans at the end of the block, and mark them as failed if it raises."""
    try:
        yield
    except BaseException as error:
        with contained():
            for span in made:
                failed(span, type(error).__name__)
        raise
    with contained():
        for span in made:
            span.end()


class Tracing:
    """The tracing of one process.

    `otlp` is the URL of a collector, for OTLP over HTTP. If it is empty, there are no spans at all.
    """

    def __init__(self, otlp: str = "", exporter: SpanExporter | None = None) -> None:
        """Start exporting, if there is a collector. Raises `InvalidSettings`."""
        self.counts = {"ended": 0, "exported": 0, "failed": 0}
        self._exporting: Exporting | None = None
        if otlp or exporter:
            from cecochat.telemetry.exporting import Exporting  # its import takes 0.1 s

            self._exporting = Exporting(otlp, exporter, self.counts, GIVEN.get)

    def tracer(
        self, service: str, server_id: str, registry: CollectorRegistry | None = None
    ) -> Tracer:
        """Return a tracer for one server or client of this process."""
        if registry:
            registry.register(SpanCounts(self.counts))
        return Tracer(self._exporting.tracer(service, server_id) if self._exporting else None)

    async def close(self) -> None:
        """Send what is left, for at most a short while."""
        if self._exporting:
            await self._exporting.close()


class Tracer:
    """Makes the spans of one server.

    `on` says whether any spans are made. Check it before any costly preparation.
    """

    def __init__(self, made: trace.Tracer | None) -> None:
        self.on = made is not None
        self._made = made or trace.NoOpTracer()
        self.configure(Config())
        self._forced = TokenBucket(int(self._config.trace_forced_rate), time.monotonic())

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._config = config

    @property
    def slow_ms(self) -> float:
        """How long a message may take until it is accepted, or is in the history, in ms.

        One that takes longer is traced, whatever the ratio.
        """
        return self._config.trace_slow_ms

    def sampled(self, parent: str) -> bool:
        """Return whether a call is traced: if the caller wishes so, up to a rate, or else by
        chance.
        """
        if not self.on:
            return False
        if valid(parent) and int(parent[-2:], 16) & SAMPLED and self.spares_one():
            return True
        return random.random() < self._config.trace_ratio  # noqa: S311

    def spares_one(self) -> bool:
        """Return whether the rate allows one more trace that was not drawn by chance.

        Otherwise a client, or an overloaded machine, could have everything traced.
        """
        rate = self._config.trace_forced_rate
        return bool(rate) and not self._forced.take_or_wait_s(
            time.monotonic(), rate, max(rate, 1.0)
        )

    def start(
        self,
        spec: Spec,
        parent: str | Span = "",
        attributes: Attributes | None = None,
        *,
        name: str = "",
        start_ns: int | None = None,
        links: Iterable[Span] = (),
        trace_id: int = 0,
    ) -> Span:
        """Start a span, which the caller has to end.

        `parent` is a span or a `traceparent`. If it is empty or invalid, the span begins a new
        trace, with `trace_id` if that is not 0.
        """
        if isinstance(parent, str):
            context = _W3C.extract({"traceparent": parent})
        else:
            context = trace.set_span_in_context(parent)
        given = GIVEN.set(trace_id)
        try:
            return self._made.start_span(
                name or spec.name,
                context,
                SpanKind[spec.kind],
                dict(attributes or {}),
                [Link(span.get_span_context()) for span in links],
                start_ns,
            )
        finally:
            GIVEN.reset(given)

    @contextmanager
    def serving(
        self, spec: Spec, parent: str, attributes: Attributes, *, name: str = ""
    ) -> Iterator[Span | None]:
        """Make a span for a call, if it is sampled. Within it, `child` makes spans below it."""
        if not self.sampled(parent):
            yield None
            return
        with trace.use_span(
            self.start(spec, parent, attributes, name=name), end_on_exit=True
        ) as span:
            yield span

    @contextmanager
    def child(self, spec: Spec, attributes: Attributes, *, name: str) -> Iterator[None]:
        """Make a span for something that the call waits for, if the call has a span."""
        above = trace.get_current_span()
        if not above.is_recording():
            yield
            return
        with trace.use_span(self.start(spec, above, attributes, name=name), end_on_exit=True):
            yield


OFF = Tracer(None)


class SpanCounts(Collector):
    """Counts the spans of the process. All its servers show the same numbers."""

    _labelnames = ("outcome",)  # as in the collectors of prometheus_client

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    @override
    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the metric with its values."""
        family = self._family()
        for outcome, count in self._counts.items():
            family.add_metric([outcome], count)
        yield family

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Yield the metric without values."""
        yield self._family()

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(
            "cecochat_spans",
            "Spans of this process that have ended, were exported, or failed to be. One that has "
            "ended and is neither of the others was dropped, or still waits.",
            labels=self._labelnames,
        )
