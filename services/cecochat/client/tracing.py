"""The span of a send, a child of the application's own span if OpenTelemetry records one."""

from __future__ import annotations

import asyncio

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cecochat.telemetry.spans import MESSAGE_ID, SEND
from cecochat.v1.messaging_pb2 import Send

_W3C = TraceContextTextMapPropagator()


def sending(send: Send) -> Span:
    """Begin a span if the caller has one, and put its context into the send (W3C Trace Context)."""
    if not trace.get_current_span().is_recording():
        return INVALID_SPAN
    span = trace.get_tracer("cecochat").start_span(SEND.name, kind=SpanKind[SEND.kind])
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span))
    send.traceparent = carrier.get("traceparent", "")
    return span


def answered(span: Span, answer: asyncio.Future[int]) -> None:
    """End the span of a send that was answered, or whose caller no longer waits."""
    if answer.cancelled():
        span.set_status(Status(StatusCode.ERROR, "cancelled"))
        span.end()
    elif error := answer.exception():  # asyncio reports it no longer; the span does
        refused(span, error)
    else:
        span.set_attribute(MESSAGE_ID, str(answer.result()))
        span.end()


def refused(span: Span, error: BaseException) -> None:
    """End the span of a send that was not accepted."""
    span.set_status(Status(StatusCode.ERROR, str(error)))
    span.end()
