"""Traces: which messages and calls have one, and where the spans go (OpenTelemetry, over OTLP).

A context is the text of a W3C `traceparent` wherever it is kept or sent. What is not sampled makes
no span and no object.
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

SAMPLED = 0x01  # of the flags in a `traceparent`

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_W3C = TraceContextTextMapPropagator()

GIVEN: ContextVar[int] = ContextVar("the id that a new trace gets; 0: one by chance", default=0)


def valid(traceparent: str) -> bool:
    """Whether it is a `traceparent` of version 00 (W3C Trace Context, section 3.2)."""
    return _TRACEPARENT.fullmatch(traceparent) is not None


def traceparent(span: Span) -> str:
    """The context of a span, to be kept or sent."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent", "")


def trace_of(*what: str | int) -> int:
    """The id of the trace of something that is traced when it is over, by whoever saw that: these
    find the same id without a word between them.
    """
    named = "/".join(map(str, what))
    return int.from_bytes(blake2b(named.encode(), digest_size=16).digest()) or 1


@contextmanager
def contained() -> Iterator[None]:
    """What fails in a trace is told, and ends there: messages go on."""
    try:
        yield
    except Exception:
        log.exception("a trace failed")


def failed(span: Span, why: str) -> None:
    """End a span as an error."""
    span.set_status(Status(StatusCode.ERROR, why))
    span.end()


@contextmanager
def until_done(made: Sequence[Span]) -> Iterator[None]:
    """End spans with what is done inside; as errors, where that fails."""
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
    """Of a process. `otlp`: the URL of a collector, OTLP over HTTP; empty: no spans at all."""

    def __init__(self, otlp: str = "", exporter: SpanExporter | None = None) -> None:
        """Raises `InvalidSettings`."""
        self.counts = {"ended": 0, "exported": 0, "failed": 0}
        self._exporting: Exporting | None = None
        if otlp or exporter:
            from cecochat.telemetry.exporting import Exporting  # a tenth of a second to import

            self._exporting = Exporting(otlp, exporter, self.counts, GIVEN.get)

    def tracer(
        self, service: str, server_id: str, registry: CollectorRegistry | None = None
    ) -> Tracer:
        """For one server, or a client."""
        if registry:
            registry.register(SpanCounts(self.counts))
        return Tracer(self._exporting.tracer(service, server_id) if self._exporting else None)

    async def close(self) -> None:
        """Send what is left, for a short while."""
        if self._exporting:
            await self._exporting.close()


class Tracer:
    """Makes the spans of one server. `on`: whether any are made; ask that before anything that
    costs.
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
        """A message that takes longer to be accepted, or to be in the history, is traced, whatever
        the ratio.
        """
        return self._config.trace_slow_ms

    def sampled(self, parent: str) -> bool:
        """Whether what begins here is traced: as the caller wishes, for so many a second, else by
        chance.
        """
        if not self.on:
            return False
        if valid(parent) and int(parent[-2:], 16) & SAMPLED and self.spares_one():
            return True
        return random.random() < self._config.trace_ratio  # noqa: S311

    def spares_one(self) -> bool:
        """Whether one more may be traced that was not drawn by chance: so many a second, lest a
        client, or a machine that is overloaded, make everything traced.
        """
        rate = self._config.trace_forced_rate
        return bool(rate) and not self._forced.try_take(time.monotonic(), rate, max(rate, 1.0))

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
        """A span that the caller ends. `parent`: a `traceparent`; empty, or none: a new trace, with
        the id given, if one is.
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
        """A call that is answered, where it is sampled: `child` makes spans below it."""
        if not self.sampled(parent):
            yield None
            return
        with trace.use_span(
            self.start(spec, parent, attributes, name=name), end_on_exit=True
        ) as it:
            yield it

    @contextmanager
    def child(self, spec: Spec, attributes: Attributes, *, name: str) -> Iterator[None]:
        """Something that the call of `serving` waits for; nothing where that has no span."""
        above = trace.get_current_span()
        if not above.is_recording():
            yield
            return
        with trace.use_span(self.start(spec, above, attributes, name=name), end_on_exit=True):
            yield


OFF = Tracer(None)


class SpanCounts(Collector):
    """The spans of the process, which all its servers tell: they share what sends them."""

    _labelnames = ("outcome",)  # as the collectors of prometheus_client have it

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    @override
    def collect(self) -> Iterator[CounterMetricFamily]:
        """With their numbers."""
        family = self._family()
        for outcome, count in self._counts.items():
            family.add_metric([outcome], count)
        yield family

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Without."""
        yield self._family()

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(
            "cecochat_spans",
            "Spans of this process: ended, exported, failed. One that has ended and is neither of "
            "these was dropped, or waits.",
            labels=self._labelnames,
        )
