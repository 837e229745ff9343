"""The spans of messages that are written to the history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import Span

from cecochat.domain.log.ids import time_ms
from cecochat.domain.log.records import Origin
from cecochat.ports.backplane import MESSAGES
from cecochat.servers.materialize.rows import Rows
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import Attributes, Tracer, contained, derived_trace_id, until_done


@contextmanager
def materializing(tracer: Tracer, system: str, rows: Rows) -> Iterator[None]:
    """Trace the write of a batch of messages."""
    made: list[Span] = []
    with contained():
        if tracer.on and rows.traced:
            made = _begin_all(tracer, system, rows)
    with until_done(made):
        yield
    with contained():
        if tracer.on and rows.messages:
            _trace_late(tracer, rows)


def _trace_late(tracer: Tracer, rows: Rows) -> None:
    """Trace messages that were written too late and have no trace yet, the oldest first. If a
    message was already accepted late it got a trace then, and this span joins it.
    """
    now_ms = time.time_ns() // 1_000_000
    if now_ms - time_ms(rows.messages[0].message_id) <= tracer.slow_ms:
        return
    traced_ids = {origin.id for _, origin in rows.traced}
    for message_id in (row.message_id for row in rows.messages if row.message_id not in traced_ids):
        late_ms = now_ms - time_ms(message_id)
        if late_ms <= tracer.slow_ms or not tracer.spares_one():
            return
        attributes = {**_attributes(rows, message_id), spans.LATE: late_ms}
        trace_id = derived_trace_id(spans.MESSAGE_ID, message_id)
        tracer.start(
            spans.MATERIALIZE, attributes=attributes, start_ns=rows.read_ns, trace_id=trace_id
        ).end()


def _begin_all(tracer: Tracer, system: str, rows: Rows) -> list[Span]:
    """Begin the span of the write and those of the messages. The write comes first. It has links to
    up to 128 messages, which is what OpenTelemetry keeps, and each of these has a link to it.
    """
    each = [_begin(tracer, rows, offset, origin) for offset, origin in rows.traced]
    attributes: Attributes = {
        spans.DB: system,
        spans.DB_OPERATION: "INSERT",
        spans.DB_COLLECTION: "messages",
        spans.BATCH: len(rows.messages),
    }
    write = tracer.start(spans.WRITE, each[0], attributes, links=each[1:])
    for other in each[1:]:
        other.add_link(write.get_span_context())
    return [write, *each]


def _begin(tracer: Tracer, rows: Rows, offset: int, origin: Origin) -> Span:
    attributes = {**_attributes(rows, origin.id), spans.OFFSET: offset}
    return tracer.start(spans.MATERIALIZE, origin.trace, attributes, start_ns=rows.read_ns)


def _attributes(rows: Rows, message_id: int) -> Attributes:
    return {
        spans.MESSAGE_ID: str(message_id),
        spans.DESTINATION: MESSAGES,
        spans.PARTITION: str(rows.partition),
        spans.OPERATION: "process",
        spans.BATCH: len(rows.messages),
    }
