"""The span of a send, a child of the application's own span if OpenTelemetry records one.

An application that has not imported OpenTelemetry records nothing, and the client does not import
it either.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from cecochat.telemetry.spans import MESSAGE_ID, SEND

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from cecochat.v1.messaging_pb2 import Send


def sending(send: Send) -> Span | None:
    """Begin a span if the caller has one, and put its context into the send (W3C Trace Context)."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if not trace.get_current_span().is_recording():
        return None
    span = trace.get_tracer("cecochat").start_span(SEND.name, kind=trace.SpanKind[SEND.kind])
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span))
    send.traceparent = carrier.get("traceparent", "")
    return span


def answered(span: Span, answer: asyncio.Future[int]) -> None:
    """End the span of a send that was answered, or whose caller no longer waits."""
    if answer.cancelled():
        _failed(span, "cancelled")
    elif error := answer.exception():  # asyncio reports it no longer; the span does
        refused(span, error)
    else:
        span.set_attribute(MESSAGE_ID, str(answer.result()))
        span.end()


def refused(span: Span | None, error: BaseException) -> None:
    """End the span of a send that was not accepted."""
    if span:
        _failed(span, str(error))


def _failed(span: Span, why: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, why))
    span.end()
