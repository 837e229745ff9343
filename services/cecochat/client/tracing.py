"""The span of a send, below the application's own where OpenTelemetry records one."""

from __future__ import annotations

import asyncio

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cecochat.telemetry.spans import MESSAGE_ID, SEND
from cecochat.v1.messaging_pb2 import Send

_W3C = TraceContextTextMapPropagator()


def sending(send: Send) -> Span:
    """Begin a span where the caller has one, and have the send carry its context."""
    if not trace.get_current_span().is_recording():
        return INVALID_SPAN
    span = trace.get_tracer("cecochat").start_span(SEND.name, kind=SpanKind[SEND.kind])
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span))
    send.traceparent = carrier.get("traceparent", "")
    return span


def answered(span: Span, answer: asyncio.Future[int]) -> None:
    """End it: the send has its answer, or nobody waits for one. To look at an error takes it from
    what asyncio tells of those that nobody looked at: the span tells it.
    """
    if answer.cancelled():
        span.set_status(Status(StatusCode.ERROR, "cancelled"))
        span.end()
    elif error := answer.exception():
        refused(span, error)
    else:
        span.set_attribute(MESSAGE_ID, str(answer.result()))
        span.end()


def refused(span: Span, error: BaseException) -> None:
    """End it: the send was not accepted."""
    span.set_status(Status(StatusCode.ERROR, str(error)))
    span.end()
